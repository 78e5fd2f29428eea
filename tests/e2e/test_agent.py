"""The scripted agent itself: what a session holds, and that it is the same every time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.agent.loop import Agent, Exchange
from tests.agent.request import Client
from tests.agent.session import Session, build
from tests.agent.transport import Answer, spell
from tests.agent.workspace import Workspace


class Reading:
    """A transport that reads the answers off the script."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.headers: list[dict[str, str]] = []

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.headers.append(dict(headers))
        done = sum(message["role"] == "assistant" for message in body["messages"])
        reply = self.session.scripts[headers["x-upstream-script"]][done]
        return Answer(reply["content"], reply["stop_reason"], {}, spell(body))


def play(folder: Path, session: Session, **client: Any) -> tuple[Reading, list[Exchange]]:
    folder.mkdir()
    reading = Reading(session)
    agent = Agent(session, Client("session-id", **client), Workspace(folder), reading, "label")
    return reading, list(agent.play())


def messages(exchange: Exchange) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(exchange.answer.sent)["messages"]
    return found


def results(exchange: Exchange) -> list[dict[str, Any]]:
    lists = [message["content"] for message in messages(exchange) if message["role"] == "user"]
    return [block for content in lists if isinstance(content, list) for block in content if "tool_use_id" in block]


def test_the_same_seed_sends_the_same_bytes(tmp_path: Path) -> None:
    first = play(tmp_path / "a", build(3, 30))[1]
    second = play(tmp_path / "b", build(3, 30))[1]
    other = play(tmp_path / "c", build(4, 30))[1]
    assert [e.answer.sent for e in first] == [e.answer.sent for e in second]
    assert [e.answer.sent for e in first] != [e.answer.sent for e in other]


@pytest.mark.parametrize("requests", [1, 7, 40])
def test_it_makes_as_many_requests_as_asked(tmp_path: Path, requests: int) -> None:
    assert len(play(tmp_path / "w", build(1, requests))[1]) == requests


def test_a_session_holds_what_real_ones_hold(tmp_path: Path) -> None:
    last = play(tmp_path / "w", build(1, 60))[1][-1]
    found = results(last)
    texts = Counter(str(result["content"]) for result in found if len(str(result["content"])) > 2000)
    assert max(texts.values()) > 1, "nothing was read twice unchanged"
    assert sum("is_error" in result for result in found) >= 2
    calls: list[dict[str, Any]] = [
        block
        for message in messages(last)
        if message["role"] == "assistant"
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
    assert {call["name"] for call in calls} >= {"Read", "Grep", "Glob", "Bash", "Edit", "Write", "TodoWrite"}
    assert len({call["id"] for call in calls}) == len(calls)
    edited = {call["input"]["file_path"] for call in calls if call["name"] == "Edit"}
    kinds = [(call["name"], call["input"].get("file_path")) for call in calls]
    assert any(("Read", path) in kinds[kinds.index(("Edit", path)) :] for path in edited), "no re-read after an edit"
    assert any(len([b for b in m["content"] if b["type"] == "tool_use"]) > 1 for m in messages(last)[1::2])


def test_the_breakpoint_moves_and_the_spelling_with_it(tmp_path: Path) -> None:
    played = play(tmp_path / "w", build(1, 12))[1]
    for exchange in played:
        assert "cache_control" in messages(exchange)[-1]["content"][-1]
        assert exchange.answer.sent.count(b'"cache_control"') == 3
    first, second = messages(played[0])[0], messages(played[1])[0]
    assert second["content"] == first["content"][0]["text"]
    billing = {json.loads(e.answer.sent)["system"][0]["text"] for e in played}
    assert len(billing) == len(played)


def test_the_transcript_only_grows_but_for_rewind_and_compaction(tmp_path: Path) -> None:
    session = build(2, 60, compact=True, rewind=True, thinking=True)
    reading, played = play(tmp_path / "w", session, thinking=True)
    lengths = [len(messages(e)) for e in played]
    drops = [n for n, (a, b) in enumerate(pairwise(lengths), 1) if b < a]
    assert len(played) == 60
    assert len(drops) == 2
    classes = [headers["x-claude-code-request-class"] for headers in reading.headers]
    assert classes.count("compaction") == 1
    assert classes.index("compaction") + 1 == drops[1]
    clocks = [float(headers["x-mmu-clock"]) for headers in reading.headers]
    pauses = [b - a for a, b in pairwise(clocks)]
    assert min(pauses) > 0
    assert sum(pause > 300 for pause in pauses) >= 2


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        build(1, 10, compact=True)
