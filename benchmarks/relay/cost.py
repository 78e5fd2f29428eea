"""What one recall takes, beside a client that makes the same two requests itself."""

from __future__ import annotations

from contextlib import AsyncExitStack

from benchmarks.relay.client import Client, Proxy, check, offer
from benchmarks.relay.conversation import PAGES, Conversation, page
from benchmarks.relay.model import Wanted

HIDDEN, ITSELF, PLAIN = "hidden, mitmmu", "by the client, mitmmu", "by the client, plain"
WORDS = 600


async def exchanges(managed: Proxy, plain: Proxy, requests: int) -> dict[str, list[float]]:
    """Seconds of each exchange, from the request to the end of the answer that has the page behind it, in turn."""
    taken: dict[str, list[float]] = {HIDDEN: [], ITSELF: [], PLAIN: []}
    async with AsyncExitStack() as stack:
        through = {HIDDEN: managed, ITSELF: managed, PLAIN: plain}
        clients = {name: await stack.enter_async_context(Client(proxy)) for name, proxy in through.items()}
        talks: dict[str, Conversation] = {}
        for number in range(requests):
            for name, client in clients.items():
                at = number % PAGES
                if at == 0:
                    talks[name] = Conversation(f"{name} {number}")
                    await offer(client, talks[name])
                work = _hidden if name == HIDDEN else _itself
                taken[name].append(await work(client, talks[name], at))
    return taken


async def _hidden(client: Client, talk: Conversation, at: int) -> float:
    wanted = Wanted(f"{talk.name} {at}", WORDS, recalls=1, page=at)
    answer = await client.ask(talk, wanted)
    talk.heard(check(answer, wanted))
    return answer.done - answer.asked


async def _itself(client: Client, talk: Conversation, at: int) -> float:
    asking = Wanted(f"{talk.name} {at} asking", WORDS // 2, calls=True)
    first = await client.ask(talk, asking)
    talk.called(check(first, asking), page(talk.name, at))
    going_on = Wanted(f"{talk.name} {at} going on", WORDS // 2)
    second = await client.ask(talk, going_on)
    talk.heard(check(second, going_on))
    return first.done - first.asked + second.done - second.asked
