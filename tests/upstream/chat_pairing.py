"""Calls and tool messages: each call is answered once, right behind the message that made it, and nothing else is."""

from __future__ import annotations

from typing import Any

from tests.upstream.violation import Violation


def check(messages: list[dict[str, Any]]) -> None:
    """Raise Violation where a call or a tool message stands alone, twice or in the wrong place."""
    known: set[str] = set()
    pending: list[str] = []
    asked = -1
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            identity = message["tool_call_id"]
            if identity not in pending:
                raise Violation(
                    f"messages[{index}]",
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls': "
                    f"{identity}",
                )
            pending.remove(identity)
            continue
        if pending:
            raise _unanswered(asked, pending)
        pending = [call["id"] for call in message.get("tool_calls") or []]
        asked = index
        for identity in pending:
            if identity in known:
                raise Violation(f"messages[{index}].tool_calls", f"ids of calls must be unique: {identity}")
            known.add(identity)
    if pending:
        raise _unanswered(asked, pending)


def _unanswered(index: int, identities: list[str]) -> Violation:
    return Violation(
        f"messages[{index}]",
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(identities)}",
    )
