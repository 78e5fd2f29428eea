"""Spans of a conversation for which a summary of the model's own stands.

The anchor of such a splice is `span@START-END:DIGEST:SUMMARY`: the messages it stands for, the digest of what they say,
so that it rests when the client changes or rewinds any of them, and that of the summary. The span's text is a page.
What is left of the conversation is planned as if the client had sent it so; a later span is counted in it, and is put
in after it.

A fork holds the same messages, but was sent them in full, and its reasoning may be bound to them. So a summary stands
only for the line that it was put into, and for what descends from that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from addon.mmu.handle import PREFIX
from addon.mmu.page import Page, page_id
from addon.mmu.view import Change, Splice, View, nearest, newest
from addon.mmu.wishes import Span
from addon.wire.api import Api
from addon.wire.conversation import Conversation, Kind, text_digest
from addon.wire.scan import splice as spliced

_ANCHOR = re.compile(r"span@(\d+)-(\d+):([0-9a-f]+):[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Collapsed:
    """A span taken out of a conversation: the splice, the page, and the text that is left."""

    splice: Splice
    page: Page
    text: str


def _digest(conversation: Conversation, start: int, end: int) -> str:
    return blake2b(conversation.digests[8 * start : 8 * end], digest_size=12).hexdigest()


def collapse(api: Api, conversation: Conversation, span: Span) -> Collapsed:
    """Let the summary stand for the span."""
    told = _told(conversation, span.start, span.end)
    id = page_id(text_digest(told))
    head = (
        f"{PREFIX}{id}: {span.end - span.start} messages, {len(told.encode()):,} bytes. Not shown here; the full text "
        "is kept. What follows is your own summary of it.]"
    )
    text = f"{head}\n{span.summary}"
    says = text_digest(text).hex()[:8]
    anchor = f"span@{span.start}-{span.end}:{_digest(conversation, span.start, span.end)}:{says}"
    splice = Splice(anchor, 0, Change.COLLAPSE, id, text)
    page = Page(id, told, "span", f"{span.end - span.start} messages")
    return Collapsed(splice, page, _left(api, conversation, span.start, span.end, text))


def _left(api: Api, conversation: Conversation, start: int, end: int, text: str) -> str:
    """The request's text with a message of the model's, of this text, in place of messages `start` to `end` - 1.

    The model's, because what it made of tool results must not come back as the user's word, and because a system
    message may stand before the span, which only an answer may follow.
    """
    first, behind = conversation.messages[start], conversation.messages[end]
    return spliced(conversation.text, [(first.start, behind.start, f"{api.answer(text)},")])


def _told(conversation: Conversation, start: int, end: int) -> str:
    """What messages `start` to `end` - 1 say, every text in full, for a reader: calls by tool and arguments, results
    behind them."""
    out: list[str] = []
    for message in conversation.messages[start:end]:
        out.append(f"## {message.role}")
        for block in message.blocks:
            if block.kind is Kind.CALL:
                arguments = json.dumps(block.arguments, ensure_ascii=False)
                out.append(f"[calls {block.name} {arguments}]")
            elif block.kind is Kind.RESULT:
                out.append(f"[result{' (error)' if block.error else ''}]\n{block.text}")
            elif block.kind is Kind.TEXT:
                out.append(block.text)
    return "\n".join(out)


def put_in(
    api: Api, conversation: Conversation, known: Sequence[View], parse: Callable[[str], Conversation]
) -> tuple[Conversation, dict[str, Splice]]:
    """The conversation as the provider has seen most of it, and the summaries that stand in it then, by anchor. `known`
    are the lines it may continue."""
    summaries = newest((view.splices for view in known), Change.COLLAPSE)
    best: tuple[Conversation, dict[str, Splice]] = conversation, {}
    if not summaries:
        return best
    fewest = _unseen(conversation, (), known)
    waiting = [best]
    while waiting:
        here, done = waiting.pop()
        for anchor, splice in summaries.items():
            if anchor in done or not _stands(here, anchor):
                continue
            start, end = _ends(anchor)
            made = parse(_left(api, here, start, end, splice.text or "")), {**done, anchor: splice}
            waiting.append(made)
            unseen = _unseen(made[0], made[1], known)
            if unseen is not None and (fewest is None or unseen <= fewest):
                best, fewest = made, unseen
    return best


def _unseen(conversation: Conversation, done: Iterable[str], known: Sequence[View]) -> int | None:
    """How many messages are new to the line that is continued; None where that does not have these summaries."""
    shared, lines = nearest(conversation, known)
    for view in lines:
        if all((s := view.splices.get(anchor)) is not None and s.change is Change.COLLAPSE for anchor in done):
            return len(conversation.messages) - shared
    return None


def _ends(anchor: str) -> tuple[int, int]:
    found = _ANCHOR.fullmatch(anchor)
    assert found is not None
    return int(found[1]), int(found[2])


def _stands(conversation: Conversation, anchor: str) -> bool:
    start, end = _ends(anchor)
    return end < len(conversation.messages) and f":{_digest(conversation, start, end)}:" in anchor
