"""Two proxies on one store and one Redis, which goes in the middle of a session and comes back: nothing of all that
shows in what the provider gets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from redis import Redis

from tests.agent.session import build
from tests.agent.transport import Answer, Plain, Transport
from tests.e2e.ledger import read, taken_back
from tests.e2e.world import NAME, is_prefix, texts, until, world
from tests.harness import Mitmdump
from tests.harness.redis_server import Server, need

COLD = 300.0
TURNS = 40
KILLED, BACK = 12, 28
OPTIONS: dict[str, Any] = {"mmu_policy": "patient", "mmu_tools": "keep"}
PASSWORD = "hush-hush"


class Turns:
    """Three requests through one proxy, three through the other, as behind something that spreads the load."""

    def __init__(self, *ways: Transport) -> None:
        self.ways, self.count = ways, 0

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.count += 1
        return self.ways[self.count // 3 % len(self.ways)].send(body, headers)


def test_two_proxies_and_a_redis_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    need()
    session = build(1, TURNS)
    with Server(requirepass=PASSWORD) as redis:
        options = {**OPTIONS, "mmu_redis": f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/1"}
        with world(tmp_path, billed=False, **options) as there:
            second = {"mmu_clock": "header", **options, "mmu_home": str(there.proxy.home)}
            target = f"127.0.0.1:{there.up.port}"
            with Mitmdump(second, redirect_to=target, folder=tmp_path / "second") as other:
                proxies = there.proxy, other

                def gauges(name: str) -> list[float]:
                    return [proxy.metrics()[f"mmu_store_{name}"] for proxy in proxies]

                def shared() -> bool:
                    return gauges("redis_breaker") == [0, 0] and gauges("news_listening") == [1, 1]

                agent = there.agent(session, plain=True)
                agent.transport = Turns(agent.transport, Plain(NAME, proxy=other.url, ca=other.ca_file))
                until(shared, "it does not begin")
                played = []
                for exchange in agent.play():
                    played.append(exchange)
                    if exchange.number == KILLED:
                        assert sum(gauges("stale")) <= sum(gauges("redis_late")), "what one wrote is not known"
                        assert min(gauges("news_heard")) > 0
                        redis.kill()
                    if exchange.number == BACK:
                        assert min(gauges("redis_errors")) > 0
                        redis.start()
                        until(shared, "it does not heal")
                        stale = gauges("stale")
                assert sum(gauges("stale")) - sum(stale) <= sum(gauges("redis_late"))
                with Redis(port=redis.port, password=PASSWORD, db=1) as held:
                    assert cast(int, held.dbsize()) > 0, "what was stored after its return is not there"
                shown = [proxy.log_text() + proxy.site("/metrics")[1] for proxy in proxies]
                failures = [proxy.metrics()["mmu_failures_total"] for proxy in proxies]
            bodies = [record.body for record in there.seen(agent.label)]
            assert there.up.invalid == 0
            kept = read(there.proxy.home, agent.client.session)
    assert len(texts(played)) == len(bodies) == TURNS
    warm = [n for n in range(1, TURNS) if played[n].at - played[n - 1].at < COLD]
    assert [n for n in warm if not is_prefix(bodies[n - 1], bodies[n])] == []
    assert any(one != exchange.answer.sent for one, exchange in zip(bodies, played, strict=True))
    for exchange, body in zip(played, bodies, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent
    assert failures == [0, 0]
    for text in shown:
        assert "is not used for now, which loses nothing" in text
        assert "is back" in text
        assert PASSWORD not in text
