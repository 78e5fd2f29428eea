"""What one request adds to what is known of conversations like it. Pure.

Every request is counted once. Which ordinals of its line it is the first to show follows from how it descends:

- a first request, or the second of a conversation that shares no answer with the one it was taken for: all so far;
- one that goes on: those behind the answers that it shares with the last request of its line;
- a client's edit of its own history that goes further than the line had come: this one;
- a fork or rewind: those behind the answers it shares with its parent, whose past was counted there; and that it
  entered. A conversation first met in the middle is one of these;
- a retry, or an aside at an ordinal that has been shown: none.

Requests are counted whether or not they were answered, for a retry shows nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

from addon.mmu import reuse, survival
from addon.mmu.view import DIGEST, Descent, Line, Table
from addon.mmu.workingset import stands_for
from addon.wire.conversation import Act, Conversation, Kind, Subject

LEAST = 400
"""Characters of a result below which it is not worth evicting, and so not counted as a page."""
LONGEST = 128
"""Characters of a tool's name beyond which it is not counted."""
SESSIONS = "sessions"
TOOL = "tool:"
TOTAL = "total"
"""The tally by which a scope fades: at each 1,024 of it everything is halved."""
WEIGHT = 16.0
"""What a session adds to it where tools are counted, so that those of the last 64 sessions count."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Amounts to add."""

    population: Mapping[str, float] = field(default_factory=dict)
    """To what is known of the client's conversations."""
    project: Mapping[str, float] = field(default_factory=dict)
    """To what is known of its conversations in this project."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of conversations like this one: tallies of the client's, and of the client's in this project."""

    population: Mapping[str, float] = MappingProxyType({})
    project: Mapping[str, float] = MappingProxyType({})
    sub: bool = False
    """Whether another agent has begun it. Such conversations have tallies of their own."""

    def remaining(self, requests: int) -> float:
        """Further requests to expect of a conversation that has made so many, this one included."""
        return survival.remaining(self.population, requests, sub=self.sub)

    def chances(self, sort: reuse.Sort) -> list[float]:
        """The chances, 0 to 1, that a page is used again which lay idle for each age of the grid (`reuse.AGES`)."""
        return reuse.chances(self.population, sort, sub=self.sub)

    @property
    def used(self) -> frozenset[str] | None:
        """Tools that enough recent sessions of the project used, or of the client's where the project is new; None
        where there were too few to tell."""
        for tallies in (self.project, self.population):
            if tallies.get(SESSIONS, 0.0) >= ENOUGH:
                return frozenset(used_tools(tallies, LEAST_SHARE))
        return None


ENOUGH = 2
"""Sessions from which on they tell which tools are used."""
LEAST_SHARE = 0.3
"""Share of the sessions that make a tool a used one. A definition of 1,000 tokens that is left out saves its rent on
every request; one that is asked for in vain costs one more pass over the prompt. At Claude's prices, with 60,000 tokens
of prompt and 60 requests to come, they are even at two thirds."""


def used_tools(tallies: Mapping[str, float], least_share: float) -> set[str]:
    """Tools that at least this share of the sessions used; none where no session is known."""
    least = least_share * tallies.get(SESSIONS, 0.0)
    if least <= 0:
        return set()
    return {name.removeprefix(TOOL) for name, n in tallies.items() if name.startswith(TOOL) and n >= least}


@dataclass(frozen=True, slots=True)
class _Span:
    """Requests `after` + 1 to `upto` of a conversation, counted from 1."""

    after: int
    upto: int
    entered: bool = False


def _span(conversation: Conversation, table: Table, line: Line) -> _Span:
    now = table.requests + 1
    shared = sum(message.role == "assistant" for message in conversation.messages[: line.seen])
    if line.how is Descent.REPEATED:
        return _Span(now, now)
    if line.how is Descent.FIRST:
        return _Span(0, now)
    if line.how is Descent.CONTINUED:
        return _Span(shared + 1, now)
    if line.how is Descent.DIVERGED and line.parent is not None:
        if line.seen and not shared and now <= 2:
            return _Span(0, now)  # prompts are used again, answers are not
        if len(conversation.messages) > len(line.parent.digests) // DIGEST:
            return _Span(now - 1, now)
        return _Span(max(shared + 1, now - 1), now, entered=True)
    return _Span(now - 1, now, entered=True)


def observed(conversation: Conversation, table: Table, line: Line) -> Observed:
    """What a request adds: the conversation as it was planned, its page table and its descent."""
    span = _span(conversation, table, line)
    begins = span.after == 0
    population = survival.entered(span.upto) if span.entered else survival.reached(span.after, span.upto)
    if begins or span.entered:
        population[TOTAL] = 1.0
    for sort, first, following in _stretches(conversation, table):
        for name in _counted(sort, first, following, span):
            population[name] = population.get(name, 0.0) + 1.0
    tools = {TOOL + name: 1.0 for name in _first_called(conversation, span)}
    if begins:
        tools[SESSIONS] = 1.0
    return Observed(population | tools, tools | ({TOTAL: WEIGHT} if begins else {}))


def _first_called(conversation: Conversation, span: _Span) -> set[str]:
    """Tools that were called for the first time in what the requests of the span brought. (Request n brings answer
    n - 1.)"""
    before: set[str] = set()
    since: set[str] = set()
    answers = 0
    for message in conversation.messages:
        if message.role == "assistant":
            answers += 1
        names = {block.name for block in message.blocks if block.kind is Kind.CALL}
        (before if answers < span.after else since).update(names)
    return {name for name in since - before if name and len(name) <= LONGEST and name.isprintable()}


def _stretches(conversation: Conversation, table: Table) -> Iterator[tuple[Subject, int, int | None]]:
    """Each idle stretch of each page: what it shows, the request of the use that begins it, and of the one that ends
    it, None where it goes on. Requests are counted from 1.

    A file's pages are used together, by any read or edit of it, and are one. An output is used again where it comes
    again word for word, or where the model recalls it; one that comes otherwise takes the place of the older, and is no
    use of it.
    """
    uses: dict[tuple[str, str], list[int]] = {}
    about: dict[tuple[str, str], Subject] = {}
    newest: dict[str, tuple[str, str]] = {}
    for entry, subject in zip(table.entries, stands_for(table), strict=True):
        key = (subject.name, "" if subject.act is Act.READ else entry.page)
        if entry.recalled:  # where the client runs it, as an error
            key = newest.get(subject.name, key)
        elif entry.block.error:
            continue
        if key not in uses and (entry.recalled or len(entry.block.text) < LEAST):
            continue
        uses.setdefault(key, []).append(entry.arrival + 1)
        about.setdefault(key, subject)
        newest[subject.name] = key
    answers = 0
    for message in conversation.messages:
        if message.role == "assistant":
            answers += 1
        for block in message.blocks:
            if block.kind is Kind.CALL and block.about is not None and block.about.act is Act.EDIT:
                found = uses.get((block.about.name, ""))
                if found is not None and answers + 1 > found[0]:
                    found.append(answers + 1)
    for key, at in uses.items():
        known = sorted(set(at))
        yield from ((about[key], one, other) for one, other in pairwise(known))
        yield about[key], known[-1], None


def _counted(about: Subject, first: int, following: int | None, span: _Span) -> Iterator[str]:
    """The tallies to which a stretch adds in the requests of a span."""
    ends = span.upto + 1 if following is None else following
    lasted = [age for age in reuse.AGES if span.after < first + age <= span.upto and first + age < ends]
    idle = ends - first - 1
    used = following is not None and idle > 0 and span.after < following <= span.upto
    if lasted or used:
        sort = reuse.sort(about)
        yield from (reuse.idle(sort, age) for age in lasted)
        if used:
            yield reuse.again(sort, idle)
