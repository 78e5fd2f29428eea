"""From our tokens to the provider's: a factor, and the weight of what a recording does not hold.

Tokenizers differ, and transcripts hold neither system prompt nor tools. The provider's own counts tell both. Between
two requests of a line, of which the second only adds to the first, the prompt has grown by the answer and by what the
client has added; the answer is what was billed as output, so what is left is the provider's count of texts that are
ours to count, too. That ratio is the factor. The first prompt, less all that we can count of it, is the *head*.

Where too little was reported, the factor is 1 and the head nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from addon.audit.recorded import Session

LEAST = 100
"""Tokens below which a comparison is mostly about what stands around them."""
ENOUGH = 1000
"""Tokens that must have been compared."""
BOUNDS = (0.5, 3.0)
"""A ratio outside of these is an accident (an image, a history that was edited)."""


@dataclass(frozen=True, slots=True)
class Scale:
    factor: float = 1.0
    """The provider's tokens over ours."""
    head: int = 0
    """The provider's tokens that stand before everything that was recorded."""

    def __call__(self, tokens: int) -> int:
        """The provider's tokens for so many of ours."""
        return round(tokens * self.factor)


def scale(session: Session) -> Scale:
    """What the reports of a session tell."""
    theirs = ours = 0
    for line in session.lines:
        for before, after in pairwise(line.requests):
            if before.usage is None or after.usage is None or before.head != after.head:
                continue
            added = line.turns[before.turns : after.turns]
            fed = sum(turn.weight for turn in added if turn.message.role != "assistant")
            grown = after.usage.prompt - before.usage.prompt - before.usage.output
            if fed >= LEAST and BOUNDS[0] <= grown / fed <= BOUNDS[1]:
                theirs, ours = theirs + grown, ours + fed
    factor = theirs / ours if ours >= ENOUGH else 1.0
    for line, request in session.in_order():
        if request.usage is not None and request.usage.prompt:
            upto = list(accumulate((turn.weight for turn in line.turns), initial=0))
            known = request.head.weight + upto[request.turns]
            return Scale(factor, max(0, request.usage.prompt - round(known * factor)))
    return Scale(factor)
