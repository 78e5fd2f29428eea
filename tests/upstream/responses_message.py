"""A reply as Responses sends it: one response, or the same response as a stream of events.

Scripts are the same as for Messages: `text` becomes a message (with its `phase`, if it has one), `thinking` becomes
reasoning, `tool_use` a call of a function or of a custom tool, as the request declares it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tests.upstream.message import encode, pieces
from tests.upstream.responses_items import Item

INCOMPLETE = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}
ECHOED: dict[str, Any] = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None,
    "prompt_cache_retention": None, "reasoning": {"effort": None, "summary": None}, "safety_identifier": None,
    "store": True, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
    "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None,
}  # fmt: skip
OVERLOADED = "The server is overloaded"


def drafts(
    content: list[dict[str, Any]], declared: dict[str, tuple[str, str | None]], summarized: bool, seed: bytes
) -> list[tuple[Item, bytes]]:
    """The output items of scripted blocks before they are minted, each with what it hides. ValueError for a block that
    this API has no word for. Calls without an id get one that is the same for the same `seed`."""
    made: list[tuple[Item, bytes]] = []
    for at, block in enumerate(content):
        kind = block.get("type")
        if kind == "text":
            part = {"type": "output_text", "text": block["text"], "annotations": [], "logprobs": []}
            phase = {"phase": block["phase"]} if "phase" in block else {}
            item = {"type": "message", "role": "assistant", "status": "completed", "content": [part], **phase}
            made.append((item, b""))
        elif kind == "thinking":
            summary = [{"type": "summary_text", "text": block["thinking"]}] if summarized else []
            made.append(({"type": "reasoning", "summary": summary}, block["thinking"].encode()))
        elif kind == "tool_use":
            digest = hashlib.blake2b(seed + str(at).encode(), digest_size=10).hexdigest()
            kind, space = declared.get(block["name"], ("function", None))
            made.append((_call(block, block.get("id", f"call_{digest}"), kind, space), b""))
        elif kind == "compaction":
            made.append(({"type": "compaction"}, b""))
        else:
            raise ValueError(f"`{kind}` blocks do not exist in Responses")
    return made


def _call(block: dict[str, Any], identity: str, kind: str, space: str | None) -> Item:
    said = block["input"]
    spelled = said if kind == "custom" and isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    named = {"call_id": identity, "name": block["name"], **({"namespace": space} if space else {})}
    if kind == "custom":
        return {"type": "custom_tool_call", "status": "completed", **named, "input": spelled}
    return {"type": "function_call", "status": "completed", **named, "arguments": spelled}


def shown(item: Item, sealed: bool) -> Item:
    """An item as it is sent: its reasoning sealed only where that is wanted."""
    if item["type"] == "reasoning" and not sealed:
        return {name: value for name, value in item.items() if name != "encrypted_content"}
    return item


def build(
    identity: str,
    created: float,
    body: dict[str, Any],
    output: list[Item],
    usage: dict[str, Any],
    reply: dict[str, Any],
) -> dict[str, Any]:
    """The response. It is complete unless the scripted stop reason is one that cuts it short."""
    reason = INCOMPLETE.get(reply.get("stop_reason") or "")
    return {
        "id": identity,
        "object": "response",
        "created_at": int(created),
        "status": "incomplete" if reason else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": body["model"],
        "output": output,
        "service_tier": "default",
        "usage": usage,
        **{name: default if body.get(name) is None else body[name] for name, default in ECHOED.items()},
    }


def _message(item: Item) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(item["content"]):
        at = {"content_index": number}
        yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}


def _reasoning(item: Item) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(item["summary"]):
        at = {"summary_index": number}
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _spelled(item: Item, name: str, event: str) -> Iterator[dict[str, Any]]:
    for piece in pieces(item[name]):
        yield {"type": f"{event}.delta", "delta": piece}
    yield {"type": f"{event}.done", name: item[name]}


def _inside(item: Item) -> tuple[Item, Iterator[dict[str, Any]]]:
    """What `output_item.added` shows of an item, and the events that complete it."""
    going = {**item, "status": "in_progress"}
    match item["type"]:
        case "message":
            return {**going, "content": []}, _message(item)
        case "reasoning":
            return {**item, "summary": []}, _reasoning(item)
        case "function_call":
            return {**going, "arguments": ""}, _spelled(item, "arguments", "response.function_call_arguments")
        case "custom_tool_call":
            return {**going, "input": ""}, _spelled(item, "input", "response.custom_tool_call_input")
    return item, iter(())


def events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stream of a response without the numbers: it begins, its items one after the other, how it ended."""
    opening = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    for index, item in enumerate(response["output"]):
        opened, inside = _inside(item)
        yield {"type": "response.output_item.added", "output_index": index, "item": opened}
        for event in inside:
            yield {**event, "output_index": index, "item_id": item["id"]}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _encode(event: dict[str, Any], number: int) -> bytes:
    return encode((event["type"], {**event, "sequence_number": number}))


def stream(response: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of a response's events."""
    for number, event in enumerate(events(response)):
        yield _encode(event, number)


def failed(response: dict[str, Any], number: int) -> bytes:
    """The events that end a stream which fails after `number` events."""
    error = {"code": "server_error", "message": OVERLOADED}
    end = {**response, "status": "failed", "error": error, "output": [], "usage": None, "incomplete_details": None}
    first = _encode({"type": "error", **error, "param": None}, number)
    return first + _encode({"type": "response.failed", "response": end}, number + 1)
