"""OpenAI Responses: how the request spells a conversation, and what its response reports.

Sources: OpenAI's reference of the API, its guides on conversation state, reasoning and compaction, and its SDK of
November 2026; what Codex and opencode send. Items and keys that are not known here are kept and hashed, never touched.

The list holds items, and one answer of the model is several of them, one behind the other: reasoning, a message, its
calls, what the provider ran for it. Other APIs have that as one message, and ages are counted in answers; so what the
model's side said in a row is one message here too, from its first item to its last. Every other item is one by itself.

Instructions stand in a member of their own, and in the system and developer items that head the list; Codex declares
its tools there as well. Where a request only says what is new and the provider keeps the rest, nothing can be managed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from addon.wire import openai_common
from addon.wire.binding import binds_reasoning
from addon.wire.conversation import Block, Conversation, Kind, Message, Tool
from addon.wire.openai_common import MARKS, arguments, choice, count, digest_members, mark, marks, time_to_live
from addon.wire.openai_errors import refusal_text as refusal_text
from addon.wire.openai_errors import rewrite_may_have_caused as rewrite_may_have_caused
from addon.wire.openai_errors import says_bound as says_bound
from addon.wire.read import Again, hashed, list_of, parts, string
from addon.wire.responses_rules import RULES as RULES
from addon.wire.scan import Elsewhere, Field, Malformed, Reader, document, fields, skip, value
from addon.wire.subject import subject
from addon.wire.usage import Usage

NAME = "responses"
HOSTS = (
    (r"api\.openai\.com", "/v1/responses"),
    (r"chatgpt\.com", "/backend-api/codex/responses"),
    (r"openrouter\.ai", "/api/v1/responses"),
)

INSTRUCTIONS = ("system", "developer")
_MODEL, _TOOL = "assistant", "tool"
_SPEAKERS = {
    "additional_tools": "developer",
    "agent_message": "user",
    "compaction_trigger": "user",
    "configuration_update": "developer",
    "mcp_approval_response": "user",
    "program_output": _MODEL,
}
"""Roles of items whose type tells it otherwise than `_speaker` does. A program is run by the provider."""

CALLS = {
    "apply_patch_call": ("apply_patch", "operation"),
    "computer_call": ("computer", "action"),
    "custom_tool_call": ("", "input"),
    "function_call": ("", "arguments"),
    "local_shell_call": ("local_shell", "action"),
    "shell_call": ("shell", "action"),
    "tool_search_call": ("tool_search", "arguments"),
}
"""Calls that the client answers: what the tool is called, "" where the item says it, and the member with arguments."""

_RESULTS = ("custom_tool_call_output", "function_call_output", "local_shell_call_output")
_TEXTS = ("input_text", "output_text")
_FLEETING = {"id", "status"}
"""What clients take from the provider's item, or leave out, as they keep it."""


def is_call(path: str) -> bool:
    """Whether a path, without its query, is this API's. Gateways may have a path of their own before it."""
    return path.endswith("/responses")


type Members = dict[str, Field]


@dataclass(frozen=True, slots=True)
class _Item:
    """One item of the list, at text[start:end]."""

    kind: str
    role: str
    members: Members
    start: int
    end: int


def _word(members: Members, key: str) -> str:
    """The member, "" where there is none or null. Raises Malformed for anything but a string."""
    return string(members, key) if key in members and members[key][0] is not None else ""


def _speaker(kind: str, members: Members) -> str:
    if kind == "message":
        role = _word(members, "role")
        if not role:
            raise Malformed("message without role")
        return role
    theirs = kind.endswith("_output") and members.get("execution", (None,))[0] != "server"
    return _SPEAKERS.get(kind) or (_TOOL if theirs else _MODEL)


def _item(text: str, at: int) -> _Item:
    members, end = fields(text, at, {"content": parts, "output": parts})
    kind = _word(members, "type") or ("message" if "role" in members else "item_reference")
    return _Item(kind, _speaker(kind, members), members, at, end)


def _says(members: Members, own: Iterable[str]) -> Members:
    """The members that say something, beside a reader's own."""
    left_out = {*own, *_FLEETING, *MARKS}
    return {key: field for key, field in members.items() if key not in left_out and field[0] is not None}


def _digest(text: str, members: Members) -> bytes:
    """Over what an item says. Its id only counts where there is nothing else to know it by."""
    said = _says(members, ())
    if all(key == "type" or field[0] in ("", []) for key, field in said.items()) and "id" in members:
        said["id"] = members["id"]
    return digest_members(text, said)


def _is_plain(part: Members) -> bool:
    """Whether a part is a text and no more. What the model said comes with empty lists of annotations."""
    said = part.get("text", (None,))[0]
    if part.get("type", (None,))[0] not in _TEXTS or not isinstance(said, str):
        return False
    return all(field[0] == [] for field in _says(part, ("type", "text")).values())


def _content(text: str, item: _Item) -> list[Block]:
    """The blocks of a message. Texts with more to them, as citations, are hashed with all of it."""
    got, start, end = item.members.get("content", (None, 0, 0))
    if isinstance(got, str):
        return [_text(got, start - item.start, end - item.start)]
    if not isinstance(got, list):
        raise Malformed("content is neither string nor list")
    blocks: list[Block] = []
    for part, at, to in got:
        span = (at - item.start, to - item.start)
        kind = part.get("type", (None,))[0] if isinstance(part, dict) else None
        said, opens, closes = part.get("text", (None, 0, 0)) if isinstance(part, dict) else (None, 0, 0)
        if kind in _TEXTS and isinstance(said, str):
            digest = hashed(said) if _is_plain(part) else digest_members(text, part)
            literal = (opens - item.start, closes - item.start)
            blocks.append(Block(Kind.TEXT, *span, digest, said, literal))
        else:
            digest = digest_members(text, part) if isinstance(part, dict) else hashed(text[at:to])
            blocks.append(Block(Kind.OTHER, *span, digest, name=kind if isinstance(kind, str) else ""))
    return blocks


def _text(said: str, start: int, end: int) -> Block:
    return Block(Kind.TEXT, start, end, hashed(said), said, (start, end))


def _results(text: str, item: _Item, call: str) -> list[Block]:
    """The blocks of a tool's answer."""
    custom = item.kind.startswith("custom")
    got, start, end = item.members.get("output", (None, 0, 0))

    def result(said: str, at: int, to: int, part: int = 0) -> Block:
        span = (at - item.start, to - item.start)
        return Block(Kind.RESULT, *span, hashed(said), said, span, call=call, part=part, custom=custom)

    def opaque(digest: bytes, at: int, to: int, part: int = 0) -> Block:
        span = (at - item.start, to - item.start)
        return Block(Kind.OTHER, *span, digest, name=item.kind, call=call, part=part, custom=custom)

    if got is None or got == []:
        return [Block(Kind.RESULT, 0, item.end - item.start, hashed(""), call=call, custom=custom)]
    if isinstance(got, str):
        return [result(got, start, end)]
    if not isinstance(got, list):
        return [opaque(hashed(text[start:end]), start, end)]
    blocks: list[Block] = []
    for number, (part, at, to) in enumerate(got):
        if isinstance(part, dict) and _is_plain(part):
            said, opens, closes = part["text"]
            blocks.append(result(said, opens, closes, number))
        else:
            digest = digest_members(text, part) if isinstance(part, dict) else hashed(text[at:to])
            blocks.append(opaque(digest, at, to, number))
    return blocks


def _other(text: str, item: _Item) -> Block:
    """Any item that is neither a message nor a text of a tool's."""
    block = Block(Kind.OTHER, 0, item.end - item.start, _digest(text, item.members), name=item.kind)
    identity, call = _word(item.members, "id"), _word(item.members, "call_id")
    # What is only referred to may be reasoning; the provider tells by the beginning of ids, and so may we.
    if item.kind == "reasoning" or (item.kind == "item_reference" and identity.startswith("rs_")):
        block.kind, block.stays = Kind.REASONING, True
        block.signed = bool(identity or _word(item.members, "encrypted_content"))
    elif item.kind in CALLS:
        name, key = CALLS[item.kind]
        if not call and not name:
            raise Malformed("call without an id")
        if call:
            given = item.members.get(key, (None,))[0]
            block.kind, block.call, block.custom = Kind.CALL, call, item.kind.startswith("custom")
            block.name = name or _word(item.members, "name")
            block.arguments = given if block.custom else arguments(given)
            block.about = subject(block.name, _command(block.arguments))
    elif item.role == _TOOL:
        block.call = call
    return block


def _command(given: Any) -> Any:
    """The arguments of a call, with a command as one line where it is a list of words."""
    words = given.get("command") if isinstance(given, dict) else None
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        return {**given, "command": shlex.join(words)}
    return given


def _blocks(text: str, item: _Item) -> tuple[list[Block], Members]:
    """The blocks of an item, spans relative to it, and what more it says."""
    if item.kind == "message":
        return _content(text, item), _says(item.members, ("type", "role", "content"))
    call = _word(item.members, "call_id")
    if item.kind == "local_shell_call_output":
        call = call or _word(item.members, "id")
    if item.kind in _RESULTS and call:
        return _results(text, item, call), _says(item.members, ("call_id", "output"))
    return [_other(text, item)], {}


def _message(text: str, items: list[_Item]) -> Message:
    """One message of one item, or of all that the model's side said in a row."""
    first, last = items[0], items[-1]
    blocks: list[Block] = []
    asked: tuple[float, ...] = ()
    over = blake2b(first.role.encode("utf-8", "surrogatepass"), digest_size=8)
    for item in items:
        found, more = _blocks(text, item)
        ahead = item.start - first.start
        if more:
            over.update(digest_members(text, more))
        for block in found:
            over.update(f"{block.kind}\0{block.call}\0".encode("utf-8", "surrogatepass"))
            over.update(block.digest)
            if ahead:
                block.start, block.end = block.start + ahead, block.end + ahead
                if block.literal is not None:
                    block.literal = block.literal[0] + ahead, block.literal[1] + ahead
        blocks += found
        for key in ("content", "output"):
            asked += marks(item.members.get(key, (None,))[0])
    return Message(first.role, first.start, last.end, blocks, over.digest(), asked)


class _Turns:
    """Reads one message at a time. That an answer has ended, only the item behind it shows: it is kept for the next."""

    def __init__(self) -> None:
        self.ahead: _Item | None = None

    def __call__(self, text: str, at: int) -> tuple[Message, int]:
        item = self._read(text, at)
        items = [item]
        while item.role == _MODEL and text[comma := skip(text, item.end)] == ",":
            item = self.ahead = self._read(text, skip(text, comma + 1))
            if item.role == _MODEL:
                items.append(item)
        return _message(text, items), items[-1].end

    def _read(self, text: str, at: int) -> _Item:
        return self.ahead if self.ahead is not None and self.ahead.start == at else _item(text, at)


def _input(recent: Mapping[str, Conversation]) -> Reader:
    """Reads the list of items; a plain string is what the user says."""
    again = Again(recent, _key, _Turns(), INSTRUCTIONS, open=(_MODEL,))

    def read(text: str, at: int) -> tuple[Any, int]:
        if text[at] != '"':
            return again(text, at)
        said, end = value(text, at)
        item = _Item("message", "user", {"content": (said, at, end)}, at, end)
        return [(_message(text, [item]), at, end)], end

    return read


def _key(text: str, start: int) -> str:
    return openai_common.key(NAME, text, start)


_TOOLS = list_of(lambda text, at: fields(text, at, {}))
_NAMED = ("function", "custom", "namespace")


def _tools(field: Field) -> list[Tool]:
    """The declared tools. The provider's own have no name but their type."""
    if field[0] is None:
        return []
    if not isinstance(field[0], list):
        raise Malformed("tools is not a list")
    tools: list[Tool] = []
    for members, start, end in field[0]:
        kind = _word(members, "type")
        tools.append(Tool(_word(members, "name") if kind in _NAMED else kind, start, end))
    return tools


def _heading(field: Field | None, messages: list[Message]) -> list[Block]:
    """The instructions: the member of that name and the items at the head of the list; spans absolute."""
    blocks: list[Block] = []
    if field is not None and isinstance(field[0], str):
        blocks.append(replace(_text(*field), literal=None))
    elif field is not None and field[0] is not None:
        raise Malformed("instructions are not a string")
    for message in messages:
        for block in message.blocks:
            blocks.append(
                replace(block, start=message.start + block.start, end=message.start + block.end, literal=None)
            )
    return blocks


def parse(
    body: bytes, recent: Mapping[str, Conversation] = MappingProxyType({}), path: str = ""
) -> Conversation:
    """Read a Responses request. Raises Malformed on any doubt, and Elsewhere where the history is on the server; the
    body is then forwarded as it came.

    `recent` holds earlier requests by their `key`; what they share with this one is not read again. It changes the
    time this takes, never the result.
    """
    text, top = document(body, {"input": _input(recent), "tools": _TOOLS})

    def given(key: str) -> Any:
        return top[key][0] if key in top else None

    for key in ("previous_response_id", "conversation", "prompt"):
        if given(key) is not None:
            raise Elsewhere(key)
    if given("background"):
        raise Elsewhere("background")
    everything: list[Message] = [message for message, _, _ in given("input") or ()]
    heading = next((n for n, m in enumerate(everything) if m.role not in INSTRUCTIONS), len(everything))
    messages = everything[heading:]
    if not messages:
        raise Malformed("no messages")
    stream = given("stream")
    if not isinstance(stream, bool | None):
        raise Malformed("stream is not a boolean")
    model = _word(top, "model")
    tools = _tools(top["tools"]) if "tools" in top else []
    tool_marks = [seconds for members, _, _ in given("tools") or () for seconds in mark(members)]
    asked = [seconds for message in messages for seconds in message.marks]
    signed = any(block.signed for message in messages for block in message.blocks)
    kept = ("prompt_cache_key", "client_metadata", "include", "store")
    options: dict[str, Any] = {key: given(key) for key in kept if key in top}
    if given("tool_choice") is not None:
        options["tool_choice"] = choice(given("tool_choice"))
    return Conversation(
        model=model,
        text=text,
        messages=messages,
        tools=tools,
        instructions=_heading(top.get("instructions"), everything[:heading]),
        digests=b"".join([message.digest for message in messages]),
        stream=bool(stream),
        ttl=time_to_live(model, given("prompt_cache_retention"), given("prompt_cache_options"), asked),
        # What stands before the last compaction is no longer shown.
        forgotten=next((n for n in range(len(messages) - 1, 0, -1) if _has(messages[n], "compaction")), 0),
        clears=bool(given("context_management")) or given("truncation") == "auto",
        compacts=_has(messages[-1], "compaction_trigger"),
        bound=signed and binds_reasoning(model),
        breakpoints=len(tool_marks) + sum(len(message.marks) for message in everything),
        places={key: (start, end) for key, (_, start, end) in top.items()},
        path=path,
        options=options,
    )


def _has(message: Message, kind: str) -> bool:
    return any(block.kind is Kind.OTHER and block.name == kind for block in message.blocks)


_LIST = re.compile(rb'"input"\s*:\s*(?=["\[])')


def likely_key(body: bytes) -> str:
    """What `key` will probably be, without reading the body."""
    found = _LIST.search(body)
    return openai_common.likely_key(NAME, body, found.end() if found else 0)


def key(conversation: Conversation) -> str:
    """Under which `parse` looks a request up in `recent`."""
    return _key(conversation.text, conversation.places["input"][0])


def reports_usage(conversation: Conversation) -> bool:
    """Whether the response must say what it cost: always."""
    del conversation
    return True


def usage(report: Mapping[str, Any]) -> Usage:
    """Read a `usage` object."""
    details = report.get("input_tokens_details")
    return openai_common.usage(
        count(report, "input_tokens"),
        count(details, "cached_tokens"),
        count(details, "cache_write_tokens"),
        count(report, "output_tokens"),
    )


def whole_usage(payload: Any) -> Usage | None:
    """What a whole response says that it cost."""
    report = payload.get("usage") if isinstance(payload, dict) else None
    return usage(report) if isinstance(report, dict) else None


_STATES = ("response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed")
"""Events that hold the response as it is by then. Some servers only name them in the data."""


def _response(event: str, data: str, key: str) -> dict[str, Any]:
    """The response in an event of a stream, if it may have this member."""
    if event not in ("", *_STATES) or f'"{key}"' not in data:
        return {}
    try:
        payload = json.loads(data)
    except ValueError:
        return {}
    found = payload.get("response") if isinstance(payload, dict) and payload.get("type") in _STATES else None
    return found if isinstance(found, dict) else {}


def stream_usage(event: str, data: str, before: Usage | None) -> Usage | None:
    """What the stream has reported so far: it does so when it ends, however it does."""
    return whole_usage(_response(event, data, "usage")) or before


def drops_reasoning(event: str, data: str) -> bool:
    """Whether an event of a stream reports that the provider dropped reasoning whose prefix had changed."""
    return bool(_response(event, data, "input_transformations").get("input_transformations"))


def answer(text: str) -> str:
    """The JSON of a message of the model's."""
    part = {"type": "output_text", "text": text}
    made = {"type": "message", "role": "assistant", "content": [part]}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def tool(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """The JSON of a tool's definition. Not strict: that would make every argument a required one."""
    made = {"type": "function", "name": name, "description": description, "parameters": schema, "strict": False}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))
