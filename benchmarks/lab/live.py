"""A policy on a recorded session, run with the very functions that run live (benchmarks.inprocess)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from addon.mmu.outlook import UNKNOWN, Outlook, Warmth
from addon.mmu.plan import Plan
from addon.mmu.tokens import Counter
from addon.mmu.view import Change as Spliced
from addon.wire.conversation import Conversation
from benchmarks.compare import Body, difference
from benchmarks.inprocess import Planner, Reader
from benchmarks.lab.fault import Faults
from benchmarks.lab.lay import lay
from benchmarks.lab.outcome import Outcome
from benchmarks.lab.policies import AMONG, Named
from benchmarks.lab.recording import Recording, priming
from benchmarks.measure import Served
from benchmarks.quotes import Rates
from benchmarks.rebuild import encode
from tests.upstream.prompt import Position, prompt

WHOLE = frozenset({Spliced.FOLD, Spliced.SERVE, Spliced.ANSWER, Spliced.ORIGINAL})
"""What happens to a result of which every line still stands in the request."""


def runs(
    recording: Recording, chosen: Sequence[Named], counter: Counter, outlook: Outlook = UNKNOWN
) -> Iterator[Outcome]:
    """One session under several policies, in step, so that each request is read once."""
    running = [_Run(recording, named, counter, outlook) for named in chosen]
    reads = Reader()
    for index, body in enumerate(recording.bodies) if running else ():
        conversation = recording.tariff.understood(reads(encode(body)))
        for each in running:
            each.serve(index, conversation)
    for each in running:
        yield each.outcome()


def untouched(recording: Recording, named: Named) -> Outcome:
    """One session as it is, under a policy that does nothing."""
    bill = recording.dollars(recording.untouched)
    requests = len(recording.turns)
    return Outcome(recording.session.name, named.name, named.curve, recording.ttl, requests, bill, bill)


class _Run:
    """One policy on its way through a session."""

    def __init__(self, recording: Recording, named: Named, counter: Counter, outlook: Outlook) -> None:
        self.recording = recording
        self.named = named
        self.account = recording.account()
        session, tariff = recording.session, recording.tariff
        rates = tariff.rates(session.model)
        self.planner = Planner(session, named.policy, counter, rates, untold=not tariff.marks, outlook=outlook)
        self.faults = Faults(recording.session.ratio.bytes_per_token)
        self.segment = 0
        self.bill = 0.0

    def serve(self, index: int, conversation: Conversation) -> None:
        """Plans, bills and judges one request."""
        recording, prices = self.recording, self.account.prices
        turn, body, warm = recording.turns[index], recording.bodies[index], recording.warm[index]
        if turn.segment != self.segment:
            self.segment = turn.segment
            self.faults.restart()
        # In tokens as this account bills them: the recorded provider may have counted others.
        shared = recording.untouched[index].read if warm is not None else 0
        stubbed: frozenset[str] = frozenset()
        if warm is not None and self.named.name == AMONG:
            warm, stubbed = self._managed(index)
        sent, made = self.planner.rewrite(conversation, turn.at, Warmth(shared, stubbed))
        arrived: Body = json.loads(sent)
        if warm is not None:
            self.account.serve(warm, turn.at)
        split = self.account.serve(lay(arrived, recording.laid[index]).line, turn.at)
        output = recording.outputs[index]
        cost = prices.bill(split, output)
        self.bill += cost
        served = Served(arrived, split.fresh, split.read, split.write_5m, split.write_1h, output, cost, None)
        self.planner.answered(made, served)
        rates = Rates(prices.read, prices.write(turn.ttl), prices.output)
        self.faults.add(
            recording.demands[turn.index],
            arrived,
            difference(body, arrived).changes,
            _evicted(made),
            served.tokens,
            rates,
        )
        self.faults.call(recording.session.reply(turn), body, arrived, served.tokens, rates)

    def _managed(self, index: int) -> tuple[list[Position], frozenset[str]]:
        """What the other session that warmed the head had sent through mitmmu, and what was changed in its tools."""
        recording, planner = self.recording, self.planner
        turn = recording.turns[index]
        body = encode(recording.tariff.body(priming(recording.session, turn)))
        other = Planner(recording.session, planner.policy, planner.counter, planner.rates, outlook=planner.outlook)
        sent, made = other.rewrite(recording.tariff.understood(other.reads(body)), turn.at, Warmth(0))
        return prompt(json.loads(sent)), frozenset(made.splices)

    def outcome(self) -> Outcome:
        """What came of it."""
        out = untouched(self.recording, self.named)
        out.bill = self.bill
        out.charges, out.faults = self.faults.charges, dict(self.faults.kinds)
        out.evicted, out.evicted_in_requests = len(self.faults.evicted), self.faults.evicted_in_requests
        out.blind, out.refused = self.faults.blind, len(self.planner.violations)
        return out


def _evicted(made: Plan) -> dict[str, bool]:
    """Calls whose results are missing, all or in part, and whether no more than a handle is left."""
    return {
        entry.block.call: splice.change is Spliced.EVICT
        for entry in made.table.entries
        if (splice := made.splices.get(entry.anchor)) is not None and splice.change not in WHOLE
    }
