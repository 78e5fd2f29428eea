"""Anthropic Messages: how the request spells a conversation, and what its response reports.

Sources: the Messages API reference and the pages on tool use, prompt caching and preserved thinking. Block types and
keys that are not known here are kept and hashed, never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from addon.wire.conversation import Block, Conversation, Kind, Message, Tool
from addon.wire.read import WINDOW, Again, hashed, list_of, parts, string
from addon.wire.rules import RULES as RULES
from addon.wire.scan import Field, Malformed, document, fields, items, value
from addon.wire.subject import subject
from addon.wire.usage import Usage

NAME = "messages"
PATH = "/v1/messages"
HOSTS = (
    (r"api\.anthropic\.com", PATH),
    (
        r"([a-z0-9-]+-)?aiplatform\.googleapis\.com",
        r"/v1/projects/.+/publishers/anthropic/models/[^/]+:(stream)?[rR]awPredict",
    ),
    (r"bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com", r"/model/[^/]+/invoke(-with-response-stream)?"),
)

TTL = {"5m": 300.0, "1h": 3600.0}
BILLING = "x-anthropic-billing-header:"
"""Claude Code's first system block; it changes with every request and is never hashed or touched."""

# Models whose signed thinking is only checked against its own bytes; every later one binds it to the whole prefix
# ("preserved thinking": Opus, Sonnet and Haiku 5.5, Fable and Mythos 5.1, and all that follow).
_UNBOUND = re.compile(
    r"claude-(?:[123](?:[-.]|$)|instant|(?:opus|sonnet|haiku)-(?:[34](?:[-.@]|$)|5(?:-2\d{7}|@|$))|(?:fable|mythos)-5(?:-2\d{7}|@|$))"
)


def is_call(path: str) -> bool:
    """Whether a path, without its query, is this API's. Gateways may have a path of their own before it."""
    return path.endswith((PATH, ":rawPredict", ":streamRawPredict"))


def binds_reasoning(model: str) -> bool:
    """Whether the model may refuse signed reasoning after an earlier change. Unknown models are taken to."""
    name = model.rsplit("/", 1)[-1].rpartition("anthropic.")[2]
    return _UNBOUND.match(name) is None


def _digest_members(text: str, members: Mapping[str, Field]) -> bytes:
    """Over everything but the cache mark: keys and the raw values, in the client's order."""
    kept = [f"{key}\0{text[start:end]}\0" for key, (_, start, end) in members.items() if key != "cache_control"]
    return hashed("".join(kept))


def _block(text: str, at: int) -> tuple[Any, int]:
    return fields(text, at, {"content": parts})


def _content(text: str, at: int) -> tuple[Any, int]:
    return items(text, at, _block) if text[at] == "[" else value(text, at)


def _mark(members: Mapping[str, Field]) -> tuple[float, ...]:
    """The seconds that the cache mark among the members asks for. One that is not understood counts as the longest."""
    mark = members.get("cache_control")
    if mark is None or mark[0] is None:
        return ()
    ttl = mark[0].get("ttl", "5m") if isinstance(mark[0], dict) else ""
    return (TTL.get(ttl, 3600.0) if isinstance(ttl, str) else 3600.0,)


_TEXT_KEYS = {"type", "text", "cache_control"}


def _text_block(text: str, members: dict[str, Field], start: int, end: int, origin: int) -> Block:
    words, at, to = members["text"]
    if not isinstance(words, str):
        raise Malformed("text is not a string")
    digest = hashed(words) if members.keys() <= _TEXT_KEYS else _digest_members(text, members)
    return Block(Kind.TEXT, start - origin, end - origin, digest, words, (at - origin, to - origin))


def _result_blocks(text: str, members: dict[str, Field], start: int, end: int, origin: int) -> list[Block]:
    call = string(members, "tool_use_id")
    error = bool(members["is_error"][0]) if "is_error" in members else False
    flag = (members["is_error"][1] - origin, members["is_error"][2] - origin) if "is_error" in members else None
    span = (start - origin, end - origin)

    def result(words: str, literal: tuple[int, int] | None, part: int) -> Block:
        return Block(Kind.RESULT, *span, hashed(words), words, literal, call=call, part=part, error=error, flag=flag)

    got, at, to = members.get("content", (None, 0, 0))
    if got is None:
        return [result("", None, 0)]
    if isinstance(got, str):
        return [result(got, (at - origin, to - origin), 0)]
    if not isinstance(got, list):
        raise Malformed("tool_result content is neither string nor list")
    blocks: list[Block] = []
    for part, (inner, part_start, part_end) in enumerate(got):
        if not isinstance(inner, dict):
            raise Malformed("tool_result part is not an object")
        words = inner.get("text")
        if words is not None and inner.keys() <= _TEXT_KEYS and string(inner, "type") == "text":
            if not isinstance(words[0], str):
                raise Malformed("text is not a string")
            blocks.append(result(words[0], (words[1] - origin, words[2] - origin), part))
        else:
            digest = _digest_members(text, inner)
            blocks.append(Block(Kind.OTHER, part_start - origin, part_end - origin, digest, call=call, part=part))
    return blocks or [result("", None, 0)]


def _blocks(text: str, content: Field, origin: int) -> tuple[list[Block], tuple[float, ...]]:
    """The blocks of a content member, spans relative to `origin`, and its cache marks."""
    got, start, end = content
    if isinstance(got, str):
        span = (start - origin, end - origin)
        return [Block(Kind.TEXT, *span, hashed(got), got, span)], ()
    if not isinstance(got, list):
        raise Malformed("content is neither string nor list")
    blocks: list[Block] = []
    marks: tuple[float, ...] = ()
    for members, at, to in got:
        kind = string(members, "type")
        marks += _mark(members)
        if kind == "text" and "text" in members:
            blocks.append(_text_block(text, members, at, to, origin))
        elif kind == "tool_result":
            blocks.extend(_result_blocks(text, members, at, to, origin))
            inside = members.get("content", (None,))[0]
            if isinstance(inside, list):
                for part, _, _ in inside:
                    marks += _mark(part)
        elif kind == "tool_use":
            block = Block(Kind.CALL, at - origin, to - origin, _digest_members(text, members))
            block.call, block.name = string(members, "id"), string(members, "name")
            block.arguments = members["input"][0] if "input" in members else None
            block.about = subject(block.name, block.arguments)
            blocks.append(block)
        elif kind in ("thinking", "redacted_thinking"):
            block = Block(Kind.REASONING, at - origin, to - origin, _digest_members(text, members))
            block.signed = kind == "redacted_thinking" or bool(string(members, "signature"))
            blocks.append(block)
        else:
            blocks.append(Block(Kind.OTHER, at - origin, to - origin, _digest_members(text, members), name=kind))
    return blocks, marks


def _message(text: str, at: int) -> tuple[Message, int]:
    members, end = fields(text, at, {"content": _content})
    role = string(members, "role")
    if not role or "content" not in members:
        raise Malformed("message without role or content")
    blocks, marks = _blocks(text, members["content"], at)
    over = blake2b(role.encode(), digest_size=8)
    for key, (_, start, stop) in members.items():
        if key not in ("role", "content"):
            over.update(f"{key}\0{text[start:stop]}\0".encode("utf-8", "surrogatepass"))
    for block in blocks:
        over.update(f"{block.kind}\0{block.call}\0{block.error:d}".encode("utf-8", "surrogatepass"))
        over.update(block.digest)
    return Message(role, at, end, blocks, over.digest(), marks), end


def _instructions(text: str, field: Field) -> tuple[list[Block], int]:
    blocks, marks = _blocks(text, field, 0)
    return [b for b in blocks if not b.text.startswith(BILLING)], len(marks)


def _tools(text: str, field: Field) -> tuple[list[Tool], int]:
    if field[0] is None:
        return [], 0
    if not isinstance(field[0], list):
        raise Malformed("tools is not a list")
    tools = [Tool(string(members, "name"), start, end) for members, start, end in field[0]]
    return tools, sum(len(_mark(members)) for members, _, _ in field[0])


def _key(text: str, start: int) -> str:
    return text[start : start + WINDOW]


_SYSTEM = _content
_TOOLS = list_of(lambda text, at: fields(text, at, {}))


def parse(
    body: bytes, recent: Mapping[str, Conversation] = MappingProxyType({}), path: str = ""
) -> Conversation:
    """Read a Messages request. Raises Malformed on any doubt; the body is then forwarded as it came.

    `recent` holds earlier requests by their `key`; what they share with this one is not read again. It changes the
    time this takes, never the result.
    """
    text, top = document(body, {"messages": Again(recent, _key, _message), "system": _SYSTEM, "tools": _TOOLS})
    if "messages" not in top:
        raise Malformed("no messages")
    messages: list[Message] = [message for message, _, _ in top["messages"][0]]
    instructions, marks = _instructions(text, top["system"]) if "system" in top else ([], 0)
    tools, tool_marks = _tools(text, top["tools"]) if "tools" in top else ([], 0)
    asked = [seconds for message in messages for seconds in message.marks] + list(_mark(top))
    model = string(top, "model") or _model_of(path)
    stream = top["stream"][0] if "stream" in top else False
    if not isinstance(stream, bool):
        raise Malformed("stream is not a boolean")
    return Conversation(
        model=model,
        text=text,
        messages=messages,
        tools=tools,
        instructions=instructions,
        digests=b"".join([message.digest for message in messages]),
        stream=stream,
        ttl=max(asked, default=None),
        forgotten=_forgotten(messages),
        clears=_clears(top),
        bound=binds_reasoning(model),
        breakpoints=marks + tool_marks + len(asked),
        places={key: (start, end) for key, (_, start, end) in top.items()},
        path=path,
        options={key: got for key, (got, _, _) in top.items() if key in ("thinking", "tool_choice", "metadata")},
    )


_IN_PATH = re.compile(r"/models/([^/:?]+):|/model/([^/?]+)/invoke")


def _model_of(path: str) -> str:
    """Of a request to Vertex or Bedrock, which name it there."""
    found = _IN_PATH.search(path)
    return unquote(found[1] or found[2]) if found else ""


def _forgotten(messages: list[Message]) -> int:
    """What stands before the last compaction block is ignored by the provider."""
    for number in range(len(messages) - 1, -1, -1):
        if any(b.kind is Kind.OTHER and b.name == "compaction" for b in messages[number].blocks):
            return number
    return 0


def _clears(top: Mapping[str, Field]) -> bool:
    """Whether `context_management` asks for more than the clearing of old thinking."""
    management = top.get("context_management", (None,))[0]
    if management is None:
        return False
    edits = management.get("edits", ()) if isinstance(management, dict) else None
    if not isinstance(edits, list | tuple):
        return True
    return any(not isinstance(e, dict) or not str(e.get("type", "")).startswith("clear_thinking") for e in edits)


def likely_key(body: bytes) -> str:
    """What `key` will probably be, without reading the body."""
    start = body.find(b"[", body.find(b'"messages"'))
    return body[start : start + 4 * WINDOW].decode("utf-8", "ignore")[:WINDOW]


def key(conversation: Conversation) -> str:
    """Under which `parse` looks a request up in `recent`."""
    return _key(conversation.text, conversation.places["messages"][0])


def answer(text: str) -> str:
    """The JSON of a message of the model's."""
    block = {"type": "text", "text": text}
    return json.dumps({"role": "assistant", "content": [block]}, ensure_ascii=False, separators=(",", ":"))


def tool(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """The JSON of a tool's definition."""
    made = {"name": name, "description": description, "input_schema": schema}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def reports_usage(conversation: Conversation) -> bool:
    """Whether the response must say what it cost: always."""
    del conversation
    return True


def usage(report: Mapping[str, Any]) -> Usage:
    """Read a `usage` object. `input_tokens` excludes what was read from or written to the cache; missing is 0."""

    def number(source: Mapping[str, Any], key: str) -> int:
        got = source.get(key)
        return got if isinstance(got, int) and not isinstance(got, bool) else 0

    detail = report.get("cache_creation")
    detail = detail if isinstance(detail, Mapping) else {}
    hour = number(detail, "ephemeral_1h_input_tokens")
    return Usage(
        fresh=number(report, "input_tokens"),
        read=number(report, "cache_read_input_tokens"),
        written=number(report, "cache_creation_input_tokens") - hour,
        written_hour=hour,
        output=number(report, "output_tokens"),
    )


def whole_usage(payload: Any) -> Usage | None:
    """What a whole response says that it cost."""
    report = payload.get("usage") if isinstance(payload, dict) else None
    return usage(report) if isinstance(report, dict) else None


def stream_usage(event: str, data: str, before: Usage | None) -> Usage | None:
    """What the stream has reported so far. `message_start` opens the account, `message_delta` replaces its figures."""
    if event not in ("message_start", "message_delta"):
        return before
    try:
        payload = json.loads(data)
    except ValueError:
        return before
    if not isinstance(payload, dict):
        return before
    holder = payload.get("message") if event == "message_start" else payload
    report = holder.get("usage") if isinstance(holder, dict) else None
    if not isinstance(report, dict):
        return before
    now = usage(report)
    return now if before is None else before.updated(now)


def drops_reasoning(event: str, data: str) -> bool:
    """Whether a stream's first event reports that the provider dropped reasoning whose prefix had changed."""
    if event != "message_start" or '"input_transformations"' not in data:
        return False
    try:
        return bool(json.loads(data)["message"]["input_transformations"])
    except (ValueError, KeyError, TypeError):
        return False


# The words of a refusal that a shorter request cannot have caused.
_TOO_LONG = re.compile(r"too long|too large|exceeds? (?:the )?(?:context|token|limit)", re.IGNORECASE)


def rewrite_may_have_caused(status: int, body: str, *, longer: bool = False) -> bool:
    """Whether an error answer could be due to what we changed, so that the original is worth one try.

    `longer` says that what was sent is longer than the original.
    """
    return (status in (400, 422) and _TOO_LONG.search(body) is None) or (longer and status in (400, 413))


def refusal_text(body: str) -> str:
    """The message of an error answer, without what differs between two equal refusals."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return body
    return message if isinstance(message, str) else body


def says_bound(refusal: str) -> bool:
    """Whether a refusal says that signed reasoning is bound to what stands before it."""
    return "bound to a different conversation" in refusal
