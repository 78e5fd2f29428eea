"""A reply as Chat Completions sends it: one completion, or the same completion as a stream of chunks.

Scripts are the same as for Messages: text becomes `content`, `tool_use` becomes a call, `thinking` becomes
`reasoning_content`, as DeepSeek and others send it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tests.upstream.message import pieces
from tests.upstream.script import ERROR_TYPES

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
}


def error(status: int, text: str, request_id: str, kind: str = "", param: str | None = None) -> dict[str, Any]:
    """The payload of an error answer."""
    del request_id  # it is in a header only
    kind = kind or ERROR_TYPES.get(status, "server_error")
    return {"error": {"message": text, "type": kind, "param": param, "code": None}}


def spoken(content: list[dict[str, Any]], seed: bytes) -> dict[str, Any]:
    """The assistant message of scripted blocks. ValueError for a block that this API has no word for.

    Calls without an id get one that is the same for the same `seed`.
    """
    said: dict[str, list[str]] = {"text": [], "thinking": []}
    calls: list[dict[str, Any]] = []
    for at, block in enumerate(content):
        kind = block.get("type")
        if kind in said:
            said[kind].append(block[kind])
        elif kind == "tool_use":
            digest = hashlib.blake2b(seed + str(at).encode(), digest_size=10).hexdigest()
            arguments = json.dumps(block["input"], ensure_ascii=False)
            function = {"name": block["name"], "arguments": arguments}
            calls.append({"id": block.get("id", f"call_{digest}"), "type": "function", "function": function})
        else:
            raise ValueError(f"`{kind}` blocks do not exist in Chat Completions")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said["text"]) if said["text"] else None}
    message |= {"refusal": None, "annotations": []}
    if said["thinking"]:
        message["reasoning_content"] = "".join(said["thinking"])
    if calls:
        message["tool_calls"] = calls
    return message


def build(
    identity: str, created: float, model: str, message: dict[str, Any], usage: dict[str, Any], reply: dict[str, Any]
) -> dict[str, Any]:
    """The completion. Without a scripted stop reason a call finishes with `tool_calls`, anything else with `stop`."""
    asked = reply.get("stop_reason") or ("tool_use" if "tool_calls" in message else "end_turn")
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH.get(asked, asked)}
    return {
        "id": identity,
        "object": "chat.completion",
        "created": int(created),
        "model": model,
        "choices": [choice],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_upstream",
    }


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    opening = "" if message["content"] is not None else None
    yield {"role": "assistant", "content": opening, "refusal": None}
    for member in ("reasoning_content", "content"):
        for piece in pieces(message.get(member) or ""):
            yield {member: piece}
    for index, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]}
        for piece in pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def stream(completion: dict[str, Any], *, include_usage: bool) -> Iterator[bytes]:
    """The events of a completion: the role, the message in pieces, how it finished, the usage if asked for, the end."""
    choice = completion["choices"][0]
    shared = {k: completion[k] for k in ("id", "created", "model", "service_tier", "system_fingerprint")}
    shared["object"] = "chat.completion.chunk"
    if include_usage:
        shared["usage"] = None

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        step = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return encode({**shared, "choices": [step]})

    for delta in _deltas(choice["message"]):
        yield chunk(delta)
    yield chunk({}, choice["finish_reason"])
    if include_usage:
        yield encode({**shared, "choices": [], "usage": completion["usage"]})
    yield b"data: [DONE]\n\n"


def encode(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "surrogatepass")


FAILURE = encode(error(503, "The server is overloaded", "", "server_error"))
