"""The same sessions in the words of Gemini, where calls may have no id and errors have a key of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.mmu.evict import Policy
from addon.mmu.page import NAME
from addon.mmu.view import Change
from tests.effort import cases
from tests.mmu.gemini_spelling import Gemini
from tests.mmu.play import Play
from tests.mmu.sessions import LONGED, MOVES, Call, Move
from tests.mmu.test_chat_properties import BACK, COLD, FEW, HIDDEN, RUN, START, WHOLE, WORK, alike, step
from tests.upstream.gemini_direct import THIRD

CACHED, UNCACHED = "gemini-2.5-pro", "gemini-2.0-flash"
"""Neither of which gives ids to calls, as THIRD does."""


def gemini(style: int, *, caching: bool = True, model: str = "", **more: Any) -> Play:
    model = model or (CACHED if caching else UNCACHED)
    return Play(model, style, caching=caching, spelling=Gemini(model=model), **more)


@settings(FEW, max_examples=cases(120))
@given(MOVES, st.integers(0, 7), st.sampled_from([CACHED, UNCACHED, THIRD]))
def test_every_session_keeps_every_invariant(moves: list[Move], style: int, model: str) -> None:
    play = gemini(style, caching=model != UNCACHED, model=model)
    play.play(moves)
    for change in {s.change for p in play.plans for s in p.new}:
        event(change.value)


@settings(FEW, max_examples=cases(80))
@given(LONGED, st.integers(0, 7), st.sampled_from([CACHED, UNCACHED, THIRD]), st.booleans())
def test_sessions_with_hidden_recalls_keep_every_invariant(
    moves: list[Move], style: int, model: str, think: bool
) -> None:
    play = gemini(style, caching=model != UNCACHED, model=model)
    play.play([*(replace(move, think=think) for move in [*START, COLD]), *moves])
    event(f"{min(play.hidden, 4)} hide")
    event(f"{bool(play.hidden and play.carried)}")


@settings(FEW, max_examples=cases(50))
@given(MOVES, st.integers(0, 7))
def test_the_published_age_rule_loses_nothing_either(moves: list[Move], style: int) -> None:
    gemini(style, policy=Policy(name="fifo", fifo_age=1, fifo_bytes=100)).play(moves)


@pytest.mark.parametrize("model", [CACHED, THIRD])
@pytest.mark.parametrize("style", range(8))
def test_a_played_session_folds_evicts_answers_and_serves(style: int, model: str) -> None:
    """The properties above would hold of a planner that does nothing; this one shows that it does something."""
    play = gemini(style, model=model)
    play.play(BACK)
    assert {s.change for p in play.plans for s in p.new} == {
        Change.FOLD, Change.EVICT, Change.TOOL, Change.ANSWER, Change.SERVE,
    }  # fmt: skip
    assert play.provider.totals().cache_read_input_tokens > 0
    assert any(s.pardons for p in play.plans for s in p.new)


def told_alike(move: Move) -> Move:
    """Without what is told otherwise: results of several texts or with an image, which are one text and something
    beside it here. And without changes of the last turn, which is one message
    there and several here: how many are shared tells lines apart."""

    def shape(call: Call) -> str:
        if call.tool == NAME:
            return call.shape
        return call.shape if call.shape in ("string", "error", "empty") else "string"

    calls = tuple(replace(call, shape=shape(call)) for call in move.calls)
    return replace(move, calls=calls, event="" if move.event in ("aside", "edit", "rewind") else move.event)


@settings(FEW, max_examples=cases(60))
@given(MOVES.map(lambda moves: [told_alike(move) for move in moves]), st.booleans())
def test_the_same_session_is_decided_alike_in_either_api(moves: list[Move], caching: bool) -> None:
    alike(moves, caching=caching, make=gemini)


def test_a_session_with_every_decision_is_decided_alike() -> None:
    for caching, occasion in ((True, "cold"), (False, "uncached")):
        found = alike([told_alike(move) for move in BACK], caching=caching, make=gemini)
        assert occasion in {each[1] for each in found}
        assert {change for each in found for _, change, _ in each[2]} >= {"fold", "evict", "tool", "answer"}


@pytest.mark.parametrize("calls", [(HIDDEN,), (HIDDEN, RUN), (RUN, HIDDEN, RUN)], ids=["alone", "beside", "between"])
def test_a_session_with_hidden_recalls_is_decided_alike(calls: tuple[Call, ...]) -> None:
    found = alike([step(WHOLE), *WORK, COLD, step(*calls), *WORK, COLD, *WORK], caching=True, make=gemini)
    assert found[-1][4] == 1


def test_a_session_that_calls_the_same_again_and_again_keeps_its_results_apart() -> None:
    same = Call("Bash", {"command": "git log"}, "string")
    play = gemini(1)
    play.play([step(same, same), step(same), *WORK, *[step(same, same)] * 4])
    anchors = [entry.anchor for entry in play.plans[-1].table.entries if entry.anchor.startswith("Bash~")]
    assert len(anchors) == len(set(anchors)) > 10


def test_an_answer_in_pieces_is_put_together_again() -> None:
    spelling = Gemini(model=THIRD)
    parts = [
        {"text": "hm " * 40, "thought": True},
        {"text": "I look. " * 20},
        {"functionCall": {"id": "x", "name": "Read", "args": {}}, "thoughtSignature": "c2ln"},
    ]
    payload = {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 9}, "modelVersion": THIRD, "responseId": "r",
    }  # fmt: skip
    assert spelling.said(spelling.assembled(spelling.streamed(payload))) == spelling.said(payload)
