"""Whether the model is offered the recall tool, and which way a page then gets back.

*relay* answers the call where it arises, in the response, and the client never sees it. It works with any client, and
needs a mitmproxy whose responses can be carried on. *patch* lets the call reach the client and puts the page where the
client says that it has no such tool; it needs a client that says so and goes on.
"""

from __future__ import annotations

from addon.mmu.page import NAME
from addon.mmu.plan import Offer
from addon.options import Recall
from addon.recall.answer import DESCRIPTION, SCHEMA
from addon.wire.api import Api
from addon.wire.apis import clearing
from addon.wire.conversation import Conversation

PATIENT_CLIENTS = frozenset({"claude-code", "cline", "codex", "gemini-cli", "opencode", "pi", "qwen-code"})
"""Clients seen to answer an unknown tool with an error under the same call id, and to go on. Of the others,
mini-swe-agent gives up after three such calls, and gptme ends its session."""

FORGETFUL_CLIENTS = frozenset({"opencode"})
"""Those of them that make another call of it in their transcript: what was asked for is then only known from here."""


def chosen(wanted: Recall, client: str, *, can_relay: bool, restores: bool) -> Recall:
    """The way for one client: RELAY, PATCH or OFF. `can_relay` says whether responses can be carried on, `restores`
    whether calls can be put back into a transcript as the model made them."""
    if wanted in (Recall.AUTO, Recall.RELAY) and can_relay:
        return Recall.RELAY
    patient = client in PATIENT_CLIENTS and (restores or client not in FORGETFUL_CLIENTS)
    if wanted is Recall.PATCH or (wanted is Recall.AUTO and patient):
        return Recall.PATCH
    return Recall.OFF


BY_NAME = "ID, or several separated by spaces; or the file or command of a cleared result"
"""What `page` may be where a provider puts a placeholder of its own for a result, which names no page."""


def offer(api: Api) -> Offer:
    """The tool as an API spells it."""
    named = {"page": {"type": "string", "description": BY_NAME}} if clearing(api) is not None else {}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], **named}}
    return Offer(NAME, api.tool(NAME, DESCRIPTION, schema))


def offered(api: Api, conversation: Conversation, way: Recall) -> Offer | None:
    """The tool, if this request may carry it: the model is free to call, and its answer can be followed as it comes."""
    choice = conversation.options.get("tool_choice")
    free = choice is None or (isinstance(choice, dict) and choice.get("type") == "auto")
    return offer(api) if way is not Recall.OFF and free and not conversation.options.get("unframed") else None
