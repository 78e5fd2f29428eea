"""Gemini's generateContent and streamGenerateContent: how the request spells a conversation, and what its response
reports.

Sources: Google's reference of the API, its pages on function calling, thought signatures and caching, and its SDK of
November 2026. gemini-cli that is signed in with a Google account puts the same request into a member `request`, and is
answered by the same response in a member `response` (its own sources). Fields that are not known here are kept and
hashed, never touched.

The model and whether it streams stand in the path. A stream is a JSON array in pieces where events are not asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

from addon.wire.conversation import Block, Conversation, Kind, Message, Tool
from addon.wire.gemini_calls import identified
from addon.wire.gemini_parts import blocks, content, either, levelled, message, told
from addon.wire.gemini_rules import RULES as RULES
from addon.wire.read import WINDOW, Again, hashed, list_of, parts, string
from addon.wire.retention import kept
from addon.wire.scan import Elsewhere, Field, Malformed, document, fields, value
from addon.wire.usage import Usage

NAME = "gemini"
_METHOD = ":(generate|streamGenerate)Content"
HOSTS = (
    (r"generativelanguage\.googleapis\.com", r"/v1(beta|alpha)?/models/[^/:]+" + _METHOD),
    (
        r"([a-z0-9-]+-)?aiplatform\.googleapis\.com",
        r"/v1(beta1)?/(projects/.+/)?publishers/google/models/[^/:]+" + _METHOD,
    ),
    (r"cloudcode-pa\.googleapis\.com", "/v1internal" + _METHOD),
)
_CALL = re.compile(r"([^/:]*):(generate|streamGenerate)Content$")


def is_call(path: str) -> bool:
    """Whether a path, without its query, is this API's. Gateways may have a path of their own before it."""
    return path.endswith((":generateContent", ":streamGenerateContent"))


def _key(text: str, start: int) -> str:
    return text[start : start + WINDOW]


def _instructions(text: str, field: Field | None) -> list[Block]:
    """The blocks of `systemInstruction`, spans absolute."""
    if field is None:
        return []
    said, start, end = field
    if isinstance(said, str):
        return [Block(Kind.TEXT, start, end, hashed(said), said, (start, end))]
    if not isinstance(said, dict):
        raise Malformed("systemInstruction is neither a content nor a string")
    return blocks(text, told(said).get("parts"), 0)


_TOOLS = list_of(lambda text, at: fields(text, at, either({"functionDeclarations": parts})))


def _tools(field: Field | None) -> list[Tool]:
    """The declared functions of every tool, in order: behind the last of them there is room for one more."""
    tools: list[Tool] = []
    if field is None:
        return tools
    if not isinstance(field[0], list):
        raise Malformed("tools is not a list")
    for members, _, _ in field[0]:
        declared: Any = told(members).get("functionDeclarations", ([],))[0]
        if not isinstance(declared, list) or not all(isinstance(each, dict) for each, _, _ in declared):
            raise Malformed("functionDeclarations is not a list of objects")
        tools += [Tool(string(each, "name"), start, end) for each, start, end in declared]
    return tools


def _inside(holder: Any, *keys: str) -> Any:
    """What stands in plain values one in the other; None where there is none."""
    for key in keys:
        holder = levelled(holder).get(key) if isinstance(holder, dict) else None
    return holder


def _choice(config: Any) -> dict[str, Any] | None:
    """How free the model is to call, as other APIs have it: an object with a type, which is `auto` where it is free."""
    mode = _inside(config, "functionCallingConfig", "mode")
    kind = "auto" if mode in (None, "MODE_UNSPECIFIED") else str(mode).lower()
    named = _inside(config, "functionCallingConfig", "allowedFunctionNames")
    return {"type": "named" if named and kind == "auto" else kind} if mode is not None or named else None


def parse(body: bytes, recent: Mapping[str, Conversation] = MappingProxyType({}), path: str = "") -> Conversation:
    """Read a request to a path that names model and method. Raises Malformed on any doubt, Elsewhere where a cache that
    was made before holds its beginning; the body is then forwarded as it came.

    `recent` holds earlier requests by their `key`; what they share with this one is not read again. It changes the
    time this takes, never the result.
    """
    members = either({"contents": Again(recent, _key, message), "systemInstruction": content, "tools": _TOOLS})

    def inner(text: str, at: int) -> tuple[Any, int]:
        return fields(text, at, members) if text[at] == "{" else value(text, at)

    text, outer = document(body, {**members, "request": inner})
    wrapped = outer.get("request", (None,))[0]
    top = told(wrapped if isinstance(wrapped, dict) and "contents" not in outer else outer)

    def given(key: str) -> Any:
        return top[key][0] if key in top else None

    if given("cachedContent"):
        raise Elsewhere("cachedContent")
    if _inside(given("generationConfig"), "candidateCount") not in (None, 1):
        raise Malformed("more than one answer is asked for")
    read: list[Message] = [each for each, _, _ in given("contents") or ()]
    if not read:
        raise Malformed("no contents")
    messages = identified(read)
    where, _, query = path.partition("?")
    called = _CALL.search(where)
    asked = parse_qs(query)
    stream = called is not None and called[2] == "streamGenerate"
    model = string(outer, "model") or (called[1] if called else "")
    options: dict[str, Any] = {}
    if (choice := _choice(given("toolConfig"))) is not None:
        options["tool_choice"] = choice
    if stream and "sse" not in [*asked.get("alt", ()), *asked.get("$alt", ())]:
        options["unframed"] = True
    return Conversation(
        model=model,
        text=text,
        messages=messages,
        as_read=read if messages is not read else [],
        tools=_tools(top.get("tools")),
        instructions=_instructions(text, top.get("systemInstruction")),
        digests=b"".join([each.digest for each in messages]),
        stream=stream,
        ttl=kept(model),
        places={key: (start, end) for key, (_, start, end) in top.items()},
        path=path,
        options=options,
    )


def likely_key(body: bytes) -> str:
    """What `key` will probably be, without reading the body."""
    start = body.find(b"[", body.find(b'"contents"'))
    return body[start : start + 4 * WINDOW].decode("utf-8", "ignore")[:WINDOW]


def key(conversation: Conversation) -> str:
    """Under which `parse` looks a request up in `recent`."""
    return _key(conversation.text, conversation.places["contents"][0])


def answer(text: str) -> str:
    """The JSON of a content of the model's."""
    return json.dumps({"role": "model", "parts": [{"text": text}]}, ensure_ascii=False, separators=(",", ":"))


def tool(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """The JSON of a function's declaration. `schema` is the JSON schema of its arguments, and no more of it than the
    API's own schemas have; they may have the types in small letters too."""
    made = {"name": name, "description": description, "parameters": schema}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def reports_usage(conversation: Conversation) -> bool:
    """Whether the response must say what it cost: always."""
    del conversation
    return True


def usage(report: Mapping[str, Any]) -> Usage:
    """Read a `usageMetadata` object. What was cached is part of `promptTokenCount`, what the server's own tools put
    into the prompt and what was thought are counted apart; missing is 0. Nothing says what was written."""

    def number(key: str) -> int:
        got = report.get(key)
        return got if isinstance(got, int) and not isinstance(got, bool) else 0

    prompt = number("promptTokenCount")
    read = min(prompt, number("cachedContentTokenCount"))
    fresh = prompt - read + number("toolUsePromptTokenCount")
    return Usage(fresh, read, output=number("candidatesTokenCount") + number("thoughtsTokenCount"), untold=True)


def whole_usage(payload: Any) -> Usage | None:
    """What a whole response says that it cost, or the last of the chunks that an array has."""
    found: Usage | None = None
    for chunk in payload if isinstance(payload, list) else [payload]:
        if isinstance(chunk, dict):
            inner = chunk.get("response")
            report = (inner if isinstance(inner, dict) else chunk).get("usageMetadata")
            # Vertex has reports in the middle of a stream that count nothing.
            found = usage(report) if isinstance(report, dict) and "promptTokenCount" in report else found
    return found


def stream_usage(event: str, data: str, before: Usage | None) -> Usage | None:
    """What the stream has reported so far: the last report, which has all of it. Events have no names here."""
    if event or '"usageMetadata"' not in data:
        return before
    try:
        return whole_usage(json.loads(data)) or before
    except ValueError:
        return before


def drops_reasoning(event: str, data: str) -> bool:
    """Whether a stream's event reports that reasoning was dropped, which this API has no word for."""
    del event, data
    return False


# The words of a refusal that a shorter request cannot have caused, and of one that no request has.
_TOO_LONG = re.compile(r"token count.{0,40}exceeds|size exceeds|too (?:long|large)", re.IGNORECASE)
_KEY = re.compile(r"API_KEY_INVALID|API key not valid")


def rewrite_may_have_caused(status: int, body: str, *, longer: bool = False) -> bool:
    """Whether an error answer could be due to what we changed, so that the original is worth one try.

    `longer` says that what was sent is longer than the original.
    """
    if _KEY.search(body):
        return False
    return (status == 400 and _TOO_LONG.search(body) is None) or (longer and status in (400, 413))


def refusal_text(body: str) -> str:
    """The message of an error answer, without what differs between two equal refusals. A stream without events has it
    in a list."""
    try:
        found = json.loads(body)
        message = (found[0] if isinstance(found, list) else found)["error"]["message"]
    except (ValueError, KeyError, TypeError, IndexError):
        return body
    return message if isinstance(message, str) else body


def says_bound(refusal: str) -> bool:
    """Whether a refusal says that reasoning is bound to what stands before it: signatures hold for their own part."""
    del refusal
    return False
