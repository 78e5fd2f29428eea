from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from storage.errors import StoreError
from storage.records import Outcome, Stored
from storage.tiers import Hierarchy

from .make import batch, connected, conversation, locked, opened, page, rows, splice, url

SOON = 0.05


class Disk:
    """Every writer's disk: `hold` makes the next COMMITs wait for `go`."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()
        self.go.set()
        # to raise from the next COMMIT, before or after it reached the disk
        self.fail = ""
        # a database to lock when the next transaction begins
        self.lock: Path | None = None
        self.locked = threading.Event()
        self.locker: sqlite3.Connection | None = None

    def hold(self) -> None:
        self.reached.clear()
        self.go.clear()

    def committing(self, connection: Connection) -> None:
        self.reached.set()
        assert self.go.wait(20)
        fail, self.fail = self.fail, ""
        if fail == "after":
            assert connection.connection.dbapi_connection is not None
            connection.connection.dbapi_connection.commit()
        if fail:
            raise sqlite3.OperationalError("disk I/O error")

    def beginning(self, _: Connection) -> None:
        if self.lock is not None:
            self.locker, self.lock = locked(self.lock), None
            self.locked.set()


@pytest.fixture
def disk() -> Iterator[Disk]:
    # taken away after the stores of the test are closed: not while their writers run through the list of listeners
    disk = Disk()
    event.listen(Engine, "commit", disk.committing)
    event.listen(Engine, "begin", disk.beginning, insert=True)
    yield disk
    event.remove(Engine, "commit", disk.committing)
    event.remove(Engine, "begin", disk.beginning)


def nothing(folder: Path) -> bool:
    return rows(folder, "SELECT id FROM conversations UNION ALL SELECT anchor FROM splices") == []


async def settled(store: Hierarchy) -> None:
    """Until the writer has done with all it had: a batch behind the others is through."""
    assert await store.commit(batch(conversation("last", head="last", session="last")), 20) is Outcome.STORED


async def test_a_batch_that_waits_too_long_for_the_lock_never_takes_effect(place: Path) -> None:
    async with opened(place) as store:
        with closing(locked(place)):
            assert await store.commit(batch(pages=[page()], splices=[splice()]), SOON) is Outcome.LATE
            assert await store.conversations("t", "h", "s") == ()
        await settled(store)
        assert await store.conversations("t", "h", "s") == ()
        assert store.stats()["late"] == 1
        # the caller sends the next request and may store it
        assert await store.commit(batch(splices=[splice()]), 5) is Outcome.STORED
    assert rows(place, "SELECT id FROM conversations ORDER BY id") == [("c1",), ("last",)]
    assert rows(place, "SELECT count(*) FROM pages") == [(0,)]


async def test_a_lock_that_is_released_in_time_is_only_a_delay(place: Path) -> None:
    async with opened(place) as store:
        with closing(locked(place)):
            committing = asyncio.create_task(store.commit(batch(splices=[splice()]), 20))
            await asyncio.sleep(0.4)
        assert await committing is Outcome.STORED


async def test_giving_up_while_commit_is_under_way_is_undone(place: Path, disk: Disk) -> None:
    async with opened(place) as store:
        first = batch(conversation(requests=1), splices=[splice("a", 1)])
        assert await store.commit(first, 5) is Outcome.STORED
        before = await store.conversations("t", "h", "s")
        second = conversation(requests=2, head="h", session="s2", state={"other": True})
        disk.hold()
        late = batch(second, splices=[splice("b", 2), splice("a", 2, 1)])
        assert await store.commit(late, SOON) is Outcome.LATE
        assert disk.reached.is_set()
        assert await store.conversations("t", "h", "s") == before
        disk.go.set()
        await settled(store)
        assert await store.conversations("t", "h", "s") == before
        assert store.stats()["undone"] == 1
        assert store.last_error == ""
    async with opened(place) as store:
        assert await store.conversations("t", "h", "s") == before
        assert await store.conversations("t", "none", "s2") == ()


async def test_a_new_conversation_given_up_while_commit_is_under_way_is_removed(place: Path, disk: Disk) -> None:
    async with opened(place) as store:
        disk.hold()
        assert await store.commit(batch(splices=[splice()]), SOON) is Outcome.LATE
        disk.go.set()
        await settled(store)
        assert store.stats()["undone"] == 1
        assert await store.conversations("t", "h", "s") == ()
        assert await store.commit(batch(splices=[splice()]), 5) is Outcome.STORED


@pytest.mark.parametrize("moved", [False, True])
async def test_what_cannot_be_taken_back_yet_is_overlooked(place: Path, disk: Disk, moved: bool) -> None:
    """COMMIT comes through late, and another process gets the lock before it can be undone; perhaps it builds on it."""
    async with opened(place) as store:
        await store.commit(batch(splices=[splice("a", 1)]), 5)
        before = await store.conversations("t", "h", "s")
        disk.hold()
        late = [
            store.commit(batch(conversation(requests=2), splices=[splice("b", 2)]), SOON),
            store.commit(batch(conversation("c2", head="h"), splices=[splice("b", 1)]), SOON),
        ]
        assert await asyncio.gather(*late) == [Outcome.LATE, Outcome.LATE]
        disk.lock = place
        disk.go.set()
        assert await asyncio.to_thread(disk.locked.wait, 20)
        assert disk.locker is not None
        visible = rows(place, "SELECT requests FROM conversations WHERE id = 'c1'")
        assert visible == [(2,)], "the test did not get between COMMIT and its undoing"
        assert await store.conversations("t", "h", "s") == before
        if moved:
            disk.locker.execute("UPDATE conversations SET requests = 3 WHERE id = 'c1'")
            disk.locker.commit()
        disk.locker.close()
        await settled(store)
        after = rows(place, "SELECT anchor FROM splices WHERE conversation = 'c1' ORDER BY anchor")
        assert after == ([("a",), ("b",)] if moved else [("a",)])
        assert rows(place, "SELECT id FROM conversations WHERE id = 'c2'") == []
        if not moved:
            assert await store.conversations("t", "h", "s") == before


async def test_a_caller_that_is_cancelled_leaves_nothing(place: Path, disk: Disk) -> None:
    async with opened(place) as store:
        disk.hold()
        committing = asyncio.create_task(store.commit(batch(splices=[splice()]), 20))
        await asyncio.to_thread(disk.reached.wait, 20)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        disk.go.set()
        await settled(store)
        assert await store.conversations("t", "h", "s") == ()


async def test_one_given_up_does_not_hold_up_its_group(place: Path) -> None:
    async with opened(place) as store:
        with closing(locked(place)):
            patient = [
                asyncio.create_task(store.commit(batch(conversation(f"c{n}"), splices=[splice()]), 20))
                for n in range(5)
            ]
            assert await store.commit(batch(conversation("late"), splices=[splice()]), SOON) is Outcome.LATE
        assert await asyncio.gather(*patient) == [Outcome.STORED] * 5
    assert rows(place, "SELECT id FROM conversations ORDER BY id") == [(f"c{n}",) for n in range(5)]


async def test_one_that_cannot_be_written_fails_alone(place: Path) -> None:
    async with opened(place) as store:
        with closing(locked(place)):
            wrong = batch(conversation("wrong"), splices=[splice("a"), splice("b", text="\ud800")])
            all_of_them = [
                asyncio.create_task(store.commit(each, 20))
                for each in (batch(conversation("c1")), wrong, batch(conversation("c2")))
            ]
            await asyncio.sleep(SOON)
        assert await asyncio.gather(*all_of_them) == [Outcome.STORED, Outcome.FAILED, Outcome.STORED]
        assert "surrogate" in store.last_error
        assert store.stats()["failed"] == 1
    assert rows(place, "SELECT id FROM conversations ORDER BY id") == [("c1",), ("c2",)]
    assert rows(place, "SELECT count(*) FROM splices") == [(0,)]


@pytest.mark.parametrize("fail", ["before", "after"])
async def test_a_commit_that_fails_leaves_nothing_in_doubt(place: Path, disk: Disk, fail: str) -> None:
    async with opened(place) as store:
        await store.commit(batch(splices=[splice("a", 1)]), 5)
        before = await store.conversations("t", "h", "s")
        disk.fail = fail
        late = batch(conversation(requests=2), splices=[splice("b", 2)])
        assert await store.commit(late, 20) is Outcome.FAILED
        assert rows(place, "SELECT requests FROM conversations") == [(1,)]
        assert rows(place, "SELECT anchor FROM splices") == [("a",)]
        assert "disk I/O error" in store.last_error
        assert await store.conversations("t", "h", "s") == before
        assert await store.commit(batch(conversation(requests=2), splices=[splice("b", 2)]), 5) is Outcome.STORED


async def test_a_full_disk_fails_the_batch_and_keeps_the_rest(tmp_path: Path) -> None:
    def connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA max_page_count=60")

    event.listen(Engine, "connect", connected)
    try:
        async with opened(tmp_path) as store:
            kept = 0
            while True:
                record = conversation(requests=kept + 1)
                text = os.urandom(20_000)
                outcome = await store.commit(
                    batch(record, pages=[page(text)], splices=[splice(f"a{kept}", kept + 1)]), 20
                )
                if outcome is not Outcome.STORED:
                    break
                kept += 1
            assert outcome is Outcome.FAILED
            assert "full" in store.last_error
            assert kept > 0
            for _ in range(2):
                (found,) = await store.conversations("t", "h", "s")
                assert found.conversation.requests == kept
                assert [one.anchor for one in found.splices] == [f"a{number}" for number in range(kept)]
            assert await store.page("t", page(text).id) is None
    finally:
        event.remove(Engine, "connect", connected)
    async with opened(tmp_path) as store:
        assert await store.commit(batch(conversation(requests=kept + 1), pages=[page(text)]), 20) is Outcome.STORED


async def test_a_store_that_broke_says_so_and_serves_again_when_mended(place: Path) -> None:
    absent = 'no such table|relation "splices" does not exist'
    async with opened(place) as store:
        await store.commit(batch(), 5)
        with closing(connected(place)) as connection:
            connection.execute("ALTER TABLE splices RENAME TO elsewhere")
            connection.commit()
            next_batch = batch(conversation(requests=2), splices=[splice()])
            assert await store.commit(next_batch, 20) is Outcome.FAILED
            assert re.search(absent, store.last_error)
            with pytest.raises(StoreError, match=absent):
                await store.conversations("t", "h", "s")
            connection.execute("ALTER TABLE elsewhere RENAME TO splices")
            connection.commit()
        assert await store.conversations("t", "h", "s") == (Stored(conversation(), ()),)
        assert await store.commit(next_batch, 20) is Outcome.STORED


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="cannot be opened"):
            asyncio.run(Hierarchy.open(url(tmp_path)))
    finally:
        tmp_path.chmod(0o700)


async def test_close_gives_up_what_does_not_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.tiers._CLOSE_SECONDS", 0.2)
    store = await Hierarchy.open(url(place))
    with closing(locked(place)):
        waiting = asyncio.create_task(store.commit(batch(splices=[splice()]), 60))
        await asyncio.sleep(SOON)
        await store.close()
        assert await waiting is Outcome.LATE
    assert nothing(place)
