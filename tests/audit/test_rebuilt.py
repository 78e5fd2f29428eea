"""The requests of a recorded session, in the spelling of its API."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from addon.audit.rebuilt import requests
from addon.audit.recorded import Session, pack, unpack
from addon.wire.clients import Purpose
from tests.audit.make import Claude, Json, call, keeping, text, write
from tests.audit.test_bodies import grown
from tests.audit.test_codex import BEGIN, rollout, said
from tests.audit.test_flows import conversation
from tests.audit.test_flows import write as write_flows


def bodies(session: Session) -> list[Any]:
    return [json.loads(asked.conversation.text) for asked in requests(session)]


def test_a_body_comes_back_as_it_was_and_its_growth_is_what_it_takes() -> None:
    draw = random.Random(1)
    before = bytes(draw.randrange(256) for _ in range(300_000))
    body = before[:150_000] + b"new" * 9 + before[150_000:]
    packed = pack(body, before)
    assert unpack(packed, before) == body
    assert len(packed) < 5000
    assert unpack(pack(b"", b""), b"") == b""
    assert unpack(pack(b"short", b""), b"") == b"short"


def test_recorded_bodies_are_sent_as_they_were(tmp_path: Path) -> None:
    for api in ("messages", "chat", "responses", "gemini"):
        sent = grown(4, api)
        sent[1]["odd"] = {"a": [1.0, None]}
        [session] = keeping(write(tmp_path / api / "b.jsonl", sent))
        assert bodies(session) == sent
        assert {asked.api.NAME for asked in requests(session)} == {api}


def test_interleaved_lines_are_sent_in_their_order(tmp_path: Path) -> None:
    one, two = grown(3, "chat"), grown(3, "chat")
    for body in two:
        if len(body["messages"]) > 1:
            body["messages"][1] = {"role": "assistant", "content": "another answer"}
    sent = [one[0], one[1], two[1], one[2], two[2]]
    [session] = keeping(write(tmp_path / "b.jsonl", sent))
    assert len(session.lines) == 2
    assert bodies(session) == sent


def test_flows_are_sent_as_they_were_and_where(tmp_path: Path) -> None:
    flows = conversation()
    for flow in flows:
        flow.request.headers["x-claude-code-request-class"] = "compaction"
    [session] = keeping(write_flows(tmp_path / "f", *flows))
    assert bodies(session) == [json.loads(flow.request.content or b"") for flow in flows]
    [first, _] = [request for _, request in session.in_order()]
    assert first.sent is not None
    assert first.sent.purpose is Purpose.COMPACTION
    assert first.sent.url == "https://api.anthropic.com/v1/messages"


def test_a_transcript_of_claude_code(tmp_path: Path) -> None:
    log = Claude()
    log.user("go")
    log.says("m1", text("I look."))
    log.says("m1", call("t1", "Bash", command="ls"))
    log.user("a reminder")
    log.result("t1", "files")
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 9}}
    log.says("m2", text("done"), usage=usage)
    log.user([{"type": "text", "text": "\ud800"}])
    log.says("m3", text("done"))
    [session] = keeping(write_escaped(tmp_path / "a.jsonl", log.lines))
    first, second, third = bodies(session)
    assert first == {
        "model": "claude-opus-4-5",
        "cache_control": {"type": "ephemeral"},
        "messages": [{"role": "user", "content": [text("go")]}],
    }
    answer = {"role": "assistant", "content": [text("I look."), call("t1", "Bash", command="ls")]}
    # One message between two answers, the results first.
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "files"}
    assert second["messages"][1:] == [answer, {"role": "user", "content": [result, text("a reminder")]}]
    # It was written for an hour.
    assert second["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert third["messages"][-1] == {"role": "user", "content": [text("?")]}


def write_escaped(path: Path, lines: list[Json]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_compaction_and_a_resumed_session(tmp_path: Path) -> None:
    log = Claude()
    log.user("one")
    log.says("m1", text("first"))
    write(tmp_path / "a.jsonl", log.lines)
    log.user("two")
    log.says("m2", text("second"))
    log.line("system", subtype="compact_boundary", content="")
    log.user("summary", isCompactSummary=True)
    log.says("m3", text("third"))
    write(tmp_path / "b.jsonl", log.lines)
    [_, resumed] = keeping(tmp_path)
    said_in = [[m["content"][0]["text"] for m in body["messages"]] for body in bodies(resumed)]
    assert said_in == [["one", "first", "two"], ["summary"]]


def test_a_transcript_of_codex(tmp_path: Path) -> None:
    told = ("compacted", {"message": "", "replacement_history": [said("user", "kept")[1]]})
    path = write(tmp_path / "r.jsonl", rollout(*BEGIN, told, said("assistant", "end")))
    [session] = keeping(path)
    first, second, third = bodies(session)
    assert first["model"] == "gpt-5.2-codex"
    assert [item["role"] for item in first["input"]] == ["user", "user"]
    kinds = [item["type"] for item in second["input"][2:]]
    assert kinds == ["reasoning", *2 * ["function_call"], *2 * ["function_call_output"]]
    assert [asked.conversation.messages[-1].role for asked in requests(session)] == ["user", "tool", "user"]
    assert [item["content"][0]["text"] for item in third["input"]] == ["kept"]
