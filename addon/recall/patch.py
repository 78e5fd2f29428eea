"""Recall by patch: the call reaches the client, which has no such tool and says so; its next request brings that error
as the result of that very call, and there the answer takes its place.

No stream is touched, calls mixed with real ones need no care, and the client itself keeps call and result in its
transcript, so that the answer is replayed like any other splice. It costs one round trip of the client, and it needs a
client that answers an unknown tool instead of giving up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from addon.mmu.plan import Offer
from addon.recall.answer import DEFINITION, NAME, Ask, answer, read
from addon.wire.conversation import Conversation, Kind

OFFER = Offer(NAME, DEFINITION)

PATIENT_CLIENTS = frozenset({"claude-cli"})
"""Clients seen to answer an unknown tool with an error under the same call id, and to go on."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a recall got: the text, how it went (for counting), and how many pages it brought back."""

    text: str
    result: str
    pages: int


def answered(ask: Ask, texts: Mapping[str, str | None]) -> Answered:
    """Answer a call from the pages' texts."""
    pages = sum(texts.get(page) is not None for page in ask.pages)
    result = "not understood" if ask.problem else "served" if pages == len(ask.pages) else "unknown page"
    return Answered(answer(ask, texts), result, pages)


def unavailable(ask: Ask) -> Answered:
    """The answer while the store cannot be read."""
    del ask
    return Answered("It cannot be read just now. Run the original call again to see its result.", "store unreadable", 0)


def offered(conversation: Conversation, client: str, *, always: bool) -> Offer | None:
    """The tool, if this request may carry it. `always` offers it to clients that are not known to be patient."""
    choice = conversation.options.get("tool_choice")
    free = choice is None or (isinstance(choice, dict) and choice.get("type") == "auto")
    return OFFER if (always or client in PATIENT_CLIENTS) and free else None


def asks(conversation: Conversation) -> Mapping[str, Ask]:
    """The recalls that this request brings the client's refusals of, by call id."""
    if any(tool.name == NAME for tool in conversation.tools):
        return {}  # the client has a tool of that name itself
    for message in reversed(conversation.messages):
        if message.role == "assistant":
            return {b.call: read(b.arguments) for b in message.blocks if b.kind is Kind.CALL and b.name == NAME}
    return {}
