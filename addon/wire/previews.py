"""Previews: what a client shows of a result that it found too long, in place of the result.

    Claude Code         <persisted-output>, the first 2 KB and the size, the rest in a file
    mini-swe-agent      <output_head>, <elided_chars> and <output_tail>, or a JSON object with these members
    gemini-cli          <tool_output_masked>, first and last lines around `... [80 lines omitted] ...`
    codex, older Claude Code    first and last characters around `…900 tokens truncated…`

A preview may be put side by side with a text and *prove* that it was cut from just that text. What a client reads by
range (`Showing lines 1-500 of 900`) is no preview: the model is told how to go on from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

LEAST_LINES = 20
LEAST_CHARACTERS = 1000
"""A preview proves nothing unless it shows so many lines or so many characters."""

SLACK = 2
"""By how much a count may differ: a newline at the end, a cut line counted on both sides, separators, rounding."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What is shown of a longer text, and what is said about the rest."""

    head: str
    tail: str = ""
    size: str = ""
    """Of the whole, as the client writes it: `35.9KB`. "" where it says nothing."""
    lines: int | None = None
    """Lines of the whole, where they are stated."""
    elided: int | None = None
    """How much is not shown, in `unit`s."""
    unit: str = ""
    """`lines`, `characters` or `tokens`."""


_PERSISTED = re.compile(
    r"<persisted-output>\nOutput too large \(([\d.]+KB)\)\. Full output saved to: [^\n]+\n\n"
    r"Preview \(first [^\n)]+\):\n(.+)\n\.\.\.\n</persisted-output>\s*",
    re.DOTALL,
)
_TAGGED = re.compile(
    r"(?:<returncode>0</returncode>\s*)?(?:<warning>.*?</warning>\s*)?<output_head>\n?(.+?)\n?</output_head>\s*"
    r"<elided_chars>\s*(\d+) characters elided\s*</elided_chars>\s*<output_tail>\n?(.+?)\n?</output_tail>\s*",
    re.DOTALL,
)
_MASKED = re.compile(
    r"<tool_output_masked>\n(?:Output: )?(.+)\n\nOutput too large\. Full output available at: [^\n]+\n"
    r"</tool_output_masked>\s*",
    re.DOTALL,
)
_MARKER = re.compile(
    r"…(\d+) (tokens|chars) truncated…"
    r"|\n{0,2}\.\.\. \[?(\d+) (lines|characters|chars|tokens) (?:truncated|omitted)\]? \.\.\.\n{0,2}"
)
_ABOUT = re.compile(
    r"(?:(?:Chunk ID|Wall time|Original token count|Total output lines|Warning: truncated output|Output)\b[^\n]*\n"
    r"|(?:Exit code: 0|Process exited with code 0)\n|\n)*"
)
_LINES = re.compile(r"^Total output lines: (\d+)$", re.MULTILINE)


def _persisted(text: str) -> Preview | None:
    found = _PERSISTED.fullmatch(text)
    return Preview(found[2], size=found[1]) if found else None


def _tagged(text: str) -> Preview | None:
    # Once each: which of two would be the client's is not certain, and trying all takes quadratic time.
    once = all(text.count(f"{tag}>") == 1 for tag in ("<output_head", "</output_head", "<output_tail", "</output_tail"))
    found = _TAGGED.fullmatch(text) if once else None
    return Preview(found[1], found[3], elided=int(found[2]), unit="characters") if found else None


def _members(text: str) -> Preview | None:
    try:
        given = json.loads(text)
    except ValueError:
        return None
    if not isinstance(given, dict) or given.get("returncode") != 0 or given.get("exception_info"):
        return None
    head, tail, elided = given.get("output_head"), given.get("output_tail"), given.get("elided_chars")
    if not isinstance(head, str) or not isinstance(tail, str) or type(elided) is not int:
        return None
    return Preview(head, tail, elided=elided, unit="characters")


def _masked(text: str) -> Preview | None:
    found = _MASKED.fullmatch(text)
    return _around(found[1]) if found else None


def _around(text: str) -> Preview | None:
    about = _ABOUT.match(text)
    start = about.end() if about else 0
    found = list(_MARKER.finditer(text, start))
    if len(found) != 1:
        return None
    number, unit = (found[0][1], found[0][2]) if found[0][1] else (found[0][3], found[0][4])
    stated = _LINES.search(text, 0, start)
    return Preview(
        text[start : found[0].start()],
        text[found[0].end() :],
        lines=int(stated[1]) if stated else None,
        elided=int(number),
        unit="characters" if unit == "chars" else unit,
    )


_SPELLINGS: tuple[tuple[str, Callable[[str], Preview | None]], ...] = (
    ("<persisted-output>", _persisted),
    ("<tool_output_masked>", _masked),
    ("</output_head>", _tagged),
    ('"output_head"', _members),
    (" truncated", _around),
)
"""A word that is cheap to look for, and what reads a text in which it stands."""


def preview(text: str) -> Preview | None:
    """What a result shows of a longer one; None where it is no client's preview."""
    for word, read in _SPELLINGS:
        if word in text and (shown := read(text)) is not None:
            return shown
    return None


def _kilobytes(size: int) -> str:
    """A size as Claude Code writes it, for anything from 1 KB to 1 MB."""
    return f"{size / 1024:.1f}".removesuffix(".0") + "KB"


def _count(text: str, unit: str) -> int:
    """Lines, characters, or (four to a token) bytes."""
    if unit == "lines":
        return text.count("\n") + 1
    return len(text.encode("utf-8", "surrogatepass")) if unit == "tokens" else len(text)


def proves(shown: Preview, text: str) -> bool:
    """Whether a preview can only have been cut from `text`: its start and end are there, and all figures agree.

    Without a size, start and end must both be shown. A newline at the very end of `text` is of no account.
    """
    text = text.removesuffix("\n")
    head, tail = shown.head, shown.tail.removesuffix("\n")
    seen = len(head) + len(tail)
    lines = head.count("\n") + 1 + (tail.count("\n") + 1 if tail else 0)
    if not head or (lines < LEAST_LINES and seen < LEAST_CHARACTERS):
        return False
    if not text.startswith(head) or not text.endswith(tail) or not (tail or shown.size):
        return False
    if shown.size:
        # Some versions count bytes, some UTF-16 units, and a newline at the end may be among them.
        sizes = [len(text.encode(code, "surrogatepass")) // unit for code, unit in (("utf-8", 1), ("utf-16-le", 2))]
        if shown.size not in {_kilobytes(size + end) for size in sizes for end in (0, 1)}:
            return False
    if shown.lines is not None and abs(_count(text, "lines") - shown.lines) > SLACK:
        return False
    if shown.elided is None:
        return True
    rest = _count(text, shown.unit) - _count(head, shown.unit) - _count(tail, shown.unit)
    return abs((-(-rest // 4) if shown.unit == "tokens" else rest) - shown.elided) <= SLACK
