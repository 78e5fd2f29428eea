"""The planner alone, without proxy, store and network: the same functions the proxy calls, in the same order.

What is left out cannot change a decision: HTTP, headers, and the store (every plan counts as stored at once).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from addon.mmu.books import Books
from addon.mmu.evict import Policy
from addon.mmu.habits import Learned, observed
from addon.mmu.ledger import STATE, remembered, standing, weigh
from addon.mmu.outlook import CREDIT, SCALE, UNKNOWN, USUAL_SCALE, Outlook, Warmth, credit
from addon.mmu.plan import Plan, plan, rewrite, told
from addon.mmu.price import Rates
from addon.mmu.tokens import Counter as Tokens
from addon.mmu.view import View
from addon.options import OPTIONS, Recall, read
from addon.recall.offer import offered
from addon.vocabulary import load as vocabulary
from addon.wire import anthropic
from addon.wire.conversation import Conversation
from addon.wire.rules import broken
from addon.wire.usage import Usage
from benchmarks.experiment import Options
from benchmarks.measure import Measurement, Row, Served
from benchmarks.meter import Meter
from benchmarks.rebuild import Session, Turn, encode, rebuild
from benchmarks.traces import Trace, load
from tests.upstream.models import model_of


@dataclass(slots=True)
class Reader:
    """Reads the requests of one session, taking from each what stands again in the next."""

    recent: dict[str, Conversation] = field(default_factory=dict)

    def __call__(self, body: bytes) -> Conversation:
        read = anthropic.parse(body, self.recent)
        self.recent = {anthropic.key(read): read}
        return read


@dataclass(slots=True)
class Planner:
    """mitmmu for one client, with a memory in place of its store."""

    session: Session
    policy: Policy
    counter: Tokens
    rates: Rates
    untold: bool = False
    """Usage does not say for how long was written."""
    lines: dict[str, View] = field(default_factory=dict)
    outlook: Outlook = UNKNOWN
    conversation: Conversation = field(init=False)
    books: Books = field(default_factory=Books)
    untouched: float = 0.0
    """Dollars that the ledger says the client's own requests would have cost."""
    faults: int = 0
    violations: list[str] = field(default_factory=list)
    reads: Reader = field(default_factory=Reader)
    rereads: Reader = field(default_factory=Reader)

    def forward(self, body: bytes, now: float, head: Warmth) -> tuple[bytes, Plan]:
        """What leaves for the provider in place of `body`."""
        return self.rewrite(self.reads(body), now, head)

    def rewrite(self, conversation: Conversation, now: float, head: Warmth) -> tuple[bytes, Plan]:
        """What leaves in place of a request that has been read."""
        outlook = replace(self.outlook, head=head, rates=self.rates)
        made = plan(
            conversation,
            list(self.lines.values()),
            now,
            self.policy,
            self.counter.quick,
            f"line-{len(self.lines)}",
            offer=offered(anthropic, conversation, Recall.RELAY),
            outlook=outlook,
        )
        sent = rewrite(conversation, made.table, made.splices)
        self.violations += broken(conversation, self.rereads(sent))
        self.lines[made.view.id] = made.view
        self.faults += len(made.faults)
        self.conversation = conversation
        return sent, made

    def answered(self, made: Plan, served: Served) -> None:
        """Learn from the usage that the response reported, and book it, as the proxy does off the request's path."""
        view, conversation = self.lines[made.view.id], self.conversation
        usage = Usage(served.fresh, served.read, served.written, served.written_hour, served.output, self.untold)
        weight = weigh(conversation, made.table, made.splices, self.counter, seen=made.line.seen)
        here = standing(conversation, made, made.splices)
        entry, _ = self.books.enter(conversation.model, weight, usage, (), self.rates, here)
        self.untouched += entry.untouched
        news = {
            **told(view, usage),
            STATE: remembered(conversation, made.line, usage, (), entry),
            CREDIT: credit(view) + entry.untouched - entry.billed,
            SCALE: self.books.factor(conversation.model) or USUAL_SCALE,
        }
        self.lines[view.id] = replace(view, state={**view.state, **news})


@cache
def _habits(folder: Path | None) -> dict[str, tuple[tuple[str, bool], Mapping[str, float]]]:
    """By session, whose it is (client, whether another agent began it), and what it adds to what is known of those."""
    return {trace.name: ((trace.client, trace.sub_agent), _tallies(trace)) for trace in load(folder, None)}


def _tallies(trace: Trace) -> Mapping[str, float]:
    session = rebuild(trace)
    out = Counter[str]()
    lines: list[View] = []
    reads = Reader()
    for turn in session.turns:
        conversation = reads(encode(session.body(turn)))
        made = plan(conversation, lines, turn.at, Policy("fifo", fifo_age=10**6), Tokens().quick, f"line-{len(lines)}")
        out.update(observed(conversation, made.table, made.line).population)
        lines = [made.view, *(view for view in lines if view.id != made.view.id)]
    return out


def learned_elsewhere(trace: Trace, folder: Path | None = None) -> Learned:
    """What a proxy would have learned from the other recorded sessions of the same client."""
    kind = trace.client, trace.sub_agent
    out = Counter[str]()
    for name, (other, tallies) in _habits(folder).items():
        if other == kind and name != trace.name:
            out.update(tallies)
    return Learned(out, sub=trace.sub_agent)


def policy_of(options: Options) -> Policy:
    """The policy that the proxy would make of the options, with the experiment's knobs turned."""
    given = {name: default for name, (default, _) in OPTIONS.items()}
    chosen = read({**given, **dict(options.settings), "mmu_policy": options.policy}, {}).policy
    knobs: dict[str, Any] = {name: type(getattr(chosen, name))(value) for name, value in options.knobs}
    return replace(chosen, **knobs)


def in_process(trace: Trace, options: Options) -> Row:
    """One session through the planner, and straight."""
    session = rebuild(trace, options.thinking, options.model)
    measured = Measurement(session)
    ratio = session.ratio.bytes_per_token
    near, far = Meter(ratio), Meter(ratio)
    model = model_of(session.model)
    rates = Rates(model.input / 1e6, model.read / 1e6, model.write_5m / 1e6, model.write_1h / 1e6, model.output / 1e6,
                  model.minimum)  # fmt: skip
    outlook = Outlook(habits=learned_elsewhere(trace, options.traces))
    planner = Planner(session, policy_of(options), Tokens(vocabulary()), rates, outlook=outlook)
    for turn in session.turns:
        body, output = session.body(turn), answer_tokens(session, turn)
        if turn.warm:
            for meter in (near, far):
                meter.warm(session.priming(turn), turn.at)
        plain = near.bill(body, turn.at, output)
        # In tokens as this account bills them: the recorded provider may have counted others.
        sent, made = planner.forward(encode(body), turn.at, Warmth(plain.read if turn.warm else 0))
        served = far.bill(json.loads(sent), turn.at, output)
        planner.answered(made, served)
        measured.add(turn, plain, served)
    measured.row.faults = planner.faults
    measured.row.untouched = planner.untouched
    measured.row.violations += planner.violations
    return measured.row


def answer_tokens(session: Session, turn: Turn) -> int:
    """Tokens of the recorded answer, by its bytes."""
    return round(len(encode(session.reply(turn))) / session.ratio.bytes_per_token)
