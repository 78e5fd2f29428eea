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
from addon.options import OPTIONS, read
from addon.vocabulary import load
from addon.wire.anthropic import parse
from addon.wire.clients import session as session_of
from addon.wire.conversation import Conversation
from addon.wire.rules import broken
from benchmarks.measure import Measurement, Row, Served
from benchmarks.meter import Meter
from benchmarks.rebuild import Session, Turn, encode, rebuild
from benchmarks.replay import Options
from benchmarks.traces import Trace


@dataclass(slots=True)
class Planner:
    """mitmmu for one client, with a memory in place of its store."""

    session: Session
    policy: Policy
    counter: Counter
    lines: dict[str, tuple[str, str, View]] = field(default_factory=dict)
    faults: int = 0
    violations: list[str] = field(default_factory=list)

    def forward(self, body: bytes, now: float) -> tuple[bytes, Plan]:
        """What leaves for the provider in place of `body`."""
        conversation = parse(body)
        name = session_of(self.session.headers())
        made = plan(
            conversation,
            self._known(conversation.head, name),
            now,
            self.policy,
            self.counter.quick,
            f"line-{len(self.lines)}",
        )
        sent = rewrite(conversation, made.table, made.splices)
        self.violations += broken(conversation, parse(sent))
        self.lines[made.view.id] = (conversation.head, name, made.view)
        self.faults += len(made.faults)
        self._count(conversation, made)
        return sent, made

    def answered(self, made: Plan, served: Served) -> None:
        """Learn from the usage that the response reported."""
        head, name, view = self.lines[made.view.id]
        news = told(view, read=served.read, written=served.written, written_hour=served.written_hour)
        if news:
            self.lines[view.id] = (head, name, replace(view, state={**view.state, **news}))

    def _known(self, head: str, name: str) -> list[View]:
        found = [view for h, n, view in self.lines.values() if h == head or (name and n == name)]
        return sorted(found, key=lambda view: -view.last_at)

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
