"""Time to the first byte, and to the first words, of a streamed answer without a recall in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks.latency import p95
from benchmarks.relay.client import Answer, Client, Proxy, check, offer
from benchmarks.relay.conversation import Conversation
from benchmarks.relay.model import Wanted

WARM_UP = 10
WORDS = 600
THINK_MS = 30
"""What the provider waits before it answers, as the real one does much longer. What the proxy does after it has sent a
request off is done by then. It is taken off what is reported.
"""
FRESH = 50
"""Requests after which a conversation gives way to a new one, so that its length does not grow with their number."""


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds, request by request: from the provider's first byte, and from the client's request on."""

    own_byte: list[float]
    own_words: list[float]
    whole_byte: list[float]
    whole_words: list[float]


@dataclass(frozen=True, slots=True)
class Compared:
    """Milliseconds. `noise` is by how much the medians of every other sample of the plain arm differ."""

    what: str
    arm: str
    p50: float
    p95: float
    ratio: float
    difference: float
    noise: float


async def measure(arms: Mapping[str, Proxy], requests: int) -> dict[str, Delays]:
    """The same requests through each proxy, in turn. Each has its own conversation, labelled with its arm's name."""
    answers: dict[str, list[Answer]] = {name: [] for name in arms}
    async with AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(Client(proxy)) for name, proxy in arms.items()}
        talks: dict[str, Conversation] = {}
        order = list(arms)
        for number in range(requests + WARM_UP):
            order = [*order[1:], order[0]]
            for name in order:
                if number % FRESH == 0:
                    talks[name] = Conversation(f"{name} {number}")
                    await offer(clients[name], talks[name])
                wanted = Wanted(f"{name} {number}", WORDS, think_ms=THINK_MS)
                answer = await clients[name].ask(talks[name], wanted)
                talks[name].heard(check(answer, wanted))
                if number >= WARM_UP:
                    answers[name].append(answer)
    return {name: _delays(found) for name, found in answers.items()}


def _delays(answers: Sequence[Answer]) -> Delays:
    return Delays(
        own_byte=[one.first_byte - one.provider_began for one in answers],
        own_words=[one.first_words - one.provider_began for one in answers],
        whole_byte=[one.first_byte - one.asked - THINK_MS / 1000 for one in answers],
        whole_words=[one.first_words - one.asked - THINK_MS / 1000 for one in answers],
    )


def compared(what: str, seconds: Mapping[str, Sequence[float]], plain: str) -> list[Compared]:
    """Each arm beside the one named `plain`."""
    base = seconds[plain]
    noise = abs(median(base[::2]) - median(base[1::2])) * 1000
    return [
        Compared(
            what=what,
            arm=arm,
            p50=median(values) * 1000,
            p95=p95(values) * 1000,
            ratio=median(values) / median(base),
            difference=(median(values) - median(base)) * 1000,
            noise=noise,
        )
        for arm, values in seconds.items()
    ]
