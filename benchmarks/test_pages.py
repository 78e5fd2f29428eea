from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.growing import conversation
from benchmarks.pages import LINE, page, run, splice, text


def test_the_same_number_is_the_same_page_in_every_run() -> None:
    assert text(3) == text(3) != text(4)
    assert len({page(number).id for number in range(500)}) == 500
    assert all(200 <= len(page(number).text) < 8500 for number in range(500))
    assert page(1).label == page(0).label


def test_each_level_is_measured_and_finds_what_was_stored(tmp_path: Path) -> None:
    levels = asyncio.run(run(f"sqlite:///{tmp_path / 'mmu.db'}", (LINE, 2 * LINE), samples=10))
    assert [level.pages for level in levels] == [LINE, 2 * LINE]
    assert all(len(taken) == 10 for level in levels for taken in level.taken.values())


def test_splices_of_one_page_stand_at_places_of_their_own() -> None:
    assert len({splice(number, 1, page(0)).anchor for number in range(100)}) == 100


def test_a_conversation_grows_from_a_fifth_below_its_size_to_a_fifth_above() -> None:
    sizes = [len(body) for body in conversation(100_000, 1)]
    assert sizes == sorted(sizes)
    assert 80_000 <= sizes[0] < 90_000
    assert 110_000 < sizes[-1] < 120_000
