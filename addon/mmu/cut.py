"""The batch cut: what may leave a warm cache, because it pays.

Everything behind the first change of a prefix is written again, at w - r more a token than reading it costs (w, r: the
prices of a written and of a read token). So for every place where the prefix might be cut, from the tail up:

    gain(k) = r x R x (tokens that leave behind k) - (w - r) x (tokens sent before that stay behind k)
              - expected cost of the faults

R is how many requests are still to come. A fault costs one more inference pass, the page written again, a short call,
and half of the rent that was to be saved: r x prompt + w x page + output + r x page x R / 2, times the chance that the
page is needed again. Sums from the tail give all of this in one pass; the best k is taken if its gain clears a margin,
and if the conversation has saved before what the cut costs now, should no request follow (`addon.mmu.outlook`).

The provider finds the prefix before the cut again only if an entry of its cache ends within LOOKBACK blocks before a
mark of the request. The end of every earlier request since the prefix last changed is such an entry, and the end of
this one such a mark. A cut farther up is priced as what it is then: all behind the instructions is written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from addon.mmu.evict import Epoch, Occasion, Policy, Size, victims
from addon.mmu.handle import handle_tokens
from addon.mmu.outlook import Outlook, credit, scale, written
from addon.mmu.reuse import at_age, sort
from addon.mmu.view import Entry, Splice, Table, View, shown
from addon.mmu.workingset import uses
from addon.wire.conversation import Conversation, Kind

LOOKBACK = 20
"""Blocks. Anthropic, "Prompt caching"."""

SINCE = "since"
"""What a line's state calls the number of messages that it had when its prefix last changed."""

CALL = 150
"""Tokens of an answer that is a recall and nothing else."""

MARGIN = 1.2
"""By how much what is earned must exceed what it costs."""


MOST_REMAINING = 40.0
"""Requests within which a cut has to pay: it is a bet on the conversation's going on, so it is kept short."""


def cut(
    conversation: Conversation,
    table: Table,
    splices: Mapping[str, Splice],
    view: View,
    seen: int,
    floor: int,
    policy: Policy,
    size: Size,
    now: Outlook,
) -> Epoch | None:
    """The cut that pays best, as an occasion to evict from its place on; None where none does.

    `view` is the line before this request, `seen` how many first messages had been sent before, `floor` the last that
    must stay as it is.
    """
    ours, since, saved = scale(view), view.state.get(SINCE, 0), credit(view)
    if now.rates is None or not seen or saved <= 0:  # no cut costs nothing
        return None
    used = uses(table)
    dead = [e for e in victims(table, used, splices, 0, policy, size, floor) if e.message < seen]
    if not dead:
        return None
    weights = [_weight(conversation, n, size) for n in range(len(conversation.messages))]
    for entry in table.entries:
        if entry.anchor in splices:
            weights[entry.message] += size(shown(entry, splices), None) - size(entry.block.text, entry.block.digest)
    head = sum(size(conversation.text[t.start : t.end], None) for t in conversation.tools)
    head += sum(size(b.text, b.digest) for b in conversation.instructions)
    prompt = round((head + sum(weights)) * ours)
    rate = now.rates.at(prompt)
    write = written(rate, conversation, view.state)
    remaining = min(now.habits.remaining(table.requests + 1), MOST_REMAINING)
    idle = dict(zip((e.anchor for e in table.entries), used.accesses, strict=True))
    chances = cache(now.habits.chances)
    by_message: dict[int, list[Entry]] = {}
    for entry in dead:
        by_message.setdefault(entry.message, []).append(entry)

    best: tuple[float, int] | None = None
    stays, leaves, faults, blocks = 0.0, 0.0, 0.0, 0
    for number in range(len(conversation.messages) - 1, -1, -1):
        blocks += len(conversation.messages[number].blocks)
        if number < seen:
            stays += weights[number] * ours
        for entry in by_message.get(number, ()):
            page = size(shown(entry, splices), None) * ours
            left = handle_tokens(entry.block.text) * ours
            leaves += page - left
            stays -= page - left
            again = rate.read * (prompt + page * remaining / 2) + write * page + CALL * rate.output
            faults += at_age(chances(sort(entry.subject)), table.requests - idle[entry.anchor]) * again
        if number not in by_message:
            continue
        # The entry ends where the request before the one that brought this message did: behind it came an answer.
        far = number < since or blocks + len(conversation.messages[number - 1].blocks) >= LOOKBACK
        behind = prompt - head * ours - leaves if far else stays
        cost = (write - rate.read) * behind
        gain = rate.read * remaining * leaves - faults
        if cost <= saved and gain > MARGIN * cost and (best is None or gain - cost > best[0]):
            best = gain - cost, number
    return Epoch(Occasion.CUT, best[1]) if best is not None else None


def _weight(conversation: Conversation, number: int, size: Size) -> int:
    message = conversation.messages[number]
    out = 0
    for block in message.blocks:
        if block.kind in (Kind.TEXT, Kind.RESULT):
            out += size(block.text, block.digest)
        elif block.kind is not Kind.REASONING:
            out += size(conversation.text[message.start + block.start : message.start + block.end], None)
    return out
