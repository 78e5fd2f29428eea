"""The same sessions in the words of Responses, where an answer is several items, and reasoning stays where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.mmu.evict import Policy
from addon.mmu.page import NAME
from addon.mmu.view import Change, page_table
from addon.wire.conversation import Kind
from tests.effort import cases
from tests.mmu.play import Play
from tests.mmu.responses_spelling import FREE, TIMED, Responses
from tests.mmu.sessions import LONGED, MOVES, Move
from tests.mmu.test_chat_properties import BACK, COLD, FEW, HIDDEN, RUN, START, WHOLE, WORK, alike, step
from tests.mmu.test_chat_properties import chat as chat_play
from tests.upstream.direct import text
from tests.upstream.provider import Provider
from tests.upstream.responses_direct import BOUND, ask, request, user

CACHED, UNCACHED = "gpt-5.6", "gpt-oss-120b"


def responses(style: int, *, caching: bool = True, model: str = "", **more: Any) -> Play:
    return Play(model or (CACHED if caching else UNCACHED), style, caching=caching, spelling=Responses(), **more)


@FEW
@given(MOVES, st.integers(0, 7), st.booleans())
def test_every_session_keeps_every_invariant(moves: list[Move], style: int, caching: bool) -> None:
    play = responses(style, caching=caching)
    play.play(moves)
    for change in {s.change for p in play.plans for s in p.new}:
        event(change.value)


@settings(FEW, max_examples=cases(100))
@given(MOVES, st.integers(0, TIMED - 1))
def test_no_reasoning_is_lost_where_it_is_bound_to_what_stands_before_it(moves: list[Move], style: int) -> None:
    """What the provider says that it dropped, it drops for what the client did to its history."""
    harmless = ("", "retry", "outage", "compact", "touch")
    play = responses(style, model=BOUND)
    play.play([replace(move, event=move.event if move.event in harmless else "") for move in moves])
    assert [record.dropped for record in play.provider.log if record.dropped] == []
    for change in {s.change for p in play.plans for s in p.new}:
        event(change.value)


@settings(FEW, max_examples=cases(150))
@given(LONGED, st.integers(0, 7), st.booleans(), st.booleans())
def test_sessions_with_hidden_recalls_keep_every_invariant(
    moves: list[Move], style: int, caching: bool, think: bool
) -> None:
    play = responses(style, caching=caching)
    play.play([*(replace(move, think=think) for move in [*START, COLD]), *moves])
    event(f"{min(play.hidden, 4)} hide")
    event(f"{bool(play.hidden and play.carried)}")


@settings(FEW, max_examples=cases(50))
@given(MOVES, st.integers(0, 7))
def test_the_published_age_rule_loses_nothing_either(moves: list[Move], style: int) -> None:
    responses(style, policy=Policy(name="fifo", fifo_age=1, fifo_bytes=100)).play(moves)


@pytest.mark.parametrize("style", range(8))
def test_a_played_session_folds_evicts_answers_and_serves(style: int) -> None:
    """The properties above would hold of a planner that does nothing; this one shows that it does something."""
    play = responses(style)
    play.play(BACK)
    # What free text would print is not known, so nothing is served in its place.
    served = set() if style in FREE else {Change.SERVE}
    made = {s.change for p in play.plans for s in p.new}
    assert made == {Change.FOLD, Change.EVICT, Change.TOOL, Change.ANSWER} | served
    assert (play.provider.totals().cache_read_input_tokens > 0) is (style != TIMED)
    sealed = [b for m in play.spelling.api.parse(play.body()).messages for b in m.blocks if b.kind is Kind.REASONING]
    assert sealed
    assert all(block.signed and block.stays for block in sealed)


def told_alike(move: Move) -> Move:
    """Without what neither OpenAI API tells the planner: errors and results that are missing; without images, which
    Chat Completions does not know. And without changes of the last
    turn, which is one message in Messages and several here: how many are shared tells lines apart."""
    calls = tuple(call if call.tool == NAME else replace(call, shape="string") for call in move.calls)
    return replace(move, calls=calls, event="" if move.event in ("aside", "edit", "rewind") else move.event)


def same_messages(one: Play, other: Play) -> bool:
    """Whether the last requests have the same messages as far as the planner counts them."""

    def counted(play: Play) -> tuple[int, list[tuple[int, int]]]:
        table = page_table(play.parse(play.body()))
        return table.requests, [(entry.arrival, entry.message) for entry in table.entries]

    return counted(one) == counted(other)


@settings(FEW, max_examples=cases(100))
@given(MOVES.map(lambda moves: [told_alike(move) for move in moves]), st.booleans())
def test_the_same_session_is_decided_alike_in_messages(moves: list[Move], caching: bool) -> None:
    alike(moves, caching=caching, make=responses)


@settings(FEW, max_examples=cases(100))
@given(MOVES.map(lambda moves: [told_alike(move) for move in moves]), st.booleans())
def test_messages_and_their_ages_are_those_of_chat_completions(moves: list[Move], caching: bool) -> None:
    one, other = chat_play(0, caching=caching), responses(0, caching=caching)
    one.play(moves)
    other.play(moves)
    assert same_messages(one, other)


def test_a_session_with_every_decision_is_decided_alike_in_all_three() -> None:
    for caching, occasion in ((True, "cold"), (False, "uncached")):
        found = alike(BACK, caching=caching, make=responses)
        assert occasion in {each[1] for each in found}
        assert {change for each in found for _, change, _ in each[2]} >= {"fold", "evict", "tool"}


def test_free_text_runs_in_tools_of_their_own_kind() -> None:
    play = responses(2)
    play.play(BACK)
    read = play.parse(play.body())
    made = [b for m in read.messages for b in m.blocks if b.kind is Kind.CALL]
    assert {b.name for b in made if b.custom} == {"Bash"}
    assert {e.block.custom for e in page_table(read).entries} == {True, False}


def test_an_answer_in_pieces_is_put_together_again() -> None:
    provider = Provider()
    content = [{"type": "thinking", "thinking": "hm"}, text("I look. " * 20)]
    calls = [{"type": "tool_use", "name": name, "input": {"a": "ä" * 50}} for name in ("Read", "exec")]
    provider.script("s", lambda _: {"content": [*content, *calls]})
    payload, _ = ask(provider, request(user("Hi."), store=False), script="s")
    spelling = Responses()
    assert [block["type"] for block in spelling.said(payload)] == ["thinking", "text", "tool_use", "tool_use"]
    assert spelling.said(spelling.assembled(spelling.streamed(payload))) == spelling.said(payload)


def test_a_session_with_hidden_recalls_is_decided_alike() -> None:
    for calls in ((HIDDEN,), (HIDDEN, RUN)):
        found = alike([step(WHOLE), *WORK, COLD, step(*calls), *WORK, COLD, *WORK], caching=True, make=responses)
        assert found[-1][4] == 1
