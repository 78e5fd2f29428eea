"""Bodies of requests as JSON, one a file or one a line, and which API they speak."""

from __future__ import annotations

from typing import Any

from addon.wire import anthropic, chat, gemini, responses
from addon.wire.api import Api

_OURS = {"tool_use", "tool_result", "thinking", "redacted_thinking"}


def spoken(body: dict[str, Any]) -> Api | None:
    """The API of a body by its shape; None for what is no request."""
    inner = body.get("request")
    if isinstance(body.get("contents", inner.get("contents") if isinstance(inner, dict) else None), list):
        return gemini
    if isinstance(body.get("input"), list | str) and "model" in body:
        return responses
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) and "role" in m for m in messages):
        return None
    return anthropic if _is_anthropic(body, messages) else chat


def _is_anthropic(body: dict[str, Any], messages: list[dict[str, Any]]) -> bool:
    """Both have `messages`. What only one of them has tells; where neither shows, the model's name does."""
    if "system" in body or "anthropic_version" in body:
        return True
    if any(m["role"] in ("system", "developer", "tool") or "tool_calls" in m for m in messages):
        return False
    for tool in body.get("tools") or ():
        if isinstance(tool, dict):
            return "function" not in tool and "custom" not in tool
    parts = [p for m in messages if isinstance(m.get("content"), list) for p in m["content"] if isinstance(p, dict)]
    return any(part.get("type") in _OURS for part in parts) or "claude" in str(body.get("model"))
