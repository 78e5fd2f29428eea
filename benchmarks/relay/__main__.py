"""The command: measures one after the other, prints tables, and fails if anything was lost."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import benchmarks.relay
from benchmarks.latency import p95
from benchmarks.relay import cost, first_byte, soak
from benchmarks.relay.apart import apart
from benchmarks.relay.client import Broken
from benchmarks.relay.parallel import Crowd, crowds
from benchmarks.relay.stage import PLAIN, RELAY, Continuation, Stage


@dataclass(frozen=True, slots=True)
class Piled:
    """What the relaying proxy held before and after many recalls: connections to the provider, tasks, MB."""

    recalls: int
    hung_up: int
    connections: tuple[int, int]
    tasks: tuple[int, int]
    memory: tuple[float | None, float | None]


def first_bytes(stage: Stage, requests: int) -> list[first_byte.Compared]:
    found = apart(first_byte.measure, stage.proxies, requests)
    offered = {label.rpartition(" ")[0] for label in stage.offered()}
    if offered != {RELAY}:
        raise Broken(f"the tool was offered through {sorted(offered)}, so there is nothing to compare")
    rows: list[first_byte.Compared] = []
    for what, field in (
        ("first byte, from the provider's first byte", "own_byte"),
        ("first words, from the provider's first byte", "own_words"),
        ("first byte, from the client's request", "whole_byte"),
        ("first words, from the client's request", "whole_words"),
    ):
        rows += first_byte.compared(what, {name: getattr(delays, field) for name, delays in found.items()}, PLAIN)
    return rows


def pile(stage: Stage, recalls: int) -> Piled:
    apart(soak.recalls, stage.proxies[RELAY], max(50, recalls // 10))
    connections, tasks, memory = stage.connections(), stage.tasks(), stage.memory()
    gone = apart(soak.recalls, stage.proxies[RELAY], recalls)
    return Piled(recalls, gone, (connections, stage.connections()), (tasks, stage.tasks()), (memory, stage.memory()))


def show_first_bytes(rows: Sequence[first_byte.Compared]) -> None:
    for what in dict.fromkeys(row.what for row in rows):
        print(f"\n{what} (medians of plain against itself differ by ", end="")
        print(f"{next(row.noise for row in rows if row.what == what):.2f} ms)")
        for row in rows:
            if row.what == what:
                print(
                    f"  {row.arm:<20} p50 {row.p50:6.2f} ms  p95 {row.p95:6.2f} ms"
                    f"   to plain: {row.ratio:5.2f}, {row.difference:+.2f} ms",
                    flush=True,
                )


def show_crowds(found: Sequence[Crowd]) -> None:
    without, with_ = found
    print(f"\n{without.streams} slow streams at once, and an unrelated request every 20 ms")
    for crowd in found:
        name = f"{crowd.recalls} recalls" if crowd.recalling else "no recalls"
        print(
            f"  {name:<12} wall {crowd.wall:5.2f} s (scripted {crowd.scripted:.2f} s)  lost or doubled "
            f"{len(crowd.lost)}   unrelated p50 {crowd.stall_p50:.1f} ms, p95 {crowd.stall_p95:.1f} ms, "
            f"worst {crowd.stall_worst:.0f} ms of {crowd.probes}",
        )
    print(
        f"  with to without: wall over scripted "
        f"{with_.wall / with_.scripted / (without.wall / without.scripted):.2f}, "
        f"unrelated p95 {with_.stall_p95 / without.stall_p95:.2f}, "
        f"worst {with_.stall_worst / without.stall_worst:.2f}",
        flush=True,
    )


def show_cost(taken: Mapping[str, Sequence[float]], again: Continuation) -> None:
    print("\none page back, whole exchange")
    base = median(taken[cost.ITSELF])
    for name, seconds in taken.items():
        middle = median(seconds)
        print(
            f"  {name:<22} p50 {middle * 1000:6.2f} ms  p95 {p95(seconds) * 1000:6.2f} ms"
            f"   to the client itself: {middle / base:.2f}, {(middle - base) * 1000:+.2f} ms"
        )
    print(
        f"  of it, a connection of its own: TCP {again.connect:.2f} ms, TLS {again.secure:.2f} ms; then "
        f"{again.answer:.2f} ms to the provider's answer (p50 of {again.requests})",
        flush=True,
    )


def show_pile(piled: Piled) -> None:
    print(
        f"\n{piled.recalls} recalls on end, {piled.hung_up} clients left in the middle of another"
        f"\n  connections to the provider {piled.connections[0]} -> {piled.connections[1]}"
        f"   tasks {piled.tasks[0]} -> {piled.tasks[1]}",
        end="",
    )
    if piled.memory[0] is not None and piled.memory[1] is not None:
        each = (piled.memory[1] - piled.memory[0]) / piled.recalls * 1024
        print(f"   memory {piled.memory[0]:.1f} -> {piled.memory[1]:.1f} MB, {each:.1f} KB a recall")
    else:
        print()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./run bench relay",
        description=benchmarks.relay.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=150, metavar="N", help="per way and figure (default 150)")
    parser.add_argument("--streams", type=int, default=50, metavar="N", help="at once (default 50)")
    parser.add_argument("--soak", type=int, default=200, metavar="N", help="recalls on end (default 200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args()
    if min(asked.requests, asked.streams, asked.soak) < 4:
        parser.error("numbers from 4 on are wanted")
    with Stage() as stage:
        try:
            rows = first_bytes(stage, asked.requests)
            show_first_bytes(rows)
            crowd = crowds(stage.proxies[RELAY], asked.streams)
            show_crowds(crowd)
            taken = apart(cost.exchanges, stage.proxies[RELAY], stage.proxies[PLAIN], asked.requests // 2)
            again = stage.continuation()
            show_cost(taken, again)
            piled = pile(stage, asked.soak)
            show_pile(piled)
        except Broken as error:
            print(f"\nlost: {error}", file=sys.stderr)
            return 1
        invalid = stage.up.invalid
    wrong = [text for one in crowd for text in one.lost]
    if invalid:
        wrong.append(f"the provider refused {invalid} requests")
    if piled.connections[1] > piled.connections[0]:
        wrong.append("connections to the provider are left open")
    for text in wrong:
        print(f"lost: {text}", file=sys.stderr)
    if asked.json:
        figures: dict[str, Any] = {
            "first_byte": [asdict(row) for row in rows],
            "parallel": [asdict(one) for one in crowd],
            "exchange_p50_ms": {name: median(seconds) * 1000 for name, seconds in taken.items()},
            "continuation": asdict(again),
            "soak": asdict(piled),
            "wrong": wrong,
        }
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
