from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from storage import engine, rows, schema
from storage.cold import Cold
from storage.records import Outcome, Stored
from storage.tiers import Hierarchy
from tests.effort import cases

from .make import batch, conversation, opened, splice, url


async def test_what_another_process_stored_shows_after_one_stale_batch(place: Path) -> None:
    async with opened(place) as ours, opened(place) as theirs:
        await ours.commit(batch(splices=[splice("a", 1)]), 5)
        await ours.conversations("t", "h", "s")
        await theirs.conversations("t", "h", "s")
        moved = batch(conversation(requests=2), splices=[splice("b", 2)])
        assert await theirs.commit(moved, 5) is Outcome.STORED
        assert await ours.commit(batch(conversation(requests=2), splices=[splice("c", 2)]), 5) is Outcome.STALE
        (found,) = await ours.conversations("t", "h", "s")
        assert found == Stored(conversation(requests=2), (splice("a", 1), splice("b", 2)))
        assert await ours.commit(batch(conversation(requests=3), splices=[splice("c", 3)]), 5) is Outcome.STORED


@pytest.mark.parametrize("session", ["s", "another"])
@pytest.mark.parametrize("expected", [0, 1])
async def test_a_sibling_begun_by_another_process_makes_a_batch_stale(place: Path, session: str, expected: int) -> None:
    """Our request may be the next one of a conversation that only the other process knows."""
    async with opened(place) as ours, opened(place) as theirs:
        await ours.commit(batch(), 5)
        await ours.conversations("t", "h", "s")
        assert await theirs.commit(batch(conversation("theirs", session=session)), 5) is Outcome.STORED
        record = conversation("c1", 2) if expected else conversation("c2", 1)
        assert await ours.commit(batch(record), 5) is Outcome.STALE
        found = await ours.conversations("t", "h", "s")
        assert {one.conversation.id for one in found} == {"c1", "theirs"}
        assert await ours.commit(batch(record), 5) is Outcome.STORED


async def test_conversations_begun_here_at_once_do_not_disturb_each_other(place: Path) -> None:
    async with opened(place) as store:
        await store.conversations("t", "h", "s")
        begun = [store.commit(batch(conversation(f"c{number}")), 20) for number in range(20)]
        assert await asyncio.gather(*begun) == [Outcome.STORED] * 20
        assert len(await store.conversations("t", "h", "s")) == 20


async def test_a_second_look_asks_no_database(place: Path) -> None:
    async with opened(place) as store:
        await store.conversations("t", "h", "s")
        await store.commit(batch(splices=[splice("a", 1)]), 5)
        await store.commit(batch(conversation(requests=2), splices=[splice("b", 2)]), 5)
        (found,) = await store.conversations("t", "h", "s")
        assert found == Stored(conversation(requests=2), (splice("a", 1), splice("b", 2)))
        assert (store.stats()["cache_misses"], store.stats()["cache_hits"]) == (1, 1)


async def test_a_conversation_that_changed_its_keys_is_found_under_the_new_ones_alone(place: Path) -> None:
    async with opened(place) as store:
        for head in ("h1", "h2"):
            assert await store.conversations("t", head, "") == ()
        await store.commit(batch(conversation(requests=1, head="h1", session="")), 5)
        await store.commit(batch(conversation(requests=2, head="h2", session="")), 5)
        assert await store.conversations("t", "h1", "") == ()
        assert len(await store.conversations("t", "h2", "")) == 1


async def test_a_lookup_that_met_the_limit_does_not_answer_a_narrower_one(place: Path) -> None:
    async with opened(place) as store:
        await store.commit(batch(conversation("old", head="h", session="", last_at=1.0)), 5)
        for number in range(rows.MATCHES):
            await store.commit(batch(conversation(f"c{number}", head="canned", session="s")), 5)
        assert "old" not in {one.conversation.id for one in await store.conversations("t", "h", "s")}
        assert [one.conversation.id for one in await store.conversations("t", "h", "")] == ["old"]


async def test_a_lookup_overtaken_by_a_batch_is_not_remembered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, go = threading.Event(), threading.Event()
    original = rows.matches

    def slow(connection: Connection, tenant: str, head: str, session: str) -> tuple[Stored, ...]:
        found = original(connection, tenant, head, session)
        read.set()
        assert go.wait(20)
        return found

    async with opened(place) as store:
        monkeypatch.setattr(rows, "matches", slow)
        looking = asyncio.create_task(store.conversations("t", "h", "s"))
        await asyncio.to_thread(read.wait, 20)
        assert await store.commit(batch(), 20) is Outcome.STORED
        go.set()
        assert await looking == ()
        assert await store.conversations("t", "h", "s") == (Stored(conversation(), ()),)


heads = st.sampled_from(["h1", "h2"])
sessions = st.sampled_from(["", "s1", "s2"])
numbers = st.integers(0, 3)
steps = st.lists(
    st.tuples(st.just("look"), heads, sessions, numbers, numbers)
    | st.tuples(st.just("write"), heads, sessions, numbers, numbers)
    | st.tuples(st.just("elsewhere"), heads, sessions, numbers, numbers),
    max_size=25,
)


@settings(max_examples=cases(40), deadline=None)
@given(steps, st.sampled_from([0, 4000, 1_000_000]))
def test_a_cached_answer_is_what_the_database_says(steps: list[tuple[str, str, str, int, int]], budget: int) -> None:
    """Over any course of lookups and batches; after another process wrote, from the first stale batch on."""

    async def run(folder: Path) -> None:
        async with opened(folder) as store, opened(folder) as other:
            store._cache._budget = budget
            requests: dict[str, int] = {}
            foreign = False
            for number, (what, head, session, which, anchor) in enumerate(steps):
                if what == "look":
                    if foreign:
                        continue
                    assert await store.conversations("t", head, session) == await fresh(store, head, session)
                    assert store.stats()["cache_bytes"] <= budget
                    continue
                id = f"c{which}"
                expected = requests.get(id, 0)
                record = conversation(id, expected + 1, head=head, session=session, last_at=float(number))
                step = batch(record, splices=[splice(f"a{anchor}", expected + 1, text=str(number))])
                if what == "elsewhere":
                    assert await other.commit(step, 20) in (Outcome.STORED, Outcome.STALE)
                    requests = {
                        one.conversation.id: one.conversation.requests
                        for each in ("h1", "h2")
                        for one in await fresh(store, each, "")
                    }
                    foreign = True
                    continue
                outcome = await store.commit(step, 20)
                if outcome is Outcome.STORED:
                    requests[id] = expected + 1
                    (now,) = [one for one in await fresh(store, head, session) if one.conversation.id == id]
                    assert now.conversation == record
                else:
                    assert outcome is Outcome.STALE
                    assert foreign
                    assert await store.conversations("t", head, session) == await fresh(store, head, session)
                    assert await store.commit(step, 20) is Outcome.STORED
                    requests[id] = expected + 1

    async def fresh(store: Hierarchy, head: str, session: str) -> tuple[Stored, ...]:
        cold: Cold = store._cold
        return await cold.conversations("t", head, session)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


def test_a_lookup_walks_narrow_indexes_alone(tmp_path: Path) -> None:
    parsed = engine.parse(url(tmp_path))
    engine.prepare(parsed)
    writer = engine.writer(parsed, 1)
    schema.upgrade(writer)
    with writer.connect() as connection:
        for session, statement in [*rows._MATCHES.items(), *rows._SIBLINGS.items()]:
            sent = statement.compile(writer)
            values = sent.construct_params({"tenant": "t", "head": "h", "session": "s"})
            placed = tuple(values[name] for name in sent.positiontup or ())
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sent}", placed)]
            walks = {step for step in plan if "conversations" in step and "(id=?)" not in step}
            expected = {"SEARCH conversations USING INDEX conversations_head (tenant=? AND head=?)"}
            if session:
                expected.add("SEARCH conversations USING INDEX conversations_session (tenant=? AND session=?)")
            assert walks == expected
    writer.dispose()
