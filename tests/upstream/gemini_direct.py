"""Gemini without a socket, for tests of its rules: `ask` takes and gives plain dictionaries."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream.log import Record
from tests.upstream.provider import Provider

MODEL = "gemini-2.5-flash"
THIRD = "gemini-3-pro-preview"
FUNCTION: dict[str, Any] = {
    "name": "Read",
    "description": "Read a file",
    "parametersJsonSchema": {"type": "object", "properties": {"path": {"type": "string"}}},
}


def request(*contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A valid request body around the contents."""
    return {"contents": list(contents), "tools": [{"functionDeclarations": [FUNCTION]}], **more}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": part} if isinstance(part, str) else part for part in parts]}


def model(*parts: Any) -> dict[str, Any]:
    return {**user(*parts), "role": "model"}


def call(name: str = "Read", identity: str = "", **args: Any) -> dict[str, Any]:
    named = {"id": identity} if identity else {}
    return {"functionCall": {**named, "name": name, "args": args}}


def result(name: str = "Read", identity: str = "", output: Any = "done") -> dict[str, Any]:
    named = {"id": identity} if identity else {}
    return {"functionResponse": {**named, "name": name, "response": {"output": output}}}


def address(name: str, *, stream: bool = False, version: str = "v1beta") -> str:
    return f"/{version}/models/{name}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


def ask(provider: Provider, body: dict[str, Any], name: str = MODEL, **headers: str) -> tuple[dict[str, Any], Record]:
    """Answer's payload and its log record. `clock="5"` stands for the header x-upstream-clock, and so on."""
    own = {f"x-upstream-{header.replace('_', '-')}": value for header, value in headers.items()}
    raw = json.dumps(body).encode()
    answer = provider.handle("POST", address(name), own, raw, raw)
    return answer.payload, provider.log[-1]
