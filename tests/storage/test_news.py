"""Two processes on one store that hear of each other, without a server in between."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from storage import rows
from storage.cache import Key
from storage.news import News, Silence
from storage.records import Outcome, Stored
from storage.tiers import Hierarchy
from storage.warm import Gone, Process, Warm
from tests.effort import cases

from .make import batch, change, conversation, page, splice, url

type Hear = Callable[[frozenset[Key]], None]


@dataclass(slots=True)
class Bus:
    """A channel that delivers at once."""

    ears: list[tuple[Line, Hear, Callable[[Gone], None]]] = field(default_factory=list)

    async def beside(self, front: Process) -> tuple[Warm, News]:
        return front, Line(self)


class Line(Silence):
    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    def hear(self, changed: Hear, lost: Callable[[], None], gone: Callable[[Gone], None]) -> None:
        self.bus.ears.append((self, changed, gone))

    def tell(self, keys: frozenset[Key], gone: Gone = frozenset()) -> None:
        for whose, changed, forget in self.bus.ears:
            if whose is not self:
                changed(keys)
                forget(gone)


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Hierarchy, Hierarchy]]:
    bus = Bus()
    one = await Hierarchy.open(url(folder), beside=bus.beside)
    other = await Hierarchy.open(url(folder), beside=bus.beside)
    try:
        yield one, other
    finally:
        await one.close()
        await other.close()


heads = st.sampled_from(["h1", "h2"])
sessions = st.sampled_from(["", "s1", "s2"])
numbers = st.integers(0, 3)
steps = st.lists(
    st.tuples(st.sampled_from(["look", "write"]), st.booleans(), heads, sessions, numbers, numbers), max_size=25
)


@settings(max_examples=cases(40), deadline=None)
@given(steps, st.sampled_from([0, 4000, 1_000_000]))
def test_whoever_wrote_a_lookup_is_what_the_database_says_and_no_batch_is_stale(
    steps: list[tuple[str, bool, str, str, int, int]], budget: int
) -> None:
    async def run(folder: Path) -> None:
        async with two(folder) as stores:
            requests: dict[str, int] = {}
            for number, (what, which, head, session, id, anchor) in enumerate(steps):
                store = stores[which]
                store._cache._budget = budget
                if what == "look":
                    fresh = await store._cold.conversations("t", head, session)
                    assert await store.conversations("t", head, session) == fresh
                    continue
                expected = requests.get(f"c{id}", 0)
                record = conversation(f"c{id}", expected + 1, head=head, session=session, last_at=float(number))
                made = batch(record, splices=[splice(f"a{anchor}", expected + 1, text=str(number))])
                assert await store.commit(made, 20) is Outcome.STORED
                requests[f"c{id}"] = expected + 1

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def test_what_is_being_read_while_another_writes_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, go = threading.Event(), threading.Event()
    matches = rows.matches

    def slow(connection: Connection, tenant: str, head: str, session: str) -> tuple[Stored, ...]:
        found = matches(connection, tenant, head, session)
        read.set()
        assert go.wait(20)
        return found

    async with two(tmp_path) as (ours, theirs):
        monkeypatch.setattr(rows, "matches", slow)
        looking = asyncio.create_task(ours.conversations("t", "h", "s"))
        await asyncio.to_thread(read.wait, 20)
        assert await theirs.commit(batch(), 20) is Outcome.STORED
        go.set()
        assert await looking == ()
        assert await ours.conversations("t", "h", "s") == (Stored(conversation(), ()),)


async def test_a_conversation_that_moved_is_told_under_where_it_was(tmp_path: Path) -> None:
    async with two(tmp_path) as (ours, theirs):
        await ours.commit(batch(conversation(head="h1", session="s1")), 5)
        assert len(await ours.conversations("t", "h1", "")) == 1
        await theirs.commit(batch(conversation(requests=2, head="h2", session="s2")), 5)
        assert await ours.conversations("t", "h1", "") == ()


async def test_nothing_that_was_known_is_certain_any_more(tmp_path: Path) -> None:
    async with two(tmp_path) as (ours, _):
        await ours.commit(batch(), 5)
        await ours.conversations("t", "h", "s")
        ours._cache.clear()
        stats = ours.stats()
        assert stats["cache_conversations"] == stats["cache_bytes"] == 0
        misses = stats["cache_misses"]
        assert len(await ours.conversations("t", "h", "s")) == 1
        assert ours.stats()["cache_misses"] == misses + 1


async def test_what_is_being_read_while_another_deletes_it_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, go = threading.Event(), threading.Event()
    ask = rows.page

    def slow(connection: Connection, tenant: str, id: str) -> bytes | None:
        found = ask(connection, tenant, id)
        read.set()
        assert go.wait(20)
        return found

    async with two(tmp_path) as (ours, theirs):
        assert await theirs.commit(batch(conversation(last_at=0.0), pages=[page()]), 20) is Outcome.STORED
        await theirs.tidy(1)
        change(tmp_path, "UPDATE holds SET until = 1")
        monkeypatch.setattr(rows, "page", slow)
        reading = asyncio.create_task(ours.page("t", page().id))
        await asyncio.to_thread(read.wait, 20)
        await theirs.tidy(1)
        go.set()
        assert await reading == page().text
        assert await ours.page("t", page().id) is None
