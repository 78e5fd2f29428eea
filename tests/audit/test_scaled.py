"""The provider's tokens for ours, and the weight of what was not recorded."""

from __future__ import annotations

from addon.audit.recorded import Head, Line, Request, Session, Turn
from addon.audit.scaled import Scale, scale
from addon.wire.conversation import Message
from addon.wire.usage import Usage


def turn(role: str, tokens: int) -> Turn:
    return Turn(Message(role, 0, 0, [], b""), [tokens])


def session(*prompts: tuple[int, int], fed: int = 1000, head: int = 0) -> Session:
    """Requests with the prompts and outputs reported; each brings `fed` tokens of ours, each answer weighs 100."""
    line = Line()
    for prompt, output in prompts:
        line.turns.append(turn("user", fed))
        usage = Usage(fresh=prompt, output=output)
        line.requests.append(Request(0.0, len(line.turns), Head(b"", head), "m", usage))
        line.turns.append(turn("assistant", 100))
    return Session("s", "c", [line])


def test_growth_tells_the_factor_and_the_first_prompt_the_head() -> None:
    # 1,400 and 1,200 more, of which 200 were the answer: 2,200 of theirs for 2,000 of ours.
    found = scale(session((5000, 200), (6400, 200), (7600, 50)))
    assert found == Scale(1.1, 5000 - 1100)
    assert found(1000) == 1100


def test_instructions_that_were_recorded_are_no_part_of_the_head() -> None:
    assert scale(session((5000, 0), (6000, 0), head=500)) == Scale(1.0, 5000 - 1500)


def test_accidents_tell_nothing() -> None:
    assert scale(session((5000, 0), (9000, 0), (9100, 0))) == Scale(1.0, 4000)
    assert scale(session((5000, 0), (6400, 0), fed=900)) == Scale(1.0, 4100)
    assert scale(session((500, 0))) == Scale(1.0, 0)


def test_without_reports() -> None:
    silent = session((0, 0), (0, 0))
    for request in silent.lines[0].requests:
        request.usage = None
    assert scale(silent) == Scale()
