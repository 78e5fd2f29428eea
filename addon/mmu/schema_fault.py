"""Schema faults: the client refuses a call of a tool that stands as a stub, and the definition goes along.

A stub keeps the shape of a tool's arguments and loses what explains them, so what the model gets wrong is what only
prose says: a format, which of two arguments goes with which. The client's refusal then comes with the definition in
full, once for each tool and line, for behind that it stands in the transcript; the refusal stays an error.

Whether a failure is about the arguments is told by the arguments, which do not fit the schema, or by the client's own
words. APIs that have no flag for errors leave only both together. The check below is structural and never stricter than
JSON Schema: what it does not know, fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from addon.mmu.page import page_id
from addon.mmu.schemas import SHAPES, anchor
from addon.mmu.view import Change, Entry, Splice
from addon.wire.conversation import Block, Conversation, Kind, text_digest

INTRODUCES = "The full definition of this tool:"

LONGEST_REFUSAL = 4000
"""Characters up to which a result that is not flagged as an error is taken for one."""

DEEPEST = 16
"""Levels of a schema that are looked at."""

_SPEAKS = re.compile(
    r"(?i)\b(?:arg(?:ument)?|param(?:eter)?)s?\b|validation|schema|\b(?:invalid|required|unexpected)\b"
)

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal to be followed by a definition."""

    anchor: str
    """Of the stub."""
    page: str
    """Of the definition."""
    text: str
    """What the client said, and the definition behind it."""


def refused(entry: Entry, conversation: Conversation, splices: Mapping[str, Splice]) -> Refusal | None:
    """What a result that just arrived becomes, if it refuses arguments of a tool that stands as a stub. `splices` are
    those that stand."""
    block = entry.block
    if block.part or not any(s.change is Change.STUB for s in splices.values()):
        return None
    call = _call(conversation, entry)
    if call is None or call.custom:
        return None
    definition = _definition(conversation, call.name)
    stub = splices.get(anchor(call.name, definition)) if definition else None
    if stub is None or stub.change is not Change.STUB:
        return None
    if not _is_refusal(block, call, definition):
        return None
    told = f"\n\n{INTRODUCES}\n{definition}"
    if any(s.change is Change.SERVE and s.text is not None and s.text.endswith(told) for s in splices.values()):
        return None
    return Refusal(stub.anchor, page_id(text_digest(definition)), block.text + told)


def _call(conversation: Conversation, entry: Entry) -> Block | None:
    before = conversation.messages[: entry.message]
    calls = (b for m in reversed(before) for b in m.blocks if b.kind is Kind.CALL and b.call == entry.block.call)
    return next(calls, None)


def _definition(conversation: Conversation, name: str) -> str:
    return next((conversation.text[t.start : t.end] for t in conversation.tools if t.name == name), "")


def _is_refusal(block: Block, call: Block, definition: str) -> bool:
    speaks = _SPEAKS.search(block.text[:LONGEST_REFUSAL]) is not None
    if block.error:
        return speaks or not fits(call.arguments, _schema(definition))
    return speaks and len(block.text) <= LONGEST_REFUSAL and not fits(call.arguments, _schema(definition))


def _schema(definition: str) -> Any:
    tool = json.loads(definition)
    while isinstance(tool, dict):
        for key in SHAPES:
            if isinstance(tool.get(key), dict):
                return tool[key]
        tool = tool.get("function")
    return True


def fits(value: Any, schema: Any, depth: int = 0) -> bool:
    """Whether a value has the shape that a JSON Schema asks for, as far as types, members and choices go."""
    if schema is False:
        return False
    if not isinstance(schema, dict) or "$ref" in schema or depth > DEEPEST:
        return True
    if value is None and schema.get("nullable"):
        return True
    if not _has_type(value, schema.get("type")):
        return False
    if isinstance(enum := schema.get("enum"), list) and value not in enum:
        return False
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if isinstance(options, list) and options and not any(fits(value, each, depth + 1) for each in options):
            return False
    if isinstance(every := schema.get("allOf"), list) and not all(fits(value, each, depth + 1) for each in every):
        return False
    if isinstance(value, list):
        items = schema.get("items")
        return not isinstance(items, dict) or all(fits(each, items, depth + 1) for each in value)
    return not isinstance(value, dict) or _has_members(value, schema, depth)


def _has_type(value: Any, wanted: Any) -> bool:
    names = [name.lower() for name in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(name, str)]
    if not names or any(name not in _TYPES for name in names):
        return True
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and not value.is_integer():
        return "number" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def _has_members(value: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> bool:
    required = schema.get("required")
    if isinstance(required, list) and any(name not in value for name in required):
        return False
    known = schema.get("properties")
    known = known if isinstance(known, dict) else {}
    if not all(fits(each, known[name], depth + 1) for name, each in value.items() if name in known):
        return False
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    return not closed or all(name in known for name in value)
