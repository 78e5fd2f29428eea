"""Having the provider clear old tool results: what is asked for, so that the same ones are cleared in every request.

The provider keeps no state: in each request it looks at all tool uses, keeps the last `keep` of them, and shows a
placeholder in place of the results of the rest. A constant `keep` would move that place on with every new tool use, and
the cache would restart there each time. So `keep` grows with the conversation: all tool uses but the first `cleared`.
The trigger, as many tool uses as are to be cleared, is met by every request that has more.

Signed reasoning stands all the same, for it is checked against what was sent. `exclude_tools` and `clear_at_least` are
not used: how they count is not documented closely enough to know which results go.
Source: Anthropic, "Context editing" (beta `context-management-2025-06-27`; `clear_thinking_20251015` first in `edits`).
The page names the beta's header for the vendor's own API alone, so nothing is asked of other hosts.
"""

from __future__ import annotations

import re
from typing import Any

from addon.wire.conversation import Conversation, Kind
from addon.wire.read import list_of
from addon.wire.scan import Edit, fields

HOST = "api.anthropic.com"
BETA = "context-management-2025-06-27"
HEADER = "anthropic-beta"
TYPE = "clear_tool_uses_20250919"

_ELSEWHERE = frozenset({"server_tool_use", "mcp_tool_use"})
_EDIT = re.compile(
    rf'(\{{"type":"{TYPE}","trigger":\{{"type":"tool_uses","value":)\d+(\}},"keep":\{{"type":"tool_uses","value":)\d+'
)
_edits = list_of(lambda text, at: fields(text, at, {}))


def available(host: str, conversation: Conversation) -> bool:
    """Whether the provider may be asked: the client has it clear or compact nothing itself."""
    places = conversation.places
    return host == HOST and not conversation.clears and "compaction" not in places and not conversation.forgotten


def tool_uses(conversation: Conversation) -> int:
    """How many a request has. Those that the provider answers itself may count for it as well; counted here, no more
    than the first is ever cleared."""
    blocks = (block for message in conversation.messages for block in message.blocks)
    return sum(b.kind is Kind.CALL or (b.kind is Kind.OTHER and b.name in _ELSEWHERE) for b in blocks)


def place(conversation: Conversation, cleared: int) -> list[Edit]:
    """The edit that has the results of the first tool uses cleared, behind the client's own. None where that cannot be
    asked for."""
    keep = tool_uses(conversation) - cleared
    if cleared < 1 or keep < 1:
        return []
    asked = (
        f'{{"type":"{TYPE}","trigger":{{"type":"tool_uses","value":{cleared}}},'
        f'"keep":{{"type":"tool_uses","value":{keep}}}}}'
    )
    text, places = conversation.text, conversation.places
    if "context_management" not in places:
        start = places["messages"][1]
        return [(start, start, f',"context_management":{{"edits":[{asked}]}}')]
    start, end = places["context_management"]
    if text[start:end] == "null":
        return [(start, end, f'{{"edits":[{asked}]}}')]
    members, _ = fields(text, start, {"edits": _edits})
    if "edits" not in members:
        return [(end - 1, end - 1, f'{"," if members else ""}"edits":[{asked}]')]
    own, _, upto = members["edits"]
    if not isinstance(own, list):
        return []
    return [(upto - 1, upto - 1, f"{',' if own else ''}{asked}")]


def again(conversation: Conversation, cleared: int) -> list[Edit]:
    """The edit that lets a request which asks for it already ask for the same of a conversation that has grown."""
    if "context_management" not in conversation.places:
        return []
    start, end = conversation.places["context_management"]
    keep = tool_uses(conversation) - cleared
    made = _EDIT.sub(rf"\g<1>{cleared}\g<2>{keep}", conversation.text[start:end])
    return [(start, end, made)]


def asked(betas: str | None) -> str:
    """The client's own betas with the one that this needs."""
    own = [name.strip() for name in (betas or "").split(",") if name.strip()]
    return betas or "" if BETA in own else ",".join([*own, BETA])


def told(payload: Any) -> int | None:
    """How many tool uses an answer, or an event of one, says were cleared; None where it says nothing."""
    managed = payload.get("context_management") if isinstance(payload, dict) else None
    applied = managed.get("applied_edits") if isinstance(managed, dict) else None
    if not isinstance(applied, list):
        return None
    counts = [e.get("cleared_tool_uses") for e in applied if isinstance(e, dict) and e.get("type") == TYPE]
    return sum(count for count in counts if isinstance(count, int))


def refuses(refusal: str) -> bool:
    """Whether a refusal names what was asked for here."""
    return any(word in refusal for word in ("context_management", "context-management", TYPE))
