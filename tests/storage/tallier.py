"""Adds to tallies without end and says so, until it is killed: python -m tests.storage.tallier URL."""

from __future__ import annotations

import asyncio
import sys

from storage.tiers import Hierarchy


async def main() -> None:
    store = await Hierarchy.open(sys.argv[1])
    count = 0
    while True:
        count += 1
        store.tally("t", "s", {"once": 1, "twice": 2})
        sys.stdout.write(f"{count}\n")
        sys.stdout.flush()
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
