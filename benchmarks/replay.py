"""Replay recorded sessions through a real mitmdump with mitmmu, and straight, and compare the bills.

    python -m benchmarks.replay                     all sessions end to end, one mitmdump each
    python -m benchmarks.replay --policy fifo:4:500 the published age rule instead of mitmmu's own policy
    python -m benchmarks.replay --inprocess         the planner alone, no proxy: for quick experiments

docs/benchmarks.md says what the columns mean. Leaves with status 1 when, under mitmmu's own policy, a session became
more than half a per cent dearer (quote faults charged), the sum is not smaller, or a request was refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from benchmarks import table
from benchmarks.arms import Client
from benchmarks.experiment import Options
from benchmarks.measure import Measurement, Row, failures, total
from benchmarks.rebuild import rebuild
from benchmarks.traces import Trace, TraceDamaged, TracesMissing, load
from tests.agent.transport import Refused
from tests.harness.mitmdump import Mitmdump, NotReady
from tests.upstream import Upstream


class ReplayFailed(Exception):
    """A session could not be replayed; the message says which and why."""


def end_to_end(trace: Trace, options: Options) -> Row:
    """One session through mitmdump and mitmmu (state of its own), and straight. Raises ReplayFailed."""
    measured = Measurement(rebuild(trace, options.thinking, options.model))
    try:
        _both_arms(measured, options)
    except Refused as refused:
        measured.row.violations.append(f"stopped after {measured.row.requests} requests: {refused}")
    except (NotReady, OSError, RuntimeError) as problem:
        raise ReplayFailed(f"{trace.name}, after {measured.row.requests} requests: {problem}") from None
    return measured.row


def _both_arms(measured: Measurement, options: Options) -> None:
    session = measured.session
    with Upstream() as near, Upstream() as far, _proxy(far.url, options) as proxy:
        plain, managed = Client(session, near, near.url), Client(session, far, proxy.url)
        try:
            for turn in session.turns:
                measured.add(turn, plain.serve(turn), managed.serve(turn))
            measured.row.faults = round(proxy.metrics().get("mmu_faults_total", 0))
        finally:
            plain.close()
            managed.close()
            measured.row.violations += plain.complaints + managed.complaints


def _proxy(target: str, options: Options) -> Mitmdump:
    chosen = {
        "mmu_clock": "header",
        "mmu_hosts": target.removeprefix("http://"),
        "mmu_policy": options.policy,
        **dict(options.settings),
    }
    return Mitmdump(chosen, target=target)


def run(traces: Sequence[Trace], replay: Callable[[Trace], Row], jobs: int) -> Iterator[Row]:
    """The rows as they come in, `jobs` sessions at a time, the longest first."""
    ordered = sorted(traces, key=lambda trace: -len(trace.events))
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(replay, trace) for trace in ordered]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for future in waiting:
                future.cancel()


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, metavar="DIR", help="recorded sessions (default: beside the checkout)")
    parser.add_argument("--sessions", type=int, metavar="N", help="only the first N")
    parser.add_argument("--policy", default="auto", help="mmu_policy: auto (default) or fifo:AGE:BYTES")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a further mitmproxy option")
    parser.add_argument("--thinking", action="store_true", help="replies hold signed reasoning")
    parser.add_argument("--model", default="", metavar="NAME", help="another model's prices, limits and rules")
    parser.add_argument("--knob", action="append", default=[], metavar="NAME=VALUE", help="with --inprocess: policy")
    parser.add_argument("--inprocess", action="store_true", help="the planner alone, without proxy and network")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="sessions at a time (default 2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(argv)
    for setting in (*options.set, *options.knob):
        if "=" not in setting:
            parser.error(f"expected NAME=VALUE, not {setting!r}")
    if options.knob and not options.inprocess:
        parser.error("--knob needs --inprocess: the proxy has no such options")
    return options


def _pairs(settings: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, _, value in (setting.partition("=") for setting in settings))


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
    options = Options(asked.policy, _pairs(asked.set), _pairs(asked.knob), asked.thinking, asked.model, asked.traces)
    if asked.inprocess:
        from benchmarks.inprocess import in_process

        replay = partial(in_process, options=options)
    else:
        replay = partial(end_to_end, options=options)
    started = time.monotonic()
    rows: list[Row] = []
    print(table.HEAD)
    try:
        for row in run(traces, replay, asked.jobs):
            rows.append(row)
            print(table.line(row), flush=True)
    except ReplayFailed as failed:
        print(f"replay failed: {failed}", file=sys.stderr)
        return 2
    print(table.line(total(rows)))
    broken = failures(rows)
    for text in broken:
        print(f"FAILED {text}")
    print(f"{len(rows)} sessions, policy {asked.policy}, {time.monotonic() - started:.0f} s")
    if asked.markdown:
        asked.markdown.write_text(table.markdown([*sorted(rows, key=lambda row: row.name), total(rows)]))
    if asked.json:
        figures = {
            "policy": asked.policy,
            "inprocess": asked.inprocess,
            "thinking": asked.thinking,
            "model": asked.model,
            "knobs": dict(options.knobs),
            "sessions": [row.as_json() for row in sorted(rows, key=lambda row: row.name)],
            "total": total(rows).as_json(),
            "failures": broken,
        }
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if broken and asked.policy == "auto" else 0


if __name__ == "__main__":
    sys.exit(main())
