"""What has expired goes, what is needed stays, and that holds while others write at the same moment."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import OperationalError

from storage import engine, pages, retention, search
from storage import rows as statements
from storage.crypt import OPTION, Keys
from storage.records import Outcome, Page, Stored
from storage.retention import DAY, GRACE, Swept
from storage.schema import conversations
from storage.tiers import Hierarchy

from .make import batch, change, conversation, on_disk, opened, page, rows, splice, url
from .test_delta import version

NOW = 1_000_000_000.0


def writer(folder: Path, keys: Keys | None = None) -> Engine:
    made = engine.erasing(engine.parse(url(folder)), 10)
    return made.execution_options(**{OPTION: keys}) if keys else made


def sweep(folder: Path, now: float, days: float = 90) -> Swept:
    """Steps until there is nothing more to do."""
    swept, own = Swept(more=True), writer(folder)
    while swept.more:
        with own.begin() as connection:
            found = retention.step(connection, now, days)
        swept.add(found)
        swept.more = found.more
    own.dispose()
    return swept


def forget(folder: Path, *ids: str, keys: Keys | None = None) -> Swept:
    own = writer(folder, keys)
    with own.begin() as connection:
        swept = retention.forget(connection, ids)
    own.dispose()
    return swept


async def put(
    store: Hierarchy, id: str, *those: Page, at: float = NOW, requests: int = 1, holds: tuple[str, ...] = ()
) -> None:
    record = conversation(id, requests, head=id, session="", last_at=at)
    step = batch(record, pages=those, splices=[splice(f"a{requests}", requests)])
    assert await store.commit(type(step)(step.conversation, step.expected, step.pages, step.splices, holds), 20) is (
        Outcome.STORED
    )


def kept(folder: Path) -> set[str]:
    return {id for (id,) in rows(folder, "SELECT id FROM pages")}


async def test_a_conversation_goes_when_it_was_not_used_and_its_pages_a_day_later(place: Path) -> None:
    shared, own, young = page(b"shared"), page(b"own"), page(b"young")
    async with opened(place) as store:
        await put(store, "old", shared, own, at=NOW - 90 * DAY - 1)
        await put(store, "new", shared, young, at=NOW - 90 * DAY + 1)
    assert sweep(place, NOW, 0) == Swept()
    swept = sweep(place, NOW)
    assert (swept.ids, swept.pages) == (["old"], 0)
    assert rows(place, "SELECT conversation FROM splices") == [("new",)]
    assert sweep(place, NOW + GRACE - 1, 0).pages == 0
    swept = sweep(place, NOW + GRACE + 1, 0)
    assert (swept.conversations, swept.pages, swept.bytes) == (0, 1, 3)
    assert kept(place) == {shared.id, young.id}
    async with opened(place) as store:
        assert await store.page("t", shared.id) == shared.text


async def test_what_would_go_is_what_goes(place: Path) -> None:
    async with opened(place) as store:
        for n in range(40):
            await put(store, f"c{n}", page(b"%d" % n), page(b"every third %d" % (n % 3)), at=NOW - n * DAY)
        # one leans on another that is needed no more, and one on one that is needed still
        await put(store, "first", version(0), at=0)
        await put(store, "second", version(1), at=NOW)
    own = writer(place)
    with own.connect() as connection:
        due = retention.due(connection, NOW, 10.5)
    own.dispose()
    before = len(kept(place))
    swept = sweep(place, NOW, 10.5)
    later = sweep(place, NOW + 2 * GRACE, 0)
    assert (
        (due.conversations, due.pages, due.bytes)
        == (swept.conversations, later.pages, later.bytes)
        == (30, 29, due.bytes)
    )
    assert len(kept(place)) == before - 29


async def test_a_page_that_is_put_again_in_the_day_between_stays(place: Path) -> None:
    again, other = page(b"again"), page(b"other")
    async with opened(place) as store:
        await put(store, "old", again, other, at=0)
        sweep(place, NOW)
        await put(store, "new", again)
        sweep(place, NOW + 2 * GRACE, 0)
        assert kept(place) == {again.id}
        assert await store.page("t", again.id) == again.text


async def test_a_fork_of_what_has_just_gone_holds_its_pages(place: Path) -> None:
    inherited = page(b"inherited")
    async with opened(place) as store:
        await put(store, "old", inherited, at=0)
        sweep(place, NOW)
        await put(store, "fork", holds=(inherited.id,))
        sweep(place, NOW + 2 * GRACE, 0)
        assert kept(place) == {inherited.id}


async def test_whoever_was_shown_what_is_forgotten_is_told_so(place: Path) -> None:
    """Two proxies: the other one's cache still knows the conversation."""
    async with opened(place) as store:
        record = conversation("c1", last_at=NOW)
        await store.commit(batch(record, pages=[page()], splices=[splice()]), 5)
        assert await store.conversations("t", "h", "s") == (Stored(record, (splice(),)),)
        assert forget(place, "c1").pages == 1
        fork = batch(conversation("c2"), splices=[splice()])
        assert await store.commit(fork, 5) is Outcome.STALE
        assert await store.conversations("t", "h", "s") == ()
        assert await store.commit(fork, 5) is Outcome.STORED
        assert await store.commit(batch(conversation("c1", 2)), 5) is Outcome.STALE


async def test_a_base_stays_as_long_as_something_leans_on_it(place: Path) -> None:
    async with opened(place) as store:
        await put(store, "old", version(0), at=0)
        await put(store, "new", version(1), at=NOW)
        sweep(place, NOW)
        sweep(place, NOW + 2 * GRACE, 0)
        assert kept(place) == {version(0).id, version(1).id}
        # with the other it goes as well
        swept = sweep(place, NOW + 100 * DAY)
        swept = sweep(place, NOW + 100 * DAY + 2 * GRACE)
        assert swept.pages == 2
        assert kept(place) == set()


@pytest.mark.parametrize("keys", [Keys(), Keys([bytes(32)])])
async def test_what_leans_on_a_forgotten_page_is_stored_in_full(place: Path, keys: Keys) -> None:
    async with opened(place, keys=keys) as store:
        await put(store, "secret", version(0))
        await put(store, "other", version(1))
    assert rows(place, "SELECT count(*) FROM pages WHERE base <> ''") == [(1,)]
    assert forget(place, "secret", keys=keys).pages == 1
    assert kept(place) == {version(1).id}
    async with opened(place, keys=keys) as store:
        assert await store.page("t", version(1).id) == version(1).text


async def test_a_conversation_of_many_pages_is_forgotten_a_few_at_a_time(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    async with opened(place) as store:
        await put(store, "secret", *(version(n) for n in range(4)), *(page(b"%d" % n) for n in range(5)))
        await put(store, "other", version(4), page(b"3"))
    assert forget(place, "secret").pages == 8
    assert kept(place) == {version(4).id, page(b"3").id}
    async with opened(place) as store:
        assert await store.page("t", version(4).id) == version(4).text


async def test_what_is_forgotten_is_nowhere_on_the_disk(place: Path) -> None:
    text = b"swallows " * 200
    async with opened(place) as store:
        await put(store, "secret", Page("t", "p1", text, "result", "Read swallow.py"))
        await put(store, "other", page(b"something else"))
        assert await store.search("swallows") != ()
    own = writer(place)
    with own.begin() as connection:
        swept = retention.forget(connection, ["secret"])
        search.merge(connection)
    assert (swept.conversations, swept.pages) == (1, 1)
    engine.empty_journal(own)
    own.dispose()
    assert b"swallow" not in on_disk(place)
    async with opened(place) as store:
        assert await store.search("swallows") == ()
        assert len(await store.search("else")) == 1


async def test_a_search_finds_no_page_under_the_number_of_another(place: Path) -> None:
    async with opened(place) as store:
        await put(store, "c1", Page("t", "p1", b"alpha", "result", "x"))
        await put(store, "c2", Page("t", "p2", b"beta", "result", "x"))
        assert len(await store.search("beta")) == 1
        forget(place, "c2")
        await put(store, "c3", Page("t", "p3", b"gamma", "result", "x"))
        assert await store.search("beta") == ()
        assert [hit.id for hit in await store.search("gamma")] == ["p3"]
        assert [hit.id for hit in await store.search("alpha")] == ["p1"]


async def test_the_file_gets_smaller(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for n in range(30):
            await put(
                store,
                f"c{n}",
                Page("t", f"p{n}", b"".join(b"%d" % (i * i * 7919 % 10007) for i in range(9000)), "k", ""),
            )
        before = store.stats()["cold_bytes"]
        swept = sweep(tmp_path, NOW + 100 * DAY)
        assert swept.conversations == 30
        assert sweep(tmp_path, NOW + 102 * DAY).pages == 30
        while await store.tidy(0):
            pass
        own = writer(tmp_path)
        engine.empty_journal(own)
        own.dispose()
        assert store.stats()["cold_bytes"] < before / 4


async def test_the_proxys_own_step_forgets_its_cache(place: Path) -> None:
    async with opened(place, clock=lambda: NOW) as store:
        record = conversation(last_at=0.0)
        await store.commit(batch(record, pages=[page()]), 5)
        assert len(await store.conversations("t", "h", "s")) == 1
        await store.tidy(90)
        assert await store.conversations("t", "h", "s") == ()


@pytest.mark.parametrize("comes_back", [False, True])
async def test_an_undone_batch_leaves_no_page_for_ever(place: Path, comes_back: bool) -> None:
    step = batch(conversation(last_at=NOW), pages=[page()])
    async with opened(place) as store:
        job = store._cold.writer.submit(step, None)
        assert await job.done is Outcome.STORED
        assert job.change is not None
        own = writer(place)
        with own.begin() as connection:
            statements.take_back(connection, job.change, NOW)
        own.dispose()
        if comes_back:
            assert await store.commit(step, 5) is Outcome.STORED
    sweep(place, NOW + 2 * GRACE, 0)
    assert kept(place) == ({page().id} if comes_back else set())


async def test_a_disk_that_is_full_undoes_the_step_and_no_more(place: Path) -> None:
    async with opened(place) as store:
        for n in range(20):
            await put(store, f"c{n}", page(b"%d" % n), at=float(n))
    own = writer(place)
    full = True

    @event.listens_for(own, "commit")
    def committing(_: object) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises((OperationalError, sqlite3.OperationalError)), own.begin() as connection:
        retention.step(connection, NOW, 90)
    own.dispose()
    assert rows(place, "SELECT count(*) FROM conversations") == [(20,)]
    assert rows(place, "SELECT count(*) FROM holds WHERE until > 0") == [(0,)]
    full = False
    assert sweep(place, NOW).conversations == 20


async def test_no_page_that_is_needed_goes_while_others_write(place: Path) -> None:
    """Conversations come and expire and put the same few pages again and again, with a sweeper at work beside them."""
    stop, swept = threading.Event(), Swept()
    clock = [NOW]

    def sweeper() -> None:
        own = writer(place)
        while not stop.is_set():
            clock[0] += GRACE / 2
            with own.begin() as connection:
                swept.add(retention.step(connection, clock[0], 0.25))
            time.sleep(0.002)
        own.dispose()

    those = [version(n) for n in range(6)]
    async with opened(place, clock=lambda: clock[0]) as store:
        thread = threading.Thread(target=sweeper)
        thread.start()
        try:
            for n in range(120):
                mine = [those[n % 6], those[n * 5 % 6]]
                # a conversation of the far future, so that it stays, and one that goes at once
                await put(store, f"stays{n % 6}", *mine, at=clock[0] * 2, requests=n // 6 + 1)
                await put(store, f"goes{n}", *mine, at=0)
                await asyncio.sleep(0)
        finally:
            stop.set()
            thread.join()
    assert swept.conversations > 50
    missing = "SELECT h.page FROM holds h LEFT JOIN pages p USING (tenant, id) WHERE h.until = 0 AND p.id IS NULL"
    assert rows(place, missing.replace("USING (tenant, id)", "ON p.tenant = h.tenant AND p.id = h.page")) == []
    async with opened(place) as store:
        for each in those:
            assert await store.page("t", each.id) == each.text


async def test_pages_of_before_are_held_by_what_names_them(place: Path) -> None:
    """A store at the schema without holds, brought up."""
    from alembic import command

    from storage import schema

    async with opened(place) as store:
        await put(
            store,
            "c",
            page(b"direct"),
            page(b"of a need"),
            page(b"of a handle"),
            page(b"of nobody"),
            version(0),
            version(1),
        )
    ids = {name: page(name.encode()).id for name in ("direct", "of a need", "of a handle", "of nobody")}
    own = writer(place)
    with own.begin() as connection:
        command.downgrade(schema.config(connection), "0005")
    assert rows(place, "SELECT DISTINCT codec FROM pages ORDER BY 1") == [("raw",), ("zstd",)]
    change(
        place,
        "INSERT INTO splices VALUES ('c', 'x', 0, 'evict', ?, ?, '', 1, ?)",
        ids["direct"],
        f'["call#0.0:{ids["of a need"]}"]',
        f"[mmu page {ids['of a handle']}: Bash]",
    )
    schema.upgrade(own)
    own.dispose()
    sweep(place, time.time() + 2 * GRACE, 0)
    assert kept(place) == {ids["direct"], ids["of a need"], ids["of a handle"]}


def test_the_rows_of_a_batch_are_put_in_order() -> None:
    made = pages.batch([version(n) for n in range(3)], NOW, Keys(), lambda *_: None)
    assert [row["base"] for row in made] == ["", version(0).id, version(0).id]


async def test_two_sweepers_and_whoever_forgets_beside_writers(place: Path) -> None:
    """Everybody at once, over pages that lean on each other: nobody fails, and what is needed is there."""
    stop, trouble = threading.Event(), list[Exception]()
    clock = [NOW]

    def working(step: Callable[[Connection], Swept], *, pause: float) -> None:
        own = writer(place)
        try:
            while not stop.is_set():
                engine.transact(own, step)
                time.sleep(pause)
        except Exception as error:  # noqa: BLE001 - it is what the test is about
            trouble.append(error)
        finally:
            own.dispose()

    def sweep_on(connection: Connection) -> Swept:
        clock[0] += GRACE / 2
        return retention.step(connection, clock[0], 0.25)

    def forget_some(connection: Connection) -> Swept:
        known = connection.execute(select(conversations.c.id).where(conversations.c.id.like("goes%")))
        return retention.forget(connection, list(known.scalars())[:4])

    those = [version(n) for n in range(6)]
    threads = [
        threading.Thread(target=working, args=(step,), kwargs={"pause": pause})
        for step, pause in ((sweep_on, 0.002), (sweep_on, 0.003), (forget_some, 0.005))
    ]
    async with opened(place, clock=lambda: clock[0]) as one, opened(place, clock=lambda: clock[0]) as two:
        for thread in threads:
            thread.start()
        try:
            for n in range(60):
                mine = [those[n * 5 % 6], those[n % 6]]
                await asyncio.gather(
                    put(one, f"stays{n % 6}", *mine, at=clock[0] * 2, requests=n // 6 + 1),
                    put(two, f"goes{n}", *mine[::-1], at=clock[0] * 2),
                )
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert trouble == []
    missing = (
        "SELECT h.page FROM holds h LEFT JOIN pages p ON p.tenant = h.tenant AND p.id = h.page"
        " WHERE h.until = 0 AND p.id IS NULL"
    )
    assert rows(place, missing) == []
    lost = "SELECT d.id FROM pages d LEFT JOIN pages b ON b.id = d.base WHERE d.base <> '' AND b.id IS NULL"
    assert rows(place, lost) == []
    async with opened(place) as store:
        for each in those:
            assert await store.page("t", each.id) == each.text


async def test_whoever_forgets_and_whoever_goes_on_with_it_take_turns(place: Path) -> None:
    """A proxy that goes on while its conversation is being forgotten is told to look again, and never half stored."""
    async with opened(place) as store:
        outcomes = []
        for n in range(12):
            id = f"c{n}"
            await put(store, id, page(b"%d" % n))
            record = conversation(id, 2, head=id, session="", last_at=NOW)
            more = batch(record, pages=[page(b"more %d" % n)], splices=[splice("x", 2)])
            outcome, swept = await asyncio.gather(store.commit(more, 20), asyncio.to_thread(forget, place, id))
            outcomes.append(outcome)
            assert swept.pages == (2 if outcome is Outcome.STORED else 1)
        assert set(outcomes) <= {Outcome.STORED, Outcome.STALE}
    for table in ("conversations", "splices", "holds"):
        assert rows(place, f"SELECT * FROM {table}") == []
    assert kept(place) == set()
