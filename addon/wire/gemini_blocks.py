"""A content of Gemini's model in blocks, as hidden exchanges keep it: a block is the JSON of one part.

Texts come in pieces, which clients keep as they came or run together; here those that stand in a row and differ in
nothing else are one block. A text that is empty and bears no signature is none: the server does not take it back.

Gemini 2.5 gives calls no ids. Within one answer such a call is known by its name and its place among the calls of that
name, `NAME#N`, which no id of the API's own looks like; requests have other words for it (`gemini_calls`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from addon.wire.gemini_parts import levelled

_PLAIN = ({"text"}, {"text", "thought"})
"""The members of a text that more of it may follow."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A block or a part of the client's, by what tells it from others."""

    raw: str
    value: dict[str, Any]

    @property
    def text(self) -> str | None:
        """None where it is no text; "" for a signature that stands by itself."""
        got = self.value.get("text", "" if self.value.keys() == {"thoughtSignature"} else None)
        return got if isinstance(got, str) else None

    @property
    def thought(self) -> bool:
        return self.value.get("thought") is True

    @property
    def call(self) -> dict[str, Any] | None:
        got = self.value.get("functionCall")
        return levelled(got) if isinstance(got, dict) else None

    @property
    def signature(self) -> str:
        got = self.value.get("thoughtSignature")
        return sealed(got) if isinstance(got, str) else ""

    @property
    def says(self) -> bool:
        """Whether it is more than a thought or its seal."""
        return not self.thought and (self.text is None or bool(self.text.strip()))


def sealed(signature: str) -> str:
    """A signature in the one spelling of base64; SDKs that know it to be bytes use another."""
    return signature.translate(_STANDARD).rstrip("=")


_STANDARD = str.maketrans("-_", "+/")


def piece(raw: str) -> Piece:
    """Read a block, or a part of the client's in either spelling of its fields."""
    got = levelled(json.loads(raw))
    return Piece(raw, {name: value for name, value in got.items() if value is not None})


def spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def run_together(parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The parts of an answer with what was one text as one, and without empty ones."""
    held: dict[str, Any] | None = None
    for part in parts:
        if part.keys() not in _PLAIN or not isinstance(part["text"], str):
            if held is not None:
                yield held
            held = None
            yield part
        elif held is not None and held.get("thought") == part.get("thought"):
            held = {**held, "text": held["text"] + part["text"]}
        elif part["text"]:
            if held is not None:
                yield held
            held = part
    if held is not None:
        yield held


def named(calls: Iterable[dict[str, Any]]) -> list[str]:
    """An id for each call of one answer."""
    equal: Counter[str] = Counter()
    out: list[str] = []
    for call in calls:
        name = str(call.get("name") or "")
        out.append(str(call.get("id") or f"{name}#{equal[name]}"))
        equal[name] += 1
    return out


def made_up(identity: str, name: str) -> bool:
    """Whether a call's id is only ours."""
    return identity.startswith(f"{name}#")


def content(role: str, parts: Sequence[str]) -> str:
    """The JSON of a content."""
    return f'{{"role":"{role}","parts":[{",".join(parts)}]}}'


def words(pieces: Iterable[Piece], *, thought: bool = False) -> str:
    """The text among them, or what was thought."""
    return "".join(p.text for p in pieces if p.text is not None and p.thought is thought)
