"""The tool by which the model asks for a page, and the answer it gets. Pure: the pages' texts come in as arguments.

One tool serves whole pages, ranges of lines and patterns. The text is exact: nothing is wrapped, and lines keep the
numbers they had. A page of a file read has the file's own numbers before its lines, so `lines` means those; any other
page is counted from 1. Patterns are matched by RE2, which is linear in the text whatever the pattern.

Every answer is final: what cannot be had is said, and what to do instead, so that no model asks in a circle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import re2

from addon.mmu.handle import PREFIX
from addon.mmu.page import asked, name_asked
from addon.mmu.wishes import Wishes
from addon.mmu.wishes import read as read_wishes
from addon.wire.subject import numbered, split

DESCRIPTION = (
    f"Returns the exact text behind a handle `{PREFIX}ID: ...]`: an earlier tool result that is no longer shown. "
    "`lines` (\"40-80\") or `grep` (a regular expression) give parts of a long one. You may also say what the "
    "conversation can do without: `release`, or `summary` with `upto`."
)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "page": {"type": "string", "description": "ID, or several separated by spaces"},
        "lines": {"type": "string"},
        "grep": {"type": "string"},
        "release": {"type": "string", "description": "files or commands, one a line, whose results can go"},
        "summary": {"type": "string", "description": "to stand for all before the user message that begins `upto`"},
        "upto": {"type": "string"},
    },
}

NO_PAGE = "`page` must be the ID that a handle names."

PAGES = 8
"""Pages in one call."""
LONGEST = 100_000
"""Characters of an answer; more are cut at a line, and the answer says where to go on."""
AROUND = 2
"""Lines shown before and after a match."""
MATCHES = 200
"""Matching lines shown."""

_WORD = re.compile(r"[a-z0-9-]{8,64}")
_RANGE = re.compile(r"(\d{1,9})\s*(?:-|\.\.|,)?\s*(\d{1,9})?|-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call asks for. `problem` says what is wrong with it, "" when nothing is."""

    pages: tuple[str, ...] = ()
    first: int = 0
    last: int = 0
    """Lines first to last; 0, 0 for all; a last of 0 for all from `first` on."""
    grep: str = ""
    problem: str = ""
    named: str = ""
    """A file or command, where that is named in the place of pages."""
    wishes: Wishes = field(default_factory=Wishes)

    def resolved(self, pages: Sequence[str]) -> Ask:
        """The call with the pages of what it names, the newest of them; as it is where it names nothing, or nothing
        that is known."""
        if not self.named or not pages:
            return self
        return replace(self, pages=tuple(pages[-PAGES:]), problem="" if self.problem == NO_PAGE else self.problem)

    @property
    def whole(self) -> bool:
        """Whether it asks for pages and not for parts of them."""
        return not self.first and not self.grep


def read(arguments: Any) -> Ask:
    """Understand a call's arguments, whatever they are."""
    given = arguments if isinstance(arguments, dict) else {}
    pages = asked(given)
    if not pages and _WORD.fullmatch(str(given.get("page", "")).strip()):
        pages = (str(given["page"]).strip(),)
    wishes, named = read_wishes(given), name_asked(given)
    if not pages and wishes and not named:
        return Ask(wishes=wishes)
    if len(pages) > PAGES:
        return Ask(problem=f"At most {PAGES} pages can be asked for at once.")
    first = last = 0
    lines = given.get("lines")
    if lines not in (None, ""):
        found = _RANGE.fullmatch(str(lines).strip())
        if found is None:
            return Ask(problem="`lines` must be a range of line numbers, for example 40-80.")
        first = max(int(found[1] or 1), 1)
        last = int(found[2] or found[3] or (0 if str(lines).strip().endswith(("-", "..")) else found[1]))
        if last and last < first:
            return Ask(problem=f"`lines` ends before it begins: {first}-{last}.")
    grep = given.get("grep")
    grep = grep if isinstance(grep, str) else ""
    try:
        _pattern(grep)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return Ask(problem=f"`grep` is not a pattern that can be matched here ({reason}). Try a simpler one.")
    problem = "" if pages or wishes else NO_PAGE
    return Ask(pages, first, last, grep, problem, named, wishes)


def _pattern(grep: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(grep, options) if grep else None


def answer(
    ask: Ask,
    texts: Mapping[str, str | None],
    standing: Mapping[str, str] = MappingProxyType({}),
    noted: str = "",
    longest: int = LONGEST,
) -> str:
    """The answer to a call. `texts` gives each page asked for, None for one that is not known here; `standing` says of
    pages that the model is shown in full where they stand, and those asked for whole are answered by pointing there;
    `noted` is what to say to the call's wishes; `longest` are the characters above which it is cut."""
    if ask.problem:
        return ask.problem
    pattern = _pattern(ask.grep)
    parts = [
        pointer(page, standing[page])
        if page in standing and ask.whole
        else _part(page, texts.get(page), ask, pattern)
        for page in ask.pages
    ]
    out: list[str] = []
    left = longest
    for page, part in zip(ask.pages, parts, strict=True):
        out.append(_bounded(page, part, left))
        left = max(left - len(out[-1]), 0)
    return "\n\n".join([*out, noted] if noted else out)


def pointer(page: str, where: str) -> str:
    """The answer for a page that is resident."""
    return f"Page {page} stands above already, in full and unchanged, as the result of {where}."


_POINTS = re.compile(r"Page ([0-9a-f]+) stands above already, ")


def points_to(text: str) -> str:
    """The page that an answer only points to, "" for any other text."""
    found = _POINTS.match(text)
    return found[1] if found else ""


def _part(page: str, text: str | None, ask: Ask, pattern: Any) -> str:
    if text is None:
        return f"There is no page {page} here. Run the original call again to see its result."
    if ask.whole:
        return text
    lines, _ = split(text)
    own = numbered(lines)
    numbers = [number for number, _ in own if number]
    places = [number for number, _ in own] if numbers else list(range(1, len(lines) + 1))
    chosen = [n for n, place in enumerate(places) if _within(place, ask)]
    if ask.first and not chosen:
        span = f"{numbers[0]} to {numbers[-1]}" if numbers else f"1 to {len(lines)}"
        return f"Page {page} has lines {span}, none of those asked for."
    if pattern is not None:
        chosen = list(_matching(lines, chosen, pattern))
        if not chosen:
            return f"Nothing in page {page} matches."
    out: list[str] = []
    before = None
    for n in chosen:
        if before is not None and n != before + 1:
            out.append("--")
        before = n
        out.append(lines[n] if numbers else f"{places[n]}\t{lines[n]}")
    return "\n".join(out)


def _within(place: int, ask: Ask) -> bool:
    return not ask.first or (place >= ask.first and (not ask.last or place <= ask.last))


def _matching(lines: list[str], chosen: list[int], pattern: Any) -> Iterator[int]:
    """Indexes of the matching lines among the chosen, with those around them."""
    inside = set(chosen)
    found = [n for n in chosen if pattern.search(lines[n])][:MATCHES]
    near = {m for n in found for m in range(n - AROUND, n + AROUND + 1)}
    return iter(sorted(near & inside))


def _bounded(page: str, text: str, room: int) -> str:
    if len(text) <= room:
        return text
    cut = text.rfind("\n", 0, room)
    if cut <= 0:
        return f"{text[:room]}\n[cut here: {len(text):,} characters without a break; the original call shows the rest]"
    shown, total = (part.count("\n") + 1 for part in (text[:cut], text))
    return f"{text[:cut]}\n[cut here: {shown:,} of {total:,} lines of page {page}; ask for `lines` or `grep`]"
