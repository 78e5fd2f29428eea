"""The invariants, over generated sessions: nothing lost, nothing sent earlier changes, never an invalid request.

Each session is played against the strict provider, in process, by the same functions that the proxy calls.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from addon.mmu.evict import Policy
from addon.mmu.view import Change, Splice, View
from tests.effort import cases
from tests.mmu.play import BOUND, FREE, Play, through_the_store
from tests.mmu.sessions import COMMANDS, LONGED, MOVES, PATHS, Call, Move

FEW = settings(max_examples=cases(500), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(MOVES, st.integers(0, 7), st.sampled_from([BOUND, FREE]), st.booleans())
def test_every_session_keeps_every_invariant(moves: list[Move], style: int, model: str, caching: bool) -> None:
    play = Play(model, style, caching=caching)
    play.play(moves)
    for change in {s.change for p in play.plans for s in p.new}:
        event(change.value)
    if play.hidden:
        event("hides")


@settings(FEW, max_examples=cases(100))
@given(MOVES, st.integers(0, 7))
def test_the_published_age_rule_loses_nothing_either(moves: list[Move], style: int) -> None:
    Play(FREE, style, policy=Policy(name="fifo", fifo_age=1, fifo_bytes=100)).play(moves)


READ = Call("Read", {"file_path": PATHS[0], "limit": 60}, "string")
RUN = Call("Bash", {"command": COMMANDS[0]}, "string")
START = [Move(2.0, True, "I look.", calls, "", "") for calls in ((READ,), (READ,), (RUN,), (RUN,), (RUN,))]
COLD = Move(400.0, True, "Done.", (), "go on", "")


@settings(FEW, max_examples=cases(300))
@given(LONGED, st.integers(0, 7), st.sampled_from([BOUND, FREE]), st.booleans(), st.booleans())
def test_sessions_with_hidden_recalls_keep_every_invariant(
    moves: list[Move], style: int, model: str, caching: bool, think: bool
) -> None:
    play = Play(model, style, caching=caching)
    play.play([*(replace(move, think=think) for move in [*START, COLD]), *moves])
    event(f"{min(play.hidden, 4)} hide")
    event(f"{play.hidden and play.carried and model}")


def test_a_played_session_folds_evicts_and_drops() -> None:
    """The properties above would hold of a planner that does nothing; this one shows that it does something."""
    usual = {Change.FOLD, Change.EVICT, Change.TOOL}
    for model, expected in ((FREE, usual), (BOUND, usual | {Change.DROP})):
        play = Play(model, 0)
        play.play([*START, COLD, *START])
        assert {s.change for p in play.plans for s in p.new} == expected
        if model == BOUND:  # a build that outlasts the cache: nothing may be evicted, so the provider clears
            others = [Call("Bash", {"command": command}, "string") for command in COMMANDS[1:3]]
            work = [Move(2.0, True, "On.", (call,), "", "") for call in (*others * 5, RUN)]
            play.play([*work, replace(work[-1], idle=400.0), *work])
            assert {s.change for p in play.plans for s in p.new} == expected | {Change.CLEAR}


def test_a_splice_survives_the_store_unchanged() -> None:
    splice = Splice("a#0.0:p", 2, Change.FOLD, "p", "t", "ascii", ("b#0.0:q",), 7)
    assert through_the_store(View("v", 1, splices={"a#0.0:p": splice})).splices == {"a#0.0:p": splice}
