"""Search: what is stored is found whoever stored it, what must not be found is not, and no words are syntax."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event
from sqlalchemy.dialects.sqlite import dialect

from storage import engine, search
from storage.errors import StoreError
from storage.records import Outcome, Page
from storage.rows import _OWNER
from storage.tiers import Hierarchy

from .make import PYTHON, ROOT, batch, conversation, file, locked, opened, rows, url


def page(id: str, text: str, tenant: str = "t", kind: str = "result", label: str = "Bash make") -> Page:
    return Page(tenant, id, text.encode(), kind, label)


async def store_pages(store: Hierarchy, *pages: Page) -> None:
    for n, each in enumerate(pages):
        record = conversation(f"{each.tenant}-{each.id}-{n}", tenant=each.tenant, head=each.id, session="")
        assert await store.commit(batch(record, pages=[each]), 20) is Outcome.STORED


async def found(store: Hierarchy, words: str, limit: int = 20) -> list[str]:
    return [hit.id for hit in await store.search(words, limit)]


async def test_what_is_stored_is_found_newest_first(place: Path) -> None:
    clock = iter(range(100))
    async with opened(place, clock=lambda: float(next(clock))) as store:
        first = page("p1", "one\nthe disk is on fire\nthree", label="Bash make all")
        await store_pages(store, first, page("p2", "nothing here"), page("p3", "no fire, but a disk", tenant="u"))
        hits = await store.search("DISK fire")
        assert [hit.id for hit in hits] == ["p3", "p1"]
        assert (hits[1].kind, hits[1].label, hits[1].size) == ("result", "Bash make all", len(first.text))
        assert hits[0].created_at > hits[1].created_at >= 0
        assert hits[1].lines == ("the disk is on fire",)
        # every word must occur, in any order; a label is searched too
        assert await found(store, "fire disk on") == ["p1"]
        assert await found(store, "all disk") == ["p1"]
        assert await found(store, "absent") == []
        assert await found(store, "disk", limit=1) == ["p3"]
        # what comes later is found later
        await store_pages(store, page("p4", "disk"))
        assert await found(store, "disk") == ["p4", "p3", "p1"]


async def test_one_page_of_two_tenants_is_found_once(place: Path) -> None:
    async with opened(place) as store:
        newer = page("p1", "disk", tenant="u", label="Read newer")
        await store_pages(store, page("p1", "disk"), newer, page("p2", "disk"))
        hits = await store.search("disk", limit=3)
        assert [(hit.id, hit.label) for hit in hits] == [("p2", "Bash make"), ("p1", "Read newer")]


async def test_neither_case_nor_accents_nor_length_matter(place: Path) -> None:
    long = "w" * 5000
    async with opened(place) as store:
        first = page("p1", f"Une ÉLÈVE naïve, Straße 4; {long}x\0y", label="a\0b")
        await store_pages(store, first, page("p2", f"{long}z"))
        for words in ("eleve", "Élève", "NAIVE une", "straße 4", "y", "a b", f"{long}x"):
            assert await found(store, words) == ["p1"]
        assert await found(store, long) == []


async def test_reasoning_is_not_found(place: Path) -> None:
    async with opened(place) as store:
        thought = page("p1", "a secret thought", kind="reasoning", label="reasoning")
        await store_pages(store, thought, page("p2", "a result"))
        assert await found(store, "thought") == []
        assert await found(store, "reasoning") == []
        assert await found(store, "result") == ["p2"]


async def test_nothing_is_indexed_before_somebody_searches(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store_pages(store, page("p1", "disk"), page("p2", "fire"))
        assert rows(tmp_path, "SELECT count(*) FROM pages_text") == [(0,)]
        assert await found(store, "disk") == ["p1"]
        assert rows(tmp_path, "SELECT count(*) FROM pages_text") == [(2,)]
        written = store.stats()["cold_bytes"]
        assert await found(store, "fire") == ["p2"]
        assert store.stats()["cold_bytes"] == written


async def test_many_pages_are_indexed_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BATCH_PAGES", 3)
    async with opened(tmp_path) as store:
        await store_pages(store, *(page(f"p{n}", f"common row{n}") for n in range(10)))
        parsed = engine.parse(url(tmp_path))
        reader, writer = engine.reader(parsed), engine.writer(parsed, 5)
        stop = threading.Event()
        commits: list[int] = []

        @event.listens_for(writer, "commit")
        def committed(_: object) -> None:
            commits.append(1)
            if len(commits) == 2:
                stop.set()

        search.index(reader, writer, stop)
        assert len(commits) == 2
        assert rows(tmp_path, "SELECT count(*) FROM pages_text") == [(6,)]
        reader.dispose()
        writer.dispose()
        assert len(await found(store, "common")) == 10
        assert await found(store, "row9") == ["p9"]


async def test_a_batch_is_bounded_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BATCH_BYTES", 1000)
    async with opened(tmp_path) as store:
        await store_pages(store, *(page(f"p{n}", f"w{n} " * 200) for n in range(4)))
        reader = engine.reader(engine.parse(url(tmp_path)))
        with reader.connect() as connection:
            assert [row["rowid"] for row in search._newer(connection, 0)] == [1, 2]
        reader.dispose()


async def test_a_batch_that_another_has_indexed_meanwhile_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await store_pages(store, page("p1", "disk"), page("p2", "fire"))
        parsed = engine.parse(url(tmp_path))
        reader, writer = engine.reader(parsed), engine.writer(parsed, 5)
        newer = search._newer

        def overtaken(connection: Connection, last: int) -> Iterator[dict[str, object]]:
            batch = list(newer(connection, last))
            if batch:
                monkeypatch.setattr(search, "_newer", newer)
                search.index(reader, writer, threading.Event())
            return iter(batch)

        monkeypatch.setattr(search, "_newer", overtaken)
        added: list[str] = []

        @event.listens_for(writer, "after_cursor_execute")
        def executed(_: object, __: object, statement: str, *___: object) -> None:
            if statement.startswith("INSERT"):
                added.append(statement)

        search.index(reader, writer, threading.Event())
        assert len(added) == 1
        assert await found(store, "disk") == ["p1"]
        reader.dispose()
        writer.dispose()


async def test_a_page_that_goes_while_it_is_being_indexed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await store_pages(store, page("p1", "disk"), page("p2", "fire"))
        newer = search._newer

        def overtaken(connection: Connection, last: int) -> Iterator[dict[str, object]]:
            batch = list(newer(connection, last))
            monkeypatch.setattr(search, "_newer", newer)
            with closing(sqlite3.connect(file(tmp_path))) as other:
                other.execute("DELETE FROM pages WHERE id = 'p2'")
                other.execute(
                    "INSERT INTO pages (tenant, id, codec, size, kind, label, created_at, data)"
                    " VALUES ('t', 'p3', 'raw', 5, 'result', '', 1.0, x'7761746572')"
                )
                other.commit()
            return iter(batch)

        monkeypatch.setattr(search, "_newer", overtaken)
        assert await found(store, "disk") == ["p1"]
        assert await found(store, "fire") == []
        assert await found(store, "water") == ["p3"]


SEARCHER = """
import asyncio, sys
from storage import search
from storage.rows import _OWNER
from storage.tiers import Hierarchy
search._BATCH_PAGES = 2

async def main():
    store = await Hierarchy.open(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    hits = await store.search("common", 100)
    await store.close()
    print(len(hits))

asyncio.run(main())
"""


async def filled(folder: Path) -> None:
    async with opened(folder) as store:
        await store_pages(store, *(page(f"p{n}", f"common row{n}") for n in range(60)))


def test_processes_that_index_at_once_index_each_page_once(place: Path) -> None:
    asyncio.run(filled(place))
    running = [
        subprocess.Popen(
            [PYTHON, "-c", SEARCHER, url(place)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in running:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        assert [each.communicate(timeout=60)[0] for each in running] == ["60\n"] * 4
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert rows(place, "SELECT count(*) FROM pages_text") == [(60,)]


async def test_a_store_that_is_locked_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.cold._INDEX_SECONDS", 0.1)
    async with opened(place) as store:
        await store_pages(store, page("p1", "disk"))
        with closing(locked(place)):
            with pytest.raises(StoreError, match="lock"):
                await store.search("disk")
            assert "lock" in store.last_error
        assert await found(store, "disk") == ["p1"]
        # what is indexed is found without the lock
        with closing(locked(place)):
            assert await found(store, "disk") == ["p1"]


async def test_a_damaged_page_is_told_and_passed_over(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(place) as store:
        await store_pages(store, page("p1", "disk " * 100, label="Bash broken"), page("p2", "disk"))
        rows(place, "UPDATE pages SET data = substr(data, 1, 1) WHERE id = 'p1' RETURNING 1")
        with caplog.at_level(logging.ERROR):
            assert await found(store, "disk") == ["p2"]
        assert "'Bash broken' cannot be searched" in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        '"',
        "a AND",
        "NEAR(disk fire)",
        "disk*",
        "text:disk",
        "(disk",
        "-disk",
        "disk OR NOT",
        "^disk",
        "a_b",
        "it's",
        "{}x",
    ],
)
async def test_no_words_are_syntax(place: Path, words: str) -> None:
    async with opened(place) as store:
        await store_pages(store, page("p1", f"this is {words} in a page"))
        if any(letter.isalnum() for letter in words):
            assert await found(store, words) == ["p1"]
        else:
            with pytest.raises(ValueError, match="letters or digits"):
                await store.search(words)


@given(st.lists(st.text(), max_size=6).map(" ".join))
def test_any_words_become_single_terms(words: str) -> None:
    try:
        terms = search.terms(words)
    except ValueError:
        return
    with closing(sqlite3.connect(":memory:")) as own:
        own.execute("CREATE VIRTUAL TABLE t USING fts5(text, content='', tokenize='unicode61', detail=none)")
        own.execute("INSERT INTO t(rowid, text) VALUES (1, ?)", (words.encode("utf-8", "replace").decode(),))
        quoted = " ".join(f'"{term}"' for term in terms)
        assert own.execute("SELECT rowid FROM t WHERE t MATCH ?", (quoted,)).fetchall() == [(1,)]


async def test_what_can_never_be_searched_is_refused(place: Path) -> None:
    async with opened(place) as store:
        with pytest.raises(ValueError, match="at most 32 words, not 33"):
            await store.search(" ".join(f"w{n}" for n in range(33)))
        for limit in (0, 101):
            with pytest.raises(ValueError, match="1 to 100"):
                await store.search("disk", limit)


def test_the_lines_shown_hold_most_of_the_words() -> None:
    text = "fire\nnothing\ndisk\nFire on the DISK\nfirewall\nfire again\r\ndisk fire"
    assert search.matching(text, ("disk", "fire")) == ("fire", "Fire on the DISK", "disk fire")
    assert search.matching("firewall", ("fire",)) == ()
    assert search.matching("cross_fire()", ("fire",)) == ("cross_fire()",)
    assert search.matching("Une Élève\nautre", ("eleve",)) == ("Une Élève",)
    assert search.matching("fire\r\n", ("fire",)) == ("fire",)


def test_a_long_line_is_cut_around_its_match() -> None:
    for before in (0, 30, 500, 900):
        line = "x " * (before // 2) + "needle" + " y" * ((1000 - before) // 2)
        [shown] = search.matching(line, ("needle",))
        assert len(shown) == search.WIDTH
        assert "needle" in shown


async def test_a_page_is_had_by_its_id_alone(place: Path) -> None:
    async with opened(place) as store:
        await store_pages(store, page("p1", "one"), page("p2", "two", tenant="u", label="Read a.py"))
        assert await store.page("t", "p2") is None
        assert await store.page_of_any_tenant("p2") == page("p2", "two", tenant="u", label="Read a.py")
        assert await store.page_of_any_tenant("p") is None


def test_the_owner_of_a_page_is_found_by_a_walk_over_the_key(tmp_path: Path) -> None:
    asyncio.run(filled(tmp_path))
    with closing(sqlite3.connect(file(tmp_path))) as connection:
        statement = str(_OWNER.compile(dialect=dialect()))
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("p1", 1, 0)).fetchall()
        assert "COVERING INDEX" in plan[0][3]


async def test_totals(place: Path) -> None:
    async with opened(place) as store:
        assert {**await store.totals(), "store_bytes": 0} == {
            "pages": 0, "page_bytes": 0, "conversations": 0, "store_bytes": 0
        }  # fmt: skip
        await store_pages(store, page("p1", "one"), page("p2", "twofold", tenant="u"))
        totals = await store.totals()
        assert (totals["pages"], totals["page_bytes"], totals["conversations"]) == (2, 10, 2)
        assert totals["store_bytes"] == store.stats()["cold_bytes"] > 0


async def test_a_search_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store_pages(store, *(page(f"p{n}", f"word{n} " * 200_000) for n in range(4)))
        searching = asyncio.ensure_future(store.search("word1"))
        turns = 0
        while not searching.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert len(await searching) == 1
        assert turns > 10
