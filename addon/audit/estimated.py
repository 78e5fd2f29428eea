"""What a recorded request cost, where the provider's report was not recorded: an estimate, from a simulated cache.

It takes the prompt as far as it was recorded, and a client that asks for caching as coding agents do: behind system and
tools and behind the last message, for five minutes, where the API leaves that to the client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from addon.audit import codex
from addon.audit.recorded import Request, Session
from addon.audit.scaled import Scale
from addon.audit.simulated import SHORT, UNASKED, Cache, Unit
from addon.mmu.price import Rates
from addon.wire import anthropic
from addon.wire.usage import Usage


def estimates(session: Session, scale: Scale, price: Callable[[Request], Rates]) -> dict[int, Usage]:
    """By the identity of each request without a report, what it would have said."""
    out: dict[int, Usage] = {}
    cache, now = Cache(), 0.0
    for line, request in session.in_order():
        now = max(now, request.at or 0.0)
        units = [Unit(request.head.digest, scale.head + scale(request.head.weight))]
        # Lines share the turns that they have in common.
        units += [Unit(id(turn), scale(turn.weight), len(turn.message.blocks)) for turn in line.turns[: request.turns]]
        asks = request.sent.api is anthropic if request.sent is not None else session.client != codex.CLIENT
        ends = (0, len(units) - 1) if asks else range(len(units))
        marks = dict.fromkeys(ends, SHORT if asks else UNASKED)
        split = cache.serve(request.model, units, marks, now, price(request).minimum)
        if request.usage is None:
            answer = line.turns[request.turns : request.turns + 1]
            output = sum(scale(turn.weight) for turn in answer if turn.message.role == "assistant")
            out[id(request)] = replace(split, output=output)
    return out
