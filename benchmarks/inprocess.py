"""The planner alone, without proxy, store and network: the same functions the proxy calls, in the same order.

What is left out cannot change a decision: HTTP, headers, and the store (every plan counts as stored at once).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from addon.mmu.evict import Policy
from addon.mmu.ledger import weigh
from addon.mmu.plan import Plan, plan, rewrite, told
from addon.mmu.tokens import Counter
from addon.mmu.view import View
from addon.options import OPTIONS, Recall, read
from addon.recall.offer import offered
from addon.vocabulary import load
from addon.wire import anthropic
from addon.wire.conversation import Conversation
from addon.wire.rules import broken
from addon.wire.usage import Usage
from benchmarks.experiment import Options
from benchmarks.measure import Measurement, Row, Served
from benchmarks.meter import Meter
from benchmarks.rebuild import Session, Turn, encode, rebuild
from benchmarks.traces import Trace


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
    counter: Counter
    untold: bool = False
    """Usage does not say for how long was written."""
    lines: dict[str, View] = field(default_factory=dict)
    faults: int = 0
    violations: list[str] = field(default_factory=list)
    reads: Reader = field(default_factory=Reader)
    rereads: Reader = field(default_factory=Reader)

    def forward(self, body: bytes, now: float) -> tuple[bytes, Plan]:
        """What leaves for the provider in place of `body`."""
        return self.rewrite(self.reads(body), now)

    def rewrite(self, conversation: Conversation, now: float) -> tuple[bytes, Plan]:
        """What leaves in place of a request that has been read."""
        made = plan(
            conversation,
            list(self.lines.values()),
            now,
            self.policy,
            self.counter.quick,
            f"line-{len(self.lines)}",
            offer=offered(anthropic, conversation, Recall.RELAY),
        )
        sent = rewrite(conversation, made.table, made.splices)
        self.violations += broken(conversation, self.rereads(sent))
        self.lines[made.view.id] = made.view
        self.faults += len(made.faults)
        self._count(conversation, made)
        return sent, made

    def answered(self, made: Plan, served: Served) -> None:
        """Learn from the usage that the response reported."""
        view = self.lines[made.view.id]
        usage = Usage(served.fresh, served.read, served.written, served.written_hour, served.output, self.untold)
        self.lines[view.id] = replace(view, state={**view.state, **told(view, usage)})

    def _count(self, conversation: Conversation, made: Plan) -> None:
        # the proxy counts off the request's path; the counts serve the next request
        weigh(conversation, made.table, made.splices, self.counter)


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
    planner = Planner(session, policy_of(options), Counter(load()))
    for turn in session.turns:
        body = session.body(turn)
        sent, made = planner.forward(encode(body), turn.at)
        if turn.warm:
            for meter in (near, far):
                meter.warm(session.priming(turn), turn.at)
        output = answer_tokens(session, turn)
        served = far.bill(json.loads(sent), turn.at, output)
        planner.answered(made, served)
        measured.add(turn, near.bill(body, turn.at, output), served)
    measured.row.faults = planner.faults
    measured.row.violations += planner.violations
    return measured.row


def answer_tokens(session: Session, turn: Turn) -> int:
    """Tokens of the recorded answer, by its bytes."""
    return round(len(encode(session.reply(turn))) / session.ratio.bytes_per_token)
