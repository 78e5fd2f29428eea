from __future__ import annotations

from typing import Any

import pytest

from benchmarks.fit import fit
from benchmarks.rebuild import BILLING, CLEARED, Session, rebuild
from benchmarks.traces import Block, Event, Json, Trace, Usage

DAY = 1_770_000_000.0


def event(role: str, at: float, *blocks: Block, **more: Any) -> Event:
    usage = Usage(10, more.pop("read", 0), 0, 100, 5) if role == "assistant" else None
    return Event(role, DAY + at, blocks, usage, more.get("compaction", False), more.get("prune", ()))


def text(said: str) -> Block:
    return {"type": "text", "text": said}


def call(name: str, **arguments: Json) -> Block:
    return {"type": "tool_use", "id": name, "name": "Read", "input": arguments}


def result(name: str, said: str) -> Block:
    return {"type": "tool_result", "tool_use_id": name, "text": said, "is_error": False}


def session(*events: Event) -> Session:
    return rebuild(Trace("sample", "claude-code", "claude-opus-4-5", False, events))


SHORT = (
    event("user", 0, text("look")),
    event("assistant", 2, call("a", file_path="x"), call("b", file_path="y", limit=3)),
    event("user", 5, text("and hurry")),
    event("user", 4, result("b", "two")),
    event("assistant", 7, text("\n\n"), text("done")),
    event("user", 9, text("thanks")),
    event("assistant", 11, text("bye")),
)


def test_requests_end_with_the_user_and_results_come_first_all_of_them() -> None:
    made = session(*SHORT)
    assert [turn.upto for turn in made.turns] == [1, 3, 5]
    answer = made.segments[0][2]["content"]
    assert [block.get("tool_use_id", block["type"]) for block in answer] == ["b", "a", "text"]
    assert answer[1]["is_error"] is True
    assert (made.repairs.unanswered_calls, made.repairs.empty_texts) == (1, 1)


def test_the_head_is_sent_alike_every_time_but_for_the_billing_line() -> None:
    made = session(*SHORT)
    one, two = made.body(made.turns[0]), made.body(made.turns[1])
    assert one["tools"] == two["tools"]
    assert one["system"][0]["text"].startswith(BILLING)
    assert one["system"][0] != two["system"][0]
    assert one["system"][1:] == two["system"][1:]


def test_marks_stand_on_the_last_system_block_and_the_last_block_only() -> None:
    made = session(*SHORT)
    body = made.body(made.turns[1])
    assert body["system"][-1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert body["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in str(body["messages"][:-1])


def test_a_tool_admits_the_calls_it_was_recorded_with() -> None:
    made = session(*SHORT)
    schema = next(tool for tool in made.tools if tool["name"] == "Read")["input_schema"]
    assert schema["required"] == ["file_path"]
    assert schema["properties"]["limit"]["type"] == "integer"


def test_times_are_when_the_last_message_arrived_and_never_run_back() -> None:
    made = session(*SHORT)
    assert [turn.at - DAY for turn in made.turns] == [0, 5, 9]


def test_a_compaction_restarts_the_context() -> None:
    made = session(*SHORT, event("system", 12, compaction=True), event("user", 13, text("summary")), SHORT[-1])
    last = made.turns[-1]
    assert (last.segment, last.upto) == (1, 1)
    assert "summary" in str(made.body(last)["messages"])
    assert "look" not in str(made.body(last)["messages"])


def test_what_the_client_cleared_stays_cleared() -> None:
    made = session(*SHORT[:5], event("system", 8, prune=("b",)), *SHORT[5:])
    before, after = made.body(made.turns[1]), made.body(made.turns[2])
    assert "two" in str(before["messages"])
    assert "two" not in str(after["messages"])
    assert CLEARED in str(after["messages"])


def test_what_a_client_received_takes_the_place_of_the_recording() -> None:
    made = session(*SHORT)
    history = list(made.segments[0])
    history[1] = {"role": "assistant", "content": [*history[1]["content"], text("received")]}
    assert "received" in str(made.body(made.turns[1], history)["messages"])


def test_the_ratio_comes_from_the_longest_stretch_without_a_fall() -> None:
    line = [(n * 300, 5000 + n * 100) for n in range(12)]
    found = fit([(0, 90_000), (10, 90_001), *line], default=9.9)
    assert found.bytes_per_token == pytest.approx(3.0)
    assert found.head_tokens == 5000


def test_too_few_requests_take_the_usual_ratio_and_the_first_request_for_the_head() -> None:
    found = fit([(400, 1100)], default=4.0)
    assert (found.bytes_per_token, found.head_tokens, found.r2) == (4.0, 1000, 0.0)
