"""Recall by patch: the call reaches the client, which has no such tool and says so; its next request brings that error
as the result of that very call, and there the answer takes its place.

No stream is touched, calls mixed with real ones need no care, and the client itself keeps call and result in its
transcript, so that the answer is replayed like any other splice. It costs one round trip of the client, and it needs a
client that answers an unknown tool instead of giving up.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from addon.mmu.page import NAME
from addon.recall.answer import Ask, answer, read
from addon.wire.conversation import Conversation, Kind


@dataclass(frozen=True, slots=True)
class Answered:
    """What a recall got: the text, how it went (for counting), how many pages it brought back, and which in full."""

    text: str
    result: str
    pages: int
    whole: frozenset[str] = frozenset()


def answered(
    ask: Ask, texts: Mapping[str, str | None], standing: Mapping[str, str] = MappingProxyType({}), noted: str = ""
) -> Answered:
    """Answer a call from the pages' texts; `standing` and `noted` as for `answer`."""
    resident = sum(page in standing for page in ask.pages) if ask.whole else 0
    pages = sum(texts.get(page) is not None and not (ask.whole and page in standing) for page in ask.pages)
    if ask.problem:
        result = "not understood"
    elif not ask.pages:
        result = "noted"
    elif pages + resident < len(ask.pages):
        result = "unknown page"
    else:
        result = "served" if pages else "resident"
    text = answer(ask, texts, standing, noted)
    given = {page: texts.get(page) for page in ask.pages if ask.whole and page not in standing}
    whole = frozenset(page for page, own in given.items() if own is not None and own in text)
    return Answered(text, result, pages, whole)


def unavailable(ask: Ask) -> Answered:
    """The answer while the store cannot be read."""
    del ask
    return Answered("It cannot be read just now. Run the original call again to see its result.", "store unreadable", 0)


def asks(conversation: Conversation, answered: Container[str] = ()) -> Mapping[str, Ask]:
    """The recalls that this request brings the client's refusals of, by call id; without those `answered` already."""
    if any(tool.name == NAME for tool in conversation.tools):
        return {}  # the client has a tool of that name itself
    for message in reversed(conversation.messages):
        if message.role == "assistant":
            calls = [b for b in message.blocks if b.kind is Kind.CALL and b.name == NAME and b.call not in answered]
            return {b.call: read(b.arguments) for b in calls}
    return {}
