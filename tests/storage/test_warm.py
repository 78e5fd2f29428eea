from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from storage.warm import Process

keys = st.tuples(st.sampled_from("ab"), st.sampled_from("12345"))
steps = st.lists(st.tuples(keys, st.none() | st.integers(0, 900)), max_size=60)


@given(st.integers(0, 4000), steps)
def test_stays_within_its_budget_and_returns_what_was_put(
    budget: int, steps: list[tuple[tuple[str, str], int | None]]
) -> None:
    async def run() -> None:
        warm = Process(budget)
        latest: dict[tuple[str, str], bytes] = {}
        for number, (key, size) in enumerate(steps):
            if size is None:
                assert await warm.get(*key) in (None, latest.get(key))
            else:
                latest[key] = bytes([number]) * size
                await warm.put(key[0], {key[1]: latest[key]})
            stats = warm.stats()
            assert stats["warm_bytes"] <= budget
            held = [text for each, text in latest.items() if await warm.get(*each) is not None]
            assert stats["warm_bytes"] == sum(len(text) + Process.OVERHEAD for text in held)
            assert stats["warm_pages"] == len(held)

    asyncio.run(run())


async def test_the_page_asked_for_least_goes_first_and_of_those_the_one_asked_for_longest_ago() -> None:
    warm = Process(3 * (100 + Process.OVERHEAD))
    for id in "abc":
        await warm.put("t", {id: id.encode() * 100})
    assert await warm.get("t", "a")
    await warm.put("t", {"d": b"d" * 100})
    assert warm.stats()["warm_aged"] == 1
    assert [id for id in "abcd" if await warm.get("t", id)] == ["a", "c", "d"]


async def test_a_page_that_was_asked_for_elsewhere_stays_longer() -> None:
    warm = Process(3 * (100 + Process.OVERHEAD))
    warm.take_in("t", "a", b"a" * 100, 5.0)
    for id in "bcde":
        await warm.put("t", {id: id.encode() * 100})
    assert [id for id in "abcde" if await warm.get("t", id)] == ["a", "d", "e"]


async def test_a_page_beyond_the_budget_drives_nothing_out() -> None:
    warm = Process(1000)
    await warm.put("t", {"small": b"x"})
    await warm.put("t", {"large": b"x" * 1000})
    assert await warm.get("t", "small") == b"x"
    assert await warm.get("t", "large") is None


async def test_a_tenant_sees_its_own_pages_only() -> None:
    warm = Process(10_000)
    await warm.put("t", {"a": b"x"})
    assert await warm.get("u", "a") is None
