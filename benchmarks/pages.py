"""A store with a million pages: does it get slower as it fills?

    ./run bench pages --pages 1000000 --store sqlite
    ./run bench pages --pages 1000000 --store postgres     a real server, on loopback, for as long as this runs

Fills a new store through storage.tiers.Hierarchy, as the proxy does, but a whole conversation in one commit: 250 pages
of 200 bytes to 8 KB (what commands said, files, and versions of files) and as many splices. At 1 %, 10 % and 100 % of
the pages three things are timed, in turn and one at a time:

    put    a commit of one page and three splices to a line that is known in the process
    get    a page drawn at random, past what the process keeps of pages
    view   a line drawn at random with its 250 splices, past what the process keeps of lines

An index that is a tree grows with the logarithm of what it holds, and so may the time. The last table says by how much
each median grew from 1 % to 100 %, beside the growth of that logarithm. What the system keeps of files in memory is
left alone. The Postgres is that of the tests: its buffers are 16 MB, and it does not wait for the disk (fsync off).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import math
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles

from benchmarks.filler import prose
from storage.news import Silence
from storage.records import Batch, Conversation, Outcome, Page, Splice
from storage.tiers import Hierarchy
from storage.warm import Process
from tests.harness.postgres import Postgres

TENANT = "tenant"
LINE = 250
"""Pages, and splices, of a conversation."""
SHARES = (0.01, 0.1, 1.0)
BEGUN = 20
"""Lines that are begun for the puts of each share, so that all shares find the same."""
_PATIENCE = 60.0
_AHEAD = 4

_STOCK = "\n".join(f"{n:>6}\t    {line}" for n, line in enumerate(prose("stock", 300_000).split("."))).encode()


@dataclass(frozen=True, slots=True)
class Level:
    """What was measured with so many pages in the store: seconds; bytes of a page, in the store and unpacked; MB."""

    pages: int
    taken: Mapping[str, Sequence[float]]
    stored: float
    plain: float
    rss: float


class Forgetful(Silence):
    """News after which nothing is certain: the process forgets the lines that it keeps, whenever asked to."""

    def hear(self, changed: Callable[..., None], lost: Callable[[], None], gone: Callable[..., None]) -> None:
        self.clear = lost


def text(number: int) -> bytes:
    """What the page of a number says: pieces of one stock, and its number. The same in every run."""
    rng = random.Random(number)
    size = min(8192, max(200, int(rng.lognormvariate(6.6, 0.9))))
    pieces = [b"page %d" % number]
    while size > 0:
        at, piece = rng.randrange(len(_STOCK) - 1000), rng.randint(80, 1000)
        pieces.append(_STOCK[at : at + min(piece, size)])
        size -= piece
    return b"\n".join(pieces)


def page(number: int) -> Page:
    """Six of ten are versions of files, every second one a change to the one before; the rest is what commands said."""
    said = text(number)
    if number % 10 in (1, 3, 5):
        said = text(number - 1) + b"\nchanged in %d" % number
    label = f"src/module_{number // 2}.py" if number % 10 < 6 else f"make target_{number}"
    return Page(TENANT, hashlib.blake2b(said, digest_size=12).hexdigest(), said, "file", label)


def splice(number: int, request: int, of: Page) -> Splice:
    handle = f"[mmu page {of.id}: {of.label}, {len(of.text)} bytes. Not shown here; an exact copy is kept.]"
    return Splice(f"toolu_{number:012d}:{of.id[:16]}", 0, "evict", of.id, handle, (), request)


def line(name: str) -> Conversation:
    digests = hashlib.shake_128(name.encode()).digest(8 * 2 * LINE)
    return Conversation(name, TENANT, f"head {name}", f"session {name}", "/src", "bench", 1, digests, time.time(), {})


def whole(number: int) -> Batch:
    """A conversation with all its pages, of which the first is number * LINE."""
    held = [page(number * LINE + n) for n in range(LINE)]
    return Batch(line(f"line {number}"), 0, held, [splice(n, 1, one) for n, one in enumerate(held)])


async def fill(store: Hierarchy, begin: int, end: int, say: Callable[[int], None]) -> None:
    """Pages from one number up to another, a few commits ahead so that the writer never waits."""
    waiting: list[asyncio.Task[Outcome]] = []
    for first in range(begin, end, LINE):
        batch = whole(first // LINE)
        waiting.append(asyncio.ensure_future(store.commit(batch, _PATIENCE)))
        await asyncio.sleep(0)
        if len(waiting) > _AHEAD:
            stored(await waiting.pop(0), store)
        say(first)
    for task in waiting:
        stored(await task, store)


def stored(outcome: Outcome, store: Hierarchy) -> None:
    if outcome is not Outcome.STORED:
        raise RuntimeError(f"a commit was {outcome.value}: {store.last_error}")


async def measure(store: Hierarchy, news: Forgetful, pages: int, samples: int) -> Level:
    """The three timings, in turn, with so many pages in the store."""
    rng = random.Random(pages)
    begun = [line(f"begun at {pages}, {n}") for n in range(BEGUN)]
    for record in begun:
        stored(await store.commit(Batch(record, 0, (), ()), _PATIENCE), store)
    taken: dict[str, list[float]] = {"put": [], "get": [], "view": []}
    warming = samples // 10
    for n in range(-warming, samples):
        news.clear()
        name = f"line {rng.randrange(pages // LINE)}"
        (found,), view = await timed(store.conversations(TENANT, f"head {name}", f"session {name}"))
        assert len(found.splices) == LINE
        wanted = page(rng.randrange(pages))
        exact, get = await timed(store.page(TENANT, wanted.id))
        assert exact == wanted.text
        before = begun[n % BEGUN]
        record = replace(before, requests=before.requests + 1)
        begun[n % BEGUN] = record
        new = page(10 * pages + 10 * (n + warming) + 7)
        splices = [splice(3 * record.requests + each, record.requests, new) for each in range(3)]
        await store.conversations(TENANT, record.head, record.session)
        batch = Batch(record, before.requests, [new], splices)
        outcome, put = await timed(store.commit(batch, _PATIENCE))
        stored(outcome, store)
        if n >= 0:
            for key, seconds in (("put", put), ("get", get), ("view", view)):
                taken[key].append(seconds)
    totals = await store.totals()
    each = totals["pages"]
    return Level(pages, taken, totals["store_bytes"] / each, totals["page_bytes"] / each, rss())


async def timed[T](work: Awaitable[T]) -> tuple[T, float]:
    began = time.perf_counter()
    done = await work
    return done, time.perf_counter() - began


def rss() -> float:
    """MB of this process."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextlib.contextmanager
def place(store: str) -> Iterator[str]:
    """The URL of an empty place for a store, gone at the end."""
    if store == "postgres":
        with Postgres() as server:
            yield server.empty()
    else:
        with tempfile.TemporaryDirectory(prefix="mitmmu-pages-") as folder:
            yield f"sqlite:///{folder}/mmu.db"


async def run(url: str, ends: Sequence[int], samples: int) -> list[Level]:
    """Fill up to so many pages, each a multiple of LINE, and measure there."""
    news = Forgetful()

    async def beside(front: Process) -> tuple[Process, Forgetful]:
        return front, news

    store = await Hierarchy.open(url, beside=beside, warm_bytes=0)
    levels: list[Level] = []
    try:
        done = 0
        for end in ends:
            progress = Progress(done, end)
            await fill(store, done, end, progress)
            done = end
            # the writer moves its journal when nobody waits
            await asyncio.sleep(2)
            levels.append(await measure(store, news, end, samples))
            show(levels[-1])
    finally:
        await store.close()
    return levels


class Progress:
    """On stderr, every five seconds."""

    def __init__(self, begin: int, end: int) -> None:
        self._begin, self._end = begin, end
        self._began = self._said = time.monotonic()

    def __call__(self, at: int) -> None:
        now = time.monotonic()
        if now - self._said > 5:
            self._said = now
            pace = (at - self._begin) / (now - self._began)
            print(f"{at:,} of {self._end:,} pages, {pace:,.0f} a second", file=sys.stderr, flush=True)


HEAD = """
| pages | put p50, p99 ms | get p50, p99 ms | view p50, p99 ms | bytes a page, stored (unpacked) | RSS |
|---:|---:|---:|---:|---:|---:|"""


def show(level: Level) -> None:
    times = (f"{median(each) * 1000:.2f}, {p99(each) * 1000:.2f}" for each in level.taken.values())
    size = f"{level.stored:,.0f} ({level.plain:,.0f})"
    print(f"| {level.pages:,} | {' | '.join(times)} | {size} | {level.rss:.0f} MB |", flush=True)


def growth(levels: Sequence[Level]) -> None:
    first, last = levels[0], levels[-1]
    tree = math.log(last.pages) / math.log(first.pages)
    print(f"\np50 from {first.pages:,} to {last.pages:,} pages, while log N grew {tree:.2f}-fold:")
    for name, taken in last.taken.items():
        grew = median(taken) / median(first.taken[name])
        print(f"  {name:<4} {grew:.2f}-fold, {grew / tree:.2f} of log N")


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[-1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./run bench pages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=int, default=100_000, metavar="N", help="in the end (default 100000)")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--samples", type=int, default=500, metavar="N", help="of each timing (default 500)")
    asked = parser.parse_args(argv)
    if asked.pages < 100 * LINE or asked.samples < 10:
        parser.error(f"--pages wants at least {100 * LINE}, --samples at least 10")
    print(HEAD)
    with place(asked.store) as url:
        ends = [round(asked.pages * share / LINE) * LINE for share in SHARES]
        levels = asyncio.run(run(url, ends, asked.samples))
    growth(levels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
