"""What a session sent that it need not have sent, in tokens and in dollars. Pure.

Every figure but `unique` and `arrived` counts tokens as often as they were sent. The figures overlap (a stale result
may also be a repeated one), so they do not add up to anything; each is a share of `sent`.

*Stale* is told by hindsight: a result is in use up to the last time that its file is read or edited again, as the
working set has it; an output is used when it comes. What the model used without a word of it does not show, so the low
ages are doubtful and the high ones say more.

*Dollars* are what the provider reported, at the prices of the day; of requests without a report, an estimate that is
kept apart. A wasted token is charged what a token of that very prompt cost on average: at the shares that were read,
written and fresh, output left out. Where nothing was reported or the price is not known, no waste is claimed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate, pairwise

from addon.audit.estimated import estimates
from addon.audit.recorded import Line, Request, Session, Turn, transcript
from addon.audit.scaled import scale
from addon.mmu.price import Rates
from addon.mmu.tokens import Counter
from addon.mmu.view import page_table
from addon.mmu.workingset import last_access, stands_for
from addon.wire.conversation import Act, Kind, Subject
from addon.wire.subject import numbered

AGES = (4, 8, 16, 32)
"""Requests after its last use."""

IDLE = (300, 3600)
"""Seconds after which the usual caches have expired."""

SAME, ELSEWHERE = 4, 30
"""Characters that a line must have to count as repeated: in a result of the same thing, in any other."""

WASTE = (
    "static", "unused", "repeated_same", "repeated_elsewhere",
    *(f"stale_{age}" for age in AGES), *(f"cold_{idle}" for idle in IDLE),
)  # fmt: skip
"""The kinds of waste that are told in dollars too."""

type Price = Callable[[Request], Rates]
"""What the model of a request cost; not `known` where nobody lists it."""


@dataclass(slots=True)
class Figures:
    """Of a session, or of several, added up."""

    requests: int = 0
    sent: int = 0
    unique: int = 0
    """Tokens of what was sent, each message and head once."""
    reported: int = 0
    """Prompt tokens by the provider's own count, with what is not in the recording."""
    reported_requests: int = 0
    static: int = 0
    """System, tools and what stands before the first answer, where it had been sent before."""
    sent_declared: int = 0
    """`sent`, where the tools' definitions were recorded."""
    unused: int = 0
    """Definitions of tools that the session never called."""
    results: int = 0
    """Tool results."""
    arrived: int = 0
    """Tokens of repeated lines when they came, of both kinds."""
    repeated_same: int = 0
    """Lines of results that stood in an earlier result of the same file or command."""
    repeated_elsewhere: int = 0
    """Other lines, that stood in any other earlier result."""
    stale: dict[int, int] = field(default_factory=lambda: dict.fromkeys(AGES, 0))
    """By age: results that were sent more than so many requests after their last use."""
    timed: int = 0
    """Requests whose time is known, with one before them."""
    cold: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDLE, 0))
    """By seconds: requests that came more than so long after the one before them."""
    cold_tokens: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDLE, 0))
    """What those sent that the one before had sent too."""
    dollars: float = 0.0
    """By what the provider reported."""
    priced: int = 0
    """Requests whose cost is in `dollars`."""
    estimated: float = 0.0
    """Dollars of requests of which nothing was reported."""
    estimated_requests: int = 0
    unpriced: int = 0
    """Requests of models whose prices are not known."""
    wasted: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WASTE, 0.0))
    """Dollars by kind of waste."""

    @property
    def amplification(self) -> float:
        """How often a token was sent."""
        return self.sent / self.unique if self.unique else 0.0

    def add(self, other: Figures) -> None:
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, dict):
                for key, more in theirs.items():
                    mine[key] += more
            else:
                setattr(self, each.name, mine + theirs)


def measure(session: Session, counter: Counter, price: Price | None = None) -> Figures:
    """The figures of one session."""
    out = Figures()
    each = _account(out, session, price)
    carried = _carried(session, each)
    names = called(session)
    seen: set[bytes] = set()
    sent_turns: set[int] = set()
    for line in session.lines:
        upto = list(accumulate((turn.weight for turn in line.turns), initial=0))
        first = next((n for n, turn in enumerate(line.turns) if turn.message.role == "assistant"), len(line.turns))
        for request in line.requests:
            weight = request.head.weight
            dear = each.get(id(request), 0.0)
            out.requests += 1
            out.sent += weight + upto[request.turns]
            static = weight if request.head.digest in seen else 0
            if not static:
                seen.add(request.head.digest)
                out.unique += weight
            opening = line.turns[: min(first, request.turns)]
            static += sum(turn.weight for turn in opening if id(turn) in sent_turns)
            sent_turns |= {id(turn) for turn in opening}
            out.static += static
            out.wasted["static"] += static * dear
            if session.declared:
                unused = sum(tokens for name, tokens in request.head.tools if name not in names)
                out.sent_declared += weight + upto[request.turns]
                out.unused += unused
                out.wasted["unused"] += unused * dear
        _cold(out, line, upto, each)
        _stale(out, line, counter, each)
    out.unique += sum(carry.turn.weight for carry in carried.values() if carry.times)
    _results(out, session, carried, counter)
    return out


def _account(out: Figures, session: Session, price: Price | None) -> dict[int, float]:
    """Books what the session cost. By the identity of each request whose cost was reported, the dollars of a token of
    ours in it."""
    found: dict[int, float] = {}
    factor = scale(session)
    guessed = estimates(session, factor, price) if price is not None else {}
    for line in session.lines:
        for request in line.requests:
            usage = request.usage
            if usage is not None:
                out.reported += usage.prompt
                out.reported_requests += 1
            if price is None:
                continue
            rates = price(request)
            if not rates.known:
                out.unpriced += 1
            elif usage is None:
                out.estimated += rates.cost(guessed[id(request)])
                out.estimated_requests += 1
            else:
                out.dollars += rates.cost(usage)
                out.priced += 1
                if usage.prompt:
                    found[id(request)] = rates.cost(replace(usage, output=0)) / usage.prompt * factor.factor
    return found


@dataclass(frozen=True, slots=True)
class _Carry:
    """A turn, in how many requests it stood, and what one token of it came to in all of them, in dollars."""

    turn: Turn
    times: int = 0
    dollars: float = 0.0


class _After:
    """Requests by some position of theirs: how many stand behind another position, and what a token cost in these."""

    def __init__(self, at: list[tuple[int, float]]) -> None:
        at.sort()
        self._places = [place for place, _ in at]
        self._dollars = [*accumulate((dollars for _, dollars in reversed(at)), initial=0.0)][::-1]

    def __call__(self, place: int) -> tuple[int, float]:
        first = bisect_right(self._places, place)
        return len(self._places) - first, self._dollars[first]


def _carried(session: Session, each: dict[int, float]) -> dict[int, _Carry]:
    """For each turn, by identity, where it stood; in the order of their coming."""
    out: dict[int, _Carry] = {}
    for line in session.lines:
        longer = _After([(request.turns, each.get(id(request), 0.0)) for request in line.requests])
        for number, turn in enumerate(line.turns):
            before = out.get(id(turn), _Carry(turn))
            times, dollars = longer(number)
            out[id(turn)] = _Carry(turn, before.times + times, before.dollars + dollars)
    return out


def called(session: Session) -> set[str]:
    """Names of the tools that were called."""
    blocks = (b for line in session.lines for turn in line.turns for b in turn.message.blocks)
    return session.answered | {block.name for block in blocks if block.kind is Kind.CALL}


def _cold(out: Figures, line: Line, upto: list[int], each: dict[int, float]) -> None:
    for before, request in pairwise(line.requests):
        if before.at is None or request.at is None:
            continue
        out.timed += 1
        for idle in IDLE:
            if request.at - before.at > idle:
                again = request.head.weight + upto[min(before.turns, request.turns)]
                out.cold[idle] += 1
                out.cold_tokens[idle] += again
                out.wasted[f"cold_{idle}"] += again * each.get(id(request), 0.0)


def _stale(out: Figures, line: Line, counter: Counter, each: dict[int, float]) -> None:
    table = page_table(transcript(line))
    answers = list(accumulate((turn.message.role == "assistant" for turn in line.turns), initial=0))
    later = _After([(answers[request.turns], each.get(id(request), 0.0)) for request in line.requests])
    for entry, used in zip(table.entries, last_access(table, stands_for(table)), strict=True):
        tokens = counter.count(entry.block.text, entry.block.digest)
        for age in AGES:
            times, dollars = later(max(used, entry.arrival) + age)
            out.stale[age] += tokens * times
            out.wasted[f"stale_{age}"] += tokens * dollars


def _results(out: Figures, session: Session, carried: dict[int, _Carry], counter: Counter) -> None:
    """Results, and the lines in them that had been there before."""
    repeated = repeats(session, counter)
    for carry in carried.values():
        for block, tokens in zip(carry.turn.message.blocks, carry.turn.tokens, strict=True):
            if id(block) not in repeated:
                continue
            same, elsewhere = repeated[id(block)]
            out.results += tokens * carry.times
            out.arrived += same + elsewhere
            out.repeated_same += same * carry.times
            out.repeated_elsewhere += elsewhere * carry.times
            out.wasted["repeated_same"] += same * carry.dollars
            out.wasted["repeated_elsewhere"] += elsewhere * carry.dollars


def repeats(session: Session, counter: Counter) -> dict[int, tuple[int, int]]:
    """By the identity of each result's block that was sent: tokens of its lines that had stood in an earlier result of
    the same file or command, and in any other."""
    out: dict[int, tuple[int, int]] = {}
    about: dict[str, Subject] = {}
    known: dict[tuple[Act, str], set[str]] = {}
    anywhere: set[str] = set()
    for carry in _carried(session, {}).values():
        for block in carry.turn.message.blocks:
            if block.kind is Kind.CALL and block.about is not None:
                about[block.call] = block.about
            if block.kind is not Kind.RESULT or not carry.times:
                continue
            subject = about.get(block.call)
            same = known.setdefault((subject.act, subject.name), set()) if subject is not None else set[str]()
            lines = [line.strip() for _, line in numbered(block.text.split("\n"))]
            again = [line for line in lines if len(line) >= SAME and line in same]
            others = [line for line in lines if len(line) >= ELSEWHERE and line not in same and line in anywhere]
            out[id(block)] = counter.count("\n".join(again)), counter.count("\n".join(others))
            same.update(lines)
            anywhere.update(line for line in lines if len(line) >= ELSEWHERE)
    return out
