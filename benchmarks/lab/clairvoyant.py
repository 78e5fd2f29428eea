"""What could have been saved had the future been known: a yardstick for planners, and no policy.

It has the planner's actuators: results arrive folded or in part, results leave for a handle, tools that the session
never uses arrive without descriptions. It pays the same prices: every change of the prefix makes the provider write
everything from there on again, at the write price of that request, and its requests are billed by the same cache, on
the sizes of the blocks that would have been sent. But it knows which tools will be used, which lines of which result
will be quoted, edited or read again, how many requests follow and when the client will pause. So

- a tool is stripped if it is never called, and only then;
- a result arrives whole, unless it is oversized and only some of its lines (or none) are ever referred to: then it
  arrives as these lines, an excerpt that is right by foresight (forms.py);
- a result leaves when that is cheapest: where the prefix is written anyway, or by a cut of a warm cache that pays for
  itself over the requests that really follow. It may leave while it is still needed; the recall is then charged as a
  fault is to every policy;
- with cuts, the cache can be hit anywhere: a mark stands on every block, where the API allows four. A planner whose
  marks are not where a cut begins writes more.

Every decision of a planner with these actuators is open to it, at no more than the planner's price and with faults
charged alike. So the best schedule bounds what any such planner can save, its faults charged. What is printed as
`clairvoyant` is the best schedule that a search found (sweep.py), and there may be a better one; `free` is the bound on
the other side: whatever a reply does not need stands as a handle in its request, and leaving and coming back cost
nothing. The truth for these actuators lies between the two. Neither bounds a planner that does something else (writes
summaries, folds across commands, asks another model), and both know only the needs that leave a sign in a recording.

`clairvoyant:whole` does without excerpts by foresight: results arrive whole, or folded. As an excerpt of what is never
referred to shows nothing at all, this is the fairer measure of a planner that lets the model see everything once.
`clairvoyant:evicts` and so on are the actions one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from addon.mmu.evict import Policy
from benchmarks.lab.forms import Item, items
from benchmarks.lab.outcome import Outcome
from benchmarks.lab.policies import CLAIRVOYANT, FREE, Named
from benchmarks.lab.recording import Recording, bill
from benchmarks.lab.sweep import Problem, Result, best
from benchmarks.lab.tariff import STEP
from benchmarks.quotes import CALL_TOKENS
from tests.upstream.cache import Split
from tests.upstream.prompt import Position, position


@dataclass(frozen=True, slots=True)
class Leave:
    """A result and the request from which on it is a handle; None where it stays in its first form."""

    item: Item
    since: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the clairvoyant does: `cuts` are (request, first block written) of warm caches."""

    leaves: Sequence[Leave]
    cuts: Sequence[tuple[int, int]]
    stubs_from: int | None
    splits: Sequence[Split]
    charge: float
    faults: int
    dollars: float
    """Charge included."""


def foretold(recording: Recording, named: Named) -> Outcome:
    """The best bill found with the actions that the policy allows, or the bound where these cost nothing."""
    untouched = recording.dollars(recording.untouched)
    if named.curve == FREE:
        requests, left = len(recording.turns), untouched - _free(recording, named.policy)
        return Outcome(recording.session.name, named.name, FREE, recording.ttl, requests, untouched, left)
    answer = solve(recording, named.policy)
    gone = [leave for leave in answer.leaves if leave.since is not None or leave.item.first == leave.item.small]
    return Outcome(
        session=recording.session.name,
        policy=named.name,
        curve=CLAIRVOYANT,
        ttl=recording.ttl,
        requests=len(recording.turns),
        untouched=untouched,
        bill=answer.dollars - answer.charge,
        charges={"need": answer.charge},
        faults={"need": answer.faults} if answer.faults else {},
        evicted=len(gone),
        evicted_in_requests=sum(leave.item.turns[1] - (leave.since or leave.item.turns[0]) for leave in gone),
    )


def solve(recording: Recording, policy: Policy) -> Answer:
    """The cheapest of: nothing, and the best schedule with tools stripped from each moment that might do."""
    nothing = Answer([], [], None, recording.untouched, 0.0, 0, recording.dollars(recording.untouched))
    leaves: list[Leave] = []
    cuts: list[tuple[int, int]] = []
    for found in items(recording, policy):
        if found:
            problem, first = stated(recording, policy, found)
            schedule = best(problem)
            leaves += [
                Leave(item, None if since is None else first + since)
                for item, since in zip(found, schedule.left, strict=True)
            ]
            pairs = enumerate(zip(schedule.starts, problem.free, strict=True))
            cuts += [(first + k, start) for k, (start, free) in pairs if start < free]
    moments: list[int | None] = [None]
    if policy.stubs:
        cold = [k for k, split in enumerate(recording.untouched) if split.read <= _head(recording)]
        moments += dict.fromkeys([0, *cold[:3]])
    answers = [nothing, *(_billed(recording, leaves, cuts, moment, policy.cuts) for moment in moments)]
    return min(answers, key=lambda answer: answer.dollars)


def _free(recording: Recording, policy: Policy) -> float:
    """Dollars saved if leaving and coming back cost nothing."""
    prices = recording.tariff.prices(recording.session.model)
    base = _marked(recording, policy)
    starts = _written(recording, base)
    saved = recording.dollars(recording.untouched) - recording.dollars(base)
    for segment in items(recording, policy):
        for item in segment:
            for k in range(*item.turns):
                needed = k in item.needs or (k == item.turns[0] and item.first == item.whole)
                size = item.first if needed else min(item.first, item.small)
                price = prices.write(recording.turns[k].ttl) if item.at >= starts[k] else prices.read
                saved += (item.whole - size) * price
    ratio = recording.session.ratio.bytes_per_token
    for at, stub in stubs(recording).items() if policy.stubs else ():
        for k, laid in enumerate(recording.laid):
            price = prices.write(recording.turns[k].ttl) if at >= starts[k] else prices.read
            saved += (laid.parts[0][1][at].tokens(ratio) - stub.tokens(ratio)) * price
    return saved


def stated(recording: Recording, policy: Policy, found: Sequence[Item]) -> tuple[Problem, int]:
    """One context's problem, and its first request."""
    segment = recording.turns[found[0].turns[0]].segment
    requests = [k for k, turn in enumerate(recording.turns) if turn.segment == segment]
    first, last = requests[0], requests[-1] + 1
    prices = recording.tariff.prices(recording.session.model)
    ratio = recording.session.ratio.bytes_per_token
    places = {item.at for item in found}
    sizes = [0 if at in places else here.tokens(ratio) for at, here in enumerate(recording.laid[last - 1].line)]
    written = _written(recording, _marked(recording, policy))[first:last]
    write = [prices.write(turn.ttl) for turn in recording.turns[first:last]]
    results = [
        Result(item.at, item.turns[0] - first, item.turns[1] - first, item.first, item.small,
               _charges(recording, item, last))
        for item in found
    ]  # fmt: skip
    after_first = [k > 0 for k in range(last - first)]
    return Problem(
        results=results,
        fixed=list(accumulate(sizes, initial=0)),
        read=[prices.read] * (last - first),
        write=write,
        free=written,
        leaves=[policy.evicts or policy.cuts for _ in after_first],
        movable=[policy.cuts and late and prices.read < price for late, price in zip(after_first, write, strict=True)],
    ), first


def _charges(recording: Recording, item: Item, end: int) -> list[float]:
    """For every request that sends the item, what its faults cost if it is gone from there on: one recall, and rent."""
    charges = [0.0] * (item.turns[1] - item.turns[0])
    for k in range(item.turns[1] - 1, item.turns[0] - 1, -1):
        if k in item.needs:
            charges[k - item.turns[0]] = _recall(recording, item, k, end)
        elif k + 1 < item.turns[1]:
            charges[k - item.turns[0]] = charges[k + 1 - item.turns[0]]
    return charges


def _recall(recording: Recording, item: Item, k: int, end: int) -> float:
    """As `benchmarks.quotes` charges it, on the client's own request, which is no smaller than what would be sent."""
    prices = recording.tariff.prices(recording.session.model)
    split = recording.untouched[k]
    context = split.fresh + split.read + split.write_5m + split.write_1h
    once = context * prices.read + item.whole * prices.write(recording.turns[k].ttl) + CALL_TOKENS * prices.output
    return once + item.whole * prices.read * (end - 1 - k)


def _marked(recording: Recording, policy: Policy) -> Sequence[Split]:
    """How the requests are billed as they are, with a mark on every block where there may be cuts."""
    if not policy.cuts or not recording.tariff.marks:
        return recording.untouched
    return bill(recording, [laid.line for laid in recording.laid], everywhere=True)


def _written(recording: Recording, base: Sequence[Split]) -> list[int]:
    """For every request, the first block that is not read from the cache."""
    ratio = recording.session.ratio.bytes_per_token
    slack = 0 if recording.tariff.marks else STEP - 1
    starts: list[int] = []
    for laid, split in zip(recording.laid, base, strict=True):
        sums = accumulate(here.tokens(ratio) for here in laid.line)
        starts.append(sum(1 for total in sums if split.read and total <= split.read + slack))
    return starts


def _head(recording: Recording) -> int:
    """Tokens of tools and system."""
    ratio = recording.session.ratio.bytes_per_token
    return sum(here.tokens(ratio) for _, part in recording.laid[0].parts[:2] for here in part)


def stubs(recording: Recording) -> dict[int, Position]:
    """The tools that are never called, as they look without descriptions, by their place."""
    used = {
        block["name"]
        for turn in recording.turns
        for block in recording.session.reply(turn)
        if block["type"] == "tool_use"
    }
    return {
        at: position(f"tools.{at}", "tools", "tool", _plain(tool))
        for at, tool in enumerate(recording.session.tools)
        if tool["name"] not in used
    }


def _plain(schema: object) -> object:
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "description" or isinstance(value, dict)}
    return [_plain(value) for value in schema] if isinstance(schema, list) else schema


def _billed(
    recording: Recording,
    leaves: Sequence[Leave],
    cuts: Sequence[tuple[int, int]],
    stubs_from: int | None,
    everywhere: bool,
) -> Answer:
    """What the provider charges for it."""
    stripped = stubs(recording) if stubs_from is not None else {}
    lines: list[list[Position]] = []
    for k, laid in enumerate(recording.laid):
        line = laid.line
        if stubs_from is not None and k >= stubs_from:
            for at, stub in stripped.items():
                line[at] = replace(stub, ttl=line[at].ttl)
        for leave in leaves:
            start, end = leave.item.turns
            if start <= k < end:
                form = leave.item.left if leave.since is not None and k >= leave.since else leave.item.shown
                line[leave.item.at] = replace(form, ttl=line[leave.item.at].ttl)
        lines.append(line)
    splits = bill(recording, lines, everywhere)
    charge, faults = 0.0, 0
    segments = [turn.segment for turn in recording.turns]
    for leave in leaves:
        missed = [need for need in leave.item.needs if leave.since is not None and need >= leave.since]
        if missed:
            faults += 1
            last = max(k for k, segment in enumerate(segments) if segment == segments[missed[0]]) + 1
            charge += _recall(recording, leave.item, missed[0], last)
    return Answer(leaves, cuts, stubs_from, splits, charge, faults, recording.dollars(splits) + charge)
