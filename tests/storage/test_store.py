from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import PageDamaged, StoreError
from storage.records import JSON, Outcome, Splice, Stored
from storage.rows import MATCHES
from storage.tiers import Hierarchy

from .make import batch, conversation, file, opened, page, rows, splice, url

EXACT = "naïve\r\n\x00\u2028\U0001f9ff\ttrailing  \n\n".encode()


async def test_a_batch_comes_back_as_it_went(place: Path) -> None:
    state: dict[str, JSON] = {"regime": "bound", "ttl": 300, "seen": [1, None, {"a": 0.1}]}
    record = conversation(requests=3, state=state)
    splices = (
        Splice("block", 0, "replace", "p1", "[mmu page p1]\n\x00 é", ("toolu_0", "toolu_9"), 3, "ascii"),
        Splice("block", 1, "replace", "", None, (), 3),
        Splice("tools", 0, "tools", "", "[]", (), 3),
    )
    pages = (page(EXACT), page(b""), page(b"log line\n" * 1000))
    stored = Stored(record, splices)
    async with opened(place) as store:
        assert await store.conversations("t", "h", "s") == ()
        assert await store.commit(batch(record, 0, pages, reversed(splices)), 5) is Outcome.STORED
        assert await store.conversations("t", "h", "s") == (stored,)
    async with opened(place) as store:
        assert await store.conversations("t", "h", "s") == (stored,)
        assert await store.conversations("t", "other", "s") == (stored,)
        assert await store.conversations("t", "h", "") == (stored,)
        assert await store.conversations("t", "other", "other") == ()
        for each in pages:
            assert await store.page("t", each.id) == each.text
            assert await store.page("t", each.id) == each.text
        assert store.stats()["cold_hits"] == store.stats()["warm_hits"] == 3
        assert await store.page("t", "nothing") is None


async def test_no_session_key_matches_no_session(place: Path) -> None:
    async with opened(place) as store:
        await store.commit(batch(conversation("c1", head="h1", session="")), 5)
        await store.commit(batch(conversation("c2", head="h2", session="")), 5)
        (found,) = await store.conversations("t", "h1", "")
        assert found.conversation.id == "c1"


async def test_the_newest_come_first_and_no_more_than_the_limit(place: Path) -> None:
    async with opened(place) as store:
        for number in range(MATCHES + 5):
            record = conversation(f"c{number}", head="h", session=f"s{number}", last_at=float(number))
            assert await store.commit(batch(record), 5) is Outcome.STORED
        expected = [f"c{number}" for number in range(MATCHES + 4, 4, -1)]
        for _ in range(2):
            assert [one.conversation.id for one in await store.conversations("t", "h", "")] == expected
        assert [one.conversation.id for one in await store.conversations("t", "h", "s0")] == expected


async def test_splices_accumulate_and_requests_advance(place: Path) -> None:
    async with opened(place) as store:
        for number in (1, 2, 3):
            step = batch(conversation(requests=number), splices=[splice(f"a{number}", number)])
            assert await store.commit(step, 5) is Outcome.STORED
        cached = await store.conversations("t", "h", "s")
    async with opened(place) as store:
        assert await store.conversations("t", "h", "s") == cached
        assert [one.anchor for one in cached[0].splices] == ["a1", "a2", "a3"]
        assert cached[0].conversation == conversation(requests=3)


async def test_a_conversation_that_moved_on_is_stale_and_nothing_is_written(place: Path) -> None:
    async with opened(place) as store:
        await store.commit(batch(conversation(requests=1)), 5)
        await store.commit(batch(conversation(requests=2)), 5)
        for late in (
            batch(conversation(requests=2, head="new"), 1, [page(b"a")], [splice("a")]),
            batch(conversation(requests=1, head="new"), 0, [page(b"a")], [splice("a")]),
            batch(conversation("c9", requests=2, head="new"), 1, [page(b"a")], [splice("a")]),
        ):
            assert await store.commit(late, 5) is Outcome.STALE
        (found,) = await store.conversations("t", "h", "s")
        assert found == Stored(conversation(requests=2), ())
        assert store.stats()["stale"] == 3
    assert rows(place, "SELECT count(*) FROM pages") == [(0,)]
    assert rows(place, "SELECT count(*) FROM splices") == [(0,)]


async def test_the_first_writer_wins_on_an_anchor(place: Path) -> None:
    async with opened(place) as store:
        await store.conversations("t", "h", "s")
        await store.commit(batch(splices=[splice("a", 1, text="first")]), 5)
        second = batch(conversation(requests=2), splices=[splice("a", 2, text="second"), splice("b", 2)])
        assert await store.commit(second, 5) is Outcome.STORED
        third = batch(conversation(requests=3), splices=[splice("a", 3, generation=1, text="third")])
        assert await store.commit(third, 5) is Outcome.STORED
        (found,) = await store.conversations("t", "h", "s")
        texts = [(one.anchor, one.generation, one.text) for one in found.splices]
        assert texts == [("a", 0, "first"), ("b", 0, "[gone]"), ("a", 1, "third")]


async def test_a_page_stored_twice_stays_as_it_is(place: Path) -> None:
    async with opened(place) as store:
        first = page(b"text")
        again = dataclasses.replace(first, kind="shell", label="elsewhere")
        assert await store.commit(batch(conversation("c1"), pages=[first]), 5) is Outcome.STORED
        assert await store.commit(batch(conversation("c2"), pages=[again]), 5) is Outcome.STORED
    assert rows(place, "SELECT kind, label FROM pages") == [("read", "src/app.py")]


async def test_tenants_are_strangers(place: Path) -> None:
    async with opened(place) as store:
        mine = page(b"secret text")
        await store.commit(batch(splices=[splice()], pages=[mine]), 5)
        for _ in range(2):
            assert await store.conversations("u", "h", "s") == ()
            assert await store.page("u", mine.id) is None
        assert await store.find("u", mine.id) == ()
        theirs = conversation(requests=2, tenant="u")
        assert await store.commit(batch(theirs, 1), 5) is Outcome.STALE
        assert await store.commit(batch(theirs, 0), 5) is Outcome.STALE
        assert (
            await store.commit(batch(conversation("c2", tenant="u"), pages=[page(b"secret text", "u")]), 5)
            is Outcome.STORED
        )
        assert await store.page("u", mine.id) == b"secret text"
        assert [one.conversation.id for one in await store.conversations("t", "h", "s")] == ["c1"]
        assert [one.conversation.id for one in await store.conversations("u", "h", "s")] == ["c2"]


async def test_pages_are_found_by_the_beginning_of_their_id(place: Path) -> None:
    ids = ["abcdefgh-1", "abcdefgh-2", "abcdefgi-1", "ABCDEFGH-3", "abcdefgh"]
    async with opened(place) as store:
        pages = [dataclasses.replace(page(), id=id) for id in ids]
        await store.commit(batch(pages=pages), 5)
        assert await store.find("t", "abcdefgh") == ("abcdefgh", "abcdefgh-1", "abcdefgh-2")
        assert await store.find("t", "abcdefgh-1") == ("abcdefgh-1",)
        assert await store.find("t", "abcdefg%") == ()
        with pytest.raises(ValueError, match="8 characters"):
            await store.find("t", "abcdefg")


async def test_a_damaged_page_is_an_error(place: Path) -> None:
    async with opened(place) as store:
        good, bad = page(b"good " * 100), page(b"bad " * 100)
        await store.commit(batch(pages=[good, bad]), 5)
    rows_changed = "UPDATE pages SET data = substr(data, 1, length(data) - 1) WHERE id = '" + bad.id + "' RETURNING 1"
    assert rows(place, rows_changed) == [(1,)]
    async with opened(place) as store:
        assert await store.page("t", good.id) == good.text
        with pytest.raises(PageDamaged):
            await store.page("t", bad.id)


async def test_facts_are_told_at_once_and_written_behind(place: Path) -> None:
    times = iter(range(100, 200))
    async with opened(place, clock=lambda: float(next(times))) as store:
        store.learn("t/project", "survival", [1, 2.5, None])
        store.learn("t/project", "tools", {"used": ["Read"]})
        store.learn("t/project", "tools", {"used": ["Read", "Bash"]})
        store.learn("u/project", "tools", "theirs")
        expected = {"survival": [1, 2.5, None], "tools": {"used": ["Read", "Bash"]}}
        assert await store.facts("t/project") == expected
    async with opened(place) as store:
        assert await store.facts("t/project") == expected
        assert await store.facts("u/project") == {"tools": "theirs"}
        assert await store.facts("v") == {}
        store.learn("t/project", "survival", "new")
        assert await store.facts("t/project") == {**expected, "survival": "new"}
        with pytest.raises(TypeError):
            store.learn("t/project", "wrong", object())  # type: ignore[arg-type]
    assert rows(place, "SELECT value, updated_at FROM facts WHERE scope = 'u/project'") == [('"theirs"', 103.0)]


async def test_after_close_nothing_is_stored(place: Path) -> None:
    async with opened(place) as store:
        await store.commit(batch(), 5)
        await store.close()
        assert await store.commit(batch(conversation(requests=2)), 5) is Outcome.FAILED
        assert "closed" in store.last_error
    assert rows(place, "SELECT requests FROM conversations") == [(1,)]


async def test_everything_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(batch(pages=[page()]), 5)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file(tmp_path).parent.iterdir()}
        assert modes == dict.fromkeys(("mitmmu.db", "mitmmu.db-wal", "mitmmu.db-shm"), 0o600)
        assert stat.S_IMODE(file(tmp_path).parent.stat().st_mode) == 0o700


async def test_a_file_left_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    file(tmp_path).parent.mkdir()
    file(tmp_path).touch(0o644)
    async with opened(tmp_path) as store:
        await store.commit(batch(), 5)
        for each in file(tmp_path).parent.iterdir():
            assert stat.S_IMODE(each.stat().st_mode) == 0o600


@pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "mysql://h/d"])
async def test_a_url_that_cannot_be_served_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="the store"):
        await Hierarchy.open(wrong)


async def test_a_file_that_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    file(tmp_path).parent.mkdir()
    file(tmp_path).write_bytes(b"something else entirely " * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        await Hierarchy.open(url(tmp_path))
    assert file(tmp_path).read_bytes() == b"something else entirely " * 100


@given(requests=st.integers(-2, 5), expected=st.integers(-2, 5))
def test_a_batch_must_move_requests_forward(requests: int, expected: int) -> None:
    if 0 <= expected < requests:
        assert batch(conversation(requests=requests), expected).expected == expected
    else:
        with pytest.raises(ValueError, match="forward"):
            batch(conversation(requests=requests), expected)


def test_a_page_of_another_tenant_does_not_fit_a_batch() -> None:
    with pytest.raises(ValueError, match="tenant"):
        batch(pages=[page(tenant="u")])
