"""Server-side clearing of old tool results: what is refused, and what the model is shown.

The provider keeps no state: each request is edited anew. Past the trigger the results of all tool uses but the last
`keep` are shown as a placeholder, unless fewer than `clear_at_least` tokens would go. Anthropic, "Context editing".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.upstream.violation import Violation

TYPE = "clear_tool_uses_20250919"
PLACEHOLDER = "[cleared to save context]"

_UNITS = {"trigger": ("input_tokens", "tool_uses"), "keep": ("tool_uses",), "clear_at_least": ("input_tokens",)}
_LEAST = {"trigger": 1, "keep": 0, "clear_at_least": 0}
_FIELDS = {"type", "trigger", "keep", "clear_at_least", "exclude_tools", "clear_tool_inputs"}


def check(path: str, edit: dict[str, Any]) -> None:
    """The fields of one edit. Raises Violation."""
    for name in edit:
        if name not in _FIELDS:
            raise Violation(f"{path}.{TYPE}.{name}", "Extra inputs are not permitted")
    for name, units in _UNITS.items():
        given = edit.get(name)
        if given is None:
            continue
        if not isinstance(given, dict) or set(given) != {"type", "value"} or given["type"] not in units:
            raise Violation(f"{path}.{TYPE}.{name}", f"Input should be an amount of {' or '.join(units)}")
        value = given["value"]
        if not isinstance(value, int) or isinstance(value, bool) or value < _LEAST[name]:
            raise Violation(f"{path}.{TYPE}.{name}.value", f"Input should be greater than or equal to {_LEAST[name]}")


def edited(body: dict[str, Any], weigh: Callable[[dict[str, Any]], int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A valid request as the model is shown it, and what is reported of the edits that were applied. `weigh` gives the
    tokens of a request."""
    managed = body.get("context_management") or {}
    applied: list[dict[str, Any]] = []
    for edit in managed.get("edits") or []:
        if edit["type"] != TYPE:
            continue
        trigger = edit.get("trigger") or {"type": "input_tokens", "value": 100_000}
        keep = (edit.get("keep") or {"value": 3})["value"]
        excluded = edit.get("exclude_tools") or []
        uses = [
            block["id"]
            for message in body["messages"]
            for block in (message["content"] if isinstance(message["content"], list) else [])
            if block["type"] == "tool_use" and block["name"] not in excluded
        ]
        before = weigh(body)
        if (len(uses) if trigger["type"] == "tool_uses" else before) <= trigger["value"]:
            continue
        gone = set(uses[: max(len(uses) - keep, 0)])
        made = {**body, "messages": [_without(message, gone) for message in body["messages"]]}
        saved = before - weigh(made)
        if not gone or saved < (edit.get("clear_at_least") or {"value": 0})["value"]:
            continue
        body = made
        applied.append({"type": TYPE, "cleared_tool_uses": len(gone), "cleared_input_tokens": max(saved, 0)})
    return body, applied


def _without(message: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    content = message["content"]
    if not isinstance(content, list):
        return message
    blocks = [
        {**block, "content": PLACEHOLDER} if block["type"] == "tool_result" and block["tool_use_id"] in gone else block
        for block in content
    ]
    return {**message, "content": blocks}
