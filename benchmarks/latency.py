"""How long mitmmu holds a request up.

    python -m benchmarks.latency                 the request hook with a real SQLite store
    python -m benchmarks.latency --end-to-end    also whole requests: straight, through mitmdump, and with mitmmu

In a growing conversation each body extends the last one by an answer and a tool result. The hook and the yardstick
(json.loads and json.dumps of the same body) take turns, so that a noisy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

from mitmproxy import http
from mitmproxy.test import taddons, tflow, tutils

from addon.hooks import Mitmmu
from benchmarks.growing import MODEL, bodies
from benchmarks.traces import Json
from tests.agent.transport import Plain
from tests.harness.mitmdump import Mitmdump
from tests.upstream import Upstream

SIZES = (30_000, 300_000, 1_000_000)
USAGE = {"input_tokens": 4, "cache_read_input_tokens": 9000, "cache_creation_input_tokens": 800, "output_tokens": 90}


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds over `requests` requests of about `size` bytes; ratios are of pairs measured one after the other."""

    what: str
    size: int
    requests: int
    p50: float
    p95: float
    yardstick_p50: float
    ratio_p50: float
    ratio_p95: float


def timing(what: str, size: int, taken: Sequence[float], yardstick: Sequence[float]) -> Timing:
    """`taken` and `yardstick` in seconds, pair by pair."""
    ratios = [one / other for one, other in zip(taken, yardstick, strict=True)]
    return Timing(
        what=what,
        size=size,
        requests=len(taken),
        p50=median(taken) * 1000,
        p95=p95(taken) * 1000,
        yardstick_p50=median(yardstick) * 1000,
        ratio_p50=median(ratios),
        ratio_p95=p95(ratios),
    )


async def hook(size: int, requests: int) -> Timing:
    """The request hook on `requests` bodies of about `size` bytes, store included."""
    taken: list[float] = []
    yardstick: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        addon = Mitmmu()
        with taddons.context(addon) as context:
            context.configure(addon, mmu_home=home)
            addon.running()
            assert addon.opening is not None
            await addon.opening
            for body, extends in bodies(size, requests):
                flow = _flow(body)
                started = time.perf_counter()
                await addon.request(flow)
                between = time.perf_counter()
                json.dumps(json.loads(body)).encode()
                if extends:
                    taken.append(between - started)
                    yardstick.append(time.perf_counter() - between)
                flow.response = _response()
                await addon.response(flow)
                await asyncio.sleep(0.02)
            await addon.done()
    if addon.metrics.value("mmu_passed_through_total") or not addon.metrics.value("mmu_rewritten_total"):
        raise RuntimeError("requests passed through unmanaged, so there is nothing to measure")
    return timing("hook", size, taken, yardstick)


def durable_write(times: int = 50) -> float:
    """Milliseconds that this machine's disk takes to make 4 KB durable, p50: the store cannot be faster."""
    taken: list[float] = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(b"m" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return median(taken) * 1000


def end_to_end(size: int, requests: int) -> list[Timing]:
    """Whole requests, answer included: through a bare mitmdump and through mitmmu, beside the same ones straight."""
    with contextlib.ExitStack() as stack:
        near, bare_end, far = (stack.enter_context(Upstream(keep_bodies=1)) for _ in range(3))
        bare = stack.enter_context(Mitmdump(addon=None, target=bare_end.url))
        managed = stack.enter_context(Mitmdump({"mmu_hosts": far.url.removeprefix("http://")}, target=far.url))
        routes = {"straight": near.url, "mitmdump": bare.url, "mitmdump with mitmmu": managed.url}
        clients = {name: Plain(url) for name, url in routes.items()}
        taken: dict[str, list[float]] = {name: [] for name in routes}
        for body, extends in bodies(size, requests):
            given = json.loads(body)
            for name, client in clients.items():
                seconds = _seconds(client, given)
                if extends:
                    taken[name].append(seconds)
        for client in clients.values():
            client.close()
    return [timing(name, size, taken[name], taken["straight"]) for name in routes]


_HEADERS = {"anthropic-version": "2023-06-01", "x-upstream-session": "latency"}


def _seconds(client: Plain, body: dict[str, Json]) -> float:
    started = time.perf_counter()
    client.send(body, _HEADERS)
    return time.perf_counter() - started


def _flow(body: bytes) -> http.HTTPFlow:
    headers = ((b"content-type", b"application/json"), (b"x-api-key", b"latency"), (b"host", b"api.anthropic.com"))
    request = tutils.treq(
        method=b"POST",
        scheme=b"https",
        host="api.anthropic.com",
        port=443,
        authority=b"",
        path=b"/v1/messages?beta=true",
        headers=http.Headers(headers),
        content=body,
    )
    return tflow.tflow(req=request)


def _response() -> http.Response:
    content = {"type": "message", "role": "assistant", "model": MODEL, "content": [], "usage": USAGE}
    return http.Response.make(200, json.dumps(content), {"content-type": "application/json"})


def p95(values: Sequence[float]) -> float:
    """What 95 of 100 values stay below."""
    return quantiles(values, n=20)[-1]


def _print(row: Timing, beside: str) -> None:
    print(
        f"{row.size / 1000:>7,.0f} KB  {row.what:<21} p50 {row.p50:7.2f} ms  p95 {row.p95:7.2f} ms   "
        f"{beside} p50 {row.yardstick_p50:7.2f} ms   ratio p50 {row.ratio_p50:5.2f}  p95 {row.ratio_p95:5.2f}",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100, metavar="N", help="measured per size (default 100)")
    parser.add_argument("--end-to-end", action="store_true", help="whole requests through mitmdump as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    asked = parser.parse_args(argv)
    if asked.requests < 2:
        parser.error("--requests wants at least 2")
    logging.getLogger("mitmproxy").setLevel(logging.ERROR)
    rows: list[Timing] = []
    disk = durable_write()
    print(f"one durable write of 4 KB here: p50 {disk:.2f} ms; every managed request waits for at least one")
    for size in SIZES:
        rows.append(asyncio.run(hook(size, asked.requests)))
        _print(rows[-1], "json loads + dumps")
    if asked.end_to_end:
        for size in SIZES:
            for row in end_to_end(size, asked.requests):
                rows.append(row)
                _print(row, "straight")
    if asked.json:
        asked.json.write_text(
            json.dumps({"durable_write_p50": disk, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
