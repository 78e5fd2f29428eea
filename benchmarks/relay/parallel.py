"""Many slow streams at once, half of them recalling, and what an unrelated request feels of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median

from benchmarks.latency import p95
from benchmarks.relay.apart import SPAWN, apart
from benchmarks.relay.client import Broken, Client, Proxy, check, offer
from benchmarks.relay.conversation import Conversation
from benchmarks.relay.model import Wanted

WORDS = 2000
DELAY_MS = 40
APART = 0.01
"""Seconds between the starts of two streams: fifty requests in one moment would be felt more than all that follows."""
REPEATS = 3
EVERY = 0.02


@dataclass(frozen=True, slots=True)
class Phase:
    """All streams once. `lost` says what was wrong with those that were not as scripted."""

    recalling: bool
    began: float
    ended: float
    scripted: float
    """Seconds that it would take if nothing took time but the provider's own waiting."""
    lost: list[str]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Sums over the phases of a kind. Wall time in seconds, p50 of the phases; stalls in milliseconds."""

    recalling: bool
    streams: int
    recalls: int
    lost: list[str]
    wall: float
    scripted: float
    probes: int
    stall_p50: float
    stall_p95: float
    stall_worst: float


def crowds(proxy: Proxy, streams: int) -> list[Crowd]:
    """The streams without recalls and with them, taking turns."""
    mine, theirs = SPAWN.Pipe()
    probe = SPAWN.Process(target=_probe, args=(proxy, theirs), daemon=True)
    probe.start()
    phases = apart(_phases, proxy, streams)
    mine.send(None)
    stalls: list[tuple[float, float]] = mine.recv()
    probe.join()
    return [_crowd([p for p in phases if p.recalling is kind], stalls, streams) for kind in (False, True)]


def _crowd(phases: Sequence[Phase], stalls: Sequence[tuple[float, float]], streams: int) -> Crowd:
    felt = [took * 1000 for at, took in stalls if any(phase.began <= at <= phase.ended for phase in phases)]
    recalls = sum(_wanted(number, 0).recalls for number in range(streams)) if phases[0].recalling else 0
    return Crowd(
        recalling=phases[0].recalling,
        streams=streams,
        recalls=recalls,
        lost=[text for phase in phases for text in phase.lost],
        wall=median(phase.ended - phase.began for phase in phases),
        scripted=phases[0].scripted,
        probes=len(felt),
        stall_p50=median(felt),
        stall_p95=p95(felt),
        stall_worst=max(felt),
    )


def _wanted(number: int, repeat: int, *, recalling: bool = True) -> Wanted:
    """Every other stream recalls, one page or two, and never one that it recalled before."""
    recalls = 1 + number // 2 % 2 if recalling and number % 2 == 0 else 0
    return Wanted(f"stream {number} {repeat} {recalling}", WORDS, recalls, page=2 * repeat, delay_ms=DELAY_MS)


async def _phases(proxy: Proxy, streams: int) -> list[Phase]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(proxy)) for _ in range(streams)]
        talks = [Conversation(f"stream {number}") for number in range(streams)]
        for client, talk in zip(clients, talks, strict=True):
            await offer(client, talk)
        running = dict(enumerate(zip(clients, talks, strict=True)))
        phases: list[Phase] = []
        for repeat in range(REPEATS):
            for recalling in (False, True):
                wanted = {number: _wanted(number, repeat, recalling=recalling) for number in running}
                began = time.monotonic()
                found = await asyncio.gather(
                    *(_stream(*running[number], one, APART * number) for number, one in wanted.items())
                )
                ended = time.monotonic()
                for number, lost in zip(wanted, found, strict=True):
                    if lost:
                        del running[number]
                scripted = max((one.seconds + APART * number for number, one in wanted.items()), default=0.0)
                phases.append(Phase(recalling, began, ended, scripted, [text for text in found if text]))
                await asyncio.sleep(0.3)
        return phases


async def _stream(client: Client, talk: Conversation, wanted: Wanted, after: float) -> str:
    """One stream; what was wrong with it, if anything."""
    await asyncio.sleep(after)
    try:
        talk.heard(check(await client.ask(talk, wanted), wanted))
    except Broken as error:
        return str(error)
    return ""


def _probe(proxy: Proxy, end: Connection) -> None:
    end.send(asyncio.run(_probing(proxy, end)))


async def _probing(proxy: Proxy, end: Connection) -> list[tuple[float, float]]:
    """A small request at every tick, until told to end: when it was due, and how long after that it was answered."""
    stalls: list[tuple[float, float]] = []
    async with Client(proxy) as client:
        due = time.monotonic()
        while not end.poll():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            answer = await client.send("GET", "/_/clock")
            stalls.append((due, answer.done - due))
            due += EVERY
    return stalls
