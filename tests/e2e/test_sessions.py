"""Whole sessions through a real proxy: the agent gets to the end, the provider has no complaint, nothing is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from addon.mmu.view import Change
from tests.agent.loop import Agent, Exchange
from tests.agent.session import Session, build
from tests.e2e.ledger import Kept, read, taken_back
from tests.e2e.world import Mode, World, is_prefix, texts, world

COLD = 300.0


def said(session: Session) -> list[str]:
    """What the model says in a session without compaction or rewind, in order."""
    return [
        block["text"]
        for replies in session.scripts.values()
        for reply in replies
        for block in reply["content"]
        if block["type"] == "text"
    ]


def check(there: World, agent: Agent, played: list[Exchange]) -> Kept:
    """Everything that must hold of any session; gives what the store kept of it."""
    seen = there.seen(agent.label)
    assert there.up.invalid == 0, [record.violation for record in there.up.log if record.violation]
    assert len(seen) == len(played) == agent.session.requests
    assert all("x-mmu-clock" not in record.headers for record in seen)
    kept = read(there.proxy.home, agent.client.session)
    for exchange, record in zip(played, seen, strict=True):
        sent = exchange.answer.sent
        assert len(record.body) <= len(sent)
        assert taken_back(sent, record.body, kept) == sent, f"request {exchange.number} cannot be rebuilt"
    return kept


def monotone(played: list[Exchange], bodies: list[bytes]) -> list[int]:
    """The requests whose prefix changed although the provider's cache was still warm."""
    return [
        two.number
        for (one, before), (two, after) in pairwise(zip(played, bodies, strict=True))
        if two.at - one.at < COLD and not is_prefix(before, after)
    ]


@pytest.mark.parametrize("mode", ["regular", "reverse"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_session_of_sixty_turns(tmp_path: Path, mode: Mode, stream: bool) -> None:
    session = build(1, 60)
    with world(tmp_path, mode, mmu_policy="patient") as there:
        agent = there.agent(session, stream=stream)
        played = list(agent.play())
        kept = check(there, agent, played)
        bodies = [record.body for record in there.seen(agent.label)]
        counters = there.proxy.metrics()
    assert texts(played) == said(session)
    assert monotone(played, bodies) == []
    assert kept.of(Change.FOLD)
    assert kept.of(Change.EVICT)
    assert counters["mmu_requests_total"] == 60
    assert counters["mmu_folds_total"] == len(kept.of(Change.FOLD))
    assert counters["mmu_evictions_total"] == len(kept.of(Change.EVICT))
    assert counters["mmu_faults_total"] > 0


def test_the_bill_is_smaller(tmp_path: Path) -> None:
    session = build(2, 60)
    with world(tmp_path, mmu_policy="patient") as there:
        managed = there.agent(session, plain=True)
        list(managed.play())
        straight = there.straight(session)
        list(straight.play())
        assert there.up.totals(managed.label).dollars < there.up.totals(straight.label).dollars
        assert managed.transcript == straight.transcript


def test_compaction_and_rewind(tmp_path: Path) -> None:
    session = build(3, 60, compact=True, rewind=True)
    with world(tmp_path, mmu_policy="patient") as there:
        agent = there.agent(session, ttl="1h", environment="message")
        kept = check(there, agent, list(agent.play()))
    assert kept.of(Change.FOLD)


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-opus-5"])
def test_reasoning_survives(tmp_path: Path, model: str) -> None:
    """With signed reasoning in every step; the first model refuses it when anything before it changed."""
    session = build(4, 60, thinking=True)
    with world(tmp_path, mmu_policy="patient") as there:
        agent = there.agent(session, model=model)
        played = list(agent.play())
        check(there, agent, played)
        assert not any(record.dropped for record in there.seen(agent.label))
        assert monotone(played, [record.body for record in there.seen(agent.label)]) == []


def test_two_agents_at_once(tmp_path: Path) -> None:
    """Requests of two conversations take turns on one proxy, and neither sees anything of the other."""
    with world(tmp_path, mmu_policy="patient") as there:
        agents = [there.agent(build(seed, 30)) for seed in (5, 6)]
        played: list[list[Exchange]] = [[], []]
        for one, two in zip(agents[0].play(), agents[1].play(), strict=True):
            played[0].append(one)
            played[1].append(two)
        assert there.up.invalid == 0
        for agent, exchanges in zip(agents, played, strict=True):
            assert texts(exchanges) == said(agent.session)
            check(there, agent, exchanges)
