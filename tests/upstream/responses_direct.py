"""Responses without a socket, for tests of its rules: `ask` takes and gives plain dictionaries."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream.log import Record
from tests.upstream.provider import Provider
from tests.upstream.responses import PATH

MODEL = "gpt-5.1"
BOUND = "gpt-6.2"
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "Read",
    "description": "Read a file",
    "parameters": {"type": "object"},
    "strict": False,
}
CUSTOM: dict[str, Any] = {"type": "custom", "name": "exec", "description": "Run a program"}


def request(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A valid request body around the items."""
    return {"model": MODEL, "max_output_tokens": 100, "tools": [TOOL, CUSTOM], "input": list(items), **more}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(identity: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": identity, "name": "Read", "arguments": json.dumps(arguments)}


def result(identity: str, output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": identity, "output": output}


def run(identity: str, said: str = "ls") -> dict[str, Any]:
    return {"type": "custom_tool_call", "call_id": identity, "name": "exec", "input": said}


def ran(identity: str, output: Any = "done") -> dict[str, Any]:
    return {"type": "custom_tool_call_output", "call_id": identity, "output": output}


def ask(provider: Provider, body: dict[str, Any], **headers: str) -> tuple[dict[str, Any], Record]:
    """Answer's payload and its log record. `clock="5"` stands for the header x-upstream-clock, and so on."""
    own = {f"x-upstream-{name.replace('_', '-')}": value for name, value in headers.items()}
    raw = json.dumps(body).encode()
    answer = provider.handle("POST", PATH, own, raw, raw)
    return answer.payload, provider.log[-1]
