"""The same sessions in the words of Responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.mmu.evict import Policy
from addon.mmu.view import Change
from tests.mmu.play import Play
from tests.mmu.responses_spelling import Responses
from tests.mmu.sessions import MOVES, Move
from tests.mmu.test_chat_properties import BACK, CACHED, FEW, UNCACHED, alike, told_alike


def unsigned(moves: list[Move], *, caching: bool) -> list[Move]:
    """What is known of no vendor's model is taken to bind its reasoning, which the model of Messages does not."""
    return [replace(told_alike(move), think=move.think and caching) for move in moves]


def responses(style: int, *, caching: bool = True, **more: Any) -> Play:
    return Play(CACHED if caching else UNCACHED, style, caching=caching, spelling=Responses(), **more)


@settings(FEW, max_examples=100)
@given(MOVES, st.integers(0, 7), st.booleans())
def test_every_session_keeps_every_invariant(moves: list[Move], style: int, caching: bool) -> None:
    play = responses(style, caching=caching)
    play.play(moves)
    for change in {s.change for p in play.plans for s in p.new}:
        event(change.value)


@settings(FEW, max_examples=50)
@given(MOVES, st.integers(0, 7))
def test_the_published_age_rule_loses_nothing_either(moves: list[Move], style: int) -> None:
    responses(style, policy=Policy(name="fifo", fifo_age=1, fifo_bytes=100)).play(moves)


@pytest.mark.parametrize("style", range(8))
def test_a_played_session_folds_evicts_answers_and_serves(style: int) -> None:
    """The properties above would hold of a planner that does nothing; this one shows that it does something."""
    play = responses(style)
    play.play(BACK)
    assert {s.change for p in play.plans for s in p.new} == {
        Change.FOLD, Change.EVICT, Change.TOOL, Change.ANSWER, Change.SERVE,
    }  # fmt: skip
    assert play.provider.totals().cache_read_input_tokens > 0


@settings(FEW, max_examples=60)
@given(MOVES, st.booleans())
def test_the_same_session_is_decided_alike_in_either_api(moves: list[Move], caching: bool) -> None:
    alike(unsigned(moves, caching=caching), caching=caching, make=responses)


def test_a_session_with_every_decision_is_decided_alike() -> None:
    for caching, occasion in ((True, "cold"), (False, "uncached")):
        found = alike(unsigned(BACK, caching=caching), caching=caching, make=responses)
        assert occasion in {each[1] for each in found}
        assert {change for each in found for _, change, _ in each[2]} >= {"fold", "evict", "tool", "answer"}
