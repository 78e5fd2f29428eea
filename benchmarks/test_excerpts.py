from __future__ import annotations

from pathlib import Path

import pytest

from addon.mmu.excerpt import Layout, Shows
from benchmarks.excerpts import SONNET, Tally, main, oversized
from benchmarks.quotes import CALL_TOKENS
from benchmarks.rebuild import rebuild
from benchmarks.traces import Block, Event, Trace, Usage

LINES = [f"def function_{n}(argument): return {n}" for n in range(400)]
TEXT = "\n".join(f"{n}\t{line}" for n, line in enumerate(LINES, 1))
LEAST = {Shows.FILE: 1000, Shows.OUTPUT: 1000}


def session(*replies: Block, text: str = TEXT) -> Trace:
    """A file is read, then come the replies, a minute apart; 1,000 tokens of context each."""
    read = {"type": "tool_use", "id": "r", "name": "Read", "input": {"file_path": "a.py"}}
    result = {"type": "tool_result", "tool_use_id": "r", "text": text}
    usage = Usage(0, 1000, 0, 0, 10)
    events = [Event("user", 0, ({"type": "text", "text": "go"},), None, False, ())]
    events += [Event("assistant", 1, (read,), usage, False, ()), Event("user", 2, (result,), None, False, ())]
    for n, reply in enumerate(replies):
        events.append(Event("assistant", 60 * n + 60, (reply,), usage, False, ()))
        events.append(Event("user", 60 * n + 61, ({"type": "text", "text": "on"},), None, False, ()))
    return Trace("t", "claude-code", "claude-sonnet-4-5", False, tuple(events))


def edit(old: str) -> Block:
    return {
        "type": "tool_use",
        "id": f"e{hash(old)}",
        "name": "Edit",
        "input": {"file_path": "a.py", "old_string": old},
    }


SAY: Block = {"type": "text", "text": "done"}
HEAD = Layout(1, 0, 0, 0)


def test_a_quoted_line_is_a_reference_once() -> None:
    (seen,) = oversized(rebuild(session(edit(LINES[300]), edit(LINES[300]), SAY)), LEAST)
    assert [(turn, is_edit) for turn, is_edit, _ in seen.lines] == [(1, True)]
    assert [word for _, word in seen.words] == ["function_300"]


def test_what_is_left_out_saves_and_what_is_asked_for_costs_a_pass() -> None:
    asked, unasked = Tally(), Tally()
    (seen,) = oversized(rebuild(session(edit(LINES[300]), SAY, SAY)), LEAST)
    asked.add(seen, 500, HEAD)
    (other,) = oversized(rebuild(session(edit(LINES[0]), SAY, SAY)), LEAST)
    unasked.add(other, 500, HEAD)
    left_out = seen.tokens - asked.shown
    assert (asked.edits, unasked.edits) == ([1, 0], [1, 1])
    assert asked.saved == pytest.approx(left_out * (SONNET.write + 2 * SONNET.read))
    call = 1000 * SONNET.read + CALL_TOKENS * SONNET.output
    assert asked.paid == pytest.approx(call + left_out * (SONNET.write + 2 * SONNET.read))
    assert unasked.paid == 0


def test_nothing_small_is_looked_at() -> None:
    assert oversized(rebuild(session(SAY, text="short")), LEAST) == []


def test_without_traces_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--traces", str(tmp_path)]) == 0
    assert "skipped: no recorded sessions" in capsys.readouterr().err
