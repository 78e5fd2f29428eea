"""The store on Postgres, behind a real proxy: what the provider has seen is sent again, whoever is killed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.agent.session import build
from tests.e2e.ledger import read, taken_back
from tests.e2e.test_mcp import serving
from tests.e2e.test_restarts import COLD
from tests.e2e.world import is_prefix, until, world
from tests.harness.postgres import PASSWORD, Postgres

PROXY_KILLED = (9, 23)
SERVER_KILLED = (16,)


def test_proxy_and_server_are_killed(tmp_path: Path, server: Postgres) -> None:
    session = build(1, 40)
    store = server.empty()
    with world(tmp_path, mmu_store=store, mmu_policy="patient", mmu_tools="keep") as there:
        agent = there.agent(session)
        played = []
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number in PROXY_KILLED:
                there.proxy.kill()
                there.proxy.start()
            if exchange.number in SERVER_KILLED:
                server.kill()
                server.start()
        assert there.up.invalid == 0
        sent = [record.body for record in there.seen(agent.label)]
        kept = read(there.proxy.home, agent.client.session, store)
        with serving("--store", store) as client:
            text, failed = client.call("recall", page=next(iter(kept.pages)))
            assert (text.strip() != "", failed) == (True, False)
        said = [there.proxy.log_text(), *(there.proxy.site(path)[1] for path in ("/metrics", "/healthz"))]
        assert not (there.proxy.home / "mmu.db").exists()
    warm = [n for n in range(1, 40) if played[n].at - played[n - 1].at < COLD]
    assert len(warm) > 30
    assert [n for n in warm if not is_prefix(sent[n - 1], sent[n])] == []
    assert sum(one != exchange.answer.sent for one, exchange in zip(sent, played, strict=True)) > 20
    for exchange, body in zip(played, sent, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent
    assert not any(PASSWORD[:6] in text for text in said)


def test_a_server_that_is_down_costs_no_request(tmp_path: Path, server: Postgres) -> None:
    """What was replaced before stays replaced, for that is in mind; what is new goes out as it is."""
    session = build(1, 24)
    with world(tmp_path, mmu_store=server.empty(), mmu_policy="patient", mmu_tools="keep") as there:
        agent = there.agent(session)
        played = []
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number == 12:
                server.stop()
            if exchange.number == 15:
                server.start()
        assert there.up.invalid == 0
        sent = [record.body for record in there.seen(agent.label)]
        until(lambda: there.proxy.site("/healthz")[0] == 200, "the proxy is not well again")
        # a server may also come up later than the proxy
        server.stop()
        there.proxy.kill()
        there.proxy.start(healthy=False)
        assert there.proxy.site("/healthz")[0] == 503
        server.start()
        until(lambda: there.proxy.site("/healthz")[0] == 200, "the store was not tried again")
    warm = [n for n in range(1, 24) if played[n].at - played[n - 1].at < COLD]
    assert [n for n in warm if not is_prefix(sent[n - 1], sent[n])] == []


def back(server: Postgres, seconds: float) -> None:
    time.sleep(seconds)
    server.start()


def test_sealed_reasoning_waits_for_a_server_that_is_away(tmp_path: Path, server: Postgres) -> None:
    """Just started, a proxy knows a conversation by the store alone, and the provider refuses what the agent has."""
    session = build(4, 40, thinking=True)
    store = server.empty()
    with (
        world(tmp_path, mmu_store=store, mmu_policy="patient", mmu_tools="keep") as there,
        ThreadPoolExecutor(1) as aside,
    ):
        agent = there.agent(session, model="claude-opus-5-5")
        for exchange in agent.play():
            if exchange.number == 34:
                there.proxy.kill()
                there.proxy.start()
                server.stop()
                aside.submit(back, server, 2.0)
        assert there.up.invalid == 0
        assert there.proxy.metrics()["mmu_waits_for_store_total"] == 1
