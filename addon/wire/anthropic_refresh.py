"""The last request once more, for no answer: what keeps its cache warm.

Tools, instructions, messages and marks, and whatever else the cache hangs on (model, thinking, effort), stay as they
were. `max_tokens` is 0, which asks for the cache alone; where that is not allowed (with thinking, with structured
output, with a forced tool) it is 1. Thinking with a budget needs more than its budget, and would be paid for, so such a
request is not sent again; neither is one with which the provider does more than answer.
Source: Anthropic, "Prompt caching" (pre-warming the cache), reference of `max_tokens` and `thinking`.
"""

from __future__ import annotations

from typing import Any

from addon.wire.anthropic import PATH
from addon.wire.api import Again
from addon.wire.conversation import Conversation
from addon.wire.scan import splice, value

ACTING = ("mcp_servers", "container", "compaction")
"""Members with which the provider does more than answer."""
_WHOLE = ((":streamRawPredict", ":rawPredict"), ("/invoke-with-response-stream", "/invoke"))
"""Where Vertex and Bedrock stream, and where they do not."""


def again(conversation: Conversation) -> Again | None:
    """A sent request as a refresh; None where it cannot serve as one."""
    places, thinking = conversation.places, _kind(conversation.options.get("thinking"))
    if "max_tokens" not in places or conversation.clears or any(name in places for name in ACTING):
        return None
    if thinking == "enabled":
        return None
    forced = _kind(conversation.options.get("tool_choice")) in ("any", "tool")
    shaped = "output_format" in places or "format" in _member(conversation, "output_config")
    thinks = thinking not in ("", "disabled") or conversation.bound  # the newest models always do
    own = conversation.path.partition("?")[0].endswith(PATH)
    least = 0 if own and not (forced or shaped or thinks) else 1
    edits = [(*places["max_tokens"], str(least))]
    if conversation.stream:
        edits.append((*places["stream"], "false"))
    path = conversation.path
    for streamed, whole in _WHOLE:
        path = path.replace(streamed, whole)
    return Again(path, splice(conversation.text, edits), least)


def _kind(given: Any) -> str:
    return str(given.get("type", "")) if isinstance(given, dict) else ""


def _member(conversation: Conversation, name: str) -> dict[str, Any]:
    if name not in conversation.places:
        return {}
    got, _ = value(conversation.text, conversation.places[name][0])
    return got if isinstance(got, dict) else {}
