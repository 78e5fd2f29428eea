"""What mitmmu would have made of a recorded session, and what that would have cost.

Every *arm* gets the same requests at the same times and has a provider of its own (`addon.audit.simulated`): one sends
them as they were, one as mitmmu's planner has them, one as the published age rule has them. The answers are the
recorded ones in all of them. The planner is the proxy's (`addon.audit.planner`), and knows of earlier sessions what the
proxy would have learned of them.

What a recording cannot tell: whether the model would have said something else, had it not seen what was taken out. A
*fault* is where it asked again for what had been evicted; it is paid for by all arms, as the recorded transcript holds
the second copy. A tool that it called while a stub stood for it is called *blind*: the model may have asked for the
definition first, and nobody is charged for that. And no recorded model has called the recall tool, since it had none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from types import MappingProxyType

from addon.audit import hindsight, rebuilt
from addon.audit.elsewhere import Elsewhere, Head
from addon.audit.planner import Now, Planner
from addon.audit.rebuilt import Asked
from addon.audit.recorded import Request, Session
from addon.audit.scaled import scale
from addon.audit.simulated import SHORT, Asking, Cache, Units, asking
from addon.audit.waste import called, repeats
from addon.audit.weighed import Prompt, Scales
from addon.mmu.evict import Policy
from addon.mmu.plan import Plan
from addon.mmu.price import Rates
from addon.mmu.schemas import ANCHOR
from addon.mmu.tokens import Counter
from addon.mmu.view import Change, page_table
from addon.wire.conversation import Conversation, Kind
from addon.wire.usage import Usage

UNTOUCHED, HINDSIGHT = "untouched", "hindsight"
"""Names of the arms that are always there."""

COUNTED: Mapping[Change, str] = {
    Change.FOLD: "folds",
    Change.EXCERPT: "excerpts",
    Change.EVICT: "evictions",
    Change.STUB: "stubs",
}
"""What is counted of a plan, and as what."""

SHARE = 0.9
"""Of a beginning that the recorded request must have read, so that somebody else has kept all of it warm."""


@dataclass(slots=True)
class Sums:
    """Of one arm."""

    tokens: int = 0
    """Of the prompts, in the provider's tokens."""
    dollars: float = 0.0
    """Of the requests whose prices are known."""
    folds: int = 0
    excerpts: int = 0
    evictions: int = 0
    stubs: int = 0
    """Tools for which a stub stands, each once a line."""
    faults: int = 0
    blind: int = 0
    """Stubs whose tools were called, each once a line."""

    def book(self, usage: Usage, rates: Rates) -> None:
        """A request more."""
        self.tokens += usage.prompt
        self.dollars += rates.cost(usage) if rates.known else 0.0

    def add(self, other: Sums) -> None:
        self.tokens += other.tokens
        self.dollars += other.dollars
        for name in (*COUNTED.values(), "faults", "blind"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Outcome:
    """Of a session, or of several, added up."""

    requests: int = 0
    unpriced: int = 0
    """Requests of models whose prices are not known: they are in the tokens alone."""
    untimed: int = 0
    """Requests whose time is not known: they come as if at once."""
    reported: int = 0
    """Requests whose cost the provider has reported, at known prices."""
    recorded: float = 0.0
    """Dollars of these by the report."""
    simulated: float = 0.0
    """Dollars of these in the untouched arm."""
    arms: dict[str, Sums] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        self.requests += other.requests
        self.unpriced += other.unpriced
        self.untimed += other.untimed
        self.reported += other.reported
        self.recorded += other.recorded
        self.simulated += other.simulated
        for name, sums in other.arms.items():
            self.arms.setdefault(name, Sums()).add(sums)

    def saved(self, arm: str) -> float:
        """Dollars that an arm saves."""
        return self.arms[UNTOUCHED].dollars - self.arms[arm].dollars if arm in self.arms else 0.0


class _Arm:
    """A way to send a session, with a provider of its own."""

    def __init__(self, planner: Planner | None, elsewhere: Elsewhere) -> None:
        self.planner, self.elsewhere, self.cache, self.sums = planner, elsewhere, Cache(), Sums()
        self._blind: set[tuple[str, str]] = set()
        """Stubs that have been called, with their lines."""

    def send(self, asked: Asked, now: Now) -> tuple[Conversation, Plan | None]:
        if self.planner is None:
            return asked.conversation, None
        sent, made = self.planner.forward(asked, now)
        if made is not None:
            for change, name in COUNTED.items():
                setattr(self.sums, name, getattr(self.sums, name) + made.count(change))
            self.sums.faults += len(made.faults)
            self._look(asked.conversation, made)
        return sent, made

    def _look(self, conversation: Conversation, made: Plan) -> None:
        """Count the stubs that the newest answers call."""
        new = conversation.messages[made.line.seen :]
        called = {block.name for message in new for block in message.blocks if block.kind is Kind.CALL}
        stubs = {a.removeprefix(ANCHOR).rpartition(":")[0] for a, s in made.replay.items() if s.change is Change.STUB}
        blind = {(made.view.id, name) for name in called & stubs} - self._blind
        self._blind |= blind
        self.sums.blind += len(blind)

    def warmed(self, asked: Asked, prompt: Prompt, now: float) -> None:
        """What other sessions have sent of a changed head is in the cache."""
        if (changed := self.elsewhere.head(asked.conversation, now)) is not None:
            units, ttl = changed.shared(prompt.units[: prompt.head])
            self.cache.warm(asked.recorded.model, units, changed.at, ttl)

    def kept(self, asked: Asked, made: Plan, prompt: Prompt, marks: Mapping[int, float], now: Now) -> None:
        """Remember for other sessions how a head was changed."""
        anchors = frozenset(a for a, s in made.splices.items() if s.change in (Change.STUB, Change.TOOL))
        if anchors:
            units = prompt.units[: prompt.head]
            upto = [*accumulate(unit.tokens for unit in units)]
            kept = {n: ttl for n, ttl in marks.items() if n < len(units) and upto[n] >= now.rates.minimum}
            head = Head(now.at, anchors, tuple(unit.key for unit in units), kept)
            self.elsewhere.sent(asked.conversation, head)


class _Future:
    """What will have become of everything in a session."""

    def __init__(self, session: Session, counter: Counter, scales: Scales) -> None:
        repeated = {block: sum(tokens) for block, tokens in repeats(session, counter).items()}
        self._fates = [hindsight.fates(line, repeated, counter) for line in session.lines]
        self._called, self._scale = called(session), scales.scale

    def least(self, asked: Asked, came: Prompt, split: Usage) -> Usage:
        """The bill of an untouched request, without what is not needed in it."""
        absent = hindsight.absent(page_table(asked.conversation), self._fates[asked.line])
        gone = {came.head + message: self._scale(tokens) for message, tokens in absent.items()}
        gone |= {at: came.units[at].tokens for at, tool in came.tools if tool not in self._called}
        return hindsight.without(split, [unit.tokens for unit in came.units], gone)


def replay(
    session: Session,
    counter: Counter,
    policies: Mapping[str, Policy],
    price: Callable[[Request], Rates],
    heard: Callable[[int], None] = lambda _: None,
    elsewhere: Mapping[str, Elsewhere] = MappingProxyType({}),
) -> Outcome:
    """One session under each policy, untouched, and by hindsight. Malformed where it cannot be rebuilt.

    `heard` is told how many requests are through; `elsewhere` is, by policy, what other sessions have left, and takes
    up what this one leaves. Policies that are not in it know of no others.
    """
    out = Outcome()
    scales = Scales(counter, scale(session))
    arms = {UNTOUCHED: _Arm(None, Elsewhere())}
    for name, policy in policies.items():
        others = elsewhere.get(name, Elsewhere())
        arms[name] = _Arm(Planner(policy, counter, session.client, others), others)
    bound, future = Sums(), _Future(session, counter, scales)
    reports = [r.usage for line in session.lines for r in line.requests if r.usage is not None]
    caches = not reports or any(each.prompt > each.fresh for each in reports)
    now = 0.0
    for number, asked in enumerate(rebuilt.requests(session)):
        recorded = asked.recorded
        now = max(now, recorded.at or 0.0)
        rates = price(recorded)
        out.requests += 1
        out.unpriced += not rates.known
        out.untimed += recorded.at is None
        output = _output(session, asked, scales)
        head = recorded.head.weight if recorded.sent is None else 0
        came = scales.weigh(asked.conversation, head)

        def ask(sent: Conversation, prompt: Prompt, asked: Asked = asked) -> Asking:
            return asking(asked.api, sent, prompt.head, caches=caches, whole=session.declared)

        wished = ask(asked.conversation, came)
        kept = _kept_by_others(asked, came, first=number == 0) if wished.marks else []
        unseen = head + round(scales.scale.head / scales.scale.factor)
        for name, arm in arms.items():
            arm.cache.warm(recorded.model, kept, now, max(wished.marks.values(), default=SHORT))
            shared = arm.cache.holds(recorded.model, came.units[: came.head], now)
            here = Now(now, rates, unseen, shared)
            sent, made = arm.send(asked, here)
            prompt = came if sent is asked.conversation else scales.weigh(sent, head)
            wishes = wished if sent is asked.conversation else ask(sent, prompt)
            if sent is not asked.conversation:
                arm.warmed(asked, prompt, now)
            split = arm.cache.serve(recorded.model, prompt.units, wishes.marks, now, rates.minimum)
            usage = replace(wishes.told(split), output=output)
            arm.sums.book(usage, rates)
            if arm.planner is not None and made is not None:
                arm.planner.answered(asked, made, usage, here)
                arm.kept(asked, made, prompt, wishes.marks, here)
            if name == UNTOUCHED:
                least = future.least(asked, came, split)
                bound.book(replace(wishes.told(least), output=output), rates)
                if rates.known and recorded.usage is not None:
                    out.reported += 1
                    out.recorded += rates.cost(recorded.usage)
                    out.simulated += rates.cost(usage)
        heard(number + 1)
    out.arms = {name: arm.sums for name, arm in arms.items()} | {HINDSIGHT: bound}
    return out


def _kept_by_others(asked: Asked, came: Prompt, *, first: bool) -> Units:
    """The beginning of a prompt that other sessions keep warm, as far as the report shows it: the head; of a session's
    first request, which may go on with another session, all that was read."""
    read = asked.recorded.usage.read if asked.recorded.usage is not None else 0
    upto = [*accumulate((unit.tokens for unit in came.units), initial=0)]
    ends = range(1, len(upto)) if first else (came.head,)
    found = [end for end in ends if 0 < SHARE * upto[end] <= read]
    return came.units[: min(found, key=lambda end: abs(upto[end] - read), default=0)]


def _output(session: Session, asked: Asked, scales: Scales) -> int:
    """Tokens of the recorded answer: as reported, and not less than what is to be seen of it.

    Reports in transcripts are at times from the beginning of a stream.
    """
    recorded, turns = asked.recorded, session.lines[asked.line].turns
    answer = turns[recorded.turns] if recorded.turns < len(turns) else None
    seen = scales.scale(answer.weight) if answer is not None and answer.message.role == "assistant" else 0
    return max(seen, recorded.usage.output if recorded.usage is not None else 0)
