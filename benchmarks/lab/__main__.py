"""Compare policies on recorded sessions: what they save of the bill, and what the agent then misses.

    python -m benchmarks.lab                          every policy, Anthropic's tariff, sessions of 40 requests and more
    python -m benchmarks.lab --policy full            one policy; may be given more than once
    python -m benchmarks.lab --policy file_age=4,cuts=0
    python -m benchmarks.lab --tariff openai          or uncached

docs/benchmarks.md says what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from addon.mmu.tokens import Counter
from addon.vocabulary import load as vocabulary
from benchmarks.lab import report
from benchmarks.lab.live import runs
from benchmarks.lab.outcome import Outcome, Summary, summary
from benchmarks.lab.policies import Named, parsed, policies
from benchmarks.lab.recording import record
from benchmarks.lab.tariff import TARIFFS, Tariff
from benchmarks.rebuild import rebuild
from benchmarks.traces import Trace, TraceDamaged, TracesMissing, load

HEADLINE = 40
GROUPS = {"5m": "5-minute cache", "1h": "1-hour cache"}


def study(trace: Trace, tariff: Tariff, chosen: Sequence[Named], least: int) -> list[Outcome]:
    """Every policy on one session; nothing where it has fewer than `least` requests."""
    session = rebuild(trace)
    if len(session.turns) < least:
        return []
    recording = record(session, tariff)
    counter = Counter(vocabulary())
    return runs(recording, chosen, counter)


def studies(traces: Sequence[Trace], jobs: int, asked: partial[list[Outcome]]) -> Iterator[list[Outcome]]:
    """What came of each session as it comes in, `jobs` sessions at a time, the longest first."""
    ordered = sorted(traces, key=lambda trace: -len(trace.events))
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(asked, trace) for trace in ordered]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def summaries(outcomes: Sequence[Outcome], by_ttl: bool) -> list[Summary]:
    """Every policy over every group of sessions, in the order in which the policies came."""
    groups = {name: [o for o in outcomes if o.ttl == ttl] for ttl, name in GROUPS.items()} if by_ttl else {}
    found: list[Summary] = []
    for group, members in {**groups, "all": list(outcomes)}.items():
        for policy in dict.fromkeys(outcome.policy for outcome in members):
            found.append(summary(group, [o for o in members if o.policy == policy], None))
    return found


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, metavar="DIR", help="recorded sessions (default: beside the checkout)")
    parser.add_argument("--tariff", choices=sorted(TARIFFS), default="anthropic", help="whose prices and cache")
    parser.add_argument("--policy", action="append", type=parsed, metavar="NAME", help="only this one")
    parser.add_argument("--sessions", type=int, metavar="N", help="only the first N")
    parser.add_argument("--only", type=int, default=HEADLINE, metavar="N", help="sessions of N requests (40) or more")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="sessions at a time (default 2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments(argv)
    try:
        traces = load(asked.traces, asked.sessions)
    except TracesMissing as missing:
        print(f"skipped: {missing}")
        return 0
    except TraceDamaged as damaged:
        print(f"damaged recording: {damaged}", file=sys.stderr)
        return 2
    tariff = TARIFFS[asked.tariff]
    started = time.monotonic()
    outcomes: list[Outcome] = []
    each = partial(study, tariff=tariff, chosen=asked.policy or policies(), least=asked.only)
    for number, found in enumerate(studies(traces, asked.jobs, each), 1):
        outcomes += found
        told = f"{found[0].session}, {found[0].requests} requests" if found else "too short"
        print(f"{number} of {len(traces)}: {told}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if not outcomes:
        print(f"no session has {asked.only} requests")
        return 0
    rows = summaries(outcomes, tariff.marks)
    tables: dict[str, list[Summary]] = {}
    for row in rows:
        title = f"{asked.tariff}, {row.group}: {row.sessions} sessions, {row.requests} requests, ${row.untouched:.2f}"
        tables.setdefault(title, []).append(row)
    print("\n".join(report.text(title, found) for title, found in tables.items()))
    if asked.markdown:
        asked.markdown.write_text("".join(report.markdown(title, found) for title, found in tables.items()))
    if asked.json:
        figures = {
            "tariff": asked.tariff,
            "rows": [row.as_json() for row in rows],
            "sessions": [outcome.as_json() for outcome in sorted(outcomes, key=lambda o: (o.session, o.policy))],
        }
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
