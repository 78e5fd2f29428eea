"""Several proxies on one store, and one conversation that each of its requests may reach another of: the provider gets
what it would have got from one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.session import build
from tests.agent.transport import Answer, Plain, Transport
from tests.e2e.ledger import read, taken_back
from tests.e2e.world import NAME, World, until, world
from tests.harness import Mitmdump

TURNS, SHORT = 24, 10
OPTIONS: dict[str, Any] = {"mmu_policy": "patient", "mmu_tools": "keep"}


class AnyOf:
    """One proxy or another for each request, and what it was told is stored before the next: agents take longer."""

    def __init__(self, ways: list[tuple[Transport, Mitmdump]], seed: int) -> None:
        self.ways, self.random = ways, random.Random(seed)

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        transport, proxy = self.random.choice(self.ways)
        answer = transport.send(body, headers)
        until(lambda: proxy.metrics()["mmu_store_unwritten"] == 0, "what was heard is not stored")
        return answer


def by_one(folder: Path, seeds: Sequence[int], turns: int) -> list[list[bytes]]:
    """What the provider gets of these sessions from a single proxy."""
    folder.mkdir()
    with world(folder, **OPTIONS) as there:
        agents = [there.agent(build(seed, turns), plain=True) for seed in seeds]
        for agent in agents:
            list(agent.play())
        return [[record.body for record in there.seen(agent.label)] for agent in agents]


@contextmanager
def several(folder: Path, count: int) -> Iterator[tuple[World, list[Mitmdump]]]:
    """Proxies on one store."""
    folder.mkdir()
    with world(folder, billed=False, **OPTIONS) as there, ExitStack() as others:
        options = {"mmu_clock": "header", **OPTIONS, "mmu_home": str(there.proxy.home)}
        target = f"127.0.0.1:{there.up.port}"
        more = [
            others.enter_context(Mitmdump(options, redirect_to=target, folder=folder / f"proxy-{n}", forked=True))
            for n in range(1, count)
        ]
        yield there, [there.proxy, *more]


def ways(proxies: Sequence[Mitmdump], seed: int) -> AnyOf:
    return AnyOf([(Plain(NAME, proxy=proxy.url, ca=proxy.ca_file), proxy) for proxy in proxies], seed)


@pytest.mark.parametrize("count", [2, 8])
def test_a_conversation_that_wanders(tmp_path: Path, count: int) -> None:
    expected = by_one(tmp_path / "one", [1], TURNS)
    with several(tmp_path / "several", count) as (there, proxies):
        agent = there.agent(build(1, TURNS), plain=True)
        agent.transport = ways(proxies, count)
        played = list(agent.play())
        assert there.up.invalid == 0
        assert min(proxy.metrics()["mmu_managed_total"] for proxy in proxies) > 0
        bodies = [record.body for record in there.seen(agent.label)]
        kept = read(there.proxy.home, agent.client.session)
    assert any(one != exchange.answer.sent for one, exchange in zip(bodies, played, strict=True))
    for exchange, body in zip(played, bodies, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent
    assert [bodies] == expected


def test_eight_conversations_at_once(tmp_path: Path) -> None:
    seeds = range(1, 9)
    expected = by_one(tmp_path / "one", seeds, SHORT)
    with several(tmp_path / "several", 2) as (there, proxies):
        agents = [there.agent(build(seed, SHORT), plain=True) for seed in seeds]
        for seed, agent in zip(seeds, agents, strict=True):
            agent.transport = ways(proxies, seed)
        with ThreadPoolExecutor(len(agents)) as at_once:
            for played in at_once.map(lambda agent: list(agent.play()), agents):
                assert len(played) == SHORT
        assert there.up.invalid == 0
        assert [[record.body for record in there.seen(agent.label)] for agent in agents] == expected
