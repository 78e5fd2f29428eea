"""The ledger: sums that add up whoever adds to them, and whenever they are read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from storage.records import Booking
from storage.rows import SUMS
from storage.tiers import Hierarchy

from .make import locked, opened, rows


def booking(day: str = "2026-11-01", conversation: str = "c1", project: str = "p", **sums: float) -> Booking:
    return Booking(day, conversation, "t", project, {**dict.fromkeys(SUMS, 0), "requests": 1, **sums})


def stored(folder: Path) -> list[tuple[object, ...]]:
    return rows(folder, "SELECT day, conversation, requests, billed FROM ledger ORDER BY 1, 2")


async def test_sums_by_day_project_and_conversation(place: Path) -> None:
    async with opened(place) as store:
        store.book(booking(billed=1.0, untouched=3.0))
        store.book(booking(billed=0.5, untouched=0.5))
        store.book(booking(conversation="c2", project="q", billed=2.0))
        store.book(booking(day="2026-11-02", billed=4.0))
        for _ in range(2):  # before anything is written, and after
            days = await store.ledger()
            assert [(day, sums["billed"], sums["requests"]) for day, sums in days.items()] == [
                ("2026-11-01", 3.5, 3), ("2026-11-02", 4.0, 1),
            ]  # fmt: skip
            assert days["2026-11-01"]["untouched"] == 3.5
            assert {k: v["billed"] for k, v in (await store.ledger(by="project")).items()} == {"p": 5.5, "q": 2.0}
            assert {k: v["billed"] for k, v in (await store.ledger(by="conversation")).items()} == {"c1": 5.5, "c2": 2}
            assert list(await store.ledger(since="2026-11-02")) == ["2026-11-02"]
            await written(store)
        with pytest.raises(ValueError, match="expected one of day, project, conversation"):
            await store.ledger(by="tenant")


async def written(store: Hierarchy) -> None:
    for _ in range(400):
        if not store._cold.writer.unbooked()[1]:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_it_outlives_the_process_and_two_of_them_add_up(place: Path) -> None:
    async with opened(place) as one, opened(place) as two:
        for store in (one, two):
            store.book(booking(billed=1.5))
    assert stored(place) == [("2026-11-01", "c1", 2, 3.0)]
    async with opened(place) as again:
        again.book(booking(billed=1.0))
        assert (await again.ledger())["2026-11-01"]["billed"] == 4.0


async def test_nothing_is_lost_or_counted_twice_while_the_database_is_locked(place: Path) -> None:
    async with opened(place) as store:
        store.book(booking(billed=1.0))
        lock = locked(place)
        count = 1
        while store._cold.writer.unbooked()[0] < 6:  # three moves that failed
            store.book(booking(billed=1.0))
            count += 1
            assert (await store.ledger())["2026-11-01"]["requests"] == count
            await asyncio.sleep(0.1)
        lock.rollback()
        lock.close()
        await written(store)
        assert (await store.ledger())["2026-11-01"]["billed"] == count
    assert stored(place) == [("2026-11-01", "c1", count, count)]
