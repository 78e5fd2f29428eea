"""The strict Responses upstream: each rule kept and broken, what it remembers of its own, the cache, the bill."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.upstream.chat_models import model_of
from tests.upstream.provider import Provider
from tests.upstream.responses_direct import (
    BOUND,
    CUSTOM,
    MODEL,
    TOOL,
    ask,
    assistant,
    call,
    ran,
    request,
    result,
    run,
    user,
)

DEVELOPER = {"role": "developer", "content": "Be good."}
IMAGE = {"type": "input_image", "image_url": "data:"}
FILE = {"type": "input_file", "file_id": "file_1"}
MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "input_text", "text": words, **more}


def said(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": words, **more}


def thinking(words: str = "hm") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words}


def use(name: str = "Read", given: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": {} if given is None else given, **more}


FOREIGN = {
    "type": "reasoning",
    "id": "rs_x",
    "summary": [{"type": "summary_text", "text": ""}],
    "encrypted_content": "x",
}
SPACE = {"type": "namespace", "name": "shell", "description": "d", "tools": [TOOL, CUSTOM]}
ADDED = {"type": "additional_tools", "role": "developer", "tools": [SPACE]}
NOTE = {"type": "agent_message", "author": "a", "recipient": "b", "content": [text("done")]}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
TRIGGER = {"type": "compaction_trigger"}
ROUND = [DEVELOPER, user("go"), assistant("I look."), call("c1", a=1), run("c2"), ran("c2"), result("c1")]

VALID: dict[str, dict[str, Any]] = {
    "a string": request() | {"input": "hi"},
    "a word": request(user("hi")),
    "a round, answered in another order": request(*ROUND),
    "a round and more": request(*ROUND, assistant("so"), user("next"), call("c3"), result("c3", "")),
    "a round and two calls": request(*ROUND, call("c3"), call("c4"), result("c3"), result("c4")),
    "typed": request({"type": "message", **user([text("look"), IMAGE, FILE])}),
    "assistant parts": request(user("a"), assistant([said("b", annotations=[])], phase="commentary"), user("c")),
    "a refusal": request(user("a"), assistant([{"type": "refusal", "refusal": "no"}]), user("c")),
    "parts of an output": request(
        user("go"), call("c"), run("d"), result("c", [text(""), IMAGE]), ran("d", [text("a"), FILE]),
    ),
    "a call and more of the same answer": request(user("go"), call("c"), assistant("so"), result("c")),
    "reasoning from elsewhere": request(user("go"), FOREIGN, call("c"), result("c")),
    "nulls": request(user("go"), call("c") | {"id": None, "status": None}, result("c"), stream=None, tools=None),
    "ids": request(user("go"), call("c") | {"id": "fc_1"}, result("c") | {"id": "fco_1"}),
    "late instructions": request(user("hi"), DEVELOPER),
    "tools in an item": request(ADDED, user("hi"), tools=[], tool_choice={"type": "custom", "name": "exec"}),
    "tools added later": request(*ROUND, ADDED, user("hi")) | {"tools": None},
    "a namespace": request(user("hi"), tools=[TOOL, SPACE]),
    "built in tools": request(user("hi"), tools=[{"type": "web_search", "external_web_access": True}]),
    "a tool with nulls": request(user("hi"), tools=[{**TOOL, "parameters": None, "strict": None}]),
    "choice": request(user("hi"), tool_choice={"type": "function", "name": "Read"}),
    "allowed tools": request(user("hi"), tool_choice={"type": "allowed_tools", "mode": "auto", "tools": []}),
    "choice without tools": {"model": MODEL, "input": "hi", "tool_choice": "auto", "parallel_tool_calls": True},
    "an agent's message": request(user("go"), call("c"), NOTE, result("c")),
    "the vendor's tools": request(user("go"), SEARCH, assistant("so"), user("and")),
    "a compaction": request(user("go"), {"type": "compaction", "encrypted_content": "x"}),
    "a compaction trigger": request(*ROUND, TRIGGER),
    "as codex": request(
        ADDED, user("go"), client_metadata={"x": "y"}, include=["reasoning.encrypted_content"], store=False,
        stream=True, prompt_cache_key="k", reasoning={"effort": "high", "summary": "auto"}, text={"verbosity": "low"},
    ),
    "breakpoint": request(user([text("hi", **MARK)]), model="gpt-5.6", prompt_cache_options={"ttl": "12h"}),
    "retention": request(user("hi"), prompt_cache_retention="in_memory"),
    "a sampled model": request(user("hi"), model="gpt-4.1", temperature=0),
}  # fmt: skip


@pytest.mark.parametrize("body", VALID.values(), ids=VALID.keys())
def test_valid(body: dict[str, Any]) -> None:
    payload, record = ask(Provider(), body)
    assert record.status == 200, payload
    assert record.violation is None


def change(**more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body.update(more)


def at(number: int, **more: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["input"][number].update(more)


def put(number: int, *items: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["input"].__setitem__(slice(number, number), copy.deepcopy(items))


def tool(**more: Any) -> Callable[[dict[str, Any]], object]:
    return change(tools=[{**TOOL, **more}])


INVALID: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown field": (change(messages=[]), "Unrecognized request argument"),
    "field of Chat": (change(max_completion_tokens=5), "Unrecognized request argument"),
    "no model": (lambda b: b.pop("model"), "model"),
    "no input": (lambda b: b.pop("input"), "input: expected a string or an array"),
    "no items": (change(input=[]), "minimum length 1"),
    "a blank string": (change(input=" "), "not blank"),
    "an object": (change(input={"role": "user"}), "input: expected a string or an array"),
    "stream a string": (change(stream="yes"), "stream: expected a boolean"),
    "metadata a string": (change(metadata="x"), "metadata: expected an object"),
    "include a string": (change(include="x"), "include: expected an array"),
    "include of nothing known": (change(include=["reasoning"]), "include: Invalid value"),
    "instructions a list": (change(instructions=[]), "instructions: expected a string"),
    "a conversation": (change(conversation="conv_1"), "conversation: not supported here"),
    "in the background": (change(background=True), "background: not supported here"),
    "unknown reasoning": (change(reasoning={"budget": 1}), "reasoning.budget: Unknown"),
    "unknown text": (change(text={"type": "x"}), "text.type: Unknown"),
    "usage of a stream": (change(stream=True, stream_options={"include_usage": True}), "stream_options: Unknown"),
    "options of no stream": (change(stream_options={"include_obfuscation": True}), "only allowed when 'stream'"),
    "limit too low": (change(max_output_tokens=15), "at least 16"),
    "temperature of a model that reasons": (change(temperature=0), "temperature"),
    "cache options on an older model": (change(prompt_cache_options={}), "prompt_cache_options: not supported"),
    "cache lifetime": (change(model="gpt-5.6", prompt_cache_options={"ttl": "1h"}), "30m, 12h"),
    "retention of a new model": (change(model="gpt-5.6", prompt_cache_retention="in_memory"), "retention"),
    "breakpoint on an older model": (at(1, content=[text("x", **MARK)]), "not supported on this model"),
    "breakpoint in an output": (at(6, output=[text("x", **MARK)]), "input[6].output[0].prompt_cache_breakpoint: not"),
    "five breakpoints": (
        lambda b: (b.update(model="gpt-5.6"), at(1, content=[text("x", **MARK)] * 5)(b)), "at most 4",
    ),
    "tools an object": (change(tools={}), "tools: expected an array"),
    "two tools of a name": (change(tools=[TOOL, TOOL]), "Duplicate"),
    "tool of Chat": (change(tools=[{"type": "function", "function": TOOL}]), "tools[0].function: Unknown"),
    "tool of another API": (change(tools=[{"name": "x", "input_schema": {}}]), "tools[0].type"),
    "tool name": (tool(name="a b"), "tools[0].name"),
    "tool description": (tool(description=1), "description"),
    "tool strictness": (tool(strict="yes"), "strict"),
    "tool schema": (tool(parameters={"type": "array"}), "Invalid schema"),
    "custom tool with parameters": (change(tools=[{**CUSTOM, "parameters": {}}]), "tools[0].parameters: Unknown"),
    "namespace without description": (change(tools=[{**SPACE, "description": None}]), "tools[0].description"),
    "namespace with more": (change(tools=[{**SPACE, "x": 1}]), "tools[0].x: Unknown"),
    "namespace of a namespace's wrong tool": (change(tools=[{**SPACE, "tools": [{}]}]), "tools[0].tools[0].type"),
    "a wrong tool in an item": (put(0, {**ADDED, "tools": [{}]}), "input[0].tools[0].type"),
    "tools of a user": (put(0, {**ADDED, "role": "user"}), "input[0].role"),
    "unknown choice": (change(tool_choice="any"), "tool_choice"),
    "choice of no tool": (change(tool_choice={"type": "function", "name": "x"}), "not found"),
    "choice of Chat": (change(tool_choice={"type": "function", "function": {"name": "Read"}}), "not found"),
    "item a string": (lambda b: b["input"].append("x"), "input[7].type: Invalid value"),
    "item of no type": (put(7, {"type": "thinking"}), "input[7].type: Invalid value: 'thinking'"),
    "role": (at(1, role="tool"), "role: Invalid value"),
    "unknown member": (at(1, name="x"), "input[1].name: Unknown"),
    "a call's unknown member": (at(3, parsed_arguments={}), "input[3].parsed_arguments: Unknown"),
    "no content": (lambda b: b["input"][1].pop("content"), "input[1].content: Missing"),
    "blank content": (at(1, content=" "), "not blank"),
    "blank part": (at(1, content=[text(" ")]), "input[1].content[0].text: expected text that is not blank"),
    "no parts": (at(1, content=[]), "minimum length 1"),
    "part of Chat": (at(1, content=[{"type": "text", "text": "x"}]), "input[1].content[0].type"),
    "output of a user": (at(1, content=[said("x")]), "input[1].content[0].type"),
    "input of an assistant": (at(2, content=[text("x")]), "input[2].content[0].type"),
    "blank refusal": (at(2, content=[{"type": "refusal", "refusal": ""}]), "not blank"),
    "part with more": (at(1, content=[text("x", cache_control={})]), "cache_control: Unknown"),
    "part without text": (at(1, content=[{"type": "input_text"}]), "content[0].text: Missing"),
    "image of nothing": (at(1, content=[{"type": "input_image", "detail": "auto"}]), "one of image_url, file_id"),
    "phase of a user": (at(1, phase="commentary"), "phase"),
    "unknown phase": (at(2, phase="thinking"), "phase"),
    "id of another kind": (at(3, id="msg_1"), "begins with 'fc'"),
    "id of a custom call": (at(4, id="fc_1"), "begins with 'ctc'"),
    "id a number": (at(3, id=1), "input[3].id: expected a string"),
    "no call id": (lambda b: b["input"][6].pop("call_id"), "call_id: Missing"),
    "empty call id": (at(3, call_id=""), "1 to 64"),
    "long call id": (at(3, call_id="x" * 65), "1 to 64"),
    "arguments an object": (at(3, arguments={}), "arguments: Missing required parameter, or of the wrong type"),
    "arguments no JSON": (at(3, arguments="{"), "JSON object"),
    "arguments a list": (at(3, arguments="[]"), "JSON object"),
    "input an object": (at(4, input={}), "input[4].input: Missing"),
    "name of a call": (at(3, name=""), "input[3].name"),
    "no output": (at(6, output=None), "output: Missing"),
    "output an object": (at(6, output={}), "output: Missing"),
    "no parts of an output": (at(6, output=[]), "minimum length 1"),
    "part of an output": (at(6, output=[said("x")]), "input[6].output[0].type"),
    "reasoning without a summary": (put(2, {**FOREIGN, "summary": None}), "input[2].summary: Missing"),
    "part of a summary": (put(2, {**FOREIGN, "summary": [said("x")]}), "input[2].summary[0].type"),
    "a compaction of nothing": (put(0, {"type": "compaction"}), "encrypted_content: Missing"),
    "a trigger in the middle": (put(5, TRIGGER), "must be the last item"),
    "an output missing": (lambda b: b["input"].pop(), "No tool output found for function call c1."),
    "a custom output missing": (lambda b: b["input"].pop(5), "No tool output found for custom tool call c2."),
    "an output missing before a turn": (put(6, user("x")), "No tool output found for function call c1."),
    "an output missing before instructions": (put(6, DEVELOPER), "No tool output found for function call c1."),
    "an output missing before an answer": (put(6, assistant("x")), "No tool output found for function call c1."),
    "an output missing before a call": (put(6, call("c3")), "No tool output found for function call c1."),
    "an output twice": (
        lambda b: b["input"].append(result("c1")), "No tool call found for function call output with call_id c1.",
    ),
    "an output of nothing": (
        put(1, ran("c9")), "No tool call found for custom tool call output with call_id c9.",
    ),
    "an output of another kind": (
        lambda b: b["input"].append(ran(b["input"].pop()["call_id"])), "No tool call found for custom tool call output",
    ),
    "an output before its call": (lambda b: b["input"].insert(2, b["input"].pop()), "No tool call found"),
    "a call id twice": (lambda b: b["input"].extend([call("c1"), result("c1")]), "must be unique"),
    "an id twice": (
        put(2, {**assistant("x"), "id": "msg_1"}, user("y"), {**assistant("z"), "id": "msg_1"}),
        "Duplicate item found with id msg_1.",
    ),
    "the model last": (lambda b: b["input"].append(assistant("so")), "must not end"),
    "a call last": (lambda b: b["input"].append(call("c4")), "No tool output found for function call c4."),
    "reasoning last": (lambda b: b["input"].append(FOREIGN), "without its required following item"),
    "reasoning before a user": (put(1, FOREIGN), "Item 'rs_x' of type 'reasoning' was provided without its"),
    "reasoning that is nowhere": (put(2, {"type": "reasoning", "id": "rs_1", "summary": []}), "'rs_1' not found"),
    "a reference to nothing": (put(2, {"type": "item_reference", "id": "msg_1"}), "Item with id 'msg_1' not found"),
    "a bare reference to nothing": (put(2, {"id": "msg_1"}), "Item with id 'msg_1' not found"),
    "an unknown answer": (change(previous_response_id="resp_x"), "Previous response with id 'resp_x' not found."),
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


# what is answered

ANSWER = [
    thinking("hm " * 9),
    {"type": "text", "text": "I look.", "phase": "commentary"},
    use(given={"path": "ä"}),
    use("exec", "ls"),
]


def test_scripts_are_those_of_messages() -> None:
    provider = Provider()
    provider.script(
        "s", [{"content": ANSWER}, {"content": [{"type": "text", "text": "end"}], "stop_reason": "max_tokens"}]
    )
    first = ask(provider, request(user("go"), instructions="Be."), script="s")[0]
    assert (first["status"], first["incomplete_details"], first["instructions"]) == ("completed", None, "Be.")
    thought, message, read, ran_ = first["output"]
    assert thought == {"id": thought["id"], "type": "reasoning", "summary": []}
    assert (message["content"][0]["text"], message["phase"], message["role"]) == ("I look.", "commentary", "assistant")
    assert (read["type"], read["name"], read["arguments"]) == ("function_call", "Read", '{"path": "ä"}')
    assert (ran_["type"], ran_["input"]) == ("custom_tool_call", "ls")
    assert [item["id"].split("_")[0] for item in first["output"]] == ["rs", "msg", "fc", "ctc"]
    assert first["usage"]["output_tokens_details"]["reasoning_tokens"] == 8
    back = [result(read["call_id"]), ran(ran_["call_id"])]
    again, record = ask(provider, request(user("go"), *first["output"], *back), script="s")
    assert record.turn == 1
    assert again["incomplete_details"] == {"reason": "max_output_tokens"}
    assert again["status"] == "incomplete"
    assert ask(provider, request(user("go"), instructions="Be."), script="s")[0]["output"] == first["output"]
    more = request(user("a"), assistant("b"), user("c"), assistant("d"), user("e"))
    assert ask(provider, more, script="s")[1].status == 404
    provider.script("s", [{"content": [{"type": "server_tool_use", "id": "s", "name": "x", "input": {}}]}])
    assert ask(provider, request(user("go")), script="s")[1].status == 500


def test_a_custom_tool_gets_text_and_calls_say_their_namespace() -> None:
    provider = Provider()
    provider.script("s", [{"content": [use("exec", {"a": 1}, id="x"), use("Read"), use("unknown")]}])
    output = ask(provider, request(ADDED, user("go"), tools=None), script="s")[0]["output"]
    assert [item.get("namespace") for item in output] == ["shell", "shell", None]
    assert (output[0]["call_id"], output[0]["input"]) == ("x", '{"a": 1}')
    assert [item["type"] for item in output] == ["custom_tool_call", "function_call", "function_call"]


@pytest.mark.parametrize(
    ("more", "sealed"),
    [
        ({}, False),
        ({"store": True}, False),
        ({"store": False}, True),
        ({"include": ["reasoning.encrypted_content"]}, True),
    ],
)
def test_reasoning_is_sealed_where_that_is_asked_for(more: dict[str, Any], sealed: bool) -> None:
    provider = Provider()
    provider.script("s", [{"content": [thinking(), use()]}])
    output = ask(provider, request(user("go"), **more), script="s")[0]["output"]
    assert ("encrypted_content" in output[0]) is sealed


def test_a_summary_is_shown_to_who_asks() -> None:
    provider = Provider()
    provider.script("s", [{"content": [thinking("so"), use()]}])
    output = ask(provider, request(user("go"), reasoning={"summary": "auto"}), script="s")[0]["output"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "so"}]


@pytest.mark.parametrize(
    ("items", "turn"),
    [
        ([user("a")], 0),
        ([user("a"), assistant("b"), user("c")], 1),
        ([user("a"), call("x"), call("y"), result("x"), result("y")], 1),
        ([user("a"), FOREIGN, assistant("b"), call("x"), result("x"), FOREIGN, run("y"), ran("y")], 2),
        ([user("a"), SEARCH, call("x"), NOTE, result("x"), user("b")], 1),
        ([user("a"), {"type": "compaction", "encrypted_content": "x"}, user("b")], 1),
    ],
)
def test_answers_are_counted_not_items(items: list[dict[str, Any]], turn: int) -> None:
    assert ask(Provider(), request(*items))[1].turn == turn


def test_a_compaction_trigger_is_answered_by_a_compaction() -> None:
    provider = Provider()
    provider.script("s", [{"content": [{"type": "text", "text": "no"}]}])
    for script, items in (("", ROUND), ("s", [user("go")]), ("s", ROUND)):
        output = ask(provider, request(*items, TRIGGER), script=script)[0]["output"]
        assert [item["type"] for item in output] == ["compaction"]
        assert ask(provider, request(user("go"), *output, user("on")))[1].status == 200
        assert output[0]["encrypted_content"]
    provider.script("s", [{"content": [{"type": "text", "text": "so"}, {"type": "compaction"}]}])
    output = ask(provider, request(user("go"), TRIGGER), script="s")[0]["output"]
    assert [item["type"] for item in output] == ["message", "compaction"]
    provider.script("s", [{"error": {"status": 500}}])
    assert ask(provider, request(user("go"), TRIGGER), script="s")[1].status == 500


def test_errors_have_the_shape_of_the_api_and_are_not_billed() -> None:
    provider = Provider()
    provider.script("s", [{"error": {"status": 429, "message": "slow", "headers": {"retry-after": 1}}}])
    payload, record = ask(provider, request(user("go")), script="s")
    assert payload == {"error": {"message": "slow", "type": "rate_limit_error", "param": None, "code": None}}
    assert (record.status, record.dollars, provider.invalid) == (429, 0, 0)
    raw = b'{"model": NaN}'
    assert provider.handle("POST", "/v1/responses", {}, raw, raw).payload["error"]["param"] is None
    assert provider.handle("POST", "/v1/responses", {}, raw, raw, authorized=False).status == 401
    assert provider.handle("GET", "/v1/responses", {}, b"", b"").status == 405
    assert provider.handle("GET", "/v1/responses", {"upgrade": "websocket"}, b"", b"").status == 426
    assert provider.handle("GET", "/v1/chat/completions", {"upgrade": "websocket"}, b"", b"").status == 405
    big = b" " * 32_000_001
    assert provider.handle("POST", "/v1/responses", {}, big, big).status == 413
    assert ask(provider, request(user("go"), user("")))[0]["error"]["param"] == "input[1].content"


# what it made comes back as it was

Items = list[dict[str, Any]]


def begun(provider: Provider, content: list[dict[str, Any]] = ANSWER, **more: Any) -> tuple[Items, Items]:
    """A first answer, and its calls' outputs."""
    provider.script("first", [{"content": content}])
    output = ask(provider, request(user("go"), **more), script="first", session="a")[0]["output"]
    outputs = {"function_call": result, "custom_tool_call": ran}
    return output, [outputs[item["type"]](item["call_id"]) for item in output if item["type"] in outputs]


def without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in names}


KEPT: dict[str, Callable[[Items], Items]] = {
    "as it was": lambda said: said,
    "without status": lambda said: [without(item, "status") for item in said],
    "without ids": lambda said: [without(item, "id", "status") for item in said],
    "with nulls": lambda said: [item | {"content": None} if item["type"] == "reasoning" else item for item in said],
    "text as a string": lambda said: [said[0], said[1] | {"content": "I look."}, *said[2:]],
    "bare text": lambda said: [said[0], said[1] | {"content": [{"type": "output_text", "text": "I look."}]}, *said[2:]],
    "without a phase": lambda said: [said[0], without(said[1], "phase"), *said[2:]],
}


@pytest.mark.parametrize("spell", KEPT.values(), ids=KEPT.keys())
def test_what_it_said_may_come_back_in_other_spellings(spell: Callable[[Items], Items]) -> None:
    provider = Provider()
    said, outputs = begun(provider, store=False)
    payload, record = ask(provider, request(user("go"), *spell(copy.deepcopy(said)), *outputs), session="a")
    assert record.status == 200, payload


CHANGED: dict[str, tuple[Callable[[Items], Items], str]] = {
    "a text": (lambda said: [said[0], said[1] | {"content": "I looked."}, *said[2:]], "was changed"),
    "arguments": (lambda said: [*said[:2], said[2] | {"arguments": "{}"}, said[3]], "was changed"),
    "arguments under another id": (
        lambda said: [*said[:2], said[2] | {"arguments": "{}", "id": "fc_1"}, said[3]], "was changed",
    ),
    "arguments without an id": (
        lambda said: [*said[:2], without(said[2], "id") | {"arguments": "{}"}, said[3]], "was changed",
    ),
    "a custom input": (lambda said: [*said[:3], said[3] | {"input": "rm"}], "was changed"),
    "a name": (lambda said: [*said[:2], said[2] | {"name": "Write"}, said[3]], "was changed"),
    "a phase": (lambda said: [said[0], said[1] | {"phase": "final_answer"}, *said[2:]], "was changed"),
    "a seal": (lambda said: [said[0] | {"encrypted_content": "x"}, *said[1:]], "was changed"),
    "a summary": (
        lambda said: [said[0] | {"summary": [{"type": "summary_text", "text": "x"}]}, *said[1:]], "was changed",
    ),
    "reasoning's id": (lambda said: [said[0] | {"id": "rs_1"}, *said[1:]], "was changed"),
    "no reasoning": (lambda said: said[1:], "was provided without its required 'reasoning' item: 'rs_"),
    "reasoning from elsewhere": (lambda said: [FOREIGN, *said[1:]], "without its required 'reasoning' item: 'rs_"),
    "no message": (lambda said: [said[0], *said[2:]], "'reasoning' was provided without its required following"),
    "another message": (
        lambda said: [said[0], assistant("I looked."), *said[2:]],
        "'reasoning' was provided without its required following",
    ),
    "another order": (lambda said: [said[0], said[2], said[1], said[3]], "without its required"),
}  # fmt: skip


@pytest.mark.parametrize(("spell", "words"), CHANGED.values(), ids=CHANGED.keys())
def test_what_it_said_must_not_change(spell: Callable[[Items], Items], words: str) -> None:
    provider = Provider()
    said, outputs = begun(provider, store=False)
    payload, record = ask(provider, request(user("go"), *spell(copy.deepcopy(said)), *outputs), session="a")
    assert record.status == 400
    assert words in payload["error"]["message"]


def test_a_call_must_come_with_the_reasoning_before_it_even_without_ids() -> None:
    provider = Provider()
    said, outputs = begun(provider, [thinking(), use()], store=False)
    bare = [without(item, "id", "status") for item in said]
    assert ask(provider, request(user("go"), *bare, *outputs), session="a")[1].status == 200
    assert "'reasoning' item" in (
        ask(provider, request(user("go"), *bare[1:], *outputs), session="a")[1].violation or ""
    )
    assert ask(provider, request(user("go"), *bare[1:], *outputs), session="b")[1].status == 200


def test_an_older_turn_may_be_left_out_as_a_whole() -> None:
    provider = Provider()
    begun(provider)
    assert ask(provider, request(user("go"), user("on")), session="a")[1].status == 200


# bound models


def bound_round(provider: Provider, **more: Any) -> tuple[Items, Items]:
    return begun(provider, model=BOUND, store=False, **more)


COMPACTION = {"type": "compaction", "encrypted_content": "of this server"}
PREFIX: dict[str, tuple[dict[str, Any], Callable[[Items], Items], bool]] = {
    "nothing": ({}, lambda items: items, True),
    "spelling": ({}, lambda items: [{"type": "message", **user([text("go")])}, *items[1:]], True),
    "a text": ({}, lambda items: [user("gone"), *items[1:]], False),
    "an item more": ({}, lambda items: [user("also"), *items], False),
    "tools": ({"tools": [CUSTOM, TOOL]}, lambda items: items, False),
    "the answer's shape": ({"text": {"format": {"type": "json_object"}}}, lambda items: items, False),
    "instructions, which are for a turn": ({"instructions": "Be."}, lambda items: items, True),
    "effort": ({"reasoning": {"effort": "high"}}, lambda items: items, True),
    "what is behind": ({}, lambda items: [*items, user("and")], True),
    "a compaction between": (
        {}, lambda items: [COMPACTION, *items[1:]], True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", [BOUND, "gpt-6"])
@pytest.mark.parametrize(("more", "change", "kept"), PREFIX.values(), ids=PREFIX.keys())
def test_reasoning_behind_a_changed_prefix_is_dropped(
    more: dict[str, Any], change: Callable[[Items], Items], kept: bool, model: str
) -> None:
    provider = Provider()
    said, outputs = bound_round(provider)
    compaction = ask(provider, request(user("x"), TRIGGER), session="a")[0]["output"][0]
    items = [compaction if item is COMPACTION else item for item in change([user("go"), *said, *outputs])]
    body = request(*items, model=model, store=False, **more)
    payload, record = ask(provider, body, session="a")
    assert record.status == 200, payload
    lost = [] if kept or model != BOUND else [said[0]["id"]]
    assert record.dropped == lost
    told = [{"type": "reasoning", "action": "removed", "reason": "prefix_mismatch", "id": name} for name in lost]
    assert payload.get("input_transformations", []) == told


def test_binding_can_be_forced_and_turned_off() -> None:
    provider = Provider()
    said, outputs = bound_round(provider)
    changed = request(user("gone"), *said, *outputs, store=False)
    assert ask(provider, changed, session="a", bound="force")[1].dropped == [said[0]["id"]]
    assert ask(provider, {**changed, "model": BOUND}, session="a", bound="off")[1].dropped == []
    assert (model_of(BOUND).bound, model_of("gpt-6.1").bound) == (True, False)


def test_instructions_of_older_models_stand_before_the_items() -> None:
    provider = Provider()
    said, outputs = begun(provider, store=False, instructions="Be.")
    body = request(user("go"), *said, *outputs, store=False)
    assert ask(provider, body | {"instructions": "Be."}, session="a", bound="force")[1].dropped == []
    assert ask(provider, body | {"instructions": "Be not."}, session="a", bound="force")[1].dropped == [said[0]["id"]]


def test_a_changed_item_drops_what_is_behind_it_only() -> None:
    provider = Provider()
    items: Items = [user("go")]
    provider.script("s", [{"content": [thinking(f"{n}"), use()]} for n in range(3)])
    thoughts = []
    for _ in range(3):
        output = ask(provider, request(*items, model=BOUND, store=False), script="s", session="a")[0]["output"]
        thoughts.append(output[0]["id"])
        items += [*output, result(output[1]["call_id"])]
    assert ask(provider, request(*items, model=BOUND), session="a")[1].dropped == []
    items[3] = items[3] | {"output": "short"}
    assert ask(provider, request(*items, model=BOUND), session="a")[1].dropped == thoughts[1:]


def test_older_reasoning_may_be_left_away_from_what_has_no_id() -> None:
    provider = Provider()
    items: Items = [user("go")]
    provider.script("s", [{"content": [thinking(f"{n}"), {"type": "text", "text": "so"}]} for n in range(2)])
    for _ in range(2):
        output = ask(provider, request(*items, model=BOUND, store=False), script="s", session="a")[0]["output"]
        items += [output[0], without(output[1], "id"), user("on")]
    assert ask(provider, request(*items[:1], *items[2:], model=BOUND), session="a")[1].dropped == []


def test_a_bound_model_reads_no_seal_of_others() -> None:
    foreign = request(user("go"), FOREIGN, call("c"), result("c"), model=BOUND)
    assert "could not be verified" in (ask(Provider(), foreign)[1].violation or "")


# what is stored


def test_a_stored_answer_can_be_gone_on_from() -> None:
    provider = Provider()
    provider.script("s", [{"content": [thinking(), use()]}, {"content": [{"type": "text", "text": "x"}]}])
    first = ask(provider, request(user("go")), script="s")[0]
    output = result(first["output"][1]["call_id"])
    second, record = ask(provider, request(output, previous_response_id=first["id"]), script="s")
    assert (record.turn, second["previous_response_id"]) == (1, first["id"])
    whole = ask(provider, request(user("go"), *first["output"], output))[0]["usage"]["input_tokens"]
    assert second["usage"]["input_tokens"] == whole
    third, record = ask(provider, request(user("on"), previous_response_id=second["id"]))
    assert record.turn == 2
    unanswered, _ = ask(provider, request(user("on"), previous_response_id=first["id"]))
    assert "No tool output found for function call" in unanswered["error"]["message"]
    again, _ = ask(provider, request(first["output"][1], output, previous_response_id=first["id"]))
    assert "Duplicate item found with id fc_" in again["error"]["message"]
    assert third["status"] == "completed"


def test_what_is_not_stored_is_not_found() -> None:
    provider = Provider()
    provider.script("s", [{"content": [thinking(), use()]}])
    first = ask(provider, request(user("go"), store=False), script="s")[0]
    gone = ask(provider, request(user("on"), previous_response_id=first["id"]))[0]
    assert gone["error"]["message"] == f"Previous response with id '{first['id']}' not found."
    hidden = without(first["output"][0], "encrypted_content")
    lone = ask(provider, request(user("go"), hidden, first["output"][1], result(first["output"][1]["call_id"])))[0]
    assert "Items are not persisted when `store` is set to false" in lone["error"]["message"]


def test_stored_items_can_be_referred_to() -> None:
    provider = Provider()
    provider.script("s", [{"content": [thinking(), use()]}])
    output = ask(provider, request(user("go")), script="s")[0]["output"]
    named = [{"type": "item_reference", "id": item["id"]} for item in output]
    back = result(output[1]["call_id"])
    whole = ask(provider, request(user("go"), *output, back))[0]["usage"]["input_tokens"]
    payload, record = ask(provider, request(user("go"), *named, back))
    assert record.status == 200, payload
    assert record.turn == 1
    assert payload["usage"]["input_tokens"] >= whole
    torn = ask(provider, request(user("go"), named[1], back))[0]
    assert "without its required 'reasoning' item" in torn["error"]["message"]


# cache and bill


def words(tokens: int) -> str:
    return "x" * int(tokens * 3.5)


def test_the_cache_is_by_prefix_in_steps_from_a_minimum_on() -> None:
    provider = Provider()
    short = request(user(words(900)))
    for _ in range(2):
        assert ask(provider, short, clock="0")[0]["usage"]["input_tokens_details"]["cached_tokens"] == 0
    long = request(user(words(3000)), assistant("so"), user("a"))
    total = ask(provider, long, clock="0")[0]["usage"]["input_tokens"]
    grown = request(*long["input"], assistant("b"), user("c"))
    usage = ask(provider, grown, clock="10")[0]["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": total // 128 * 128, "cache_write_tokens": 0}
    assert provider.log[-1].prefix_kept == 1
    changed = copy.deepcopy(grown)
    changed["input"][0]["content"] = "y" + words(3000)
    assert ask(provider, changed, clock="30")[1].usage["cache_read_input_tokens"] == 0
    assert (provider.log[-1].prefix_kept or 0) < 0.1


def read(provider: Provider, body: dict[str, Any], **headers: str) -> int:
    return int(ask(provider, body, **headers)[1].usage["cache_read_input_tokens"])


@pytest.mark.parametrize(
    ("model", "more", "lifetime"),
    [
        ("gpt-4o", {}, 600),
        ("gpt-5.1", {"prompt_cache_retention": "in_memory"}, 600),
        ("gpt-5.6", {}, 1800),
        ("gpt-5.6", {"prompt_cache_options": {"ttl": "12h"}}, 43200),
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
    assert read(provider, {**body, "instructions": "x"}, clock="3", session="a") == 0


def test_instructions_of_new_models_are_read_behind_the_items() -> None:
    provider = Provider()
    body = request(user(words(3000)), model=BOUND)
    assert read(provider, body | {"instructions": "one"}, clock="0") == 0
    assert read(provider, body | {"instructions": "two"}, clock="1") > 2900
    assert ask(provider, body | {"instructions": words(500)})[0]["usage"]["input_tokens"] > 3500


def test_a_head_can_be_warm() -> None:
    tools = [{**TOOL, "description": words(2000)}]
    for upto, most in (("tools", 2100), ("system", 4200), (1500, 1500)):
        for head in (
            {"tools": tools, "instructions": words(2000), "input": [user(words(2000))]},
            {"tools": tools, "input": [{"role": "developer", "content": words(2000)}, user(words(2000))]},
            {"input": [{**ADDED, "tools": tools}, {"role": "developer", "content": words(2000)}, user(words(2000))]},
        ):
            provider = Provider()
            provider.warm("a", upto)
            assert most - 300 < read(provider, {"model": MODEL, **head}, clock="0", account="a") <= most


def test_writes_are_charged_for_on_newer_models_only() -> None:
    for model, price, write, cached in (("gpt-4o", 2.5, 2.5, 1.25), ("gpt-5.6", 5, 6.25, 0.5)):
        provider, body = Provider(), request(user(words(3000)), model=model)
        provider.script("s", [{"content": [{"type": "text", "text": "x"}], "output_tokens": 0}])
        payload, record = ask(provider, body, clock="0", script="s")
        total, steps = payload["usage"]["input_tokens"], payload["usage"]["input_tokens"] // 128 * 128
        assert record.dollars == pytest.approx((steps * write + (total - steps) * price) / 1e6)
        assert payload["usage"]["input_tokens_details"]["cache_write_tokens"] == (steps if write != price else 0)
        payload, record = ask(provider, body, clock="1", script="s")
        assert record.dollars == pytest.approx((steps * cached + (total - steps) * price) / 1e6)
        assert provider.totals().dollars == pytest.approx(sum(r.dollars for r in provider.log))
        assert provider.totals().prompt_tokens == 2 * total


def test_marks_nulls_and_spelling_do_not_part_prompts() -> None:
    provider = Provider()
    plain = request(user(words(3000)), call("c"), result("c"), model="gpt-5.6")
    other = copy.deepcopy(plain)
    other["input"][0] = {"type": "message", "role": "user", "content": [text(words(3000), **MARK)]}
    other["input"][1] |= {"id": "fc_1", "status": "completed"}
    other["input"][2]["output"] = [text("done")]
    total = ask(provider, plain, clock="0")[1].usage
    assert ask(provider, other, clock="1")[1].usage["cache_read_input_tokens"] == total["cache_creation_input_tokens"]
    assert provider.log[-1].prefix_kept == 1
