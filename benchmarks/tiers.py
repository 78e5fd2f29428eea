"""What the warm tier in the process drives out, against least-recently-used: hits and the bytes of them.

    python -m benchmarks.tiers [--seed N]

The accesses are made up after what was measured on recorded sessions. Many conversations take turns. A turn stores one
page: a file in three of ten, else what a command said; sizes are log-normal, with a long tail for commands. A file is
wanted again in 56 of 100 cases and what a command said in 5, several times and the less the longer ago. Each project
has a few small pages, definitions of tools, that all its conversations want. A scan is 400 pages in a row, asked for
once each, every 250 turns: the newest ones, or some from anywhere, as somebody does who goes through an old session.
What counts are the conversations' own accesses: nobody waits for a scan. *cost* is what the misses among them cost, a
read of fixed price and so much for each byte, as a share of what it would cost without any warm tier.

Every budget is a share of the bytes of all pages. A page that is not held is read from the tier below and put, as
Hierarchy.page does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from storage.greedydual import READ
from storage.warm import Process

TURNS = 6000
CONVERSATIONS = 24
PROJECTS = 4
TOOLS = 12
SCANS: tuple[Scans, ...] = ("none", "newest", "anywhere")
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)


type Kind = Literal["stored", "asked", "scanned"]
type Scans = Literal["none", "newest", "anywhere"]


@dataclass(frozen=True, slots=True)
class Access:
    """A page is stored, or asked for by a conversation or by a scan."""

    id: str
    size: int
    kind: Kind


def accesses(seed: int, *, scans: Scans) -> list[Access]:
    """A sequence as described above; the same for the same seed."""
    return list(_accesses(random.Random(seed), scans))


def _accesses(rng: random.Random, scans: Scans) -> Iterator[Access]:
    sizes: dict[str, int] = {}
    order: list[str] = []
    wanted: list[list[str]] = [[] for _ in range(CONVERSATIONS)]
    for turn in range(TURNS):
        who = rng.randrange(CONVERSATIONS)
        file = rng.random() < 0.3
        id = f"page{turn}"
        sizes[id] = min(400_000, max(200, int(rng.lognormvariate(9.0, 0.9) if file else rng.lognormvariate(7.5, 1.4))))
        order.append(id)
        yield Access(id, sizes[id], "stored")
        if rng.random() < (0.56 if file else 0.05):
            wanted[who].append(id)
        if wanted[who] and rng.random() < 0.5:
            # ages follow a power law: the chance that something is wanted falls with how long ago it came up
            back = min(len(wanted[who]), int(rng.paretovariate(0.9)))
            again = wanted[who].pop(-back)
            yield Access(again, sizes[again], "asked")
            if rng.random() < 0.8:
                wanted[who].append(again)
        if rng.random() < 0.15:
            tool = f"tool{who % PROJECTS}-{min(TOOLS, int(rng.paretovariate(1.0)))}"
            sizes.setdefault(tool, rng.randint(400, 4000))
            yield Access(tool, sizes[tool], "asked")
        if scans != "none" and turn % 250 == 249:
            begin = max(0, len(order) - 400) if scans == "newest" else rng.randrange(max(1, len(order) - 400))
            for old in order[begin : begin + 400]:
                yield Access(old, sizes[old], "scanned")


class Tier(Protocol):
    """As storage.warm.Warm."""

    async def get(self, tenant: str, id: str) -> bytes | None: ...

    async def put(self, tenant: str, pages: Mapping[str, bytes]) -> None: ...


class Recent:
    """The rule to compare with: least recently used goes first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._pages: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, tenant: str, id: str) -> bytes | None:
        text = self._pages.get(id)
        if text is not None:
            self._pages.move_to_end(id)
        return text

    async def put(self, tenant: str, pages: Mapping[str, bytes]) -> None:
        for id, text in pages.items():
            self._pages[id] = text
            self._bytes += len(text) + Process.OVERHEAD
        while self._bytes > self._budget:
            _, gone = self._pages.popitem(last=False)
            self._bytes -= len(gone) + Process.OVERHEAD


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of what conversations asked for: accesses that were hits, cost that was left; and the microseconds that
    any access took, the tier's own work."""

    hits: float
    cost: float
    microseconds: float


def cost(size: int) -> float:
    """What a miss costs, in reads."""
    return 1 + size / READ


async def play(tier: Tier, sequence: Sequence[Access]) -> Score:
    """How a tier does on a sequence."""
    asked = [one for one in sequence if one.kind == "asked"]
    missed: list[int] = []
    blank = bytes(max(one.size for one in sequence))
    texts = {one.id: blank[: one.size] for one in sequence}
    began = time.perf_counter()
    for one in sequence:
        if one.kind != "stored":
            if await tier.get("t", one.id) is not None:
                continue
            if one.kind == "asked":
                missed.append(one.size)
        await tier.put("t", {one.id: texts[one.id]})
    spent = time.perf_counter() - began
    left = sum(map(cost, missed)) / sum(cost(one.size) for one in asked)
    return Score(1 - len(missed) / len(asked), left, spent / len(sequence) * 1e6)


def compare(seed: int, *, scans: Scans) -> list[tuple[float, Score, Score]]:
    """For each share: the share, least-recently-used, the warm tier's own rule."""
    sequence = accesses(seed, scans=scans)
    whole = sum({one.id: one.size + Process.OVERHEAD for one in sequence}.values())

    async def run() -> list[tuple[float, Score, Score]]:
        return [
            (share, await play(Recent(int(share * whole)), sequence), await play(Process(int(share * whole)), sequence))
            for share in SHARES
        ]

    return asyncio.run(run())


def main() -> None:
    """Print the comparison."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seed", type=int, default=1)
    seed = given.parse_args().seed
    for scans in SCANS:
        print(f"\nscans: {scans}\n")
        print("| budget | LRU hits | GDSF hits | LRU cost | GDSF cost | LRU cost / GDSF cost | LRU us | GDSF us |")
        print("|---|---|---|---|---|---|---|---|")
        for share, old, new in compare(seed, scans=scans):
            print(
                f"| {share:.0%} | {old.hits:.1%} | {new.hits:.1%} | {old.cost:.1%} | {new.cost:.1%} "
                f"| {old.cost / new.cost:.2f} | {old.microseconds:.1f} | {new.microseconds:.1f} |"
            )


if __name__ == "__main__":
    main()
