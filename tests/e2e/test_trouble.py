"""When the store, the provider or the proxy itself fails, the agent's work goes on."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.agent.session import build
from tests.e2e.ledger import read, taken_back
from tests.e2e.world import is_prefix, texts, world
from tests.upstream import Request

MARK = "[mmu page "
LOCKED = (28, 38)


def test_a_locked_store_costs_savings_and_nothing_else(tmp_path: Path) -> None:
    session = build(1, 60)
    with world(tmp_path) as there:
        agent = there.agent(session)
        played = []
        other: sqlite3.Connection | None = None
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number == LOCKED[0]:
                other = sqlite3.connect(there.proxy.home / "mmu.db", isolation_level=None)
                other.execute("BEGIN IMMEDIATE")
            elif exchange.number == LOCKED[1] and other is not None:
                other.rollback()
                other.close()
        bodies = [record.body for record in there.seen(agent.label)]
        kept = read(there.proxy.home, agent.client.session)
        outcomes = {
            name: n for name, n in there.proxy.metrics().items() if name.startswith("mmu_store_outcomes_total{")
        }
        assert there.up.invalid == 0
    assert len(played) == 60
    assert sum(n for name, n in outcomes.items() if "stored" not in name) >= LOCKED[1] - LOCKED[0]
    for exchange, body in zip(played, bodies, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent
    # under the lock nothing new is taken out, and what was taken out before stays out
    assert [n for n in range(*LOCKED) if not is_prefix(bodies[n - 1], bodies[n])] == []
    saved = [len(e.answer.sent) - len(body) for e, body in zip(played, bodies, strict=True)]
    assert saved[LOCKED[0] - 1] > 0
    assert len(set(saved[LOCKED[0] - 1 : LOCKED[1]])) == 1
    assert saved[59] > saved[LOCKED[1]]


def test_a_store_that_is_gone_after_a_restart(tmp_path: Path) -> None:
    """A database that is no database: requests go through untouched, or the proxy says why it will not start."""
    session = build(1, 30)
    with world(tmp_path, billed=False) as there:
        agent = there.agent(session)
        for exchange in agent.play():
            if exchange.number == 20:
                there.proxy.stop()
                for path in there.proxy.home.glob("mmu.db*"):
                    path.unlink()
                (there.proxy.home / "mmu.db").write_bytes(b"this is no database" * 1000)
                there.proxy.start(healthy=False)
        assert there.up.invalid == 0
        seen = there.seen(agent.label)
    assert len(seen) == 30


def refusing(replies: list[dict[str, Any]], refused: list[tuple[str, str]]) -> Any:
    """A model whose provider refuses every request that carries a stand-in it has not refused before."""

    def reply(request: Request) -> dict[str, Any]:
        fresh = [found for found in stand_ins(request.body) if found not in refused]
        if fresh:
            refused.extend(fresh)
            message = "messages.2.content.0: this content is not welcome"
            return {"error": {"status": 400, "type": "invalid_request_error", "message": message}}
        return replies[request.turn]

    return reply


def stand_ins(body: dict[str, Any]) -> list[tuple[str, str]]:
    """The tool results of a request that are not the client's own: call id and content."""
    found = []
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_result" and MARK in json.dumps(block["content"]):
                found.append((block["tool_use_id"], json.dumps(block["content"])))
    return found


def test_a_refused_rewrite_is_sent_again_as_the_client_wrote_it(tmp_path: Path) -> None:
    session = build(1, 60)
    refused: list[tuple[str, str]] = []
    with world(tmp_path) as there:
        agent = there.agent(session, retries=0)
        for name, replies in session.scripts.items():
            there.up.script(name, refusing(replies, refused))
        played = list(agent.play())
        seen = there.seen(agent.label)
    assert len(texts(played)) == 60
    failed = [n for n, record in enumerate(seen) if record.status == 400]
    assert failed, "nothing was rewritten, so nothing was refused"
    originals = {exchange.answer.sent for exchange in played}
    for n in failed:
        assert seen[n].body not in originals
        assert seen[n + 1].body in originals
        assert seen[n + 1].status == 200
    assert len(seen) == 60 + len(failed)
    carried = [stand_in for record in seen for stand_in in stand_ins(json.loads(record.body))]
    assert len(carried) == len(set(carried)), "a refused stand-in was sent again"


def test_under_bound_reasoning_a_refused_rewrite_gives_way_to_what_was_sent_before(tmp_path: Path) -> None:
    """There the client's own request would be refused too: the reasoning was made behind the rewritten prefix."""
    session = build(4, 60, thinking=True)
    seen_before: list[tuple[str, str]] = []
    unwelcome: list[tuple[str, str]] = []

    def picky(replies: list[dict[str, Any]]) -> Any:
        def reply(request: Request) -> dict[str, Any]:
            fresh = [found for found in stand_ins(request.body) if found not in seen_before]
            seen_before.extend(fresh)
            if fresh and len(seen_before) % 2 == 0:
                unwelcome.extend(fresh)
                message = "messages.2.content.0: this content is not welcome"
                return {"error": {"status": 400, "type": "invalid_request_error", "message": message}}
            return replies[request.turn]

        return reply

    with world(tmp_path) as there:
        agent = there.agent(session, retries=0, model="claude-opus-5-5")
        for name, replies in session.scripts.items():
            there.up.script(name, picky(replies))
        played = list(agent.play())
        seen = there.seen(agent.label)
        metrics = there.proxy.metrics()
    assert len(texts(played)) == 60
    refused = [n for n, record in enumerate(seen) if record.status == 400]
    assert refused
    assert all(seen[n + 1].status == 200 for n in refused)
    assert metrics['mmu_resent_total{result="replay accepted"}'] > 0
    later = [found for n, record in enumerate(seen) if n not in refused for found in stand_ins(json.loads(record.body))]
    assert not set(later) & set(unwelcome)


def test_a_request_the_client_got_wrong_is_refused_once(tmp_path: Path) -> None:
    session = build(1, 2)
    error = {"error": {"status": 400, "type": "invalid_request_error", "message": "max_tokens: too large"}}
    with world(tmp_path) as there:
        agent = there.agent(session, retries=0)
        there.up.script(session.name, [session.scripts[session.name][0], error])
        with pytest.raises(anthropic.BadRequestError, match="too large"):
            list(agent.play())
        assert [record.status for record in there.seen(agent.label)] == [200, 400]


def test_an_overloaded_provider_is_tried_again_by_the_client_with_the_same_bytes(tmp_path: Path) -> None:
    session = build(1, 24)
    replies = list(session.scripts[session.name])
    busy = {"status": 529, "type": "overloaded_error", "times": 1, "headers": {"retry-after-ms": "10"}}
    replies[20] = {"error": busy, "then": replies[20]}
    with world(tmp_path) as there:
        agent = there.agent(session)
        there.up.script(session.name, replies)
        played = list(agent.play())
        seen = there.seen(agent.label)
        assert there.up.invalid == 0
    assert len(played) == 24
    assert [record.status for record in seen].count(529) == 1
    assert seen[20].body == seen[21].body
