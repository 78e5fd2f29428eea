"""Spans of a conversation for which a summary of the model's own stands.

The anchor of such a splice is `span@START-END:DIGEST`: the messages it stands for and the digest of what they say, so
that it rests when the client changes or rewinds any of them. The span's text is a page. What is left of the
conversation is planned as if the client had sent it so; a later span is counted in it, and is put in after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from addon.mmu.handle import PREFIX
from addon.mmu.page import Page, page_id
from addon.mmu.view import Change, Splice, newest
from addon.mmu.wishes import Span
from addon.wire import anthropic_expand
from addon.wire.conversation import Conversation, text_digest

_ANCHOR = re.compile(r"span@(\d+)-(\d+):([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Collapsed:
    """A span taken out of a conversation: the splice, the page, and the text that is left."""

    splice: Splice
    page: Page
    text: str


def _digest(conversation: Conversation, start: int, end: int) -> str:
    return blake2b(conversation.digests[8 * start : 8 * end], digest_size=12).hexdigest()


def collapse(conversation: Conversation, span: Span) -> Collapsed:
    """Let the summary stand for the span."""
    told = anthropic_expand.told(conversation, span.start, span.end)
    id = page_id(text_digest(told))
    head = (
        f"{PREFIX}{id}: {span.end - span.start} messages, {len(told.encode()):,} bytes. Not shown here; the full text "
        "is kept. What follows is your own summary of it.]"
    )
    anchor = f"span@{span.start}-{span.end}:{_digest(conversation, span.start, span.end)}"
    text = f"{head}\n{span.summary}"
    splice = Splice(anchor, 0, Change.COLLAPSE, id, text)
    page = Page(id, told, "span", f"{span.end - span.start} messages")
    return Collapsed(splice, page, anthropic_expand.collapsed(conversation, span.start, span.end, text))


def put_in(
    conversation: Conversation,
    known: Iterable[Mapping[str, Splice]],
    parse: Callable[[str], Conversation],
) -> tuple[Conversation, dict[str, Splice]]:
    """The conversation with every summary that stands for a span of it, and those, by anchor. `known` are the splices
    of the lines it may continue."""
    left = {a: s for a, s in newest(known, "span@").items() if s.change is Change.COLLAPSE}
    done: dict[str, Splice] = {}
    while (standing := next((a for a in left if _stands(conversation, a)), None)) is not None:
        done[standing] = splice = left.pop(standing)
        start, end = _ends(standing)
        conversation = parse(anthropic_expand.collapsed(conversation, start, end, splice.text or ""))
    return conversation, done


def _ends(anchor: str) -> tuple[int, int]:
    found = _ANCHOR.fullmatch(anchor)
    assert found is not None
    return int(found[1]), int(found[2])


def _stands(conversation: Conversation, anchor: str) -> bool:
    start, end = _ends(anchor)
    return end < len(conversation.messages) and anchor.endswith(f":{_digest(conversation, start, end)}")
