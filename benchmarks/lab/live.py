"""A policy on a recorded session, run with the very functions that run live (benchmarks.inprocess)."""

from __future__ import annotations

import json

from addon.mmu.plan import Plan
from addon.mmu.tokens import Counter
from addon.mmu.view import Change as Spliced
from benchmarks.compare import Body, difference
from benchmarks.inprocess import Planner
from benchmarks.lab.fault import Faults
from benchmarks.lab.lay import lay
from benchmarks.lab.outcome import Outcome
from benchmarks.lab.policies import NONE, Named
from benchmarks.lab.recording import Recording
from benchmarks.measure import Served
from benchmarks.quotes import Rates
from benchmarks.rebuild import Turn, encode

WHOLE = frozenset({Spliced.FOLD, Spliced.SERVE, Spliced.ANSWER, Spliced.ORIGINAL})
"""What happens to a result of which every line still stands in the request."""


def run(recording: Recording, named: Named, counter: Counter) -> Outcome:
    """One session under one policy."""
    if named.curve == NONE:
        return _outcome(recording, named, recording.dollars(recording.untouched))
    account, prices = recording.account(), recording.tariff.prices(recording.session.model)
    tariff = recording.tariff
    planner = Planner(recording.session, named.policy, counter, parse=tariff.parse, untold=not tariff.marks)
    faults = Faults(recording.session.ratio.bytes_per_token)
    bill, blind, segment = 0.0, 0, 0
    for turn, body, laid, warm, output in zip(
        recording.turns, recording.bodies, recording.laid, recording.warm, recording.outputs, strict=True
    ):
        if turn.segment != segment:
            segment = turn.segment
            faults.restart()
        sent, made = planner.forward(encode(body), turn.at)
        arrived: Body = json.loads(sent)
        if warm is not None:
            account.serve(warm, turn.at)
        split = account.serve(lay(arrived, laid).line, turn.at)
        cost = prices.bill(split, output)
        bill += cost
        served = Served(arrived, split.fresh, split.read, split.write_5m, split.write_1h, output, cost, None)
        planner.answered(made, served)
        faults.add(
            recording.demands[turn.index],
            arrived,
            difference(body, arrived).changes,
            _evicted(made),
            served.tokens,
            Rates(prices.read, prices.write(turn.ttl), prices.output),
        )
        blind += _blind(recording, turn, body, arrived)
    made_of = _outcome(recording, named, bill)
    made_of.charge, made_of.faults = faults.charge, dict(faults.kinds)
    made_of.evicted, made_of.evicted_in_requests = len(faults.evicted), faults.evicted_in_requests
    made_of.blind, made_of.refused = blind, len(planner.violations)
    return made_of


def _outcome(recording: Recording, named: Named, bill: float) -> Outcome:
    untouched = recording.dollars(recording.untouched)
    requests = len(recording.turns)
    return Outcome(recording.session.name, named.name, named.curve, recording.ttl, requests, untouched, bill)


def _evicted(made: Plan) -> dict[str, bool]:
    """Calls whose results are missing, all or in part, and whether no more than a handle is left."""
    return {
        entry.block.call: splice.change is Spliced.EVICT
        for entry in made.table.entries
        if (splice := made.splices.get(entry.anchor)) is not None and splice.change not in WHOLE
    }


def _blind(recording: Recording, turn: Turn, body: Body, arrived: Body) -> int:
    used = {block["name"] for block in recording.session.reply(turn) if block["type"] == "tool_use"}
    if not used or body["tools"] == arrived["tools"]:
        return 0
    changed = {tool["name"] for tool in body["tools"] if tool not in arrived["tools"]}
    return len(used & changed)
