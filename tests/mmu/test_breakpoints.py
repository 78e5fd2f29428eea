"""When a request is marked, worked by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.mmu.breakpoints import PURSE, REFUSED, Extent, Head, Heads, earned, extent, head_name, pays
from addon.mmu.view import Descent, Line, View
from addon.wire import anthropic
from addon.wire.conversation import Conversation
from addon.wire.usage import Usage

MODEL = "claude-opus-4-8"
LIFE = 300.0


def read(turns: int = 2, size: int = 8_000, model: str = MODEL, system: str = "s" * 6_000) -> Conversation:
    messages: list[Any] = [{"role": "user", "content": "x" * size}]
    for n in range(turns - 1):
        messages += [{"role": "assistant", "content": f"a{n}"}, {"role": "user", "content": f"b{n}"}]
    return anthropic.parse(json.dumps({"model": model, "system": system, "messages": messages}).encode())


def line(state: dict[str, Any] | None = None, used_at: float = 0.0, how: Descent = Descent.CONTINUED) -> Line:
    return Line(how, View("v", 1, state=state or {}), 1, used_at)


FIRST = Line(Descent.FIRST, None, 0)


def much(conversation: Conversation, line: Line, now: float = 5.0, head: Head | None = None) -> Extent:
    return extent(conversation, line, head or Head(), now, LIFE)


def test_writing_is_staked_once_and_then_paid_for() -> None:
    assert not pays(0.0, None, 250.0, LIFE)
    assert pays(0.0, 300.0, 250.0, LIFE)
    assert not pays(0.0, 301.0, 250.0, LIFE)
    assert pays(250.0, 301.0, 250.0, LIFE)
    assert pays(-249.0, 5.0, 250.0, LIFE)
    assert not pays(-250.0, 5.0, 250.0, LIFE)


def test_what_a_report_says_that_marks_brought() -> None:
    assert earned(Usage(fresh=9, read=1_000, written=400), MODEL) == pytest.approx(900 - 100)
    assert earned(Usage(read=1_000, written_hour=100), "claude-opus-5-5") == pytest.approx(950 - 100)
    assert earned(Usage(fresh=9), MODEL) == 0


def test_a_first_request_is_marked_at_a_head_that_was_sent_before() -> None:
    assert much(read(1), FIRST) is Extent.NONE
    assert much(read(1), FIRST, head=Head(at=0.0)) is Extent.HEAD
    assert much(read(1), FIRST, now=400.0, head=Head(at=0.0)) is Extent.NONE
    assert much(read(1), FIRST, head=Head(at=0.0, purse=-1e6)) is Extent.NONE
    assert much(read(1, system="short"), FIRST, head=Head(at=0.0)) is Extent.NONE
    assert much(read(3), Line(Descent.JOINED, None, 2), head=Head(at=0.0)) is Extent.HEAD
    # the same prompt over and over is no conversation
    assert much(read(1), line(how=Descent.REPEATED), head=Head(at=0.0)) is Extent.NONE
    assert much(read(1), line({PURSE: 0.0}, how=Descent.REPEATED), head=Head(at=0.0)) is Extent.HEAD


def test_a_line_is_marked_when_it_has_come_back_in_time() -> None:
    assert much(read(), line()) is Extent.ALL
    assert much(read(), line(), now=400.0) is Extent.NONE
    assert much(read(), line({PURSE: 1e6}), now=400.0) is Extent.ALL
    assert much(read(), line({PURSE: -1e6})) is Extent.NONE
    assert much(read(), line(how=Descent.DIVERGED)) is Extent.ALL


def test_not_what_is_too_short_to_be_cached() -> None:
    short = read(size=10, system="s")
    assert much(short, line()) is Extent.NONE
    known = [MODEL, 1, 1_024, 0, 0, 0]
    assert much(short, line({"untouched": known})) is Extent.ALL
    assert much(read(size=10, system="s" * 6_000, model="claude-haiku-4-5"), line()) is Extent.NONE


def test_not_what_is_asked_for_already_or_was_refused() -> None:
    for state in ({"hands_off": "no"}, {REFUSED: "no"}, {"ttl": 300.0}, {"cached": True}):
        assert much(read(), line(state)) is Extent.NONE
    assert much(read(), line({"ttl": 300.0, "cached": True, PURSE: 0.0})) is Extent.ALL
    assert much(read(model="somebody-elses"), line()) is Extent.NONE


def test_a_retry_is_sent_as_before() -> None:
    assert much(read(), line(how=Descent.REPEATED)) is Extent.NONE
    assert much(read(), line({PURSE: 0.0}, how=Descent.REPEATED)) is Extent.ALL


def test_heads_are_told_apart_by_model_tools_and_instructions() -> None:
    heads = Heads()
    heads.of(head_name(read())).at = 3.0
    assert heads.of(head_name(read(turns=7))).at == 3.0
    assert heads.of(head_name(read(system="other"))).at is None
    assert heads.of(head_name(read(model="claude-opus-4-7"))).at is None
