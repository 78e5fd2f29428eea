"""Sessions of a client that sets no cache marks, with ours: every request stays valid and means what it meant."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addon.mmu.plan import Plan
from addon.wire import anthropic, rules
from addon.wire.anthropic_marks import count, place, unasked
from addon.wire.conversation import Conversation
from addon.wire.scan import splice
from tests.effort import cases
from tests.mmu.play import BOUND, FREE, Play, meaning
from tests.mmu.sessions import MOVES, Call, Move

FEW = settings(max_examples=cases(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Marked(Play):
    """A session whose every request is marked on its way out."""

    marks = 0

    def send(
        self, move: Move, draft: Plan, asked: Conversation, out: bytes, outage: bool
    ) -> list[dict[str, Any]] | None:
        before = anthropic.parse(out)
        assert unasked(before)
        edits = place(before, draft.line.seen)
        marked = splice(before.text, edits).encode()
        after = anthropic.parse(marked)
        assert rules.broken(before, after, marks=count(edits)) == []
        assert after.digests == before.digests
        assert [b.digest for b in after.instructions] == [b.digest for b in before.instructions]
        assert 0 < after.breakpoints == count(edits) <= 3
        one, two = json.loads(out), json.loads(marked)
        assert [*map(meaning, one.pop("messages"))] == [*map(meaning, two.pop("messages"))]
        assert one.keys() == two.keys()
        self.marks += after.breakpoints
        return super().send(move, draft, asked, marked, outage)


@FEW
@given(MOVES, st.integers(0, 7), st.sampled_from([BOUND, FREE]))
def test_every_session_stays_valid_with_marks(moves: list[Move], style: int, model: str) -> None:
    play = Marked(model, style, caching=False)
    play.play(moves)
    assert play.provider.invalid == 0


def test_what_was_marked_before_is_read() -> None:
    run = Call("Bash", {"command": "pytest -q"}, "string")
    many = tuple(run for _ in range(30))  # more blocks than a mark looks back
    play = Marked(FREE, 0, caching=False)
    play.play([Move(2.0, False, "I look.", calls, "", "") for calls in ((run,), many, (run,), many, (run,))])
    usages = [record.usage for record in play.provider.log]
    written = [usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"] for usage in usages]
    assert [usage["cache_read_input_tokens"] for usage in usages[2:]] == written[1:-1]
    assert all(usage["input_tokens"] == 0 for usage in usages[2:])
