"""Goes on with one conversation, whoever else does so too, and says what became of each batch.

python -m tests.storage.contender URL NAME COUNT; begins at a line on its standard input.
"""

from __future__ import annotations

import asyncio
import sys

from storage.records import Outcome
from storage.tiers import Hierarchy

from .make import batch, conversation, page, splice


async def main() -> None:
    url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = await Hierarchy.open(url)
    print("ready", flush=True)
    sys.stdin.readline()
    stored = 0
    while stored < count:
        found = await store.conversations("t", "h", "s")
        requests = found[0].conversation.requests if found else 0
        # before anything is stored, each has a conversation of its own in mind
        record = conversation(found[0].conversation.id if found else name, requests + 1)
        mine = page(f"{name} {requests}".encode())
        step = batch(
            record, pages=[mine, page(b"shared")], splices=[splice(f"{requests + 1}", requests + 1, text=name)]
        )
        outcome = await store.commit(step, 30)
        print(outcome.name, requests + 1, flush=True)
        if outcome is Outcome.FAILED:
            print(store.last_error, flush=True)
            break
        stored += outcome is Outcome.STORED
    await store.close()


if __name__ == "__main__":
    asyncio.run(main())
