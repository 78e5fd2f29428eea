"""Stores batches without end and says which are durable, until it is killed: python -m tests.storage.crasher URL."""

from __future__ import annotations

import asyncio
import sys

from storage.records import Outcome
from storage.tiers import Hierarchy

from .make import batch, conversation, page, splice


def text(lane: int, request: int) -> bytes:
    return f"lane {lane}, request {request}\n".encode() * (1 + request % 700)


async def lane(store: Hierarchy, number: int) -> None:
    request = 0
    while True:
        request += 1
        held = page(text(number, request))
        record = conversation(f"c{number}", request, head=f"h{number}", session="")
        step = batch(record, pages=[held], splices=[splice(f"a{request}", request, text=held.id)])
        if await store.commit(step, 30) is not Outcome.STORED:
            print("not stored", store.last_error, flush=True)
            return
        sys.stdout.write(f"{number} {request}\n")
        sys.stdout.flush()


async def main() -> None:
    store = await Hierarchy.open(sys.argv[1])
    await asyncio.gather(*(lane(store, number) for number in range(4)))


if __name__ == "__main__":
    asyncio.run(main())
