"""Compare policies on recorded sessions: what they save of the bill, and what the agent then misses.

    python -m benchmarks.lab                          every policy, Anthropic's tariff, sessions of 40 requests and more
    python -m benchmarks.lab --policy full --policy clairvoyant
    python -m benchmarks.lab --policy file_age=4,cuts=0     the full policy with settings of its own
    python -m benchmarks.lab --tariff openai          or uncached
    python -m benchmarks.lab --short                  sessions that end after 3, 6 and 9 requests
    python -m benchmarks.lab --frontier               ages against faults on content-free skeletons

docs/benchmarks.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from addon.mmu.habits import Learned
from addon.mmu.outlook import UNKNOWN, Outlook
from addon.mmu.tokens import Counter
from addon.vocabulary import load as vocabulary
from benchmarks.inprocess import learned_elsewhere
from benchmarks.lab import report
from benchmarks.lab.clairvoyant import foretold
from benchmarks.lab.frontier import frontier
from benchmarks.lab.live import runs, untouched
from benchmarks.lab.outcome import Outcome, summaries
from benchmarks.lab.policies import CLAIRVOYANT, FREE, NONE, Named, parsed, policies
from benchmarks.lab.recording import Recording, record
from benchmarks.lab.report import Table
from benchmarks.lab.tariff import TARIFFS, Tariff
from benchmarks.rebuild import rebuild
from benchmarks.skeletons import skeletons
from benchmarks.traces import Trace, TraceDamaged, TracesMissing, load

HEADLINE = 40
SHORT = (3, 6, 9)
GROUPS = {"5m": "5-minute cache", "1h": "1-hour cache"}
ALL = "all"


def study(
    trace: Trace, known: Mapping[str, float], tariff: Tariff, chosen: Sequence[Named], least: int, cuts: Sequence[int]
) -> list[Outcome]:
    """Every policy on one session, or on what it would have been had it ended after each of `cuts` requests.

    `known` are the tallies of its client's other sessions. Nothing where it has fewer than `least` requests.
    """
    session = rebuild(trace)
    if len(session.turns) < least:
        return []
    whole = record(session, tariff)
    counter = Counter(vocabulary())
    outlook = Outlook(habits=Learned(known, sub=trace.sub_agent))
    parts = [whole.first(cut) for cut in cuts if len(session.turns) > cut] if cuts else [whole]
    return [outcome for part in parts for outcome in judged(part, chosen, counter, outlook)]


def judged(
    recording: Recording, chosen: Sequence[Named], counter: Counter, outlook: Outlook = UNKNOWN
) -> list[Outcome]:
    """Every policy on one recording, in the order in which they were given."""
    planned = [named for named in chosen if named.curve not in (NONE, CLAIRVOYANT, FREE)]
    found = {outcome.policy: outcome for outcome in runs(recording, planned, counter, outlook)}
    for named in chosen:
        if named.curve == NONE:
            found[named.name] = untouched(recording, named)
        elif named.curve in (CLAIRVOYANT, FREE):
            found[named.name] = foretold(recording, named)
    return [found[named.name] for named in chosen]


def studies(
    traces: Sequence[tuple[Trace, Mapping[str, float]]], jobs: int, asked: partial[list[Outcome]]
) -> Iterator[list[Outcome]]:
    """What came of each session as it comes in, `jobs` sessions at a time, the longest first."""
    ordered = sorted(traces, key=lambda pair: -len(pair[0].events))
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(asked, trace, known) for trace, known in ordered]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def grouped(outcomes: Sequence[Outcome], tariff: Tariff, short: bool) -> dict[str, list[Outcome]]:
    """Short sessions by their length; else by the lifetime of the cache, where the client chooses it, and all."""
    if short:
        cuts = sorted({outcome.requests for outcome in outcomes})
        return {f"ending after {cut} requests": [o for o in outcomes if o.requests == cut] for cut in cuts}
    groups = {name: [o for o in outcomes if o.ttl == ttl] for ttl, name in GROUPS.items()} if tariff.marks else {}
    return {**groups, ALL: list(outcomes)}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, metavar="DIR", help="recorded sessions (default: beside the checkout)")
    parser.add_argument("--tariff", choices=sorted(TARIFFS), default="anthropic", help="whose prices and cache")
    parser.add_argument("--policy", action="append", type=parsed, metavar="NAME", help="only this one")
    parser.add_argument("--sessions", type=int, metavar="N", help="only the first N")
    parser.add_argument("--only", type=int, default=HEADLINE, metavar="N", help="sessions of N requests (40) or more")
    parser.add_argument("--short", action="store_true", help="sessions as if they had ended after a few requests")
    parser.add_argument("--frontier", action="store_true", help="ages against faults on content-free skeletons")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="sessions at a time (default 2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="plot cost against faults there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments(argv)
    try:
        return _frontier(asked) if asked.frontier else _policies(asked)
    except TracesMissing as missing:
        print(f"skipped: {missing}")
        return 0
    except TraceDamaged as damaged:
        print(f"damaged recording: {damaged}", file=sys.stderr)
        return 2


def _policies(asked: argparse.Namespace) -> int:
    tariff = TARIFFS[asked.tariff]
    started = time.monotonic()
    outcomes: list[Outcome] = []
    chosen = asked.policy or policies()
    each = partial(
        study,
        tariff=tariff,
        chosen=chosen,
        least=0 if asked.short else asked.only,
        cuts=SHORT if asked.short else (),
    )
    traces = [(trace, _known(trace, asked.traces, chosen)) for trace in load(asked.traces, asked.sessions)]
    for number, found in enumerate(studies(traces, asked.jobs, each), 1):
        outcomes += found
        told = found[0].session if found else "too short"
        print(f"{number} of {len(traces)}: {told}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if not outcomes:
        print(f"no session has {asked.only} requests")
        return 0
    groups = [summaries(name, members) for name, members in grouped(outcomes, tariff, asked.short).items() if members]
    tables = [report.bills(tariff.name, rows) for rows in groups]
    _publish(asked, tables, report.bills_figure(tables[-1].title, groups[-1]), {
        "tariff": tariff.name,
        "rows": [row.as_json() for rows in groups for row in rows],
        "sessions": [outcome.as_json() for outcome in sorted(outcomes, key=lambda o: (o.session, o.requests))],
    })  # fmt: skip
    return 0


def _known(trace: Trace, folder: Path | None, chosen: Sequence[Named]) -> Mapping[str, float]:
    """What a proxy would have counted in the other sessions, where there is a planner to use it."""
    plans = any(named.curve not in (NONE, CLAIRVOYANT, FREE) for named in chosen)
    return dict(learned_elsewhere(trace, folder).population) if plans else {}


def _frontier(asked: argparse.Namespace) -> int:
    points = frontier(skeletons(asked.traces))
    figures: dict[str, object] = {"points": [point.as_json() for point in points]}
    _publish(asked, [report.points(points)], report.points_figure(points), figures)
    return 0


def _publish(asked: argparse.Namespace, tables: Sequence[Table], svg: str, figures: dict[str, object]) -> None:
    print("\n".join(table.text() for table in tables), end="")
    if asked.markdown:
        asked.markdown.write_text("".join(table.markdown() for table in tables))
    if asked.svg:
        asked.svg.write_text(svg)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
