"""OpenAI Chat Completions: how the request spells a conversation, and what its response reports.

Sources: OpenAI's reference of the API and its SDK of November 2026; what other servers of it add, from their pages
(DeepSeek, OpenRouter, Groq, Moonshot). Parts and keys that are not known here are kept and hashed, never touched.

System and developer messages that head the list are the instructions, as other APIs have them apart; `messages` begins
behind them. Every answer of a tool is a message of its own here, and none says that it is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from addon.wire import openai_common
from addon.wire.binding import binds_reasoning
from addon.wire.chat_rules import RULES as RULES
from addon.wire.conversation import Block, Conversation, Kind, Message, Tool
from addon.wire.openai_common import MARKS, arguments, choice, count, digest_members, mark, marks, time_to_live
from addon.wire.openai_errors import refusal_text as refusal_text
from addon.wire.openai_errors import rewrite_may_have_caused as rewrite_may_have_caused
from addon.wire.openai_errors import says_bound as says_bound
from addon.wire.read import Again, hashed, list_of, parts, string
from addon.wire.scan import Field, Malformed, document, fields
from addon.wire.subject import subject
from addon.wire.usage import Usage

NAME = "chat"
HOSTS = (
    (r"api\.openai\.com", "/v1/chat/completions"),
    (r"openrouter\.ai", "/api/v1/chat/completions"),
    (r"api\.deepseek\.com", "/chat/completions"),
    (r"api\.deepseek\.com", "/v1/chat/completions"),
    (r"api\.groq\.com", "/openai/v1/chat/completions"),
    (r"api\.mistral\.ai", "/v1/chat/completions"),
    (r"api\.x\.ai", "/v1/chat/completions"),
)

INSTRUCTIONS = ("system", "developer")
REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_TEXT_KEYS = {"type", "text", *MARKS}
_OWN_KEYS = {"role", "content", "tool_calls", "tool_call_id"}


def is_call(path: str) -> bool:
    """Whether a path, without its query, is this API's. Gateways may have a path of their own before it."""
    return path.endswith("/chat/completions")


def _content(text: str, content: Field, origin: int, kind: Kind, call: str = "") -> list[Block]:
    """The blocks of a content member, spans relative to `origin`. Its texts become blocks of that kind."""
    got, start, end = content

    def opaque(at: int, to: int, digest: bytes, part: int = 0, name: str = "") -> Block:
        return Block(Kind.OTHER, at - origin, to - origin, digest, name=name, call=call, part=part)

    def words(said: str, at: int, to: int, part: int = 0) -> Block:
        span = (at - origin, to - origin)
        return Block(kind, *span, hashed(said), said, span, call=call, part=part)

    if isinstance(got, str):
        return [words(got, start, end)]
    if not isinstance(got, list):
        return [opaque(start, end, hashed(text[start:end]))]
    blocks: list[Block] = []
    for number, (inner, at, to) in enumerate(got):
        part = number if kind is Kind.RESULT else 0
        if not isinstance(inner, dict):
            blocks.append(opaque(at, to, hashed(text[at:to]), part))
            continue
        said, start, end = inner.get("text", (None, 0, 0))
        if inner.keys() <= _TEXT_KEYS and string(inner, "type") == "text" and isinstance(said, str):
            blocks.append(words(said, start, end, part))
        else:
            blocks.append(opaque(at, to, digest_members(text, inner), part, string(inner, "type")))
    return blocks


def _calls(text: str, calls: Field, origin: int) -> list[Block]:
    got = calls[0]
    if not isinstance(got, list):
        raise Malformed("tool_calls is not a list")
    blocks: list[Block] = []
    for members, at, to in got:
        if not isinstance(members, dict):
            raise Malformed("tool call is not an object")
        block = Block(Kind.CALL, at - origin, to - origin, digest_members(text, members))
        block.call = string(members, "id")
        if not block.call:
            raise Malformed("tool call without an id")
        function = members.get("function", (None,))[0]
        custom = members.get("custom", (None,))[0]
        if isinstance(function, dict):
            block.arguments = arguments(function.get("arguments"))
        elif isinstance(custom, dict):
            block.arguments = custom.get("input")
        name = next((s["name"] for s in (function, custom) if isinstance(s, dict) and "name" in s), "")
        block.name = name if isinstance(name, str) else ""
        block.about = subject(block.name, block.arguments)
        blocks.append(block)
    return blocks


def _is_signed(details: Any) -> bool:
    """Whether any of OpenRouter's reasoning details carries what its provider may check."""
    found = details if isinstance(details, list) else [details]
    return any(isinstance(part, dict) and bool(part.get("signature") or part.get("data")) for part in found)


def _others(text: str, members: Mapping[str, Field], origin: int) -> list[Block]:
    """The members beside content and calls. Reasoning comes last: it cannot be cut out up to what follows it."""
    blocks: list[Block] = []
    for key, (got, at, to) in members.items():
        if key in _OWN_KEYS or got is None:
            continue
        kind = Kind.REASONING if key in REASONING else Kind.OTHER
        block = Block(kind, at - origin, to - origin, hashed(f"{key}\0{text[at:to]}"), name=key)
        block.signed = key == "reasoning_details" and _is_signed(got)
        blocks.append(block)
    return sorted(blocks, key=lambda block: (block.kind is Kind.REASONING, block.signed))


def _message(text: str, at: int) -> tuple[Message, int]:
    members, end = fields(text, at, {"content": parts, "tool_calls": parts})
    role = string(members, "role")
    if not role:
        raise Malformed("message without role")
    if role == "function" or members.get("function_call", (None,))[0] is not None:
        raise Malformed("functions as they were before tools")
    content = members.get("content", (None, 0, 0))
    call = string(members, "tool_call_id")
    blocks: list[Block] = []
    if role == "tool":
        if not call:
            raise Malformed("tool message without the id of its call")
        if content[0] is None or content[0] == []:
            blocks.append(Block(Kind.RESULT, 0, end - at, hashed(""), call=call))
        else:
            blocks.extend(_content(text, content, at, Kind.RESULT, call))
    elif call:
        raise Malformed("the id of a call in a message that is no tool's")
    elif isinstance(content[0], str | list):
        blocks.extend(_content(text, content, at, Kind.TEXT))
    elif content[0] is not None:
        raise Malformed("content is neither string nor list")
    if members.get("tool_calls", (None,))[0] is not None:
        blocks.extend(_calls(text, members["tool_calls"], at))
    blocks.extend(_others(text, members, at))
    over = blake2b(role.encode(), digest_size=8)
    for block in blocks:
        over.update(f"{block.kind}\0{block.call}\0".encode("utf-8", "surrogatepass"))
        over.update(block.digest)
    return Message(role, at, end, blocks, over.digest(), marks(content[0])), end


def _key(text: str, start: int) -> str:
    return openai_common.key(NAME, text, start)


_TOOLS = list_of(lambda text, at: fields(text, at, {}))


def _tools(field: Field) -> list[Tool]:
    if field[0] is None:
        return []
    if not isinstance(field[0], list):
        raise Malformed("tools is not a list")
    tools: list[Tool] = []
    for members, start, end in field[0]:
        inner = (members.get(kind, (None,))[0] for kind in ("function", "custom"))
        name = next((each.get("name") for each in inner if isinstance(each, dict)), "")
        tools.append(Tool(name if isinstance(name, str) else "", start, end))
    return tools


def parse(
    body: bytes, recent: Mapping[str, Conversation] = MappingProxyType({}), path: str = ""
) -> Conversation:
    """Read a Chat Completions request. Raises Malformed on any doubt; the body is then forwarded as it came.

    `recent` holds earlier requests by their `key`; what they share with this one is not read again. It changes the
    time this takes, never the result.
    """
    text, top = document(body, {"messages": Again(recent, _key, _message, INSTRUCTIONS), "tools": _TOOLS})

    def given(key: str) -> Any:
        return top[key][0] if key in top else None

    if given("functions") is not None or given("function_call") is not None:
        raise Malformed("functions as they were before tools")
    if given("n") not in (None, 1):
        raise Malformed("more than one answer is asked for")
    everything: list[Message] = [message for message, _, _ in given("messages") or ()]
    heading = next((n for n, m in enumerate(everything) if m.role not in INSTRUCTIONS), len(everything))
    messages = everything[heading:]
    if not messages:
        raise Malformed("no messages")
    instructions = [
        replace(block, start=message.start + block.start, end=message.start + block.end, literal=None)
        for message in everything[:heading]
        for block in message.blocks
    ]
    stream = given("stream")
    if not isinstance(stream, bool | None):
        raise Malformed("stream is not a boolean")
    model = string(top, "model")
    tools = _tools(top["tools"]) if "tools" in top else []
    tool_marks = [seconds for members, _, _ in given("tools") or () for seconds in mark(members)]
    asked = [seconds for message in messages for seconds in message.marks]
    signed = any(block.signed for message in messages for block in message.blocks)
    options: dict[str, Any] = {key: given(key) for key in ("prompt_cache_key", "stream_options") if key in top}
    if given("tool_choice") is not None:
        options["tool_choice"] = choice(given("tool_choice"))
    return Conversation(
        model=model,
        text=text,
        messages=messages,
        tools=tools,
        instructions=instructions,
        digests=b"".join([message.digest for message in messages]),
        stream=bool(stream),
        ttl=time_to_live(model, given("prompt_cache_retention"), given("prompt_cache_options"), asked),
        clears=bool(given("transforms")),  # OpenRouter's, of which one takes out the middle
        bound=signed and binds_reasoning(model),
        breakpoints=len(tool_marks) + sum(len(message.marks) for message in everything),
        places={key: (start, end) for key, (_, start, end) in top.items()},
        path=path,
        options=options,
    )


def likely_key(body: bytes) -> str:
    """What `key` will probably be, without reading the body."""
    return openai_common.likely_key(NAME, body, max(body.find(b"[", body.find(b'"messages"')), 0))


def key(conversation: Conversation) -> str:
    """Under which `parse` looks a request up in `recent`."""
    return _key(conversation.text, conversation.places["messages"][0])


def reports_usage(conversation: Conversation) -> bool:
    """Whether the response must say what it cost: a stream only does if it was asked to."""
    asked = conversation.options.get("stream_options")
    return not conversation.stream or (isinstance(asked, dict) and bool(asked.get("include_usage")))


def usage(report: Mapping[str, Any]) -> Usage:
    """Read a `usage` object. DeepSeek and Moonshot have words of their own for what was read from the cache."""
    details = report.get("prompt_tokens_details")
    cached = count(details, "cached_tokens") or count(report, "prompt_cache_hit_tokens")
    return openai_common.usage(
        count(report, "prompt_tokens"),
        cached or count(report, "cached_tokens"),
        count(details, "cache_write_tokens"),
        count(report, "completion_tokens"),
    )


def whole_usage(payload: Any) -> Usage | None:
    """What a whole response says that it cost."""
    report = reported(payload) if isinstance(payload, dict) else None
    return None if report is None else usage(report)


def stream_usage(event: str, data: str, before: Usage | None) -> Usage | None:
    """What the stream has reported so far: the last report, which has all of it. Events have no names here.

    OpenAI sends it in a chunk without choices, if asked to; Groq under a key of its own.
    """
    if event or '"usage"' not in data:
        return before
    try:
        payload = json.loads(data)
    except ValueError:
        return before
    report = reported(payload) if isinstance(payload, dict) else None
    return before if report is None else usage(report)


def reported(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report in a chunk or a whole response, as it stands there."""
    for holder in (payload, payload.get("x_groq")):
        if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
            report: dict[str, Any] = holder["usage"]
            return report
    return None


def drops_reasoning(event: str, data: str) -> bool:
    """Whether a stream's event reports that reasoning was dropped, which this API has no word for."""
    del event, data
    return False


def answer(text: str) -> str:
    """The JSON of a message of the model's."""
    return json.dumps({"role": "assistant", "content": text}, ensure_ascii=False, separators=(",", ":"))


def tool(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """The JSON of a tool definition. `schema` is the JSON schema of its arguments."""
    made = {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))
