"""The strict Chat upstream on a socket, as the vendor's own client sees it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.upstream import Upstream
from tests.upstream.chat_direct import MODEL, TOOL

TOOLS: list[Any] = [TOOL]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
ARGUMENTS: dict[str, Any] = {"path": "ä" * 60, "lines": [1, 2], "whole": True}
LONE: Any = {"role": "tool", "tool_call_id": "x", "content": "y"}
CALL = {"type": "tool_use", "id": "call_1", "name": "Read", "input": ARGUMENTS}
THOUGHT = {"type": "thinking", "thinking": "one moment, " * 20}
SAID = "Let me read “it”. " * 9
ANSWER: dict[str, Any] = {"content": [THOUGHT, {"type": "text", "text": SAID}, CALL, {**CALL, "id": "call_2"}]}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def client(up: Upstream, script: str = "", retries: int = 0) -> openai.OpenAI:
    own = {"x-upstream-script": script} if script else {}
    return openai.OpenAI(base_url=f"{up.url}/v1", api_key="secret", max_retries=retries, default_headers=own)


def test_a_whole_answer(up: Upstream) -> None:
    up.script("s", [ANSWER])
    got = client(up, "s").chat.completions.create(model=MODEL, messages=HELLO, tools=TOOLS)
    message = got.choices[0].message
    assert (message.content, got.choices[0].finish_reason) == (SAID, "tool_calls")
    assert message.tool_calls is not None
    assert [c.id for c in message.tool_calls] == ["call_1", "call_2"]
    assert isinstance(message.tool_calls[0], openai.types.chat.ChatCompletionMessageFunctionToolCall)
    assert json.loads(message.tool_calls[0].function.arguments) == ARGUMENTS
    assert got.usage is not None
    assert got.usage.total_tokens == got.usage.prompt_tokens + got.usage.completion_tokens
    assert got.usage.completion_tokens_details is not None
    assert got.usage.completion_tokens_details.reasoning_tokens == 69
    assert got._request_id == "req_00000000"
    assert up.log[0].headers.get("authorization") is None


def test_what_was_answered_can_be_sent_back(up: Upstream) -> None:
    up.script("s", [ANSWER, {"content": [{"type": "text", "text": "end"}]}])
    asks = client(up, "s")
    said = asks.chat.completions.create(model=MODEL, messages=HELLO, tools=TOOLS).choices[0].message
    back = [{"role": "tool", "tool_call_id": c.id, "content": "x"} for c in said.tool_calls or []]
    for spelled in (said.model_dump(), said.model_dump(exclude_none=True)):
        spelled.pop("function_call", None)
        spelled.pop("audio", None)
        messages: list[Any] = [*HELLO, spelled, *back]
        assert asks.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content == "end"
    assert up.invalid == 0


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_has_the_same_content(up: Upstream, usage: bool) -> None:
    up.script("s", [ANSWER])
    extra: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    create = client(up, "s").chat.completions.create
    whole = create(model=MODEL, messages=HELLO, tools=TOOLS)
    chunks = list(create(model=MODEL, messages=HELLO, tools=TOOLS, stream=True, **extra))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert all(delta.role is None for delta in deltas[1:])
    assert "".join(delta.content or "" for delta in deltas) == SAID
    thoughts = [(delta.model_extra or {}).get("reasoning_content", "") for delta in deltas]
    assert "".join(thoughts) == THOUGHT["thinking"]
    made: dict[int, str] = {}
    for delta in deltas:
        for call in delta.tool_calls or []:
            assert call.function is not None
            assert (call.id is not None) == (call.index not in made)
            made[call.index] = made.get(call.index, "") + (call.function.arguments or "")
    assert [json.loads(text) for text in made.values()] == [ARGUMENTS, ARGUMENTS]
    assert sum(len(delta.tool_calls or []) for delta in deltas) > 6
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finishes == [None] * (len(finishes) - 1) + ["tool_calls"]
    assert (chunks[-1].usage == whole.usage) is usage
    assert (chunks[-1].choices == []) is usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_streaming_helper_puts_it_together(up: Upstream) -> None:
    up.script("s", [ANSWER])
    with client(up, "s").chat.completions.stream(
        model=MODEL, messages=HELLO, tools=TOOLS, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        got = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "tool_calls.function.arguments.delta"} <= kinds
    message = got.choices[0].message
    assert message.content == SAID
    assert [json.loads(c.function.arguments) for c in message.tool_calls or []] == [ARGUMENTS, ARGUMENTS]
    assert got.usage is not None


def raw(up: Upstream, script: str, **more: Any) -> tuple[str, bytes]:
    body = json.dumps({"model": MODEL, "messages": HELLO, **more}).encode()
    headers = {"authorization": "Bearer x", "content-type": "application/json", "x-upstream-script": script}
    with urllib.request.urlopen(urllib.request.Request(f"{up.url}/v1/chat/completions", body, headers)) as got:
        return got.headers["x-request-id"], got.read()


def test_events_have_no_names_and_end_with_done(up: Upstream) -> None:
    up.script("s", [ANSWER])
    identity, body = raw(up, "s", stream=True)
    events = body.split(b"\n\n")
    assert identity == "req_00000000"
    assert all(event.startswith(b"data: ") for event in events[:-1])
    assert events[-2:] == [b"data: [DONE]", b""]
    assert b'"usage"' not in body
    with_usage = raw(up, "s", stream=True, stream_options={"include_usage": True})[1]
    assert with_usage.count(b'"usage": null') == with_usage.count(b"chat.completion.chunk") - 1


def test_errors_raise_what_the_client_knows(up: Upstream) -> None:
    up.script("s", [{"error": {"status": 429, "headers": {"retry-after": 0}}, "then": ANSWER}])
    with pytest.raises(openai.RateLimitError):
        client(up, "s").chat.completions.create(model=MODEL, messages=HELLO)
    up.reset()
    up.script("s", [{"error": {"status": 429, "headers": {"retry-after": 0}}, "then": ANSWER}])
    assert client(up, "s", retries=1).chat.completions.create(model=MODEL, messages=HELLO).choices
    assert [record.status for record in up.log] == [429, 200]
    with pytest.raises(openai.BadRequestError) as caught:
        client(up).chat.completions.create(model=MODEL, messages=[*HELLO, LONE])
    assert caught.value.param == "messages[1]"
    assert up.invalid == 1
    bare: Any = urllib.request.Request(f"{up.url}/v1/chat/completions", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(bare)


def test_streams_break_where_the_script_says(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "cut_after_events": 3, "times": 1}])
    create = client(up, "s").chat.completions.create
    with pytest.raises(openai.APIError), create(model=MODEL, messages=HELLO, stream=True) as stream:
        list(stream)
    assert len(list(create(model=MODEL, messages=HELLO, stream=True))) > 3
    up.script("f", [{**ANSWER, "fail_after_events": 2}])
    failing = client(up, "f").chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert [chunk.object for chunk in (next(failing), next(failing))] == ["chat.completion.chunk"] * 2
    with pytest.raises(openai.APIError, match="overloaded"):
        next(failing)
    with pytest.raises(openai.InternalServerError):
        client(up, "f").chat.completions.create(model=MODEL, messages=HELLO)


def test_a_stalled_stream_waits_for_its_gate(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "stall": {"after_events": 1, "gate": "g"}}])
    stream = iter(client(up, "s").chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert next(stream).choices[0].delta.role == "assistant"
    up.gate("g").set()
    assert len(list(stream)) > 3
