from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, Text, event
from sqlalchemy.types import TypeEngine

from storage import engine, schema
from storage.crypt import Keys
from storage.errors import SchemaTooNew, StoreError
from storage.records import Booking, Outcome
from storage.rows import SUMS
from storage.tiers import Hierarchy

from .make import ELSEWHERE, PYTHON, ROOT, batch, connected, conversation, file, opened, page, rows, splice, url


def made(folder: Path) -> Engine:
    parsed = engine.parse(url(folder))
    engine.prepare(parsed)
    return engine.writer(parsed, 5)


def dump(folder: Path) -> list[str]:
    """All that is in the database, and how."""
    if folder not in ELSEWHERE:
        with closing(sqlite3.connect(file(folder))) as connection:
            return list(connection.iterdump())
    found = []
    for kind, how in (
        ("table_name, column_name, data_type, collation_name, is_nullable, column_default", "columns"),
        ("table_name, constraint_name, constraint_type", "table_constraints"),
    ):
        wanted = f"SELECT {kind} FROM information_schema.{how} WHERE table_schema = current_schema()"
        # those of NOT NULL are named by numbers
        found += [str(row) for row in rows(folder, wanted) if "_not_null" not in str(row)]
    found += [str(row) for row in rows(folder, "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()")]
    for table in tables(folder):
        found += [f"{table} {row}" for row in rows(folder, f"SELECT * FROM {table}")]
    return sorted(found)


def tables(folder: Path) -> list[str]:
    where = (
        "pg_tables WHERE schemaname = current_schema()"
        if folder in ELSEWHERE
        else "(SELECT name AS tablename FROM sqlite_master WHERE type = 'table')"
    )
    return [str(name) for (name,) in rows(folder, f"SELECT tablename FROM {where} ORDER BY 1")]


def differ(context: MigrationContext, _: object, __: object, found: TypeEngine[Any], wanted: object) -> bool | None:
    if not isinstance(wanted, schema.Words):
        return None
    collation = "C" if context.dialect.name == "postgresql" else None
    return not isinstance(found, Text) or found.collation != collation


def test_the_migrations_make_the_tables_the_code_uses(place: Path) -> None:
    writer = made(place)
    schema.upgrade(writer)
    with writer.connect() as connection:
        # the search index is no table that the code describes
        options = {
            "include_name": lambda name, kind, _: kind != "table" or not name.startswith("pages_text"),
            "compare_type": differ,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        script = ScriptDirectory.from_config(schema.config(connection))
        assert tuple(each.revision for each in script.walk_revisions())[::-1] == schema.REVISIONS
    writer.dispose()


def test_down_and_up_again(place: Path) -> None:
    writer = made(place)
    schema.upgrade(writer)
    first = dump(place)
    with writer.begin() as connection:
        command.downgrade(schema.config(connection), "base")
    assert tables(place) == ["alembic_version"]
    assert rows(place, "SELECT * FROM alembic_version") == []
    schema.upgrade(writer)
    assert sorted(dump(place)) == sorted(first)
    writer.dispose()


PAGE = dict(tenant="t", id="p1", codec="raw", size=4, kind="read", label="a.py", created_at=1.0, data=b"text")  # noqa: C408


def test_the_search_comes_and_goes_without_the_pages(place: Path) -> None:
    writer = made(place)
    with writer.begin() as connection:
        command.upgrade(schema.config(connection), "0001")
        connection.execute(schema.pages.insert(), PAGE)
    assert not [name for name in tables(place) if name.startswith("pages_text")]
    schema.upgrade(writer)
    assert asyncio.run(found(place, "text")) == ["p1"]
    with writer.begin() as connection:
        command.downgrade(schema.config(connection), "0001")
    assert not [name for name in tables(place) if name.startswith("pages_text")]
    assert rows(place, "SELECT id FROM pages") == [("p1",)]
    schema.upgrade(writer)
    assert asyncio.run(found(place, "text")) == ["p1"]
    writer.dispose()


def test_what_is_encrypted_does_not_go_down(place: Path) -> None:
    async def fill(keys: Keys) -> None:
        async with opened(place, keys=keys) as store:
            assert await store.commit(batch(pages=[page()]), 5) is Outcome.STORED

    asyncio.run(fill(Keys([bytes(32)])))
    writer = made(place)
    before = dump(place)
    with pytest.raises(RuntimeError, match="rekey --off"), writer.begin() as connection:
        command.downgrade(schema.config(connection), "0005")
    writer.dispose()
    assert dump(place) == before


async def found(folder: Path, words: str) -> list[str]:
    async with opened(folder) as store:
        return [hit.id for hit in await store.search(words)]


def test_an_sqlite_without_fts5_has_a_store_and_no_search(tmp_path: Path) -> None:
    writer = made(tmp_path)

    @event.listens_for(writer, "connect")
    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.create_function("sqlite_compileoption_used", 1, lambda _: 0)

    schema.upgrade(writer)
    assert rows(tmp_path, "SELECT version_num FROM alembic_version") == [(schema.REVISIONS[-1],)]
    assert not [name for name in tables(tmp_path) if name.startswith("pages_text")]
    with pytest.raises(StoreError, match="FTS5"):
        asyncio.run(found(tmp_path, "text"))
    with writer.begin() as connection:
        command.downgrade(schema.config(connection), "base")
    writer.dispose()


# from the last step down: the tallies and the ledger that are left
WAY_DOWN: dict[str, tuple[object, ...]] = {
    "0004": ({}, {"requests": 3, "billed": 3, "stub": 3}),
    "0003": ({}, {"requests": 3, "billed": 3, "stub": 0}),
    "0002": ({}, None),
    "0001": ({}, None),
}


def test_what_can_be_kept_on_the_way_down_and_up_is_kept(place: Path) -> None:
    async def fill() -> None:
        async with opened(place) as store:
            assert await store.commit(batch(pages=[page()], splices=[splice()]), 5) is Outcome.STORED
            store.tally("t", "s", {"a": 1})
            store.book(Booking("2026-11-01", "c1", "t", "p", dict.fromkeys(SUMS, 3)))
            store.learn("scope", "key", "value")

    async def read() -> tuple[tuple[object, ...], tuple[object, ...]]:
        async with opened(place) as store:
            day = (await store.ledger()).get("2026-11-01")
            shown = None if day is None else {name: day[name] for name in ("requests", "billed", "stub")}
            kept = await store.conversations("t", "h", "s"), await store.search("some"), await store.facts("scope")
            return kept, (await store.tallies("t", "s"), shown)

    asyncio.run(fill())
    kept, _ = asyncio.run(read())
    assert all(kept)
    writer = made(place)
    for revision, left in WAY_DOWN.items():
        with writer.begin() as connection:
            command.downgrade(schema.config(connection), revision)
        schema.upgrade(writer)
        assert asyncio.run(read()) == (kept, left)
    writer.dispose()


def test_an_upgrade_that_breaks_off_leaves_nothing(place: Path) -> None:
    writer = made(place)
    with closing(connected(place)) as connection:
        connection.execute("CREATE TABLE facts (something text)")
        connection.commit()
    before = dump(place)
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(writer)
    assert dump(place) == before
    writer.dispose()


async def test_a_later_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(batch(pages=[page()]), 5)
    with closing(sqlite3.connect(file(tmp_path))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.commit()
        connection.execute("PRAGMA journal_mode=DELETE")
    before = file(tmp_path).read_bytes()
    with pytest.raises(SchemaTooNew, match="9999"):
        await Hierarchy.open(url(tmp_path))
    assert file(tmp_path).read_bytes() == before


async def test_the_file_is_laid_out_for_pages(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.commit(batch(), 5) is Outcome.STORED
    for pragma, value in (("page_size", 4096), ("auto_vacuum", 2), ("journal_mode", "wal")):
        assert rows(tmp_path, f"PRAGMA {pragma}") == [(value,)]


def test_opening_an_up_to_date_store_imports_no_alembic(place: Path) -> None:
    schema.upgrade(made(place))
    code = (
        "import asyncio, sys\n"
        "from storage.tiers import Hierarchy\n"
        "async def main():\n"
        "    await (await Hierarchy.open(sys.argv[1])).close()\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if name.startswith(('alembic', 'mitmproxy', 'addon'))]\n"
    )
    subprocess.run([PYTHON, "-c", code, url(place)], cwd=ROOT, check=True, timeout=60)


CONTENDER = """
import asyncio, sys
import alembic.command
from storage.records import Outcome
from storage.tiers import Hierarchy
from tests.storage.make import batch, conversation, page, splice

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    store = await Hierarchy.open(sys.argv[1])
    name = sys.argv[2]
    record = conversation(name, head=name, session=name)
    outcome = await store.commit(batch(record, pages=[page(b"shared")], splices=[splice()]), 30)
    await store.close()
    print(outcome.name, store.last_error)

asyncio.run(main())
"""


def test_six_processes_make_the_store_at_once(place: Path) -> None:
    # from another folder that has a package of the same name as ours
    elsewhere = place / "elsewhere"
    (elsewhere / "migrations").mkdir(parents=True)
    (elsewhere / "migrations" / "__init__.py").touch()
    running = [
        subprocess.Popen(
            [PYTHON, "-c", CONTENDER, url(place), f"c{number}"],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in running:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        assert [each.communicate(timeout=60)[0].split()[0] for each in running] == ["STORED"] * 6
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert rows(place, "SELECT version_num FROM alembic_version") == [(schema.REVISIONS[-1],)]
    assert len(rows(place, "SELECT id FROM conversations")) == 6
    assert len(rows(place, "SELECT id FROM pages")) == 1


async def test_opening_a_store_leaves_the_locks_of_one_that_is_open_alone(tmp_path: Path) -> None:
    """Otherwise a process that closes takes itself for the last and removes the journal that others write to."""
    visit = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM pages').fetchall(); c.close()"
    )
    async with opened(tmp_path) as store:
        assert await store.commit(batch(conversation("c1")), 20) is Outcome.STORED
        second = await Hierarchy.open(url(tmp_path))
        visitor = await asyncio.create_subprocess_exec(PYTHON, "-c", visit, file(tmp_path))
        assert await visitor.wait() == 0
        assert await store.commit(batch(conversation("c2", head="h2", session="s2")), 20) is Outcome.STORED
        await second.close()
        assert rows(tmp_path, "SELECT id FROM conversations") == [("c1",), ("c2",)]
