"""What a request weighs, with and without its splices, in tokens. Counted after the fact, off the request's path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from addon.mmu.tokens import Counter
from addon.mmu.view import Change, Splice, Table, shown
from addon.wire.conversation import Conversation, Kind

OPAQUE = 4000
"""Characters above which a block of an unknown kind counts as an image or document, whose weight is not its text."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Tokens before calibration."""

    sent: int
    """Of the whole request as it was sent."""
    saved: int
    """By which the client's own request was heavier."""
    exact: bool
    """Whether every block could be counted; only then may the figures calibrate the counter."""


def weigh(
    client: Conversation,
    table: Table,
    splices: Mapping[str, Splice],
    counter: Counter,
    added: Sequence[str] = (),
) -> Weight:
    """Weigh a request that went out with these splices. Texts already counted cost a look-up. `added` are texts that
    stand in it and that the client never had."""
    total = 0
    exact = True
    text = client.text
    for tool in client.tools:
        total += counter.count(text[tool.start : tool.end])
    for block in client.instructions:
        total += counter.count(block.text, block.digest)
    for message in client.messages:
        for block in message.blocks:
            if block.kind in (Kind.TEXT, Kind.RESULT):
                total += counter.count(block.text, block.digest)
                continue
            raw = text[message.start + block.start : message.start + block.end]
            if block.kind is Kind.OTHER and len(raw) > OPAQUE:
                exact = False
            elif block.kind is not Kind.REASONING:
                total += counter.count(raw, block.digest)
    saved = 0
    for entry in table.entries:
        found = splices.get(entry.anchor)
        if found is not None and found.text is not None:
            saved += counter.count(entry.block.text, entry.block.digest) - counter.count(shown(entry, splices))
    saved -= sum(counter.count(s.text) for s in splices.values() if s.change is Change.TOOL and s.text is not None)
    saved -= sum(counter.count(text) for text in added)
    return Weight(total - saved, saved, exact)
