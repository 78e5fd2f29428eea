"""Tallies: sums that any number of processes add to, that outlive a kill but for seconds, and that fade."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import rows as statements
from storage import tallies
from storage.tallies import BOUND, SCOPES, TOTAL, Snapshots, faded
from storage.tiers import Hierarchy
from tests.effort import cases

from .make import PYTHON, ROOT, locked, opened, rows, url

SUM = "SELECT name, value FROM tallies WHERE tenant = 't' AND scope = 's' ORDER BY name"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.writer.FLUSH_SECONDS", 0.3)


def stored(folder: Path) -> dict[str, float]:
    return {str(name): float(value) for name, value in rows(folder, SUM)}


async def written(store: Hierarchy, scope: str = "s") -> None:
    for _ in range(400):
        if not store._cold.writer.untallied(("t", scope))[1]:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_what_was_added_is_told_before_it_is_written_and_after(place: Path) -> None:
    async with opened(place) as store:
        store.tally("t", "s", {"a": 1, "b": 0.5})
        store.tally("t", "s", {"a": 2})
        store.tally("t", "other", {"a": 7})
        store.tally("u", "s", {"a": 9})
        assert await store.tallies("t", "s") == {"a": 3, "b": 0.5}
        await written(store)
        store._snapshots = Snapshots()
        assert await store.tallies("t", "s") == {"a": 3, "b": 0.5, TOTAL: 0}
        assert await store.tallies("t", "other") == {"a": 7, TOTAL: 0}
        assert await store.tallies("u", "s") == {"a": 9, TOTAL: 0}
        assert await store.tallies("u", "other") == {}
    assert stored(place) == {"a": 3, "b": 0.5, TOTAL: 0}


amounts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 50).map(float), max_size=3)


@settings(max_examples=cases(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.uuids(), st.lists(st.tuples(st.integers(0, 1), amounts), max_size=12))
def test_whoever_adds_it_sums_up(tmp_path: Path, scope: UUID, additions: list[tuple[int, Mapping[str, float]]]) -> None:
    async def run() -> dict[str, float]:
        async with opened(tmp_path) as one, opened(tmp_path) as two:
            for which, more in additions:
                (one, two)[which].tally("t", str(scope), more)
        async with opened(tmp_path) as again:
            return await again.tallies("t", str(scope))

    expected: dict[str, float] = {}
    for _, more in additions:
        expected = tallies.added(expected, more)
    found = asyncio.run(run())
    assert {name: found[name] for name in expected} == expected
    assert found.keys() <= expected.keys() | {TOTAL}


async def test_two_processes_add_while_both_are_open(place: Path) -> None:
    async with opened(place) as one, opened(place) as two:
        for _ in range(3):
            for store in (one, two):
                store.tally("t", "s", {"a": 1})
            for store in (one, two):
                await written(store)
        one._snapshots = Snapshots()
        assert (await one.tallies("t", "s"))["a"] == 6


async def test_a_minute_costs_one_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    known = statements.known_tallies

    def counted(*given: object) -> dict[str, float]:
        nonlocal reads
        reads += 1
        return known(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(statements, "known_tallies", counted)
    async with opened(place) as store:
        for n in range(5):
            store.tally("t", "s", {"a": 1})
            found = await store.tallies("t", "s")
            assert found["a"] == n + 1
            found["a"] = 99  # a copy
        assert reads == 1
        monkeypatch.setattr(tallies, "SECONDS", 0.0)
        assert (await store.tallies("t", "s"))["a"] == 5
        assert reads == 2


def test_few_scopes_are_kept_in_mind() -> None:
    held = Snapshots()
    for n in range(SCOPES + 1):
        held.put(("t", str(n)), {"a": n})
        held.add(("t", "gone"), {"a": 1})
    assert held.get(("t", "0")) is held.get(("t", "gone")) is None
    assert held.get(("t", "1")) == {"a": 1}


async def test_a_scope_fades_when_its_total_is_full(place: Path) -> None:
    async with opened(place) as store:
        store.tally("t", "s", {TOTAL: BOUND - 1, "often": 40, "rare": 0.1})
        store.tally("t", "other", {TOTAL: BOUND - 1, "often": 40})
        await written(store)
        store.tally("t", "s", {TOTAL: 1, "often": 2, "new": 1})
        await written(store)
    expected = {TOTAL: BOUND / 2, "often": 21, "new": 0.5}
    assert stored(place) == expected
    assert faded({TOTAL: BOUND, "often": 42, "rare": 0.1, "new": 1}) == expected
    assert faded({TOTAL: BOUND - 1, "rare": 0.01}) == {TOTAL: BOUND - 1, "rare": 0.01}
    other = rows(place, "SELECT name, value FROM tallies WHERE scope = 'other' ORDER BY name")
    assert other == [("often", 40), (TOTAL, BOUND - 1)]


async def test_nothing_is_lost_or_counted_twice_while_the_database_is_locked(place: Path) -> None:
    async with opened(place) as store:
        lock = locked(place)
        count = 0
        while store._cold.writer.untallied(("t", "s"))[0] < 6:  # three moves that failed
            store.tally("t", "s", {"a": 1})
            count += 1
            store._snapshots = Snapshots()
            assert (await store.tallies("t", "s"))["a"] == count
            await asyncio.sleep(0.1)
        lock.rollback()
        lock.close()
        await written(store)
    assert stored(place) == {"a": count, TOTAL: 0}


@pytest.mark.parametrize("name", ["nul\0", "half \ud800"])
async def test_what_no_database_takes_is_refused_at_once(place: Path, name: str) -> None:
    async with opened(place) as store:
        for given in [(name, "s", {"a": 1.0}), ("t", name, {"a": 1.0}), ("t", "s", {name: 1.0})]:
            with pytest.raises(ValueError, match=r"NUL|surrogates"):
                store.tally(*given)
        for amount in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="finite"):
                store.tally("t", "s", {"a": amount})
        assert await store.tallies("t", "s") == {}


def test_a_kill_loses_seconds_and_never_half_of_an_addition(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.storage.tallier", url(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said: list[tuple[float, int]] = []
    try:
        while not said or said[-1][0] - said[0][0] < 5:
            said.append((time.monotonic(), int(process.stdout.readline())))
    finally:
        process.kill()
        process.wait()
    found = stored(tmp_path)
    assert found["twice"] == 2 * found["once"]
    early = [count for at, count in said if at < said[-1][0] - 4]
    assert early[-1] <= found["once"] <= said[-1][1] + 100
