"""The provider without a socket, for tests of its rules: `ask` takes and gives plain dictionaries."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream.log import Record
from tests.upstream.provider import MESSAGES, Provider

MODEL = "claude-opus-4-8"
TOOL: dict[str, Any] = {"name": "Read", "description": "Read a file", "input_schema": {"type": "object"}}


def request(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A valid request body around the messages."""
    return {"model": MODEL, "max_tokens": 100, "tools": [TOOL], "messages": list(messages), **more}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [text(part) if isinstance(part, str) else part for part in content]}


def assistant(*content: Any) -> dict[str, Any]:
    return {**user(*content), "role": "assistant"}


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def call(identity: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "Read", "input": arguments}


def result(identity: str, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **more}


def ask(provider: Provider, body: dict[str, Any], **headers: str) -> tuple[dict[str, Any], Record]:
    """Answer's payload and its log record. `clock="5"` stands for the header x-upstream-clock, and so on; `beta` for
    anthropic-beta."""
    own = {f"x-upstream-{name.replace('_', '-')}": value for name, value in headers.items() if name != "beta"}
    sent = {"anthropic-version": "2023-06-01", "anthropic-beta": headers.get("beta", ""), **own}
    raw = json.dumps(body).encode()
    answer = provider.handle("POST", MESSAGES, sent, raw, raw)
    return answer.payload, provider.log[-1]
