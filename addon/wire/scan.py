"""JSON with spans: find every value's place in the original text, replace some, leave all other bytes alone.

A request body must leave the proxy exactly as the client wrote it, apart from the few strings we replace: key order,
number spelling (`1E5`, `0.10`), escapes (`\\u00e9`, `\\/`) and white space all belong to the client, and to whatever
signature or cache hangs on them. Parsing and dumping cannot keep them. So the body is scanned once with the standard
library's C scanner, which tells where each value ends; objects and arrays on the way to what interests us are walked
here, everything below is one C call. A replacement is spliced into the text at its span.

What JSON leaves open is refused rather than guessed: duplicate keys (readers disagree on which one counts), NaN and
Infinity, lone surrogates, a byte-order mark, control characters in strings. `Malformed` means: forward untouched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.encoder import encode_basestring, encode_basestring_ascii
from json.scanner import c_make_scanner  # type: ignore[attr-defined]
from typing import Any

type Field = tuple[Any, int, int]
"""A value and where it stands in the text: (value, start, end)."""

type Reader = Callable[[str, int], tuple[Any, int]]
"""Reads the value that starts at an index; returns it and the index behind it."""

type Edit = tuple[int, int, str]
"""Replace text[start:end] by the string."""


class Malformed(ValueError):
    """The text is not JSON that every reader understands alike."""

    reason = "malformed"
    """Why its request passes untouched, for people and for counting."""


class Elsewhere(Malformed):
    """What a request says is not all in it: the provider keeps the rest."""

    reason = "history on the server"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("duplicate key")
    return found


def _no_constant(name: str) -> Any:
    raise Malformed(f"{name} is not JSON")


_scan: Reader = c_make_scanner(json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant))
SPACE = " \t\n\r"
_space = re.compile(r"[ \t\n\r]*").match


def value(text: str, at: int) -> tuple[Any, int]:
    """Read any value in one C call. Raises Malformed."""
    try:
        return _scan(text, at)
    except StopIteration as stop:
        raise Malformed(f"no value at {stop.value}") from None


def skip(text: str, at: int) -> int:
    """The index of the next character that is not white space."""
    return _space(text, at).end()  # type: ignore[union-attr]


def fields(text: str, at: int, readers: Mapping[str, Reader]) -> tuple[dict[str, Field], int]:
    """Walk the object that starts at `at`; each member is read by its reader in `readers`, else as a plain value."""
    if text[at] != "{":
        raise Malformed(f"object expected at {at}")
    found: dict[str, Field] = {}
    at += 1
    if text[at] in SPACE:
        at = skip(text, at)
    if text[at] == "}":
        return found, at + 1
    while True:
        if text[at] != '"':
            raise Malformed(f"key expected at {at}")
        key, at = scanstring(text, at + 1, True)
        if text[at] in SPACE:
            at = skip(text, at)
        if text[at] != ":":
            raise Malformed(f"':' expected at {at}")
        at += 1
        if text[at] in SPACE:
            at = skip(text, at)
        if key in found:
            raise Malformed(f"duplicate key {key!r}")
        reader = readers.get(key)
        got, end = reader(text, at) if reader is not None else value(text, at)
        found[key] = (got, at, end)
        at = end
        if text[at] in SPACE:
            at = skip(text, at)
        mark = text[at]
        if mark == "}":
            return found, at + 1
        if mark != ",":
            raise Malformed(f"',' expected at {at}")
        at += 1
        if text[at] in SPACE:
            at = skip(text, at)


def items(text: str, at: int, reader: Reader) -> tuple[list[Field], int]:
    """Walk the array that starts at `at`; each element is read by `reader`."""
    if text[at] != "[":
        raise Malformed(f"array expected at {at}")
    found: list[Field] = []
    at = skip(text, at + 1)
    if text[at] == "]":
        return found, at + 1
    while True:
        got, end = reader(text, at)
        found.append((got, at, end))
        at = skip(text, end)
        mark = text[at]
        if mark == "]":
            return found, at + 1
        if mark != ",":
            raise Malformed(f"',' expected at {at}")
        at = skip(text, at + 1)


def document(body: bytes, readers: Mapping[str, Reader]) -> tuple[str, dict[str, Field]]:
    """Read a whole body whose top is an object. Returns its text and its members.

    Raises Malformed for everything that is not exactly one JSON object in UTF-8.
    """
    try:
        text = body.decode("utf-8")
        found, at = fields(text, skip(text, 0), readers)
        if skip(text, at) != len(text):
            raise Malformed("text behind the object")
    except Malformed:
        raise
    except IndexError:
        raise Malformed("text ends early") from None
    except (ValueError, RecursionError) as error:  # bad UTF-8, bad string, number too long, nested too deep
        raise Malformed(str(error)) from None
    return text, found


def splice(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits, given in any order; they must not overlap (ValueError)."""
    out: list[str] = []
    at = 0
    for start, end, replacement in sorted(edits):
        if start < at or end < start:
            raise ValueError(f"edits overlap at {start}")
        out.append(text[at:start])
        out.append(replacement)
        at = end
    out.append(text[at:])
    return "".join(out)


# How JSON writers spell a string. A string that none of these reproduces exactly is left alone, so that the original
# literal can always be rebuilt from its text and the name of its spelling.
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "utf8": encode_basestring,  # JavaScript, Rust, Python with ensure_ascii=False
    "ascii": encode_basestring_ascii,  # Python's default
    "html": lambda text: encode_basestring(text).translate(_HTML),  # Go's default
}


def spelling(literal: str, text: str) -> str | None:
    """The name of the spelling that turns `text` into `literal` (quotes included), or None."""
    for name, spell in SPELLINGS.items():
        if spell(text) == literal:
            return name
    return None
