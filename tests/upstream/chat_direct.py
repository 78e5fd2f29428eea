"""Chat Completions without a socket, for tests of its rules: `ask` takes and gives plain dictionaries."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream.chat import PATH
from tests.upstream.log import Record
from tests.upstream.provider import Provider

MODEL = "gpt-4.1"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "Read", "description": "Read a file", "parameters": {"type": "object"}},
}


def request(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A valid request body around the messages."""
    return {"model": MODEL, "max_completion_tokens": 100, "tools": [TOOL], "messages": list(messages), **more}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {"tool_calls": list(calls)} if calls else {}
    return {"role": "assistant", "content": content, **made, **more}


def call(identity: str, **arguments: Any) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "Read", "arguments": json.dumps(arguments)}}


def result(identity: str, content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}


def ask(provider: Provider, body: dict[str, Any], **headers: str) -> tuple[dict[str, Any], Record]:
    """Answer's payload and its log record. `clock="5"` stands for the header x-upstream-clock, and so on."""
    own = {f"x-upstream-{name.replace('_', '-')}": value for name, value in headers.items()}
    raw = json.dumps(body).encode()
    answer = provider.handle("POST", PATH, own, raw, raw)
    return answer.payload, provider.log[-1]
