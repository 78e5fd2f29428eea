"""Whether an idle page is used again, worked by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.mmu.reuse import AGES, OF_SUB, PRIOR, WEIGHT, Sort, again, chance, chances, idle, sort
from addon.wire.subject import subject


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("Read", {"file_path": "/w/a.py"}, Sort.FILE),
        ("Bash", {"command": "cat a.py"}, Sort.FILE),
        ("Bash", {"command": "make"}, Sort.OUTPUT),
        ("Bash", {"command": "pytest -q"}, Sort.OUTPUT),
        ("Bash", {"command": "ls -R && grep -rn x ."}, Sort.SEARCH),
        ("Grep", {"pattern": "x"}, Sort.SEARCH),
        ("Edit", {"file_path": "/w/a.py"}, Sort.OUTPUT),
        ("WebFetch", {"url": "http://x"}, Sort.OUTPUT),
    ],
)
def test_kinds(tool: str, arguments: dict[str, str], expected: Sort) -> None:
    assert sort(subject(tool, arguments)) is expected


def test_names_of_tallies() -> None:
    assert idle(Sort.FILE, 8) == "idle:file:8"
    assert [again(Sort.FILE, age) for age in (1, 3, 4, 7, 63, 64, 500)] == [
        f"again:file:{age}" for age in (1, 2, 4, 4, 32, 64, 64)
    ]


def test_nothing_known_is_what_was_recorded() -> None:
    assert chances({}, Sort.FILE) == list(PRIOR[Sort.FILE])
    assert chance({}, Sort.FILE, 4) == 0.25
    assert chance({}, Sort.FILE, 4, sub=True) == pytest.approx(0.25 * OF_SUB)
    assert chance({}, Sort.FILE, 0) == 0.33
    assert chance({}, Sort.FILE, 1000) == 0.053
    # halfway by the logarithm
    assert chance({}, Sort.FILE, 4 * 2**0.5) == pytest.approx((0.25 + 0.20) / 2)


def test_the_share_of_stretches_that_ended_in_a_use() -> None:
    # 400 files lay idle for 16 requests, 60 of them came again before 32 and 20 after
    tallies = {"idle:file:16": 400.0, "again:file:16": 60.0, "again:file:32": 15.0, "again:file:64": 5.0}
    tallies |= {"idle:file:32": 300.0, "idle:file:64": 200.0}
    assert chance(tallies, Sort.FILE, 16) == pytest.approx((80 + WEIGHT * 0.16) / (400 + WEIGHT))
    assert chance(tallies, Sort.FILE, 32) == pytest.approx((20 + WEIGHT * 0.105) / (300 + WEIGHT))
    assert chance(tallies, Sort.FILE, 64) == pytest.approx((5 + WEIGHT * 0.053) / (200 + WEIGHT))
    assert chance(tallies, Sort.OUTPUT, 16) == 0.005


def test_the_shorter_age_is_raised_where_counts_say_otherwise() -> None:
    tallies = {"idle:output:1": 9000.0, "idle:output:2": 200.0, "idle:output:4": 150.0, "idle:output:8": 100.0}
    tallies["again:output:8"] = 90.0  # nearly all that lasted so long, and few did
    assert chance(tallies, Sort.OUTPUT, 1) == chance(tallies, Sort.OUTPUT, 8)
    assert chance(tallies, Sort.OUTPUT, 8) == pytest.approx((90 + WEIGHT * 0.008) / (100 + WEIGHT))
    assert chance(tallies, Sort.OUTPUT, 16) == 0.005


counts = st.lists(st.floats(0, 10_000), min_size=len(AGES), max_size=len(AGES))


@given(counts, counts, st.sampled_from(Sort), st.lists(st.floats(0, 300), min_size=2), st.booleans())
def test_a_probability_that_falls_with_age(
    lasted: list[float], used: list[float], kind: Sort, ages: list[float], sub: bool
) -> None:
    tallies = {idle(kind, age): n for age, n in zip(AGES, lasted, strict=True)}
    tallies |= {again(kind, age): n for age, n in zip(AGES, used, strict=True)}
    found = [chance(tallies, kind, age, sub=sub) for age in sorted(ages)]
    assert all(0 <= each <= 1 for each in found)
    assert all(one >= other - 1e-12 for one, other in pairwise(found))
