"""Many conversations at once, for a long time: what does mitmmu add, does its memory stay flat, and is anything lost?

    ./run bench load --conversations 50 --seconds 600
    ./run bench load --seconds 180 --store postgres --restart-store     the store is killed half-way, and comes back

Each conversation sends bodies of about 300 KB that grow with each turn, pauses, and begins anew where it gets too
large. Its requests go through a real mitmdump with mitmmu in reverse mode, and in between, the same bodies, straight to
the provider: a fake one on loopback, which streams an answer of 1 KB in a third of a second. Clients are in a process
apart. An answer that is not whole, or any but 200, is an error, and the command then leaves with 1.

Printed are, for both ways, the time to the first byte, and by how much the way through mitmmu is longer; the CPU time
of the proxy, which other programs on the machine disturb less; and what the proxy's process holds (RSS) at the start,
at each quarter and at the end, and by how much it grows a minute in the last third. At first it grows, as the last
requests of each conversation are kept parsed, up to a bound of 32 million characters as they came and as many as they
left, some 100 conversations; and so do its caches of pages and lines, which are told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from statistics import linear_regression, median, quantiles
from typing import Any

import h11

from benchmarks.filler import prose
from benchmarks.growing import conversation
from benchmarks.relay.apart import apart
from benchmarks.relay.client import Broken, Client
from tests.agent.transport import Refused
from tests.harness import Mitmdump
from tests.harness.postgres import Postgres
from tests.harness.redis_server import Server
from tests.upstream import Upstream

SIZE, STEP = 300_000, 4_000
"""Bytes of a body, and what a turn adds: after some 30 turns a conversation begins anew."""
ANSWER: dict[str, Any] = {"content": [{"type": "text", "text": prose("an answer", 1000)}], "delay_ms": 20}
STRAIGHT_EVERY = 4
"""Turns of a conversation of which one is sent straight as well."""
AWAY = 5.0
"""Seconds for which the store is gone."""
COUNTED = ("requests", "rewritten", "passed_through")
_SAMPLE = 5.0
_HEADERS = {"content-type": "application/json", "x-upstream-script": "load"}


class Straight(Client):
    """A client of a port on loopback, without TLS."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Straight:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._http = h11.Connection(h11.CLIENT)
        return self


@dataclass(frozen=True, slots=True)
class Sample:
    """A request: when it was sent (monotonic), which way, seconds to the first byte."""

    at: float
    managed: bool
    first_byte: float


@dataclass(slots=True)
class Played:
    """What the clients saw."""

    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def play(proxy: int, provider: int, conversations: int, seconds: float, pause: float) -> Played:
    """All conversations, for so long, against the ports of the two."""
    played, numbers = Played(), count(conversations)
    # made beforehand: the clients would have to wait for it, and their time would count as the proxy's
    opened = [_opened(number) for number in range(conversations)]
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for bodies in opened:
            group.create_task(_talk(proxy, provider, bodies, numbers, end, pause, played))
    return played


type Bodies = tuple[int, Iterator[bytes]]


def _opened(number: int) -> Bodies:
    """A conversation that has its first body, which takes by far the longest to make."""
    bodies = conversation(SIZE, number, step=STEP, stream=True)
    return number, chain([next(bodies)], bodies)


async def _talk(
    proxy: int, provider: int, opened: Bodies, numbers: count[int], end: float, pause: float, played: Played
) -> None:
    """One conversation after another."""
    await asyncio.sleep(pause * random.Random(opened[0]).random())
    while time.monotonic() < end:
        try:
            await _converse(proxy, provider, opened, end, pause, played)
        except (Broken, Refused, h11.ProtocolError, OSError, EOFError) as error:
            played.errors.append(f"conversation {opened[0]}: {type(error).__name__}: {error}")
            await asyncio.sleep(pause)
        opened = await asyncio.to_thread(_opened, next(numbers))


async def _converse(proxy: int, provider: int, opened: Bodies, end: float, pause: float, played: Played) -> None:
    number, bodies = opened
    async with Straight(proxy) as managed, Straight(provider) as straight:
        for turn, body in enumerate(bodies):
            headers = {**_HEADERS, "x-upstream-session": f"managed {number}"}
            await _ask(managed, body, headers, played, managed=True)
            if turn % STRAIGHT_EVERY == number % STRAIGHT_EVERY:
                headers["x-upstream-session"] = f"straight {number}"
                await _ask(straight, body, headers, played, managed=False)
            if time.monotonic() >= end:
                return
            await asyncio.sleep(pause)


async def _ask(client: Client, body: bytes, headers: dict[str, str], played: Played, *, managed: bool) -> None:
    answer = await client.send("POST", "/v1/messages?beta=true", body, headers)
    if answer.status != 200:
        raise Broken(f"{answer.status}: {answer.body[:200]!r}")
    said = "".join(block["text"] for block in answer.content())
    if said != ANSWER["content"][0]["text"]:
        raise Broken(f"an answer of {len(said)} characters is not the one that was given")
    played.samples.append(Sample(answer.asked, managed, answer.first_byte - answer.asked))


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the proxy, at a moment (monotonic): MB of its process, and of these the caches of pages and lines; seconds of
    CPU so far."""

    at: float
    rss: float
    caches: float
    cpu: float


def memory(proxy: Mitmdump) -> Memory:
    status = Path(f"/proc/{proxy.pid}/status").read_text("ascii")
    counted = proxy.metrics()
    caches = counted["mmu_store_warm_bytes"] + counted["mmu_store_cache_bytes"]
    rss = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    # behind the name, which may have blanks: utime and stime are 14th and 15th in all
    ticks = Path(f"/proc/{proxy.pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:13]
    return Memory(time.monotonic(), rss, caches / 2**20, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))


def watch(proxy: Mitmdump, seconds: float) -> list[Memory]:
    """Look at the proxy's memory until the time is over."""
    began = time.monotonic()
    seen = [memory(proxy)]
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(_SAMPLE)
        seen.append(memory(proxy))
        print(f"{passed:.0f} s: {seen[-1].rss:.0f} MB, caches {seen[-1].caches:.1f} MB", file=sys.stderr, flush=True)
    return seen


def interrupt(store: Postgres | Server, after: float) -> tuple[float, float]:
    """Kill a store and start it again. When (monotonic) that was."""
    time.sleep(after)
    killed = time.monotonic()
    store.kill()
    time.sleep(AWAY)
    store.start()
    return killed, time.monotonic()


def show_first_bytes(samples: Sequence[Sample], gone: tuple[float, float] | None) -> None:
    """A row for all, or with a store that was gone for before, meanwhile and after."""
    print("\n| | requests | straight p50, p99 ms | mitmmu p50, p99 ms | longer by |\n|---|---:|---:|---:|---:|")
    killed, back = gone or (math.inf, math.inf)
    parts = {
        "before" if gone else "all": [one for one in samples if one.at < killed],
        "store gone": [one for one in samples if killed <= one.at < back],
        "after": [one for one in samples if one.at >= back],
    }
    for what, part in parts.items():
        near, far = ([1000 * one.first_byte for one in part if one.managed is way] for way in (False, True))
        if min(len(near), len(far)) > 1:
            p50, last = median(far) - median(near), p99(far) - p99(near)
            ways = f"{median(near):.1f}, {p99(near):.1f} | {median(far):.1f}, {p99(far):.1f}"
            print(f"| {what} | {len(part):,} | {ways} | {p50:+.1f}, {last:+.1f} |")


def show_memory(seen: Sequence[Memory]) -> None:
    """MB at the start, at each quarter and at the end, and the slope in the last third."""
    began, seconds = seen[0].at, seen[-1].at - seen[0].at
    marks = [next(one for one in seen if one.at - began >= seconds * part / 4) for part in range(5)]
    last = [one for one in seen if one.at - began >= seconds * 2 / 3]
    print("\n| proxy, MB | start | 1/4 | 1/2 | 3/4 | end | a minute, last third |\n|---|---:|---:|---:|---:|---:|---:|")
    for name in ("rss", "caches"):
        slope = linear_regression([one.at / 60 for one in last], [getattr(one, name) for one in last]).slope
        print(f"| {name} | {' | '.join(f'{getattr(one, name):.0f}' for one in marks)} | {slope:+.2f} |")


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[-1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./run bench load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=50, metavar="N", help="at once (default 50)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="from 30 on (default 60)")
    parser.add_argument("--pause", type=float, default=2, metavar="S", help="between two turns (default 2)")
    parser.add_argument(
        "--store",
        choices=("sqlite", "postgres", "redis"),
        default="sqlite",
        help="redis: SQLite, and a Redis beside it",
    )
    parser.add_argument("--restart-store", action="store_true", help=f"kill it half-way, start it {AWAY:.0f} s later")
    parser.add_argument(
        "--script", type=Path, action="append", default=[], metavar="FILE", help="for the proxy as well"
    )
    asked = parser.parse_args(argv)
    if asked.restart_store and asked.store == "sqlite":
        parser.error("--restart-store wants a server: --store postgres or redis")
    if asked.seconds < 30 or asked.conversations < 1:
        parser.error("--seconds from 30 on, and a conversation, are wanted")
    with ExitStack() as stack:
        up = stack.enter_context(Upstream(keep_bodies=1))
        up.script("load", lambda _: dict(ANSWER))
        options = {"mmu_hosts": up.url.removeprefix("http://")}
        store: Postgres | Server | None = None
        if asked.store == "postgres":
            store = stack.enter_context(Postgres())
            options["mmu_store"] = store.empty()
        elif asked.store == "redis":
            store = stack.enter_context(Server())
            options["mmu_redis"] = store.url
        proxy = stack.enter_context(Mitmdump(options, target=up.url, scripts=asked.script))
        threads = stack.enter_context(ThreadPoolExecutor(2))
        playing = threads.submit(apart, play, proxy.port, up.port, asked.conversations, asked.seconds, asked.pause)
        breaking = threads.submit(interrupt, store, asked.seconds / 2) if store and asked.restart_store else None
        seen = watch(proxy, asked.seconds)
        played: Played = playing.result()
        gone = breaking.result() if breaking else None
        counted, refused = proxy.metrics(), up.invalid
    made = len(played.samples)
    print(
        f"{made:,} requests in {asked.seconds:.0f} s, {made / asked.seconds:.1f} a second; {len(played.errors)} errors"
    )
    print(", ".join(f"{name} {counted.get(f'mmu_{name}_total', 0):,.0f}" for name in COUNTED))
    if counted.get("mmu_requests_total"):
        spent = (seen[-1].cpu - seen[0].cpu) / counted["mmu_requests_total"]
        print(f"the proxy's CPU: {1000 * spent:.1f} ms a request, mitmproxy's own share included")
    show_first_bytes(played.samples, gone)
    show_memory(seen)
    wrong = played.errors + ([f"the provider refused {refused} requests"] if refused else [])
    if not counted.get("mmu_rewritten_total"):
        wrong.append("nothing was rewritten, so there was nothing to measure")
    for text in wrong[:20]:
        print(f"wrong: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
