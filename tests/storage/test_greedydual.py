from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.greedydual import READ, GreedyDual


class Plain:
    """The rule word for word, with a search of everything for each eviction."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[float, int, int, float]] = {}
        self.age = 0.0
        self.count = 0

    def put(self, key: str, size: int, uses: float) -> None:
        self.count += 1
        self.held[key] = (self.age + uses * (1 + size / READ) / size, self.count, size, uses)

    def add(self, key: str, size: int, uses: float) -> None:
        self.put(key, size, max(uses, self.held[key][3]) if key in self.held else uses + 1)

    def use(self, key: str) -> None:
        _, _, size, uses = self.held[key]
        self.put(key, size, uses + 1)

    def evict(self) -> str:
        key = min(self.held, key=lambda each: self.held[each][:2])
        self.age = self.held.pop(key)[0]
        return key


steps = st.lists(
    st.tuples(st.sampled_from(["add", "use", "use", "drop", "evict"]), st.sampled_from("abcdefgh"), st.integers(1, 9)),
    max_size=300,
)


@given(steps)
def test_it_is_the_rule(steps: list[tuple[str, str, int]]) -> None:
    order: GreedyDual[str] = GreedyDual()
    plain = Plain()
    for what, key, number in steps:
        if what == "add":
            order.add(key, number, number % 3)
            plain.add(key, number, number % 3)
        elif what == "evict":
            if plain.held:
                assert order.evict() == plain.evict()
            else:
                with pytest.raises(IndexError):
                    order.evict()
        elif key in plain.held and what == "use":
            order.use(key)
            plain.use(key)
        elif key in plain.held:
            order.drop(key)
            del plain.held[key]
        assert len(order) == len(plain.held)
    assert [order.evict() for _ in range(len(plain.held))] == [plain.evict() for _ in range(len(plain.held))]


def test_what_is_asked_for_survives_a_scan() -> None:
    order: GreedyDual[str] = GreedyDual()
    order.add("hot", 100)
    for _ in range(5):
        order.use("hot")
    gone = []
    for number in range(300):
        order.add(f"scan{number}", 100)
        if len(order) > 100:
            gone.append(order.evict())
    assert "hot" not in gone


def test_what_was_asked_for_once_upon_a_time_goes_in_the_end() -> None:
    order: GreedyDual[str] = GreedyDual()
    order.add("old", 100, 50)
    for number in range(2000):
        order.add(f"new{number}", 100)
        if len(order) > 10 and order.evict() == "old":
            return
    pytest.fail("it stayed for ever")


def test_the_heap_does_not_grow_with_the_accesses() -> None:
    order: GreedyDual[str] = GreedyDual()
    for key in "abc":
        order.add(key, 10)
    for _ in range(10_000):
        order.use("a")
    assert len(order._heap) < 100
    assert [order.evict() for _ in "abc"] == ["b", "c", "a"]
