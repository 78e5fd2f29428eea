"""Two transactions that meet: the second waits for the first, and sees what it has done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Connection

from storage import archive, engine, pages, rekey, retention, rows
from storage import schema as tables
from storage.crypt import NONE, Keys
from storage.records import Batch, Outcome, Page
from storage.retention import DAY, GRACE, Swept

from .make import ELSEWHERE, batch, change, conversation, opened, page, splice, url
from .make import rows as stored
from .test_delta import version
from .test_retention import NOW, kept, put, sweep, writer


def write(connection: Connection, made: Batch) -> None:
    """What the writer of a proxy does with a batch, up to its COMMIT."""
    rows.lock(connection, [made.conversation])
    assert rows.write(connection, made, None) is not None
    packed = pages.batch(made.pages, NOW, NONE, lambda *_: None)
    by_id = {(one.tenant, one.id): one for one in made.pages}
    pages.put(connection, packed, lambda *key: pages.row(by_id[key], NOW, NONE))


def meet[T](
    place: Path,
    first: Callable[[Connection], object],
    second: Callable[[Connection], T],
    then: Callable[[Connection], object] = lambda _: None,
) -> T:
    """Begin `second` in the middle of a transaction that does `first` and `then`; what it returns."""
    ours, theirs = writer(place), writer(place)
    began = threading.Event()

    def run() -> T:
        began.set()
        with theirs.begin() as connection:
            return second(connection)

    try:
        with ThreadPoolExecutor(1) as thread:
            with ours.begin() as connection:
                first(connection)
                running = thread.submit(run)
                assert began.wait(10)
                _wait_for_it(place, running.done)
                then(connection)
            return running.result(20)
    finally:
        ours.dispose()
        theirs.dispose()


def _wait_for_it(place: Path, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    if place not in ELSEWHERE:
        time.sleep(0.05)
        return
    while not done() and not stored(place, "SELECT 1 FROM pg_locks WHERE NOT granted"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def step(connection: Connection) -> Swept:
    return retention.step(connection, NOW + 2 * GRACE, 90)


async def expired(place: Path, *those: Page) -> None:
    """Pages that the next step collects."""
    async with opened(place) as store:
        for number, each in enumerate(those):
            await put(store, f"old{number}", each, at=0)
    assert sweep(place, NOW).conversations == len(those)


async def test_a_page_that_is_being_put_again_is_not_collected(place: Path) -> None:
    await expired(place, page())
    again = batch(conversation("new", last_at=NOW), pages=[page()])
    assert meet(place, lambda connection: write(connection, again), step).pages == 0
    assert kept(place) == {page().id}


async def test_a_page_that_is_being_collected_is_put_anew(place: Path) -> None:
    await expired(place, page())
    again = batch(conversation("new", last_at=NOW), pages=[page()])
    meet(place, step, lambda connection: write(connection, again))
    assert kept(place) == {page().id}
    assert stored(place, "SELECT holder FROM holds") == [("new",)]


async def test_a_base_that_is_being_collected_is_done_without(place: Path) -> None:
    await expired(place, version(0))

    def lean(connection: Connection) -> None:
        write(connection, batch(conversation("new", last_at=NOW), pages=[version(0), version(1)]))

    meet(place, step, lean)
    async with opened(place) as store:
        for each in (version(0), version(1)):
            assert await store.page("t", each.id) == each.text


async def test_two_that_collect_at_once_collect_everything_once(place: Path) -> None:
    await expired(place, *(page(b"%d" % n) for n in range(20)))
    async with opened(place) as store:
        for n in range(5):
            await put(store, f"unused{n}", page(b"unused %d" % n), at=NOW - 100 * DAY)
    found: list[Swept] = []
    second = meet(place, lambda connection: found.append(step(connection)), step)
    assert (found[0].conversations, found[0].pages) == (5, 20)
    assert (second.conversations, second.pages) == (0, 0)
    assert len(kept(place)) == 5


async def test_what_a_request_under_way_adds_is_forgotten_too(place: Path) -> None:
    async with opened(place) as store:
        await put(store, "c", page(b"first"))
    more = batch(conversation("c", 2, head="c", session=""), pages=[page(b"second")], splices=[splice("x", 2)])
    swept = meet(place, lambda connection: write(connection, more), lambda it: retention.forget(it, ["c"]))
    assert swept.pages == 2
    for table in ("conversations", "splices", "holds", "pages"):
        assert stored(place, f"SELECT * FROM {table}") == []


async def test_what_is_used_again_at_that_moment_does_not_expire(place: Path) -> None:
    async with opened(place) as store:
        await put(store, "c", page(), at=0)
    used = batch(conversation("c", 2, head="c", session="", last_at=NOW))
    assert meet(place, lambda connection: write(connection, used), step).conversations == 0
    assert stored(place, "SELECT until FROM holds") == [(0.0,)]


async def test_who_collects_locks_pages_in_the_order_of_who_writes(place: Path) -> None:
    """A base comes before what leans on it, whichever of them goes first."""
    base, delta = version(0), version(1)
    async with opened(place) as store:
        await put(store, "old0", base, at=0)
        await put(store, "old1", delta, at=0)
    assert stored(place, f"SELECT base FROM pages WHERE id = '{delta.id}'") == [(base.id,)]
    sweep(place, NOW)
    change(place, f"DELETE FROM holds WHERE page = '{base.id}'")
    swept = meet(
        place,
        lambda connection: pages.lock(connection, "t", [base.id]),
        step,
        lambda connection: pages.lock(connection, "t", [delta.id]),
    )
    assert swept.pages == 2


async def test_who_seals_anew_and_who_writes_take_turns(place: Path) -> None:
    """Two conversations in the other order: each would have what the other waits for."""
    async with opened(place) as store:
        for id in ("a", "b"):
            await put(store, id)
    keys = Keys([bytes(32)])

    def go_on(connection: Connection, id: str) -> None:
        write(connection, batch(conversation(id, 2, head=id, session=""), splices=[splice("x", 2)]))

    def both(connection: Connection) -> None:
        rows.lock(connection, [conversation(id, head=id, session="") for id in ("a", "b")])
        go_on(connection, "b")

    def seal(connection: Connection) -> object:
        return rekey.step(connection, tables.conversations, keys, keys, ())

    looked = meet(place, both, seal, lambda connection: go_on(connection, "a"))
    assert looked == (2, 2, ("b",))
    assert stored(place, "SELECT requests FROM conversations") == [(2,), (2,)]


async def test_what_is_stored_while_a_file_is_taken_in_comes_after_it(place: Path, tmp_path: Path) -> None:
    async with opened(place) as store:
        await put(store, "c", page(b"first"))
    with (tmp_path / "all").open("wb") as out:
        reader = engine.reader(engine.parse(url(place)))
        archive.write(reader, out, NOW, lambda _: None)
        reader.dispose()
    sweep(place, NOW + 100 * DAY)
    sweep(place, NOW + 102 * DAY, 0)
    assert kept(place) == set()
    own = writer(place)
    async with opened(place) as store:

        def told(number: int) -> None:
            # a page, and nothing else yet: whoever writes now waits
            if number == 2:
                again = batch(conversation("new", head="n", session=""), pages=[page(b"first")])
                committing.append(asyncio.run_coroutine_threadsafe(store.commit(again, 20), loop))
                time.sleep(0.6)
                assert not committing[0].done()

        committing: list[Future[Outcome]] = []
        loop = asyncio.get_running_loop()
        new = await asyncio.to_thread(archive.read, own, tmp_path / "all", NOW, told)
        assert (new["page"], new["conversation"]) == (1, 1)
        assert await asyncio.wrap_future(committing[0]) is Outcome.STORED
    own.dispose()
    assert sorted(stored(place, "SELECT id FROM conversations")) == [("c",), ("new",)]
    assert kept(place) == {page(b"first").id}
