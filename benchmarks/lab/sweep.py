"""When to change the prefix, and what leaves then: the search behind the clairvoyant (clairvoyant.py).

A *schedule* names for every request the first block that is written rather than read. At no cost that is where the
client's own request begins to be written (`free`); a *cut* is to begin earlier, and pays the difference between writing
and reading for everything between. A result may leave at a request that writes it. So

    cost = sum over requests and blocks of (tokens of the block as it stands then) x (write or read price)

and for a given schedule every result chooses by itself, in time linear in the requests, when to leave (or never): it is
in its first form until then and a handle from then on, and if it leaves while it is still needed, that costs what a
fault is charged.

The schedules are too many to try, so they are improved request by request. With all other cuts as they are, the best
cut at one request is found exactly: for every result, what it will cost with and without being written there is known
(what it has cost so far, going forward; what it will cost, from a pass backward), and the sum over the results behind
the cut and what stands between them is smallest at one of them. Sweeps over all requests go on until one changes
nothing; no step makes it dearer. It starts from no cuts at all, each time more reluctant to cut in the first sweep, and
from cuts at every request, and the cheapest end counts. Hence it is the best schedule found and not proven to be the
best; where there are few enough to try them all it nearly always is (benchmarks/test_lab_clairvoyant.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

RELUCTANCE = (0.0, 0.5, 1.0, 2.0, 4.0)
"""By what share of its cost the gain of a cut must exceed it in the first sweep."""
BACK = (1, 2, 4, 8)
"""Other sweeps begin with every request cutting before what came in so many requests."""
SWEEPS = 40
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Result:
    """A result that may leave: its place in the line, the requests that send it (end excluded), tokens in its first
    form and as a handle, and for each of its requests the dollars of faults if it is gone from there on."""

    at: int
    start: int
    end: int
    first: int
    small: int
    charges: Sequence[float]


@dataclass(frozen=True, slots=True)
class Problem:
    """One context. `fixed[p]` are the tokens that stand before block p and never change; prices are dollars per token
    by request. `free` is the first block that is written anyway; `movable` says where cuts are allowed and `leaves`
    where results may leave."""

    results: Sequence[Result]
    fixed: Sequence[int]
    read: Sequence[float]
    write: Sequence[float]
    free: Sequence[int]
    leaves: Sequence[bool]
    movable: Sequence[bool]


@dataclass(slots=True)
class Schedule:
    """`starts[k]` is the first block that request k writes; `left[i]` the request at which result i leaves, None for
    never; `cost` the dollars of the results and of the cuts, faults charged."""

    starts: list[int]
    left: list[int | None] = field(default_factory=list)
    cost: float = NEVER


def best(problem: Problem) -> Schedule:
    """The cheapest schedule found."""
    found = settled(problem, list(problem.free))
    if any(problem.movable):
        for starts, reluctance in _beginnings(problem):
            _sweep(problem, starts, reluctance)
            for _ in range(SWEEPS):
                if not _sweep(problem, starts, 0.0):
                    break
            candidate = settled(problem, starts)
            if candidate.cost < found.cost:
                found = candidate
    return found


def _beginnings(problem: Problem) -> Iterator[tuple[list[int], float]]:
    """Schedules to improve, each with the reluctance of its first sweep."""
    for reluctance in RELUCTANCE:
        yield list(problem.free), reluctance
    for back in BACK:
        yield [_from(problem, k, back) for k in range(len(problem.free))], 0.0


def _from(problem: Problem, k: int, back: int) -> int:
    """Where request k begins to write if it cuts before the `back` requests before it."""
    behind = [r.at for r in problem.results if k - back <= r.start < k < r.end] if problem.movable[k] else []
    return min([problem.free[k], *behind])


def settled(problem: Problem, starts: list[int]) -> Schedule:
    """The schedule with these cuts, every result leaving when that is best for it."""
    schedule = Schedule(starts, [], 0.0)
    for k, start in enumerate(starts):
        if start < problem.free[k]:
            between = problem.fixed[problem.free[k]] - problem.fixed[start]
            schedule.cost += between * (problem.write[k] - problem.read[k])
    for result in problem.results:
        cost, left = _leaving(problem, starts, result)
        schedule.cost += cost
        schedule.left.append(left)
    return schedule


def _leaving(problem: Problem, starts: Sequence[int], result: Result) -> tuple[float, int | None]:
    stay, gone, left = result.first * problem.write[result.start], NEVER, None
    for k in range(result.start + 1, result.end):
        written = result.at >= starts[k]
        price = problem.write[k] if written else problem.read[k]
        if written and problem.leaves[k]:
            leaving = stay + result.charges[k - result.start]
            if leaving < gone:
                gone, left = leaving, k
        stay += result.first * price
        gone += result.small * price
    return (gone, left) if gone < stay else (stay, None)


def _sweep(problem: Problem, starts: list[int], reluctance: float) -> bool:
    """Chooses every request's cut anew, in order; changes `starts`. Whether anything was gained."""
    results = problem.results
    ahead = [_ahead(problem, starts, result) for result in results]
    stay = [result.first * problem.write[result.start] for result in results]
    gone = [NEVER] * len(results)
    gained = False
    for k, before in enumerate(starts):
        read, write = problem.read[k], problem.write[k]
        here = [i for i, result in enumerate(results) if result.start < k < result.end]
        if not here:
            continue
        if problem.movable[k]:
            starts[k] = _cut(problem, k, here, stay, gone, ahead, before, reluctance)
            gained = gained or starts[k] != before
        for i in here:
            result = results[i]
            written = result.at >= starts[k]
            price = write if written else read
            if written and problem.leaves[k]:
                gone[i] = min(gone[i], stay[i] + result.charges[k - result.start])
            stay[i] += result.first * price
            gone[i] += result.small * price
    return gained


def _cut(
    problem: Problem,
    k: int,
    here: Sequence[int],
    stay: Sequence[float],
    gone: Sequence[float],
    ahead: Sequence[list[tuple[float, float]]],
    before: int,
    reluctance: float,
) -> int:
    """The best start of request k, all other requests as they are."""
    read, write = problem.read[k], problem.write[k]
    start = problem.free[k]
    gain, most, chosen = 0.0, 0.0, start
    now = 0.0
    for i in reversed(here):
        result = problem.results[i]
        if result.at >= problem.free[k]:
            continue
        if_stays, if_gone = ahead[i][k + 1 - result.start]
        kept = min(stay[i] + result.first * read + if_stays, gone[i] + result.small * read + if_gone)
        leaving = min(gone[i], stay[i] + result.charges[k - result.start])
        written = min(stay[i] + result.first * write + if_stays, leaving + result.small * write + if_gone)
        gain += kept - written
        paid = (problem.fixed[start] - problem.fixed[result.at]) * (write - read)
        net = gain - paid * (1 + reluctance)
        if result.at == before:
            now = net
        if net > most:
            most, chosen = net, result.at
    return chosen if most > now + 1e-12 else before


def _ahead(problem: Problem, starts: Sequence[int], result: Result) -> list[tuple[float, float]]:
    """What a result costs from each of its requests on, by whether it still stands before that request."""
    out = [(0.0, 0.0)]
    stays = gone = 0.0
    for k in range(result.end - 1, result.start, -1):
        written = result.at >= starts[k]
        price = problem.write[k] if written else problem.read[k]
        gone += result.small * price
        stays += result.first * price
        if written and problem.leaves[k]:
            stays = min(stays, gone + result.charges[k - result.start])
        out.append((stays, gone))
    out.append((0.0, 0.0))
    out.reverse()
    return out
