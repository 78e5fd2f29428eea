"""An assistant message of Chat Completions in blocks, as hidden exchanges keep it.

A block is JSON: either one member of the message by itself (`{"content":"I look."}`, `{"reasoning_content":"hm"}`), or
one call as it stands in `tool_calls`. Only a call has a `type`. Text that says nothing is no block: servers that
translate to another API refuse it, and clients drop it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from addon.wire.chat import REASONING


@dataclass(frozen=True, slots=True)
class Piece:
    """A block, by what tells it from others."""

    raw: str
    member: str = ""
    """The name of a member; "" for a call."""
    value: Any = None
    """The member's."""
    call: str = ""
    name: str = ""

    @property
    def reasons(self) -> bool:
        return self.member in REASONING


def member(name: str, value: Any) -> str:
    """The block of a member."""
    return _dump({name: value})


def call(made: dict[str, Any]) -> str:
    """The block of a call."""
    return _dump({"id": made.get("id"), "type": made.get("type") or "function", **made})


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def piece(raw: str) -> Piece:
    """Read a block, or a call of the client's."""
    got: dict[str, Any] = json.loads(raw)
    if "type" in got or "function" in got:
        inner = got.get("function") or got.get("custom")
        name = inner.get("name") if isinstance(inner, dict) else ""
        return Piece(raw, call=str(got.get("id", "")), name=str(name))
    ((name, value),) = got.items()
    return Piece(raw, name, value)


def message(blocks: Iterable[str]) -> str:
    """The JSON of the message that is made of these, "" where it would say nothing."""
    pieces = [piece(raw) for raw in blocks]
    members = [p.raw[1:-1] for p in pieces if not p.call]
    calls = [p.raw for p in pieces if p.call]
    says = any(not p.reasons for p in pieces)
    if calls:
        # A message that only calls has a content all the same: some servers look for the member.
        members += [] if any(p.member == "content" for p in pieces) else ['"content":null']
        members.append(f'"tool_calls":[{",".join(calls)}]')
    return f'{{"role":"assistant",{",".join(members)}}}' if says else ""


def words(pieces: Sequence[Piece]) -> str:
    """The text among them."""
    return "".join(p.value for p in pieces if p.member == "content")
