"""The strict Chat upstream: each rule kept and broken, the cache by prefix, the bill."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.upstream.chat_direct import MODEL, TOOL, ask, assistant, call, request, result, user
from tests.upstream.chat_models import OTHER, TABLE, model_of
from tests.upstream.provider import Provider

SYSTEM = {"role": "system", "content": "Be good."}
ROUND = [SYSTEM, user("go"), assistant("I look.", call("c1", a=1), call("c2")), result("c2"), result("c1")]
CUSTOM = {"type": "custom", "custom": {"name": "sh", "description": "d"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
VALID: dict[str, dict[str, Any]] = {
    "a word": request(user("hi")),
    "a round, answered in another order": request(*ROUND),
    "a round and more": request(*ROUND, assistant("so"), user("next"), assistant(None, call("c3")), result("c3", "")),
    "parts": request(user([text("look"), IMAGE]), assistant([text("so")]), user("and")),
    "parts of a result": request(user("go"), assistant(None, call("c")), result("c", [text("a"), text("b")])),
    "reasoning": request(user("go"), assistant("", call("c"), reasoning_content="hm"), result("c")),
    "nulls": request(user("go"), assistant(None, call("c"), refusal=None, annotations=[]), result("c"), stream=None),
    "late instructions": request(user("hi"), {"role": "developer", "content": "Be brief."}),
    "custom tool": request(user("hi"), tools=[TOOL, CUSTOM]),
    "choice": request(user("hi"), tool_choice={"type": "function", "function": {"name": "Read"}}),
    "old limit": {"model": "gpt-4o", "max_tokens": 5, "messages": [user("hi")], "temperature": 0},
    "breakpoint": request(user([text("hi", **MARK)]), model="gpt-5.6", prompt_cache_options={"ttl": "30m"}),
    "retention": request(user("hi"), prompt_cache_retention="in_memory"),
}


@pytest.mark.parametrize("body", VALID.values(), ids=VALID.keys())
def test_valid(body: dict[str, Any]) -> None:
    payload, record = ask(Provider(), body)
    assert record.status == 200, payload
    assert record.violation is None


def change(**more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body.update(more)


def at(number: int, **more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["messages"][number].update(more)


def function(**more: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {**TOOL["function"], **more}}]


def made(**more: Any) -> list[dict[str, Any]]:
    return [{**call("c1"), **more}, call("c2")]


INVALID: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown field": (change(system="x"), "Unrecognized request argument"),
    "functions": (change(functions=[]), "Unrecognized request argument"),
    "no model": (lambda b: b.pop("model"), "model"),
    "no messages": (change(messages=[]), "minimum length 1"),
    "stream a string": (change(stream="yes"), "stream: expected a boolean"),
    "metadata a string": (change(metadata="x"), "metadata: expected an object"),
    "key a number": (change(prompt_cache_key=3), "prompt_cache_key: expected a string"),
    "two answers": (change(n=2), "n: "),
    "usage of no stream": (change(stream_options={"include_usage": True}), "only allowed when 'stream'"),
    "unknown stream option": (change(stream=True, stream_options={"x": 1}), "stream_options: Unknown"),
    "limit of zero": (change(max_completion_tokens=0), "at least 1"),
    "both limits": (change(max_tokens=5), "Use 'max_completion_tokens'"),
    "old limit on a model that reasons": (
        lambda b: (b.pop("max_completion_tokens"), b.update(model="gpt-5", max_tokens=5)), "not supported with this",
    ),
    "temperature of a model that reasons": (change(model="gpt-5", temperature=0), "temperature"),
    "cache options on an older model": (change(prompt_cache_options={}), "prompt_cache_options: not supported"),
    "cache mode": (change(model="gpt-5.6", prompt_cache_options={"mode": "x"}), "mode"),
    "cache lifetime": (change(model="gpt-5.6", prompt_cache_options={"ttl": "5m"}), "30m"),
    "retention of a new model": (change(model="gpt-5.5", prompt_cache_retention="in_memory"), "retention"),
    "breakpoint on an older model": (at(4, content=[text("x", **MARK)]), "not supported on this model"),
    "breakpoint without mode": (
        lambda b: (b.update(model="gpt-5.6"), at(4, content=[text("x", prompt_cache_breakpoint={})])(b)), "explicit",
    ),
    "breakpoint lifetime": (
        lambda b: (
            b.update(model="gpt-5.6"),
            at(4, content=[text("x", prompt_cache_breakpoint={"mode": "explicit", "ttl": "1h"})])(b),
        ),
        "12h",
    ),
    "five breakpoints": (
        lambda b: (b.update(model="gpt-5.6"), at(4, content=[text("x", **MARK)] * 5)(b)), "at most 4",
    ),
    "a cache mark of another API": (at(4, content=[text("x", cache_control={})]), "cache_control: Unknown"),
    "no tools": (change(tools=[]), "1 to 128"),
    "tools on a model without": (change(model="gpt-6-astra"), "takes no tools"),
    "choice without tools": (lambda b: (b.pop("tools"), b.update(tool_choice="auto")), "only allowed when 'tools'"),
    "parallel calls without tools": (
        lambda b: (b.pop("tools"), b.update(parallel_tool_calls=True)), "only allowed when 'tools'",
    ),
    "two tools of a name": (change(tools=[TOOL, TOOL]), "Duplicate"),
    "tool of another API": (change(tools=[{"name": "x", "input_schema": {"type": "object"}}]), "tools[0].type"),
    "tool with more": (change(tools=[{**TOOL, "x": 1}]), "tools[0].x: Unknown"),
    "tool without a function": (change(tools=[{"type": "function"}]), "expected an object"),
    "tool name": (change(tools=function(name="a b")), "function.name"),
    "tool description": (change(tools=function(description=1)), "description"),
    "tool strictness": (change(tools=function(strict="yes")), "strict"),
    "tool schema": (change(tools=function(parameters={"type": "array"})), "Invalid schema"),
    "tool properties": (change(tools=function(parameters={"type": "object", "properties": []})), "Invalid schema"),
    "unknown tool field": (change(tools=function(input_schema={})), "input_schema: Unknown"),
    "unknown choice": (change(tool_choice="any"), "tool_choice"),
    "choice of no tool": (change(tool_choice={"type": "function", "function": {"name": "x"}}), "not found"),
    "message a string": (lambda b: b["messages"].append("x"), "expected an object"),
    "role": (at(1, role="function"), "role: Invalid value"),
    "unknown member": (at(1, reasoning_content="x"), "reasoning_content: Unknown"),
    "a tool's name": (at(3, name="x"), "name: Unknown"),
    "reasoning a list": (at(2, reasoning_content=[]), "expected a string"),
    "no call id": (lambda b: b["messages"][3].pop("tool_call_id"), "tool_call_id: Missing"),
    "user without content": (at(1, content=None), "got null"),
    "assistant without content": (lambda b: b["messages"].insert(2, assistant(None)), "got null"),
    "blank content": (at(1, content=" "), "not blank"),
    "blank part": (at(1, content=[text(" ")]), "not blank"),
    "no parts": (at(1, content=[]), "minimum length 1"),
    "content an object": (at(1, content={}), "minimum length 1"),
    "image of a tool": (at(3, content=[IMAGE]), "content[0].type"),
    "part with more": (at(1, content=[text("x", x=1)]), "content[0].x"),
    "part without text": (at(1, content=[{"type": "text"}]), "content[0].text"),
    "no calls": (at(2, tool_calls=[]), "minimum length 1"),
    "call without id": (at(2, tool_calls=made(id="")), "tool_calls[0].id"),
    "call of another kind": (at(2, tool_calls=made(type="tool_use")), "tool_calls[0].type"),
    "call with more": (at(2, tool_calls=made(x=1)), "tool_calls[0].x"),
    "arguments an object": (at(2, tool_calls=made(function={"name": "Read", "arguments": {}})), "expected a string"),
    "arguments no JSON": (at(2, tool_calls=made(function={"name": "Read", "arguments": "{"})), "JSON object"),
    "arguments a list": (at(2, tool_calls=made(function={"name": "Read", "arguments": "[]"})), "JSON object"),
    "name of a call": (at(2, tool_calls=made(function={"name": "", "arguments": "{}"})), "function.name"),
    "a result missing": (lambda b: b["messages"].pop(), "did not have response messages: c1"),
    "a result missing before a turn": (lambda b: b["messages"].insert(4, user("x")), "did not have response messages"),
    "a result twice": (lambda b: b["messages"].append(result("c1")), "must be a response"),
    "a result of nothing": (lambda b: b["messages"].insert(1, result("c9")), "must be a response"),
    "a result before its call": (lambda b: b["messages"].insert(2, b["messages"].pop()), "must be a response"),
    "a call id twice": (
        lambda b: b["messages"].extend([assistant(None, call("c1")), result("c1")]), "must be unique",
    ),
    "the model last": (lambda b: b["messages"].append(assistant("so")), "must not end"),
}  # fmt: skip


@pytest.mark.parametrize(("breaks", "words"), INVALID.values(), ids=INVALID.keys())
def test_invalid(breaks: Callable[[dict[str, Any]], object], words: str) -> None:
    body = copy.deepcopy(request(*ROUND))
    breaks(body)
    provider = Provider()
    payload, record = ask(provider, body)
    assert record.status == 400
    assert words in payload["error"]["message"]
    assert payload["error"]["type"] == "invalid_request_error"
    assert provider.invalid == 1
    assert record.dollars == 0


def test_an_assistant_may_come_last_where_that_is_allowed() -> None:
    assert ask(Provider(allow_prefill=True), request(user("x"), assistant("so")))[1].status == 200


def words(tokens: int) -> str:
    return "x" * int(tokens * 3.5)


def test_the_cache_is_by_prefix_in_steps_from_a_minimum_on() -> None:
    provider = Provider()
    short = request(user(words(900)))
    for _ in range(2):
        assert ask(provider, short, clock="0")[0]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    long = request(user(words(3000)), assistant("so"), user("a"))
    total = ask(provider, long, clock="0")[0]["usage"]["prompt_tokens"]
    grown = request(*long["messages"], assistant("b"), user("c"))
    usage = ask(provider, grown, clock="10")[0]["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": total // 128 * 128, "audio_tokens": 0}
    assert provider.log[-1].prefix_kept == 1
    changed = copy.deepcopy(grown)
    changed["messages"][0]["content"] = words(2000) + "y" + words(1000)
    read = ask(provider, changed, clock="20")[0]["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 1024 <= read <= 2100
    assert read % 128 == 0
    assert provider.log[-1].prefix_kept is not None
    assert provider.log[-1].prefix_kept < 0.5
    changed["messages"][0]["content"] = "y" + words(3000)
    assert ask(provider, changed, clock="30")[1].usage["cache_read_input_tokens"] == 0


def test_less_than_the_minimum_is_neither_written_nor_read() -> None:
    provider = Provider()
    short = ask(provider, request(user(words(900)), model="gpt-5.6"), clock="0")[0]["usage"]
    assert short["prompt_tokens_details"]["cache_write_tokens"] == 0
    same = {"role": "system", "content": words(900)}
    for said in ("a", "b"):
        body = request(same, user(said + words(2000)), model="gpt-5.6")
        details = ask(provider, body, clock="1")[0]["usage"]["prompt_tokens_details"]
        assert (details["cached_tokens"], details["cache_write_tokens"] > 2900) == (0, True)


def read(provider: Provider, body: dict[str, Any], **headers: str) -> int:
    return int(ask(provider, body, **headers)[1].usage["cache_read_input_tokens"])


@pytest.mark.parametrize(
    ("model", "more", "lifetime"),
    [
        ("gpt-4o", {}, 600),
        ("gpt-4o", {"prompt_cache_retention": "24h"}, 86400),
        ("gpt-5.1", {}, 86400),
        ("gpt-5.1", {"prompt_cache_retention": "in_memory"}, 600),
        ("gpt-5.6", {}, 1800),
    ],
)
def test_what_is_used_lives_on(model: str, more: dict[str, Any], lifetime: float) -> None:
    provider, body = Provider(), request(user(words(3000)), model=model, **more)
    assert read(provider, body, clock="0") == 0
    for now in (lifetime - 1, 2 * lifetime - 2):
        assert read(provider, body, clock=str(now)) > 2900
    assert read(provider, body, clock=str(3 * lifetime)) == 0


def test_caches_are_apart_by_account_and_model() -> None:
    provider, body = Provider(), request(user(words(3000)))
    assert read(provider, body, clock="0", session="a") == 0
    assert read(provider, body, clock="1", session="b") == 0
    assert read(provider, body, clock="1", session="c", account="a") > 0
    assert read(provider, {**body, "model": "gpt-4o"}, clock="2", session="a") == 0
    assert read(provider, {**body, "tools": [CUSTOM]}, clock="3", session="a") == 0


def test_a_head_can_be_warm() -> None:
    for upto, most in (("tools", 2100), ("system", 4200), (1500, 1500)):
        provider = Provider()
        provider.warm("a", upto)
        tools = function(description=words(2000))
        body = request({"role": "system", "content": words(2000)}, user(words(2000)), tools=tools)
        assert most - 300 < read(provider, body, clock="0", account="a") <= most


def test_writes_are_charged_for_on_newer_models_only() -> None:
    for model, price, write, cached in (("gpt-4o", 2.5, 2.5, 1.25), ("gpt-5.6", 5, 6.25, 0.5)):
        provider, body = Provider(), request(user(words(3000)), model=model)
        provider.script("s", [{"content": [text("x")], "output_tokens": 0}])
        payload, record = ask(provider, body, clock="0", script="s")
        total, steps = payload["usage"]["prompt_tokens"], payload["usage"]["prompt_tokens"] // 128 * 128
        assert record.dollars == pytest.approx((steps * write + (total - steps) * price) / 1e6)
        assert payload["usage"]["prompt_tokens_details"].get("cache_write_tokens", steps) == steps
        payload, record = ask(provider, body, clock="1", script="s")
        assert record.dollars == pytest.approx((steps * cached + (total - steps) * price) / 1e6)
        assert provider.totals().dollars == pytest.approx(sum(r.dollars for r in provider.log))
        assert provider.totals().prompt_tokens == 2 * total


def test_marks_nulls_and_spelling_do_not_part_prompts() -> None:
    provider = Provider()
    plain = request(user(words(3000)), assistant(None, call("c")), result("c"), model="gpt-5.6")
    other = copy.deepcopy(plain)
    other["messages"][0]["content"] = [text(words(3000), **MARK)]
    other["messages"][1]["refusal"] = None
    assert read(provider, plain, clock="0") == 0
    assert read(provider, other, clock="1") > 2900


def test_scripts_are_those_of_messages() -> None:
    provider = Provider()
    blocks = [
        {"type": "thinking", "thinking": "hm"}, text("I "), text("look."),
        {"type": "tool_use", "name": "Read", "input": {"path": "ä"}},
        {"type": "tool_use", "id": "x", "name": "g", "input": {}},
    ]  # fmt: skip
    provider.script("s", [{"content": blocks}, {"content": [text("end")], "stop_reason": "max_tokens"}])
    choice = ask(provider, request(user("go")), script="s")[0]["choices"][0]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("I look.", "hm")
    assert choice["finish_reason"] == "tool_calls"
    assert [c["id"] for c in message["tool_calls"]] == [message["tool_calls"][0]["id"], "x"]
    assert message["tool_calls"][0]["function"] == {"name": "Read", "arguments": '{"path": "ä"}'}
    back = [result(c["id"]) for c in message["tool_calls"]]
    again = ask(provider, request(user("go"), message, *back), script="s")[0]["choices"][0]
    assert (again["message"]["content"], again["finish_reason"]) == ("end", "length")
    same = ask(provider, request(user("go")), script="s")[0]["choices"][0]["message"]
    assert same == message
    beyond = ask(provider, request(user("go"), assistant("a"), user("b"), assistant("c"), user("d")), script="s")
    assert beyond[1].status == 404
    provider.script("s", [{"content": [{"type": "server_tool_use", "id": "s", "name": "x", "input": {}}]}])
    assert ask(provider, request(user("go")), script="s")[1].status == 500


def test_errors_have_the_shape_of_the_api_and_are_not_billed() -> None:
    provider = Provider()
    provider.script("s", [{"error": {"status": 429, "message": "slow", "headers": {"retry-after": 1}}}])
    payload, record = ask(provider, request(user("go")), script="s")
    assert payload == {"error": {"message": "slow", "type": "rate_limit_error", "param": None, "code": None}}
    assert (record.status, record.dollars, provider.invalid) == (429, 0, 0)
    raw = b'{"model": NaN}'
    assert provider.handle("POST", "/v1/chat/completions", {}, raw, raw).payload["error"]["param"] is None
    assert provider.handle("POST", "/v1/chat/completions", {}, raw, raw, authorized=False).status == 401
    assert provider.handle("GET", "/v1/chat/completions", {}, b"", b"").status == 405
    big = b" " * 32_000_001
    assert provider.handle("POST", "/v1/chat/completions", {}, big, big).status == 413
    bad = ask(provider, request(user("go"), user("")))[0]
    assert bad["error"]["param"] == "messages[1].content"


def test_families_are_found_by_the_longest_name() -> None:
    names = {"gpt-4o-mini-2024-07-18": "gpt-4o-mini", "openai/gpt-6.2-astra": "gpt-6.2-astra", MODEL: "gpt-4.1"}
    assert {name: model_of(name).family for name in names} == names
    assert model_of("llama") is OTHER
    assert all(0 < row.read < row.input <= row.write for row in TABLE)
