"""The strict Responses upstream on a socket, as the vendor's own client sees it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import (
    ResponseCustomToolCall,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseReasoningItem,
)

from tests.upstream import Upstream
from tests.upstream.responses_direct import BOUND, CUSTOM, MODEL, TOOL

TOOLS: list[Any] = [TOOL, CUSTOM]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
ARGUMENTS: dict[str, Any] = {"path": "ä" * 60, "lines": [1, 2], "whole": True}
PROGRAM = "const r = await tools.exec_command({cmd: “ls”});\n" * 4
THOUGHT = "one moment, " * 20
SAID = "Let me read “it”. " * 9
ANSWER: dict[str, Any] = {
    "content": [
        {"type": "thinking", "thinking": THOUGHT},
        {"type": "text", "text": SAID, "phase": "commentary"},
        {"type": "tool_use", "id": "call_1", "name": "Read", "input": ARGUMENTS},
        {"type": "tool_use", "id": "call_2", "name": "exec", "input": PROGRAM},
    ]
}
END = {"content": [{"type": "text", "text": "end"}]}
OUTPUTS: list[Any] = [
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": ""}]},
    {"type": "function_call_output", "call_id": "call_1", "output": "x"},
]
ASKED: dict[str, Any] = {"model": MODEL, "input": HELLO, "tools": TOOLS}
SUMMARIZED: dict[str, Any] = {"reasoning": {"summary": "auto"}}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def client(up: Upstream, script: str = "", retries: int = 0, **own: str) -> openai.OpenAI:
    headers = {f"x-upstream-{name}": value for name, value in own.items()}
    headers |= {"x-upstream-script": script} if script else {}
    return openai.OpenAI(base_url=f"{up.url}/v1", api_key="secret", max_retries=retries, default_headers=headers)


def test_a_whole_answer(up: Upstream) -> None:
    up.script("s", [ANSWER])
    got = client(up, "s").responses.create(**ASKED, store=False)
    thought, said, read, ran = got.output
    assert isinstance(thought, ResponseReasoningItem)
    assert len(thought.encrypted_content or "") > len(THOUGHT)
    assert isinstance(said, ResponseOutputMessage)
    assert (got.output_text, said.phase, got.status) == (SAID, "commentary", "completed")
    assert isinstance(read, ResponseFunctionToolCall)
    assert (read.call_id, json.loads(read.arguments)) == ("call_1", ARGUMENTS)
    assert isinstance(ran, ResponseCustomToolCall)
    assert (ran.call_id, ran.input) == ("call_2", PROGRAM)
    assert got.usage is not None
    assert got.usage.total_tokens == got.usage.input_tokens + got.usage.output_tokens
    assert got.usage.output_tokens_details.reasoning_tokens == 69
    assert got._request_id == "req_00000000"
    assert up.log[0].headers.get("authorization") is None
    # every field has the type that the client knows it by
    assert type(got).model_validate(got.to_dict()).to_dict() == got.to_dict()


@pytest.mark.parametrize("more", [{"store": False}, {"store": True}, {"include": ["reasoning.encrypted_content"]}])
def test_what_was_answered_can_be_sent_back(up: Upstream, more: dict[str, Any]) -> None:
    up.script("s", [ANSWER, END])
    asks = client(up, "s", session="a").responses
    said = asks.create(**ASKED, **more).output
    dumped = [item.model_dump(by_alias=True) for item in said]
    bare = [item.to_dict(exclude_none=True) for item in said]
    for spelled in (said, dumped, bare):
        back: list[Any] = [*HELLO, *spelled, *OUTPUTS]
        assert asks.create(model=MODEL, input=back, tools=TOOLS, **more).output_text == "end"
    assert up.invalid == 0
    assert [record.turn for record in up.log] == [0, 1, 1, 1]


@pytest.mark.parametrize("summary", [{}, SUMMARIZED])
def test_a_stream_has_the_same_content(up: Upstream, summary: dict[str, Any]) -> None:
    up.script("s", [ANSWER])
    create = client(up, "s").responses.create
    whole = create(**ASKED, **summary)
    events = list(create(**ASKED, **summary, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert all(type(event).model_validate(event.to_dict()) == event for event in events)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output == whole.output
    assert last.response.usage is not None
    assert whole.usage is not None
    assert last.response.usage.output_tokens == whole.usage.output_tokens
    deltas: dict[str, str] = {}
    for event in events:
        if event.type.endswith(".delta"):
            delta: Any = event
            assert delta.item_id == whole.output[delta.output_index].id
            deltas[event.type] = deltas.get(event.type, "") + delta.delta
    thought = {"response.reasoning_summary_text.delta": THOUGHT} if summary else {}
    assert {name: text for name, text in deltas.items() if "arguments" not in name} == {
        "response.output_text.delta": SAID,
        "response.custom_tool_call_input.delta": PROGRAM,
        **thought,
    }
    assert json.loads(deltas["response.function_call_arguments.delta"]) == ARGUMENTS
    assert kinds.count("response.output_text.delta") > 2
    added = [event.item for event in events if event.type == "response.output_item.added"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == whole.output
    assert [item.id for item in added] == [item.id for item in done]


@pytest.mark.parametrize("summary", [{}, SUMMARIZED])
def test_the_streaming_helper_puts_it_together(up: Upstream, summary: dict[str, Any]) -> None:
    up.script("s", [ANSWER])
    with client(up, "s").responses.stream(**ASKED, **summary) as stream:
        deltas: dict[str, Any] = {event.type: event for event in stream if event.type.endswith(".delta")}
        got = stream.get_final_response()
    assert deltas["response.output_text.delta"].snapshot == SAID
    assert json.loads(deltas["response.function_call_arguments.delta"].snapshot) == ARGUMENTS
    assert got.output_text == SAID
    assert [item.type for item in got.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert got.usage is not None


def test_an_answer_can_be_cut_short_by_its_limit(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "stop_reason": "max_tokens"}])
    create = client(up, "s").responses.create
    got = create(**ASKED)
    assert got.incomplete_details is not None
    assert (got.status, got.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert list(create(**ASKED, stream=True))[-1].type == "response.incomplete"


def raw(up: Upstream, script: str, **more: Any) -> tuple[str, bytes]:
    body = json.dumps({"model": MODEL, "input": HELLO, **more}).encode()
    headers = {"authorization": "Bearer x", "content-type": "application/json", "x-upstream-script": script}
    with urllib.request.urlopen(urllib.request.Request(f"{up.url}/v1/responses", body, headers)) as got:
        return got.headers["x-request-id"], got.read()


def test_events_have_names_and_no_done(up: Upstream) -> None:
    up.script("s", [ANSWER])
    identity, body = raw(up, "s", stream=True)
    events = [event.split(b"\n") for event in body.split(b"\n\n")]
    assert identity == "req_00000000"
    assert events.pop() == [b""]
    for name, data in events:
        assert name == b"event: " + json.loads(data.removeprefix(b"data: "))["type"].encode()
    assert b"[DONE]" not in body


def test_errors_raise_what_the_client_knows(up: Upstream) -> None:
    for retries in (0, 1):
        up.reset()
        up.script("s", [{"error": {"status": 429, "headers": {"retry-after": 0}}, "then": ANSWER}])
        create = client(up, "s", retries=retries).responses.create
        if retries:
            assert create(**ASKED).output
            assert [record.status for record in up.log] == [429, 200]
        else:
            with pytest.raises(openai.RateLimitError):
                create(**ASKED)
    lone: list[Any] = [*HELLO, OUTPUTS[1]]
    with pytest.raises(openai.BadRequestError, match="No tool call found for function call output") as caught:
        client(up).responses.create(model=MODEL, input=lone)
    assert caught.value.param == "input[1]"
    assert up.invalid == 1
    bare = urllib.request.Request(f"{up.url}/v1/responses", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(bare)
    upgrade = urllib.request.Request(f"{up.url}/v1/responses", headers={"upgrade": "websocket"})
    with pytest.raises(urllib.error.HTTPError, match="426"):
        urllib.request.urlopen(upgrade)


def test_streams_break_where_the_script_says(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "cut_after_events": 3, "times": 1}])
    create = client(up, "s").responses.create
    with pytest.raises(openai.APIError), create(**ASKED, stream=True) as stream:
        list(stream)
    assert len(list(create(**ASKED, stream=True))) > 3
    up.script("f", [{**ANSWER, "fail_after_events": 2}])
    failing = list(client(up, "f").responses.create(**ASKED, stream=True))
    assert [event.type for event in failing] == ["response.created", "response.in_progress", "error", "response.failed"]
    assert [event.sequence_number for event in failing] == [0, 1, 2, 3]
    ended = failing[-1]
    assert ended.type == "response.failed"
    assert ended.response.error is not None
    assert (ended.response.status, ended.response.error.code) == ("failed", "server_error")
    with pytest.raises(openai.InternalServerError):
        client(up, "f").responses.create(**ASKED)


def test_a_stalled_stream_waits_for_its_gate(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "stall": {"after_events": 1, "gate": "g"}}])
    stream = iter(client(up, "s").responses.create(**ASKED, stream=True))
    assert next(stream).type == "response.created"
    up.gate("g").set()
    assert len(list(stream)) > 3


def test_a_conversation_is_kept_and_cached_by_the_server(up: Upstream) -> None:
    up.script("s", [ANSWER, END])
    asks = client(up, "s", session="a").responses
    long: list[Any] = [{"role": "user", "content": "x" * 9000}]
    first = asks.create(model=MODEL, input=long, tools=TOOLS)
    second = asks.create(model=MODEL, input=OUTPUTS, tools=TOOLS, previous_response_id=first.id)
    assert second.output_text == "end"
    assert second.previous_response_id == first.id
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens == first.usage.input_tokens // 128 * 128
    assert [record.prefix_kept for record in up.log] == [None, 1]
    assert up.totals("a").cache_read_input_tokens == second.usage.input_tokens_details.cached_tokens
    with pytest.raises(openai.BadRequestError, match="Previous response with id 'resp_x' not found"):
        asks.create(model=MODEL, input=HELLO, previous_response_id="resp_x")


def test_dropped_reasoning_is_told_in_the_clients_words(up: Upstream) -> None:
    up.script("s", [ANSWER, END])
    asks = client(up, "s").responses
    said: list[Any] = asks.create(**ASKED | {"model": BOUND}, store=False).output
    back: list[Any] = [{"role": "user", "content": "changed"}, *said, *OUTPUTS]
    got = asks.create(model=BOUND, input=back, tools=TOOLS, store=False)
    assert got.input_transformations is not None
    told = [(each.type, each.action, each.reason, each.id) for each in got.input_transformations]
    assert told == [("reasoning", "removed", "prefix_mismatch", said[0].id)]
    assert up.log[-1].dropped == [said[0].id]


def test_a_compaction_is_one_item(up: Upstream) -> None:
    up.script("s", [ANSWER])
    trigger: list[Any] = [*HELLO, {"type": "compaction_trigger"}]
    with client(up, "s").responses.stream(model=MODEL, input=trigger, store=False) as stream:
        got = stream.get_final_response()
    assert [item.type for item in got.output] == ["compaction"]
