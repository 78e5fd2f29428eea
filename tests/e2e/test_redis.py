"""A Redis that goes and comes back in the middle of a session: nothing of it shows in what the provider gets."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from redis import Redis

from tests.agent.session import build
from tests.e2e.ledger import read, taken_back
from tests.e2e.world import is_prefix, texts, until, world
from tests.harness.redis_server import Server, need

COLD = 300.0
TURNS = 40
KILLED, BACK = 12, 28


def test_killed_in_the_middle_and_back(tmp_path: Path) -> None:
    need()
    session = build(1, TURNS)
    folders = tmp_path / "without", tmp_path / "with"
    for folder in folders:
        folder.mkdir()
    with world(folders[0], mmu_policy="patient", mmu_tools="keep") as there:
        agent = there.agent(session)
        list(agent.play())
        without = [record.body for record in there.seen(agent.label)]
    login = "hush-hush"
    with (
        Server(requirepass=login) as redis,
        world(
            folders[1], mmu_policy="patient", mmu_tools="keep", mmu_redis=f"redis://:{login}@127.0.0.1:{redis.port}/1"
        ) as there,
    ):

        def gauge(name: str) -> float:
            return there.proxy.metrics()[f"mmu_store_redis_{name}"]

        assert gauge("breaker") == 0
        agent = there.agent(session)
        played = []
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number == KILLED:
                redis.kill()
            if exchange.number == BACK:
                assert gauge("errors") > 0
                redis.start()
                until(lambda: gauge("breaker") == 0, "it does not heal")
        bodies = [record.body for record in there.seen(agent.label)]
        assert there.up.invalid == 0
        with Redis(port=redis.port, password=login, db=1) as held:
            assert cast(int, held.dbsize()) > 0, "what was stored after its return is not there"
        kept = read(there.proxy.home, agent.client.session)
        metrics, log = there.proxy.metrics(), there.proxy.log_text()
        _, page = there.proxy.site("/metrics")
    assert len(texts(played)) == len(bodies) == TURNS
    warm = [n for n in range(1, TURNS) if played[n].at - played[n - 1].at < COLD]
    assert [n for n in warm if not is_prefix(bodies[n - 1], bodies[n])] == []
    assert any(one != exchange.answer.sent for one, exchange in zip(bodies, played, strict=True))
    assert bodies == without
    for exchange, body in zip(played, bodies, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent
    assert metrics["mmu_failures_total"] == 0
    assert log.count("is not used for now, which loses nothing") == 1
    assert log.count("is back") == 1
    assert login not in log + page
