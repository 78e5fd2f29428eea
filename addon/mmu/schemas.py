"""Demand-paged tool schemas.

An agent declares eighteen tools and uses three. Definitions head every request, and most of their weight is prose that
explains arguments of tools that are never called. So a tool that is not expected to be used arrives as a *stub*: its
name, the first sentence of its description and the bare shape of its arguments (names, types, what is required, what is
allowed), without a word of explanation. The full definition is a page. A stub can still be called, and called rightly:
whatever its shape admits the true schema admits too. If the client refuses the arguments all the same, the refusal
comes with the full definition behind it: a *schema fault*.

Tools head the prompt, and other sessions of the same client keep that head warm in the provider's cache. Giving it up
costs a write of the head, so the set is decided where the head is written anyway (`addon.mmu.outlook`), never toggled
within a conversation, and the same for all sessions of a project, so that it becomes the shared warm one.

Which tools: all but those this conversation has called or is told to call, and those that enough of the recent sessions
called. Where nothing is known of other sessions, a conversation's own habits count once it is long enough to have some.
A client that defers tools by itself is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from addon.mmu.handle import PREFIX
from addon.mmu.page import NAME, page_id
from addon.wire.conversation import Conversation, Kind, Tool, text_digest

ANCHOR = "schema:"
"""Begins the anchor of a stub; the tool's name and the id of its definition follow."""

LEAST = 60
"""Tokens that a stub must save."""

HABITS = 20
"""Requests after which a conversation's own calls tell which tools it uses."""

_SENTENCE = re.compile(r"(?s)\s*(.{1,160}?)(?:[.!?](?=\s|$)|\n|$)")
_WIDTH = 160
_EXPLAINS = frozenset({"description", "title", "examples", "example", "markdownDescription", "$comment", "x-google"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Members of a schema whose own members are named by the tool, not by JSON Schema."""
SHAPES = ("input_schema", "parameters", "parametersJsonSchema", "parameters_json_schema", "inputSchema")
"""Members of a definition that may hold the schema of its arguments, API by API."""
_DEFERS = ('"defer_loading"', '"tool_search_tool_')


@dataclass(frozen=True, slots=True)
class Stub:
    """A tool's definition, and what stands for it."""

    anchor: str
    name: str
    page: str
    full: str
    text: str


def anchor(name: str, full: str) -> str:
    """Names a definition."""
    return f"{ANCHOR}{name}:{page_id(text_digest(full))}"


def _bare(schema: Any) -> Any:
    """A schema without its explanations."""
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            out[key] = {name: _bare(each) for name, each in value.items()}
        elif key in ("enum", "const", "default", "required"):
            out[key] = value
        elif key not in _EXPLAINS:
            out[key] = _bare(value)
    return out


def _first(description: str) -> str:
    found = _SENTENCE.match(description)
    line = " ".join((found[1] if found else description[:_WIDTH]).split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _shorten(tool: dict[str, Any], page: str) -> dict[str, Any] | None:
    """A definition as a stub, in the same spelling of the same API; None for a tool that has no such shape."""
    if isinstance(inner := tool.get("function"), dict):
        made = _shorten(inner, page)
        return None if made is None else {**tool, "function": made}
    shape = next((key for key in SHAPES if isinstance(tool.get(key), dict)), None)
    if shape is None or not isinstance(tool.get("description"), str):
        return None
    described = f"{_first(tool['description'])}. {PREFIX}{page}: the rest of this description]"
    out = {key: value for key, value in tool.items() if key not in ("input_examples", "examples")}
    return {**out, "description": described, shape: _bare(tool[shape])}


def stub(full: str, name: str) -> Stub | None:
    """The stub of a definition in JSON; None where there is none to be made."""
    if '"cache_control"' in full:
        return None  # a mark moves from tool to tool, and the definition would be another with it
    page = page_id(text_digest(full))
    try:
        tool = json.loads(full)
        made = _shorten(tool, page) if isinstance(tool, dict) else None
        if made is None:
            return None
        text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        text.encode("utf-8")
    except (ValueError, RecursionError):  # a number that JSON has not got, half a surrogate pair
        return None
    return Stub(anchor(name, full), name, page, full, text) if len(text) < len(full) else None


def defers(conversation: Conversation) -> bool:
    """Whether the client loads tools by need itself."""
    tools = conversation.tools
    declared = conversation.text[tools[0].start : tools[-1].end] if tools else ""
    return any(word in declared for word in _DEFERS)


def wanted(conversation: Conversation) -> frozenset[str]:
    """The tools that a request speaks of: called in it, or asked for by `tool_choice`."""
    called = {b.name for m in conversation.messages for b in m.blocks if b.kind is Kind.CALL}
    choice = conversation.options.get("tool_choice")
    return frozenset(called | {tool.name for tool in conversation.tools if tool.name in _words(choice)})


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {word for each in value.values() for word in _words(each)}
    if isinstance(value, list):
        return {word for each in value for word in _words(each)}
    return {value} if isinstance(value, str) else set()


def stubs(
    conversation: Conversation, requests: int, used: Set[str] | None, size: Callable[[str, bytes | None], int]
) -> list[Stub]:
    """What may stand for the request's tools, in their order.

    `requests` is how many answers the model has given, `used` the tools that recent sessions used, None where there
    were too few to tell.
    """
    if defers(conversation) or (used is None and requests < HABITS):
        return []
    keep = wanted(conversation) | (used or frozenset()) | {NAME}
    names = [tool.name for tool in conversation.tools]
    out: list[Stub] = []
    for tool in conversation.tools:
        if not tool.name or tool.name in keep or names.count(tool.name) > 1:
            continue
        made = stub(_text(conversation, tool), tool.name)
        if made is not None and size(made.full, None) - size(made.text, None) >= LEAST:
            out.append(made)
    return out


def _text(conversation: Conversation, tool: Tool) -> str:
    return conversation.text[tool.start : tool.end]
