"""What mitmmu would have made of a recorded session, and what that would have cost.

Every *arm* gets the same requests at the same times and has a provider of its own (`addon.audit.simulated`): one sends
them as they were, one as mitmmu's planner has them, one as the published age rule has them. The answers are the
recorded ones in all of them. The planner is the proxy's, called as the proxy calls it, with a memory in place of the
store; of a rewrite that would break a rule of the API the old one goes out, as there.

What a recording cannot tell: whether the model would have said something else, had it not seen what was taken out. A
*fault* is where it asked again for what had been evicted; it is paid for by all arms, as the recorded transcript holds
the second copy. And no recorded model has called the recall tool, since it had none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

from addon.audit import hindsight, rebuilt
from addon.audit.rebuilt import Asked
from addon.audit.recorded import Readings, Request, Session
from addon.audit.scaled import scale
from addon.audit.simulated import SHORT, Asking, Cache, Units, asking
from addon.audit.waste import called, repeats
from addon.audit.weighed import Prompt, Scales
from addon.mmu.evict import Policy
from addon.mmu.plan import Plan, before_drops, plan, rewrite, told, without_new
from addon.mmu.price import Rates
from addon.mmu.tokens import Counter
from addon.mmu.view import Change, View, page_table
from addon.options import Recall
from addon.recall.offer import chosen, offered
from addon.wire import rules
from addon.wire.apis import relaying
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation
from addon.wire.scan import Malformed
from addon.wire.usage import Usage

UNTOUCHED, HINDSIGHT = "untouched", "hindsight"
"""Names of the arms that are always there."""

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
    evictions: int = 0
    faults: int = 0

    def book(self, usage: Usage, rates: Rates) -> None:
        """A request more."""
        self.tokens += usage.prompt
        self.dollars += rates.cost(usage) if rates.known else 0.0

    def add(self, other: Sums) -> None:
        self.tokens += other.tokens
        self.dollars += other.dollars
        self.folds += other.folds
        self.evictions += other.evictions
        self.faults += other.faults


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


class _Memory:
    """mitmmu for one client, with a memory in place of its store."""

    def __init__(self, policy: Policy, counter: Counter, client: str) -> None:
        self._policy, self._counter, self._client = policy, counter, client
        self._lines: dict[str, View] = {}
        self._sent = Readings()

    def forward(self, asked: Asked, now: float) -> tuple[Conversation, Plan | None]:
        """What leaves for the provider, and the plan; None for what the proxy lets pass."""
        conversation = asked.conversation
        begun = any(message.role == "assistant" for message in conversation.messages)
        if asked.purpose is Purpose.AUXILIARY and not begun:
            return conversation, None
        made, sent = self._checked(asked, self._planned(asked, now))
        self._lines[made.view.id] = made.view
        return sent, made

    def _planned(self, asked: Asked, now: float) -> Plan:
        """All that the planner needs to know."""
        restores = relaying(asked.api) is not None
        way = chosen(Recall.AUTO, self._client, can_relay=restores, restores=restores)
        return plan(
            asked.conversation,
            list(self._lines.values()),
            now,
            self._policy,
            self._counter.quick,
            f"line-{len(self._lines)}",
            compacting=asked.purpose in (Purpose.COMPACTION, Purpose.AUXILIARY),
            offer=offered(asked.api, asked.conversation, way),
        )

    def _checked(self, asked: Asked, draft: Plan) -> tuple[Plan, Conversation]:
        conversation = asked.conversation
        for candidate in (draft, without_new(draft), *before_drops(draft)):
            if not candidate.splices:
                return candidate, conversation
            body = rewrite(conversation, candidate.table, candidate.splices)
            try:
                sent = self._sent.read(asked.api, body, conversation.path)
            except Malformed:
                continue
            if not rules.broken(conversation, sent, frozenset(), asked.api.RULES):
                return candidate, sent
        return replace(without_new(draft), splices={}), conversation

    def answered(self, made: Plan, usage: Usage) -> None:
        """Learn from what the response reports."""
        view = self._lines[made.view.id]
        self._lines[view.id] = replace(view, state={**view.state, **told(view, usage)})


class _Arm:
    """A way to send a session, with a provider of its own."""

    def __init__(self, memory: _Memory | None) -> None:
        self.memory, self.cache, self.sums = memory, Cache(), Sums()

    def send(self, asked: Asked, now: float) -> tuple[Conversation, Plan | None]:
        if self.memory is None:
            return asked.conversation, None
        sent, made = self.memory.forward(asked, now)
        if made is not None:
            self.sums.folds += made.count(Change.FOLD)
            self.sums.evictions += made.count(Change.EVICT)
            self.sums.faults += len(made.faults)
        return sent, made


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
) -> Outcome:
    """One session under each policy, untouched, and by hindsight. Malformed where it cannot be rebuilt.

    `heard` is told how many requests are through.
    """
    out = Outcome()
    scales = Scales(counter, scale(session))
    arms = {name: _Arm(_Memory(policy, counter, session.client)) for name, policy in policies.items()}
    arms = {UNTOUCHED: _Arm(None), **arms}
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
        for name, arm in arms.items():
            sent, made = arm.send(asked, now)
            prompt = came if sent is asked.conversation else scales.weigh(sent, head)
            wishes = wished if sent is asked.conversation else ask(sent, prompt)
            arm.cache.warm(recorded.model, kept, now, max(wished.marks.values(), default=SHORT))
            split = arm.cache.serve(recorded.model, prompt.units, wishes.marks, now, rates.minimum)
            usage = replace(wishes.told(split), output=output)
            arm.sums.book(usage, rates)
            if arm.memory is not None and made is not None:
                arm.memory.answered(made, usage)
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
