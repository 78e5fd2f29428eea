"""Kill -9, and the next request leaves as if nothing had happened: what the provider has seen is sent again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.agent.session import build
from tests.agent.transport import Answer, Transport
from tests.e2e.ledger import read, taken_back
from tests.e2e.world import World, is_prefix, world

COLD = 300.0
KILLS = (3, 17, 30, 38, 44)


def test_killed_at_several_turns(tmp_path: Path) -> None:
    session = build(1, 48)
    folders = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
    # which heads are warm is learned and written behind: what a kill loses of it may leave more tools as they are
    with world(folders[0], mmu_policy="patient", mmu_tools="keep") as there:
        agent = there.agent(session)
        list(agent.play())
        undisturbed = [record.body for record in there.seen(agent.label)]
    with world(folders[1], mmu_policy="patient", mmu_tools="keep") as there:
        agent = there.agent(session)
        played = []
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number in KILLS:
                there.proxy.kill()
                there.proxy.start()
        killed = [record.body for record in there.seen(agent.label)]
        assert there.up.invalid == 0
        kept = read(there.proxy.home, agent.client.session)
    warm = [n for n in KILLS if played[n].at - played[n - 1].at < COLD]
    assert len(warm) >= 3
    assert [n for n in warm if not is_prefix(killed[n - 1], killed[n])] == []
    assert any(one != exchange.answer.sent for one, exchange in zip(killed, played, strict=True))
    assert killed == undisturbed
    for exchange, body in zip(played, killed, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent


class Interrupted:
    """A transport whose proxy is killed while the answer to request `at` is on its way, and that then tries again."""

    def __init__(self, there: World, inner: Transport, at: int) -> None:
        self.there, self.inner, self.at, self.count = there, inner, at, 0

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.count += 1
        if self.count == self.at:
            killer = threading.Thread(target=self._kill)
            killer.start()
            with pytest.raises((OSError, HTTPException, EOFError)):
                self.inner.send(body, headers)
            killer.join()
            self.there.up.gate("wait").set()
            self.there.proxy.start()
        return self.inner.send(body, headers)

    def _kill(self) -> None:
        deadline = time.monotonic() + 20
        while len(self.there.up.log) < self.at and time.monotonic() < deadline:
            time.sleep(0.02)
        self.there.proxy.kill()


def test_killed_while_an_answer_is_on_its_way(tmp_path: Path) -> None:
    """The client tries again after the restart, and the same bytes go out as before the kill."""
    session = build(1, 24)
    session.scripts[session.name][20] |= {"stall": {"after_events": 1, "gate": "wait"}}
    with world(tmp_path) as there:
        agent = there.agent(session, plain=True)
        agent.transport = Interrupted(there, agent.transport, 21)
        assert len(list(agent.play())) == 24
        seen = there.seen(agent.label)
        assert there.up.invalid == 0
    assert len(seen) == 25
    assert seen[20].body == seen[21].body
    assert is_prefix(seen[21].body, seen[22].body)
