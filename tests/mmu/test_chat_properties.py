"""The same sessions in the words of Chat Completions, and that the planner decides alike in either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from addon.mmu.evict import Policy
from addon.mmu.head import head_tokens
from addon.mmu.page import NAME
from addon.mmu.plan import Plan
from addon.mmu.view import Change
from addon.recall.offer import offer
from tests.effort import cases
from tests.mmu.play import FREE, Play
from tests.mmu.sessions import COMMANDS, LONGED, MOVES, PATHS, Call, Move
from tests.mmu.spellings import Chat

CACHED, UNCACHED = "gpt-4o", "llama-4"
FEW = settings(max_examples=cases(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def chat(style: int, *, caching: bool = True, **more: Any) -> Play:
    return Play(CACHED if caching else UNCACHED, style, caching=caching, spelling=Chat(), **more)


@FEW
@given(MOVES, st.integers(0, 7), st.booleans())
def test_every_session_keeps_every_invariant(moves: list[Move], style: int, caching: bool) -> None:
    play = chat(style, caching=caching)
    play.play(moves)
    for change in {s.change for p in play.plans for s in p.new}:
        event(change.value)


@settings(FEW, max_examples=cases(150))
@given(LONGED, st.integers(0, 7), st.booleans(), st.booleans())
def test_sessions_with_hidden_recalls_keep_every_invariant(
    moves: list[Move], style: int, caching: bool, think: bool
) -> None:
    play = chat(style, caching=caching)
    play.play([*(replace(move, think=think) for move in [*START, COLD]), *moves])
    event(f"{min(play.hidden, 4)} hide")
    event(f"{bool(play.hidden and play.carried)}")


@settings(FEW, max_examples=cases(50))
@given(MOVES, st.integers(0, 7))
def test_the_published_age_rule_loses_nothing_either(moves: list[Move], style: int) -> None:
    chat(style, policy=Policy(name="fifo", fifo_age=1, fifo_bytes=100)).play(moves)


READ = Call("Read", {"file_path": PATHS[0], "limit": 60}, "string")
RUN = Call("Bash", {"command": COMMANDS[0]}, "string")
PREVIEW = Call("Bash", {"command": "cat src/app.py"}, "string")
ASK = Call(NAME, {"nth": 0}, "error")
WHOLE = Call("Read", {"file_path": PATHS[0]}, "string")
COLD = Move(400.0, True, "Done.", (), "go on", "")


START = [Move(2.0, True, "I look.", (call,), "", "") for call in (READ, READ, RUN, RUN, RUN)]


def step(*calls: Call) -> Move:
    return Move(2.0, True, "I look.", calls, "", "")


WORK = [step(READ), step(READ), step(RUN), step(RUN), step(RUN)]
HIDDEN = Call(NAME, {"nth": 0}, "relay")
BACK = [step(WHOLE), *WORK, COLD, step(ASK), step(PREVIEW), *WORK, COLD, *WORK]


def test_a_played_session_folds_evicts_answers_and_serves() -> None:
    """The properties above would hold of a planner that does nothing; this one shows that it does something."""
    play = chat(0)
    play.play(BACK)
    assert {s.change for p in play.plans for s in p.new} == {
        Change.FOLD, Change.EVICT, Change.TOOL, Change.ANSWER, Change.SERVE,
    }  # fmt: skip
    assert play.provider.totals().cache_read_input_tokens > 0


def decisions(made: Plan) -> tuple[Any, ...]:
    """What was decided, with the results named by their order, as call ids differ. Where a hidden recall stands among
    the results of calls that were made together is each API's own affair."""
    rank = {entry.anchor: n for n, entry in enumerate(e for e in made.table.entries if not e.recalled)}
    spelled = (Change.TOOL, Change.RELAY)  # by each API in its own words
    new = sorted((rank.get(s.anchor, -1), s.change.value, "" if s.change in spelled else s.text) for s in made.new)
    standing = sorted((rank.get(a, -1), s.change.value) for a, s in made.splices.items())
    hidden = sum(s.change is Change.RELAY for s in made.view.splices.values())
    return made.line.how, made.epoch and made.epoch.occasion, new, standing, hidden


def told_alike(move: Move) -> Move:
    """Without what Chat Completions does not tell the planner: errors, images, results that are missing. And without
    changes of the last turn, which is one message there and several here: how many are shared tells lines apart."""
    calls = tuple(call if call.tool == NAME else replace(call, shape="string") for call in move.calls)
    return replace(move, calls=calls, event="" if move.event in ("aside", "edit", "rewind") else move.event)


@settings(FEW, max_examples=cases(100))
@given(MOVES.map(lambda moves: [told_alike(move) for move in moves]), st.booleans())
def test_the_same_session_is_decided_alike_in_either_api(moves: list[Move], caching: bool) -> None:
    alike(moves, caching=caching)


def head(play: Play) -> int:
    """Characters of what an added tool must outweigh."""
    api = play.spelling.api
    return head_tokens(play.parse(play.body()), lambda text, _: len(text)) + len(offer(api).definition)


def alike(moves: list[Move], *, caching: bool, make: Callable[..., Play] = chat) -> list[tuple[Any, ...]]:
    one, other = Play(FREE, 0, caching=caching), make(0, caching=caching)
    # Definitions differ in length between APIs, and decide when the tool is worth adding.
    short, long = sorted((one, other), key=head)
    short.spelling.instructions += "." * (head(long) - head(short))
    assert head(one) == head(other)
    one.play(moves)
    other.play(moves)
    found = [decisions(made) for made in one.plans]
    assert found == [decisions(made) for made in other.plans]
    return found


def test_a_session_with_every_decision_is_decided_alike() -> None:
    for caching, occasion in ((True, "cold"), (False, "uncached")):
        found = alike(BACK, caching=caching)
        assert occasion in {each[1] for each in found}
        assert {change for each in found for _, change, _ in each[2]} >= {"fold", "evict", "tool"}


def test_a_session_with_hidden_recalls_is_decided_alike() -> None:
    for calls in ((HIDDEN,), (HIDDEN, RUN)):
        found = alike([step(WHOLE), *WORK, COLD, step(*calls), *WORK, COLD, *WORK], caching=True)
        assert found[-1][4] == 1
