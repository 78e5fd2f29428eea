from __future__ import annotations

import asyncio
import importlib
import io
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, text

from storage import engine, schema
from storage.errors import SchemaTooNew, StoreError
from storage.records import Outcome
from storage.tiers import Hierarchy

from .make import PYTHON, ROOT, batch, conversation, file, opened, page, rows, url


def made(folder: Path) -> Engine:
    parsed = engine.parse(url(folder))
    engine.prepare(parsed)
    return engine.writer(parsed, 5)


def dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(file(folder))) as connection:
        return list(connection.iterdump())


def test_the_migrations_make_the_tables_the_code_uses(tmp_path: Path) -> None:
    writer = made(tmp_path)
    schema.upgrade(writer)
    with writer.connect() as connection:
        # the search index is no table that the code describes
        options = {"include_name": lambda name, kind, _: kind != "table" or not name.startswith("pages_text")}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        script = ScriptDirectory.from_config(schema.config(connection))
        assert tuple(each.revision for each in script.walk_revisions())[::-1] == schema.REVISIONS
    writer.dispose()


def test_down_and_up_again(tmp_path: Path) -> None:
    writer = made(tmp_path)
    schema.upgrade(writer)
    first = dump(tmp_path)
    with writer.begin() as connection:
        command.downgrade(schema.config(connection), "base")
    left = rows(tmp_path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    assert left == [("alembic_version",)]
    assert rows(tmp_path, "SELECT * FROM alembic_version") == []
    schema.upgrade(writer)
    assert sorted(dump(tmp_path)) == sorted(first)
    writer.dispose()


def test_the_search_comes_and_goes_without_the_pages(tmp_path: Path) -> None:
    writer = made(tmp_path)
    with writer.begin() as connection:
        command.upgrade(schema.config(connection), "0001")
        connection.execute(text("INSERT INTO pages VALUES ('t', 'p1', 'raw', 4, 'read', 'a.py', 1.0, x'74657874')"))
    assert rows(tmp_path, "SELECT name FROM sqlite_master WHERE name LIKE 'pages_text%'") == []
    schema.upgrade(writer)
    assert asyncio.run(found(tmp_path, "text")) == ["p1"]
    with writer.begin() as connection:
        command.downgrade(schema.config(connection), "0001")
    assert rows(tmp_path, "SELECT name FROM sqlite_master WHERE name LIKE 'pages_text%'") == []
    assert rows(tmp_path, "SELECT id FROM pages") == [("p1",)]
    schema.upgrade(writer)
    assert asyncio.run(found(tmp_path, "text")) == ["p1"]
    writer.dispose()


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
    assert rows(tmp_path, "SELECT name FROM sqlite_master WHERE name LIKE 'pages_text%'") == []
    with pytest.raises(StoreError, match="FTS5"):
        asyncio.run(found(tmp_path, "text"))
    with writer.begin() as connection:
        command.downgrade(schema.config(connection), "base")
    writer.dispose()


def test_no_other_database_is_asked_for_the_search(tmp_path: Path) -> None:
    migration = importlib.import_module("migrations.versions.0002_search")
    said = io.StringIO()
    options = {"as_sql": True, "output_buffer": said}
    with Operations.context(MigrationContext.configure(dialect_name="postgresql", opts=options)):
        migration.upgrade()
        migration.downgrade()
    assert said.getvalue() == ""


def test_an_upgrade_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    writer = made(tmp_path)
    with closing(sqlite3.connect(file(tmp_path))) as connection:
        connection.execute("CREATE TABLE facts (something)")
    before = dump(tmp_path)
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(writer)
    assert dump(tmp_path) == before
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


def test_opening_an_up_to_date_store_imports_no_alembic(tmp_path: Path) -> None:
    schema.upgrade(made(tmp_path))
    code = (
        "import asyncio, sys\n"
        "from storage.tiers import Hierarchy\n"
        "async def main():\n"
        "    await (await Hierarchy.open(sys.argv[1])).close()\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if name.startswith(('alembic', 'mitmproxy', 'addon'))]\n"
    )
    subprocess.run([PYTHON, "-c", code, url(tmp_path)], cwd=ROOT, check=True, timeout=60)


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


@pytest.mark.parametrize("round", range(2))
def test_six_processes_make_the_store_at_once(tmp_path: Path, round: int) -> None:
    # from another folder that has a package of the same name as ours
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "migrations").mkdir(parents=True)
    (elsewhere / "migrations" / "__init__.py").touch()
    running = [
        subprocess.Popen(
            [PYTHON, "-c", CONTENDER, url(tmp_path), f"c{number}"],
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
    assert rows(tmp_path, "SELECT version_num FROM alembic_version") == [(schema.REVISIONS[-1],)]
    assert len(rows(tmp_path, "SELECT id FROM conversations")) == 6
    assert len(rows(tmp_path, "SELECT id FROM pages")) == 1


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
