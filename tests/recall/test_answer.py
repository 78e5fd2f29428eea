"""Answers to recalls: exact, bounded, and final whatever was asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.recall.answer import LONGEST, PAGES, Ask, answer, read

FILE = "\n".join(f"{n}\tline {n} of the file" for n in range(40, 100))
LOG = "\n".join(f"step {n} fine" if n != 30 else "step 30 ERROR: disk" for n in range(60))
PAGE, OTHER = "abcdef0123456789abcdef01", "0123456789abcdef01234567"


def ask(**arguments: Any) -> str:
    return answer(read(arguments), {PAGE: FILE, OTHER: LOG})


def test_a_whole_page_is_exact() -> None:
    assert ask(page=PAGE) == FILE
    assert ask(page=f"[mmu page {PAGE}: Read a.py]") == FILE
    assert ask(page=f"{PAGE} {OTHER}") == f"{FILE}\n\n{LOG}"
    assert ask(pages=[PAGE]) == FILE
    assert ask(page=f"[mmu page {PAGE}: Read components/application.py, lines 1-9, 77 bytes. Not shown here]") == FILE


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("40-42", (40, 42)),
        ("98-", (98, 99)),
        ("99", (99, 99)),
        ("-41", (40, 41)),
        ("0-41", (40, 41)),
        ("95..97", (95, 97)),
        (50, (50, 50)),
    ],
)
def test_lines_are_the_files_own(lines: Any, expected: tuple[int, int]) -> None:
    first, last = expected
    assert ask(page=PAGE, lines=lines) == "\n".join(f"{n}\tline {n} of the file" for n in range(first, last + 1))


def test_lines_of_an_output_are_counted_from_one() -> None:
    assert ask(page=OTHER, lines="2-3") == "2\tstep 1 fine\n3\tstep 2 fine"


def test_grep_shows_matches_with_a_little_around() -> None:
    assert ask(page=OTHER, grep="ERR.R").split("\n") == [
        "29\tstep 28 fine", "30\tstep 29 fine", "31\tstep 30 ERROR: disk", "32\tstep 31 fine", "33\tstep 32 fine"
    ]  # fmt: skip
    both = ask(page=PAGE, grep="line (41|90) ")
    assert both.split("\n").count("--") == 1
    assert "line 41 " in both
    assert "line 65 " not in both
    assert ask(page=PAGE, lines="40-60", grep="line 90") == f"Nothing in page {PAGE} matches."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "`page` must be"),
        ({"page": 3}, "`page` must be"),
        ({"page": "[mmu page"}, "`page` must be"),
        ({"page": "../../etc"}, "`page` must be"),
        ({"page": " ".join(f"{n:024d}" for n in range(PAGES + 1))}, "At most"),
        ({"page": PAGE, "lines": "x"}, "`lines` must be"),
        ({"page": PAGE, "lines": "9-3"}, "ends before"),
        ({"page": PAGE, "lines": "500-600"}, "has lines 40 to 99"),
        ({"page": PAGE, "grep": "(?=x)"}, "is not a pattern"),
        ({"page": PAGE, "grep": "("}, "is not a pattern"),
        ({"page": "ffffffffffff"}, "There is no page ffffffffffff"),
    ],
)
def test_what_cannot_be_had_is_said(arguments: Any, says: str) -> None:
    text = answer(read(arguments), {PAGE: FILE})
    assert says in text
    assert len(text) < 300


def test_answers_are_bounded_and_say_so() -> None:
    long = "\n".join(f"row {n}" for n in range(40_000))
    text = answer(Ask((PAGE,)), {PAGE: long})
    assert len(text) < LONGEST + 200
    assert text.startswith("row 0\nrow 1\n")
    assert "cut here" in text.split("\n")[-1]
    line = answer(Ask((PAGE, OTHER)), {PAGE: "x" * 200_000, OTHER: "short"})
    assert "characters without a break" in line
    assert len(line) < LONGEST + 400
    many = answer(read({"page": PAGE, "grep": "row"}), {PAGE: long})
    assert many.count("\n") < 300


def test_patterns_cannot_run_away() -> None:
    assert "Nothing" in answer(read({"page": PAGE, "grep": "(a+)+$"}), {PAGE: "a" * 100_000 + "b"})


@given(st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)))
def test_any_arguments_get_an_answer(arguments: Any) -> None:
    assert answer(read(arguments), {})
