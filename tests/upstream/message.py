"""A reply as the provider sends it: one JSON message, or the same message as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

PIECE = 48

Event = tuple[str, dict[str, Any]]


def build(
    identity: str, model: str, content: list[dict[str, Any]], usage: dict[str, Any], reply: dict[str, Any]
) -> dict[str, Any]:
    """The message object. Without a scripted stop reason a tool call stops for `tool_use`, anything else `end_turn`."""
    calls = any(block.get("type") == "tool_use" for block in content)
    return {
        "id": identity,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reply.get("stop_reason") or ("tool_use" if calls else "end_turn"),
        "stop_sequence": reply.get("stop_sequence"),
        "usage": usage,
    }


def pieces(text: str) -> Iterator[str]:
    """A text as it is streamed."""
    for at in range(0, len(text), PIECE):
        yield text[at : at + PIECE]


def _deltas(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `content_block_start` shows of a block, and the deltas that complete it."""
    kind = block.get("type")
    if kind == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        return {**block, "thinking": "", "signature": ""}, [
            *deltas,
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    if kind in {"tool_use", "server_tool_use", "mcp_tool_use"}:
        spelled = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
        return {**block, "input": {}}, [
            {"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(spelled))
        ]
    return block, []


def events(message: dict[str, Any]) -> Iterator[Event]:
    """The stream of a message: start, a ping, every block in pieces, the stop reason with the final usage, stop."""
    managed = message.get("context_management")
    message = {key: value for key, value in message.items() if key != "context_management"}
    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    opening["usage"] = {**message["usage"], "output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": opening}
    for index, block in enumerate(message["content"]):
        shown, deltas = _deltas(block)
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": shown}
        if index == 0:
            yield "ping", {"type": "ping"}
        for delta in deltas:
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    # the closing usage repeats the totals but not how long was written for
    usage = {key: value for key, value in message["usage"].items() if key != "cache_creation"}
    told = {} if managed is None else {"context_management": managed}
    yield "message_delta", {"type": "message_delta", "delta": stop, "usage": usage, **told}
    yield "message_stop", {"type": "message_stop"}


def encode(event: Event) -> bytes:
    name, data = event
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "surrogatepass")


def stream(payload: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of a message's events."""
    yield from map(encode, events(payload))


FAILURE = encode(("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
