"""Which request gets which hidden exchange back.

An exchange is a splice like any other, but its anchor cannot be the content of what it changes: it is stored before
its result is sent, when nobody knows yet what the model will say to it. So the anchor names the place, `relay@N:DIGEST:
CALL`: the N-th answer of the model in the client's transcript, the digest of the message before it, and the first call
that was hidden. Whether a message really is the one that the exchange was shown as, its content tells; and where that
content can hardly be another's, a client may have touched up the message before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from addon.mmu.view import Change, Splice, View, nearest, newest
from addon.wire import exchange
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange
from addon.wire.reply import Relaying

PREFIX = "relay@"

_load = lru_cache(maxsize=128)(exchange.load)


def place(conversation: Conversation) -> str:
    """Where the answer to this request will stand, as an anchor says it."""
    answers = sum(message.role == "assistant" for message in conversation.messages)
    return f"{PREFIX}{answers}:{conversation.messages[-1].digest.hex()}"


@dataclass(frozen=True, slots=True)
class Expanded:
    """A client's request with the exchanges that belong to it put back."""

    text: str
    splices: Mapping[str, Splice] = field(default_factory=dict)
    """Those that were, by anchor."""


def expanded(
    way: Relaying | None,
    conversation: Conversation,
    known: Iterable[Mapping[str, Splice]],
    without: Container[str] = (),
) -> Expanded:
    """Put back what belongs to a request, in the way of its API. `known` are the splices of the lines it may continue,
    by anchor; those at anchors in `without` stay out."""
    found = {a: s for a, s in newest(known, Change.RELAY).items() if a not in without}
    if way is None or not found:
        return Expanded(conversation.text)
    answers = [n for n, message in enumerate(conversation.messages) if message.role == "assistant"]
    candidates: dict[int, list[tuple[bool, bool, str, Exchange]]] = defaultdict(list)
    for anchor, splice in found.items():
        number, digest, _ = anchor.removeprefix(PREFIX).split(":", 2)
        made = _load(splice.text or "")
        if int(number) >= len(answers):
            continue
        index = answers[int(number)]
        same = index > 0 and conversation.messages[index - 1].digest.hex() == digest
        if same or (made.finished and way.expand.says_much(made)):
            candidates[index].append((not same, not made.finished, anchor, made))
    ranked = {
        index: [(anchor, made) for _, _, anchor, made in sorted(some, key=lambda c: c[:3])]
        for index, some in candidates.items()
    }
    text, done = way.expand.expand(conversation, ranked)
    return Expanded(text, {anchor: found[anchor] for anchor in done})


def taken_back(conversation: Conversation, done: Iterable[str], known: Iterable[View]) -> set[str]:
    """Anchors of what was put back although the line that the request continues has taken it back. A sister line that
    was refused something speaks for itself alone."""
    _, lines = nearest(conversation, known)
    return {
        anchor
        for anchor in done
        if lines and all((s := v.splices.get(anchor)) is not None and s.change is Change.ORIGINAL for v in lines)
    }


def hidden(splices: Iterable[Splice], conversation: Conversation) -> set[str]:
    """The calls in exchanges that were answered there. Where the API gave a call no id, it is the conversation that has
    one for it; of those that the last answer made, such a call is known by its result, which stands there as it was
    kept."""
    relayed = (splice for splice in splices if splice.change is Change.RELAY)
    results = [made.results for splice in relayed for made in _load(splice.text or "").rounds]
    found = {call for some in results for call in some}
    kept = {raw for some in results for raw in some.values()}
    for message in reversed(conversation.messages) if kept else ():
        if message.role == "assistant":
            break
        raw = conversation.text[message.start : message.end]
        found |= {block.call for block in message.blocks if block.call and raw[block.start : block.end] in kept}
    return found
