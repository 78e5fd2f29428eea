"""The view: what the provider is sent of a conversation, as a log of splices over the client's transcript.

A provider caches by prefix, and newer models bind their reasoning to it, so whatever it has once seen must be sent
again byte for byte, for ever. The client, however, sends its own full transcript each time. The view is the recorded
difference: *splices*, each tied to an *anchor*, replayed over every later transcript. As an anchor names a block by
what it is (call id and content) rather than by where it stands, a replay needs nothing but the log: after a restart, in
another process or after a resume the same transcript gives the same bytes.

An anchor is `CALL#N.PART:PAGE`: the call id, which answer to that id it is (clients do reuse ids), which text of the
answer, and the id of its content. A client that edits or rewinds its history changes the content or drops the block;
that anchor then matches nothing and the splice rests. For reasoning it is `reasoning@MESSAGE.INDEX:PAGE`.

Conversations are told apart by content, never by a header alone. Each request leaves the digests of its messages; the
next one continues the line with which it shares the longest prefix. A line that departs from a known one in the middle
(a fork, a sub-agent with a shared start, a rewind) is a new line that inherits the splices whose blocks it kept, so
that the shared prefix goes out exactly as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from addon.mmu import schemas
from addon.mmu.handle import PREFIX
from addon.mmu.page import NAME, asked, name_asked, page_id
from addon.mmu.wishes import Span, Wishes, acknowledge, names, span
from addon.mmu.wishes import read as read_wishes
from addon.wire.conversation import Act, Block, Conversation, Kind, Subject, text_digest
from addon.wire.scan import SPELLINGS, Edit, spelling, splice

TOOL = "tool:"
"""Begins the anchor of a tool that is added; its name follows."""

DIGEST = 8
"""Bytes of a message digest."""

_HANDLE = re.compile(re.escape(PREFIX) + r"([a-z0-9-]+)")

TAIL = 8
"""How many last messages of earlier requests are remembered beside the line's own."""


class Change(StrEnum):
    """What a splice does to its block."""

    FOLD = "fold"
    """Lines that stand elsewhere in the view are replaced by a reference to them."""
    EVICT = "evict"
    """The text is replaced by a handle."""
    CLEAR = "clear"
    """The text is sent as before, and the provider shows a placeholder for it (`addon.mmu.clear`)."""
    SERVE = "serve"
    """The client said "unchanged" of a text that is no longer resident, or showed a preview: the text is put there."""
    ANSWER = "answer"
    """The client's refusal of a tool that only we have is replaced by the answer, and is no error any more."""
    RELAY = "relay"
    """An exchange that the client was not shown stands where the provider saw it."""
    COLLAPSE = "collapse"
    """A summary of the model's own stands for a span of messages."""
    TOOL = "tool"
    """A tool definition is added behind the client's own."""
    STUB = "stub"
    """A tool's definition is shortened to its shape."""
    EXCERPT = "excerpt"
    """An oversized result arrives in part."""
    DROP = "drop"
    """A reasoning block is removed."""
    ORIGINAL = "original"
    """The client's own text stands again, for good: the provider refused what we sent."""


GONE = (Change.EVICT, Change.CLEAR)
"""What takes a whole text from the model's sight."""

CLEARED = "[Old tool result content cleared]"
"""About what a provider shows for a result that it clears: its words are its own, and this is to weigh them."""


@dataclass(frozen=True, slots=True)
class Splice:
    """One recorded difference between transcript and view."""

    anchor: str
    generation: int
    """0 for the first splice of an anchor; a later one takes the place of the earlier."""
    change: Change
    page: str
    """Id of the page that holds the block's own text."""
    text: str | None
    """What is sent in its place; None where nothing is (DROP) or the original is (ORIGINAL, mostly CLEAR)."""
    spelling: str = "utf8"
    """How the client spells the block's string, so that its literal can be rebuilt from the page; with a `!` behind it
    where the client called the result an error and the view does not."""
    needs: tuple[str, ...] = ()
    """Anchors of the blocks that a FOLD refers to; it stands only while they are resident."""
    request: int = 0
    """The request of the line that introduced it."""

    @property
    def pardons(self) -> bool:
        """Whether the client's error flag is taken away."""
        return self.spelling.endswith("!")

    def literal(self, text: str) -> str:
        """The JSON string of a text, as the client would spell it."""
        return SPELLINGS[self.spelling.removesuffix("!")](text)


@dataclass(frozen=True, slots=True)
class View:
    """What is known of one line of a conversation after its last request."""

    id: str
    requests: int = 0
    digests: bytes = b""
    """Message digests of the last transcript, `DIGEST` bytes each."""
    last_at: float = 0.0
    """When its last request was made, epoch seconds."""
    splices: Mapping[str, Splice] = field(default_factory=dict)
    """The newest splice of each anchor."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Small facts: `models` (name to last use), `ttl`, `told`, `cached`, `bound`, `tail`, `hands_off`, `pressure`,
    `unclearable`."""


@dataclass(slots=True)
class Entry:
    """A row of the page table: one tool result text of the transcript."""

    anchor: str
    page: str
    block: Block
    message: int
    position: int
    """Offset of the block's message in the text."""
    arrival: int
    """The request that brought it: how many answers of the model stand before it."""
    subject: Subject
    recalled: bool = False
    """The model asked for it by a page's id. Its subject is then that page's, where the transcript tells it."""


@dataclass(slots=True)
class Reasoning:
    """A signed reasoning block of the transcript."""

    anchor: str
    page: str
    block: Block
    message: int
    index: int
    cut: tuple[int, int] | None
    """What removing it takes out of the text: the block up to its successor; None where it is last or has to stay."""


@dataclass(slots=True)
class Table:
    """The page table of a transcript: everything a decision may touch or must respect, in order."""

    entries: list[Entry]
    reasoning: list[Reasoning]
    requests: int
    """Answers of the model so far; the ordinal of the request being planned."""
    edits: dict[str, int]
    """Path to the request that brought the answer of its last edit."""
    forgotten: int = 0
    """How many first messages the provider no longer shows."""
    tools: tuple[str, ...] = ()
    """Names of the client's tools."""
    tools_end: int = 0
    """Where the last of them ends in the text."""
    schemas: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Where each tool's definition stands, by the anchor of its stub."""
    by_anchor: dict[str, Entry] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    """Anchors of results that the model said it needs no longer."""
    span: Span | None = None
    """What the model last wished to have a summary stand for."""


UNKNOWN = Subject(Act.RUN, "", "tool result")


def page_table(conversation: Conversation) -> Table:
    """Lay out a transcript: every tool result with its anchor and what its call was about."""
    subjects: dict[str, Subject] = {}
    recalls: set[str] = set()
    of_page: dict[str, Subject] = {}
    answers: dict[tuple[str, int], int] = {}
    table = Table([], [], 0, {}, conversation.forgotten, tuple(t.name for t in conversation.tools))
    table.tools_end = conversation.tools[-1].end if conversation.tools else 0
    for tool in conversation.tools:
        definition = schemas.anchor(tool.name, conversation.text[tool.start : tool.end])
        table.schemas.setdefault(definition, []).append((tool.start, tool.end))
    for number, message in enumerate(conversation.messages):
        for index, block in enumerate(message.blocks):
            if block.kind is Kind.CALL:
                subjects[block.call] = about = block.about or UNKNOWN
                if block.name == NAME:
                    recalls.add(block.call)
                    wishes = read_wishes(block.arguments)
                    table.released.update(e.anchor for n in wishes.release for e in named(table, n))
                    table.span = span(wishes, conversation.messages[:number]) or table.span
                    wanted = [of_page[page] for page in asked(block.arguments) if page in of_page]
                    wanted = wanted or [e.subject for e in named(table, name_asked(block.arguments))][-1:]
                    subjects[block.call] = about = wanted[0] if len(wanted) == 1 else about
                if about.act is Act.EDIT:
                    table.edits[about.name] = table.requests + 1
            elif block.kind is Kind.RESULT and block.literal is not None:
                answer = answers[block.call, block.part] = answers.get((block.call, block.part), -1) + 1
                page = page_id(block.digest)
                anchor = f"{block.call}#{answer}.{block.part}:{page}"
                about = subjects.get(block.call, UNKNOWN)
                recalled = block.call in recalls
                entry = Entry(anchor, page, block, number, message.start, table.requests, about, recalled)
                of_page.setdefault(page, about)
                table.entries.append(entry)
                table.by_anchor[anchor] = entry
            elif block.kind is Kind.REASONING and block.signed:
                page = page_id(block.digest)
                last = index + 1 == len(message.blocks)
                after = None if last or block.stays else message.blocks[index + 1].start
                cut = None if after is None else (message.start + block.start, message.start + after)
                anchor = f"reasoning@{number}.{index}:{page}"
                table.reasoning.append(Reasoning(anchor, page, block, number, index, cut))
        if message.role == "assistant":
            table.requests += 1
    return table


def named(table: Table, name: str) -> list[Entry]:
    """The results that a file or command of this name gave."""
    return [e for e in table.entries if names(e.subject, name)]


def left(table: Table, splices: Mapping[str, Splice], name: str) -> list[str]:
    """Ids of the pages that the model is no longer shown of a file or command of this name: of a file all, of a command
    the newest."""
    gone = [e for e in named(table, name) if (s := splices.get(e.anchor)) is not None and s.change in GONE]
    pages = list(dict.fromkeys(e.page for e in gone if not e.recalled))
    return pages if gone and gone[-1].subject.act is Act.READ else pages[-1:]


def acknowledged(conversation: Conversation, wishes: Wishes) -> str:
    """What the model is told that wishes so much of this conversation."""
    table = page_table(conversation)
    counts = {name: len(named(table, name)) for name in wishes.release}
    return acknowledge(wishes, counts, span(wishes, conversation.messages))


class Descent(StrEnum):
    """How a request relates to what is known."""

    FIRST = "first"
    """A conversation's first request."""
    CONTINUED = "continued"
    REPEATED = "repeated"
    """Nothing new: a retry."""
    DIVERGED = "diverged"
    """It departs from a known line: a fork, a rewind or an edit by the client."""
    JOINED = "joined"
    """A conversation first met in the middle."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line a request belongs to."""

    how: Descent
    parent: View | None
    """The known line it continues or departs from."""
    seen: int
    """How many of its first messages the provider has been sent before, as this line's view has them."""
    used_at: float = 0.0
    """When the provider was last sent any of this prefix, by this line or one that shares its start; epoch seconds."""


def _shared(one: bytes, other: bytes) -> int:
    """How many leading message digests are equal."""
    most = min(len(one), len(other)) // DIGEST
    if one[: most * DIGEST] == other[: most * DIGEST]:
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if one[: middle * DIGEST] == other[: middle * DIGEST]:
            low = middle
        else:
            high = middle
    return low


def line(conversation: Conversation, table: Table, known: Sequence[View]) -> Line:
    """Find the line that a request continues, among the known ones that start alike or share its session."""
    digests = conversation.digests
    total = len(conversation.messages)
    best: tuple[int, float, View] | None = None
    used_at = 0.0
    for view in known:
        shared = _shared(digests, view.digests)
        kept = shared or any(anchor in table.by_anchor for anchor in view.splices)
        if shared:
            models = view.state.get("models")
            used_at = max([used_at, view.last_at, *(models.values() if isinstance(models, Mapping) else ())])
        if kept and (best is None or (shared, view.last_at) > best[:2]):
            best = shared, view.last_at, view
    if best is None:
        if table.requests == 0:
            return Line(Descent.FIRST, None, 0)
        last_answer = max(n for n, m in enumerate(conversation.messages) if m.role == "assistant")
        return Line(Descent.JOINED, None, last_answer + 1)
    shared, _, view = best
    stored = len(view.digests) // DIGEST
    if shared == total:
        return Line(Descent.REPEATED, view, total, used_at)
    # Clients send short asides on top of a conversation, and touch up its last message; that is no new line.
    if shared and shared >= stored - 1:
        return Line(Descent.CONTINUED, view, shared, used_at)
    return Line(Descent.DIVERGED, view, shared, used_at)


def standing(splices: Mapping[str, Splice], table: Table) -> dict[str, Splice]:
    """The splices that apply to a transcript, by anchor: their block is there, and what they refer to is resident."""
    here = {a: s for a, s in splices.items() if a in table.by_anchor and s.change is not Change.DROP}
    for reasoning in table.reasoning:
        found = splices.get(reasoning.anchor)
        if found is not None and reasoning.cut is not None:
            here[reasoning.anchor] = found
    for anchor, tool in splices.items():
        added = tool.change is Change.TOOL and table.tools and anchor.removeprefix(TOOL) not in table.tools
        if added or anchor in table.schemas:
            here[anchor] = tool

    def stands_on(anchor: str, needed: str) -> bool:
        target, found = table.by_anchor.get(needed), here.get(needed)
        if target is None:
            return False
        if found is not None and found.change is not Change.ORIGINAL:
            return False
        return target.message >= table.forgotten or table.by_anchor[anchor].message < table.forgotten

    return {a: s for a, s in here.items() if all(stands_on(a, needed) for needed in s.needs)}


def newest(lines: Iterable[Mapping[str, Splice]], change: Change) -> dict[str, Splice]:
    """The splices of a kind in several lines, the newest of each anchor."""
    found: dict[str, Splice] = {}
    for splices in lines:
        for anchor, one in splices.items():
            held = found.get(anchor)
            if one.change is change and (held is None or one.generation > held.generation):
                found[anchor] = one
    return found


def nearest(conversation: Conversation, known: Iterable[View]) -> tuple[int, list[View]]:
    """How many first messages the lines nearest to a request share with it, and these lines."""
    most, found = 0, list[View]()
    for view in known:
        shared = _shared(conversation.digests, view.digests)
        if shared > most:
            most, found = shared, []
        if shared == most:
            found.append(view)
    return most, found


def literal_of(conversation: Conversation, entry: Entry) -> tuple[int, int]:
    """Span in the text of the JSON string that holds the entry's text."""
    start, end = entry.block.literal or (0, 0)
    return entry.position + start, entry.position + end


def edits(conversation: Conversation, table: Table, splices: Mapping[str, Splice]) -> list[Edit]:
    """The replacements that turn the transcript's text into the view's."""
    out: list[Edit] = []
    for entry in table.entries:
        found = splices.get(entry.anchor)
        if found is not None and found.text is not None:
            start, end = literal_of(conversation, entry)
            out.append((start, end, found.literal(found.text)))
            if found.pardons and entry.block.flag is not None:
                start, end = entry.block.flag
                out.append((entry.position + start, entry.position + end, entry.block.verdicts[1]))
    for anchor, tool in splices.items():
        if tool.change is Change.TOOL:
            out.append((table.tools_end, table.tools_end, f",{tool.text}"))
        elif tool.change is Change.STUB and tool.text is not None:
            out += [(start, end, tool.text) for start, end in table.schemas[anchor]]
    for reasoning in table.reasoning:
        found = splices.get(reasoning.anchor)
        if found is not None and found.change is Change.DROP and reasoning.cut is not None:
            out.append((*reasoning.cut, ""))
    return out


def shown(entry: Entry, splices: Mapping[str, Splice]) -> str:
    """The text that the model is shown for an entry."""
    found = splices.get(entry.anchor)
    if found is not None and found.change is Change.CLEAR:
        return CLEARED
    return entry.block.text if found is None or found.text is None else found.text


def restore(sent: Conversation, splices: Mapping[str, Splice], pages: Mapping[str, str]) -> str:
    """Rebuild the client's body from what was sent, the splices that stood and the pages they name.

    The inverse of replay: `restore(view) == transcript`, byte for byte. Raises KeyError for a page that is missing.
    """
    by_place = {a.rpartition(":")[0]: s for a, s in splices.items() if s.change is not Change.ORIGINAL}
    out: list[Edit] = []
    answers: dict[tuple[str, int], int] = {}
    dropped: dict[int, list[tuple[int, str]]] = {}
    for place, found in by_place.items():
        if found.change is Change.TOOL and len(sent.tools) > 1:
            out.append((sent.tools[-2].end, sent.tools[-1].end, ""))
        elif found.change is Change.STUB:
            named = [tool for tool in sent.tools if tool.name == place.removeprefix(schemas.ANCHOR)]
            out += [(t.start, t.end, pages[found.page]) for t in named if sent.text[t.start : t.end] == found.text]
        elif found.change is Change.DROP:
            where, _, rank_in = place.removeprefix("reasoning@").partition(".")
            dropped.setdefault(int(where), []).append((int(rank_in), pages[found.page]))
    for number, message in enumerate(sent.messages):
        gone = sorted(dropped.get(number, []))
        for rank, (index, raw) in enumerate(gone):
            at = message.start + message.blocks[index - rank].start
            out.append((at, at, raw))
        for block in message.blocks:
            if block.kind is not Kind.RESULT or block.literal is None:
                continue
            answer = answers[block.call, block.part] = answers.get((block.call, block.part), -1) + 1
            standing = by_place.get(f"{block.call}#{answer}.{block.part}")
            if standing is not None:
                start, end = block.literal
                out.append((message.start + start, message.start + end, standing.literal(pages[standing.page])))
                if standing.pardons and block.flag is not None:
                    start, end = block.flag
                    out.append((message.start + start, message.start + end, block.verdicts[0]))
    merged: dict[tuple[int, int], str] = {}
    for start, end, text in out:
        merged[start, end] = merged.get((start, end), "") + text
    return splice(sent.text, [(start, end, text) for (start, end), text in merged.items()])


def pages_of(splices: Mapping[str, Splice]) -> set[str]:
    """Ids of the pages that splices took out of a conversation or named in it: those a model may ask for.

    Read off what mitmmu wrote itself. Texts of tools may hold anything, the id of another project's page included.
    """
    found = {s.page for s in splices.values()}
    for s in splices.values():
        found.update(needed.rpartition(":")[2] for needed in s.needs)
        if s.change is Change.EVICT and s.text is not None and (named := _HANDLE.match(s.text)):
            found.add(named[1])
    return found - {""}


def standing_pages(table: Table, splices: Mapping[str, Splice]) -> dict[str, str]:
    """Pages that stand in the view in full, with what each is the result of."""
    out: dict[str, str] = {}
    for entry in table.entries:
        found = splices.get(entry.anchor)
        if entry.message >= table.forgotten and (found is None or found.change not in GONE):
            whole = found is None or found.text is None
            out[entry.page if whole else page_id(text_digest(shown(entry, splices)))] = entry.subject.label
    return out


def spelling_of(conversation: Conversation, entry: Entry) -> str | None:
    """How the client spells the entry's string; None when it could not be rebuilt, so that it must be left alone."""
    start, end = literal_of(conversation, entry)
    return spelling(conversation.text[start:end], entry.block.text)
