"""`mitmmu gc`, `forget`, `rekey`, `export` and `import`, as they are typed."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import zstandard

from addon import cli
from storage import archive, engine
from storage.crypt import Keys, key_id
from storage.records import Booking, Outcome, Page, Splice, Stored
from storage.rows import SUMS
from storage.tiers import Hierarchy
from tests.harness.postgres import PASSWORD

from .make import ELSEWHERE, batch, change, conversation, opened, page, rows, splice, stored, url
from .test_delta import version

KEY = bytes(range(32))
NOT_TEXT = Page("t", "bytes", b"\xff\x00\xfe" * 50, "result", "Bash cat")


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MITMMU_KEY", raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs a command on the store of the test: status, and what it said."""

    def running(*words: str, folder: Path = tmp_path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mitmmu", words[0], "--store", url(folder), *words[1:]])
        status = 0
        try:
            cli.main()
        except SystemExit as error:
            status = int(error.code or 0)
        said = capsys.readouterr()
        assert not any(secret in said.out + said.err for secret in (PASSWORD, quote(PASSWORD, safe="")))
        return status, said.out + said.err

    return running


async def _fill(folder: Path, keys: Keys) -> None:
    now = time.time()
    async with opened(folder, keys=keys) as store:
        for n, (project, days) in enumerate((("/work/a", 0), ("/work/a", 100), ("/work/b", 1))):
            record = conversation(f"c{n}", head=f"h{n}", session="", last_at=now - days * 86_400)
            record = type(record)(**{**{f: getattr(record, f) for f in record.__slots__}, "project": project})
            mine = [page(b"of all"), page(b"of c%d" % n), version(n), *([NOT_TEXT] if n == 2 else [])]
            said = [Splice("a", 0, "evict", mine[1].id, f"[gone {n}]\x01", ("b",), 1), splice("x", text=None)]
            assert await store.commit(batch(record, pages=mine, splices=said), 5) is Outcome.STORED
            store.book(Booking("2026-11-01", f"c{n}", "t", project, dict.fromkeys(SUMS, 1)))
            store.tally("t", f"claude/main {project}", {"total": 1.0, "Read": 2.0})
        store.tally("t", "claude/main", {"total": 3.0})
        store.learn("heads", "t x", [1, 2])


def fill(folder: Path, keys: Keys = Keys()) -> None:  # noqa: B008 - it cannot be changed
    asyncio.run(_fill(folder, keys))


def ids(folder: Path, table: str = "conversations", column: str = "id") -> list[str]:
    return [id for (id,) in rows(folder, f"SELECT {column} FROM {table} ORDER BY 1")]


async def _all(folder: Path, keys: Keys = Keys()) -> tuple[list[tuple[Stored, ...]], list[bytes | None]]:  # noqa: B008
    async with opened(folder, keys=keys) as store:
        found = [await store.conversations("t", f"h{n}", "") for n in range(3)]
        wanted = [page(b"of all"), *(page(b"of c%d" % n) for n in range(3)), *map(version, range(3)), NOT_TEXT]
        return found, [await store.page("t", each.id) for each in wanted]


def test_gc(place: Path, run: Any) -> None:
    fill(place)
    status, said = run("gc", "--dry-run")
    assert (status, "1 conversation would go" in said, "2 pages" in said) == (0, True, True)
    assert ids(place) == ["c0", "c1", "c2"]
    status, said = run("gc")
    assert (status, "1 conversation and 0 pages" in said, "2 pages more" in said) == (0, True, True)
    assert ids(place) == ["c0", "c2"]
    assert run("gc", "--keep-days", "0")[1].startswith("0 conversations and 0 pages")
    assert run("gc", "--keep-days", "-1")[0] == 2


def test_forget_a_project(place: Path, run: Any) -> None:
    fill(place)
    status, said = run("forget", "--project", "/work/a")
    assert (status, "2 conversations of /work/a will be deleted" in said, "--yes" in said) == (2, True, True)
    assert len(ids(place)) == 3
    status, said = run("forget", "--project", "/work/a", "--yes")
    # theirs, and of those in common none: the third leans on the first, and is stored in full
    assert (status, said) == (0, "2 conversations and 4 pages (0.0 MB) deleted.\n")
    assert ids(place) == ["c2"]
    assert ids(place, "ledger", "conversation") == ["c2"]
    assert ids(place, "tallies", "DISTINCT scope") == ["claude/main", "claude/main /work/b"]
    found, texts = asyncio.run(_all(place))
    assert [len(each) for each in found] == [0, 0, 1]
    assert texts == [b"of all", None, None, b"of c2", None, None, version(2).text, NOT_TEXT.text]
    assert run("forget", "--project", "/work/a", "--yes")[0] == 1


@pytest.mark.parametrize(("answer", "status", "left"), [("y\n", 0, 2), ("n\n", 1, 3), ("", 1, 3)])
def test_forgetting_asks(
    place: Path, run: Any, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, left: int
) -> None:
    fill(place)
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert run("forget", "--conversation", "c1")[0] == status
    assert len(ids(place)) == left


def test_forget_all_needs_no_key(place: Path, run: Any) -> None:
    fill(place, Keys([KEY]))
    status, said = run("gc")
    assert (status, key_id(KEY) in said) == (2, True)
    assert run("forget", "--conversation", "c1", "--yes")[0] == 2
    assert run("forget", "--all", "--yes") == (0, "3 conversations and 8 pages (0.0 MB) deleted.\n")
    for table in ("pages", "conversations", "splices", "holds", "ledger", "tallies", "facts"):
        assert rows(place, f"SELECT count(*) FROM {table}") == [(0,)]
    # and then it is a store like any other
    fill(place)


def test_rekey(place: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place)
    expected = asyncio.run(_all(place))
    assert "no key is given" in run("rekey")[1]
    path = place / "key"
    path.write_text(KEY.hex())
    path.chmod(0o600)
    status, said = run("rekey", "--key-file", str(path))
    assert (status, f"encrypted with key {key_id(KEY)}" in said) == (0, True)
    assert asyncio.run(_all(place, Keys([KEY]))) == expected
    # 8 pages, 3 states, 3 texts
    assert "14 rows had" in said
    assert rows(place, "SELECT DISTINCT base FROM pages ORDER BY 1") == [("",), (version(0).id,)]
    monkeypatch.setenv("MITMMU_KEY", KEY.hex())
    assert run("rekey", "--off")[0] == 0
    assert asyncio.run(_all(place)) == expected
    path.chmod(0o644)
    status, said = run("rekey", "--key-file", str(path))
    assert (status, "chmod 600" in said) == (2, True)


def test_there_is_no_store(place: Path, run: Any) -> None:
    for command in ("gc", "forget --all --yes", "rekey", f"export {place / 'x'}"):
        status, said = run(*command.split())
        assert (status, "there is no store at" in said) == (2, True)
    assert not stored(place)


def test_no_password_is_shown(elsewhere: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    good = ELSEWHERE[elsewhere]
    commands = ("gc", "forget --all --yes", "rekey", f"export {elsewhere / 'x'}")
    # it may stand in either place; `run` looks for the right one
    for bad in (good.replace("s3cret", "hush"), "postgresql://mitmmu@127.0.0.1:1/x?password=hush"):
        monkeypatch.setitem(ELSEWHERE, elsewhere, bad)
        for command in commands:
            status, said = run(*command.split())
            assert (status, "cannot be opened" in said, "hush" in said) == (2, True, False), said
    monkeypatch.setitem(ELSEWHERE, elsewhere, good)
    fill(elsewhere)
    status, said = run("forget", "--all")
    assert (status, "Everything in postgresql" in said) == (2, True)
    assert ids(elsewhere) == ["c0", "c1", "c2"]
    assert engine.shown(engine.parse("postgresql://u:hush@h/d?password=hush")) == "postgresql+psycopg://u:***@h/d"


@pytest.mark.parametrize("command", ["gc", "forget", "rekey", "export", "import"])
def test_help(run: Any, command: str) -> None:
    assert f"mitmmu {command}" in run(command, "--help")[1]


COMPARED = {
    "conversations": "id, tenant, head, session, project, client, requests, last_at, state, digests",
    "splices": "*",
    "pages": "tenant, id, size, kind, label, created_at",
    "(SELECT tenant, page, holder FROM holds WHERE until = 0) AS live": "*",
    "ledger": "*",
    "tallies": "*",
    "facts": "*",
}


def contents(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {name: sorted(rows(folder, f"SELECT {what} FROM {name}"), key=repr) for name, what in COMPARED.items()}


def test_a_store_moves_to_the_other_database_and_back(elsewhere: Path, run: Any) -> None:
    first, back = elsewhere / "first", elsewhere / "back"
    fill(first)
    expected, before = asyncio.run(_all(first)), contents(first)
    assert all(before.values())
    for n, (source, target) in enumerate(((first, elsewhere), (elsewhere, back))):
        path = elsewhere / f"{n}.zst"
        assert run("export", str(path), folder=source)[0] == 0
        assert "8 pages and 3 conversations" in run("import", str(path), folder=target)[1]
        assert asyncio.run(_all(target)) == expected
        assert contents(target) == before


def table(folder: Path, name: str) -> list[tuple[Any, ...]]:
    return sorted(rows(folder, f"SELECT * FROM {name}"), key=repr)


@pytest.mark.parametrize("keys", [Keys(), Keys([KEY])])
def test_what_is_exported_comes_back(
    place: Path, other: Path, run: Any, monkeypatch: pytest.MonkeyPatch, keys: Keys
) -> None:
    if keys:
        monkeypatch.setenv("MITMMU_KEY", KEY.hex())
    fill(place, keys)
    expected = asyncio.run(_all(place, keys))
    path, third = place / "all.zst", place / "third"
    status, said = run("export", str(path))
    assert (status, "8 pages and 3 conversations written" in said) == (0, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in place.iterdir() if each.name.startswith("all")] == ["all.zst"]
    assert run("export", str(path))[0] == 2
    monkeypatch.delenv("MITMMU_KEY", raising=False)
    assert run("import", str(path), folder=other) == (
        0, "8 pages and 3 conversations were new and have been taken in.\n"
    )  # fmt: skip
    assert asyncio.run(_all(other)) == expected
    for name in ("ledger", "tallies"):
        assert table(other, name) == table(place, name)
    live = "(SELECT tenant, page, holder FROM holds WHERE until = 0) AS live"
    assert table(other, live) == table(place, live)
    # again: nothing changes
    before = {name: table(other, name) for name in ("pages", "conversations", "splices", "holds", "ledger", "facts")}
    assert "0 pages and 0 conversations" in run("import", str(path), folder=other)[1]
    assert {name: table(other, name) for name in before} == before
    # into an encrypted one
    monkeypatch.setenv("MITMMU_KEY", KEY.hex())
    assert run("import", str(path), folder=third)[0] == 0
    assert asyncio.run(_all(third, Keys([KEY]))) == expected


def test_a_page_that_nothing_holds_does_not_stay_for_being_imported(place: Path, other: Path, run: Any) -> None:
    fill(place)
    change(place, "UPDATE holds SET until = 1e12 WHERE page = 'bytes'")
    run("export", str(place / "all.zst"))
    run("import", str(place / "all.zst"), folder=other)
    [(holder, until)] = rows(other, "SELECT holder, until FROM holds WHERE page = 'bytes'")
    assert holder == ""
    assert abs(until - time.time()) < 60


def repacked(path: Path, changed: Any) -> Path:
    lines = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read().splitlines(keepends=True)
    lines = changed(lines)
    made = path.with_name("changed")
    made.write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines)))
    return made


CHANGES = {
    "its hash is another": lambda lines: [line.replace(b"of c1", b"of c7") for line in lines],
    "update mitmmu": lambda lines: [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]],
    "breaks off before its end": lambda lines: lines[:-1],
    "breaks off in the middle": lambda lines: [*lines[:-1], lines[-1][:-1]],
    "behind the end": lambda lines: [*lines, b"{}\n"],
    "no export of mitmmu": lambda lines: lines[1:],
    "is not as it was written: its hash is another": lambda lines: [*lines[:2], *lines[3:]],
    "line 2 is damaged": lambda lines: [lines[0], b'{"page": 3}\n', *lines[1:]],
    "line 3 is damaged": lambda lines: [*lines[:2], b'{"evil": {}}\n', *lines[2:]],
}


def test_a_file_that_is_not_whole_is_refused_and_nothing_of_it_taken_in(place: Path, other: Path, run: Any) -> None:
    fill(place)
    path = place / "all.zst"
    run("export", str(path))
    for reason, changed in CHANGES.items():
        status, said = run("import", str(repacked(path, changed)), folder=other)
        assert (status, reason in said, "Nothing was taken in" in said) == (1, True, True), (reason, said)
    (place / "short").write_bytes(path.read_bytes()[:-20])
    (place / "noise").write_bytes(b"something else")
    for name in ("short", "noise", "none"):
        assert run("import", str(place / name), folder=other)[0] == 1
    assert not stored(other)


def test_an_import_that_fails_half_way_leaves_nothing(
    place: Path, other: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place)
    path = place / "all.zst"
    run("export", str(path))
    add, calls = archive._add, []

    def failing(*given: Any) -> int:
        calls.append(1)
        if len(calls) == 6:
            raise OSError("disk full")
        return add(*given)

    monkeypatch.setattr(archive, "_add", failing)
    status, said = run("import", str(path), folder=other)
    assert (status, "disk full" in said) == (1, True)
    assert rows(other, "SELECT count(*) FROM pages") == [(0,)]


def test_what_an_export_looks_like(place: Path, run: Any) -> None:
    fill(place)
    run("export", str(place / "all.zst"))
    records = [json.loads(line) for line in archive.lines(place / "all.zst")]
    assert records[0].keys() == {"mitmmu", "version", "made_at"}
    sorts = [next(iter(record)) for record in records[1:]]
    assert sorts == ["page"] * 8 + ["conversation"] * 3 + ["ledger"] * 3 + ["tally"] * 5 + ["fact", "end"]
    [odd] = [each["page"] for each in records if "page" in each and each["page"]["id"] == "bytes"]
    assert odd.keys() == {"tenant", "id", "kind", "label", "created_at", "hash", "base64"}


async def test_a_proxy_goes_on_while_a_store_is_encrypted(place: Path) -> None:
    """The proxy has the key, as it must; `rekey` runs beside it."""
    keys = Keys([KEY])
    await _fill(place, Keys())
    store = await Hierarchy.open(url(place), keys=keys)
    from storage import rekey
    from storage.crypt import OPTION

    writer = engine.erasing(engine.parse(url(place)), 10).execution_options(**{OPTION: keys})
    working = asyncio.create_task(asyncio.to_thread(rekey.run, writer, keys, keys, 1.0, lambda *_: time.sleep(0.01)))
    number = 0
    while not working.done() or number < 20:
        record = conversation(f"n{number}", head=f"n{number}", session="")
        assert await store.commit(batch(record, pages=[page(b"new %d" % number)]), 20) is Outcome.STORED
        number += 1
    await working
    await store.close()
    writer.dispose()
    assert rows(place, "SELECT count(*) FROM pages WHERE codec NOT LIKE '%+gcm:%'") == [(0,)]
    assert rows(place, "SELECT count(*) FROM conversations WHERE state LIKE '{%'") == [(0,)]
