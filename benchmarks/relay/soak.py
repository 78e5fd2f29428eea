"""Many recalls on end, with clients that hang up in the middle of one: does anything pile up?"""

from __future__ import annotations

import asyncio

from benchmarks.relay.client import Client, Proxy, check, offer
from benchmarks.relay.conversation import PAGES, Conversation
from benchmarks.relay.model import Wanted


async def recalls(proxy: Proxy, count: int) -> int:
    """`count` recalls, and one client for every ten that leaves before the answer ends. How many those were."""
    made = gone = 0
    while made < count:
        async with Client(proxy) as client:
            talk = Conversation(f"soak {count} {made}")
            await offer(client, talk)
            for at in range(PAGES - 1):
                wanted = Wanted(f"{talk.name} {at}", 200, recalls=1, page=at)
                talk.heard(check(await client.ask(talk, wanted), wanted))
                made += 1
            leaving = Wanted(f"{talk.name} leaving", 400, recalls=1, page=PAGES - 1, delay_ms=5)
            await _hang_up(client, talk, leaving, after=leaving.seconds * (gone % 10 + 1) / 11)
            gone += 1
    return gone


async def _hang_up(client: Client, talk: Conversation, wanted: Wanted, after: float) -> None:
    try:
        async with asyncio.timeout(after):
            await client.ask(talk, wanted)
    except TimeoutError:
        return
