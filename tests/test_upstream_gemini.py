"""The strict Gemini upstream: each rule kept and broken, thought signatures, the cache by prefix, the bill."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.upstream.gemini_direct import FUNCTION, MODEL, THIRD, address, ask, call, model, request, result, user
from tests.upstream.gemini_models import OTHER, TABLE, dollars, model_of
from tests.upstream.provider import Provider

IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
THOUGHT = {"text": "hm", "thought": True}
SYSTEM = {"systemInstruction": {"parts": [{"text": "Be good."}]}}
ROUND = [
    user("go"),
    model("I look.", call(a=1), call("Grep"), call()),
    user(result("Grep"), result(), result()),
    model("so"),
    user("and"),
]
SCHEMA = {"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING"}}}, "required": ["a"]}


def declared(**more: Any) -> list[dict[str, Any]]:
    return [{"functionDeclarations": [{**FUNCTION, **more}]}]


def old(**parameters: Any) -> list[dict[str, Any]]:
    return [{"functionDeclarations": [{"name": "Read", "description": "d", "parameters": {**SCHEMA, **parameters}}]}]


VALID: dict[str, dict[str, Any]] = {
    "a word": request(user("hi")),
    "no tools": {"contents": [user("hi")]},
    "instructions": request(user("hi"), **SYSTEM),
    "a round, answered in another order": request(*ROUND),
    "an open round": request(*ROUND[:3]),
    "role function": request(*ROUND[:2], {**ROUND[2], "role": "function"}),
    "the client's ids": request(user("go"), model(call()), user(result(identity="mine"))),
    "ids in another order": request(
        user("go"), model(call(identity="a"), call(identity="b")), user(result(identity="b"), result(identity="a"))
    ),
    "the client's id beside the server's": request(
        user("go"), model(call(), call(identity="a")), user(result(identity="a"), result(identity="b"))
    ),
    "an id beside none": request(
        user("go"), model(call(identity="a"), call(identity="b")), user(result(), result(identity="a"))
    ),
    "steps": request(user("go"), model(call()), user(result()), model(call()), user(result())),
    "users in a row": request(user("go"), user("on")),
    "texts of a model in a row": request(user("go"), model("a"), model("b"), user("on")),
    "a blank piece of a stream": request(user("go"), model("a", " ", "b"), user("on")),
    "a thought": request(user("go"), model(THOUGHT, call()), user(result())),
    "media": request(user("look", IMAGE, {"fileData": {"fileUri": "x"}})),
    "an undeclared call": request(user("go"), model(call("mmu_page_in")), user(result("mmu_page_in"))),
    "an empty response": request(
        user("go"), model(call()), user({"functionResponse": {"name": "Read", "response": {}}})
    ),
    "snake case": {
        "contents": [user("go"), model({"function_call": {"name": "Read"}}), {"role": "user", "parts": [
            {"function_response": {"name": "Read", "response": {}}}]}],
        "system_instruction": {"parts": [{"text": "x"}]},
        "tools": [{"function_declarations": [{"name": "Read", "parameters_json_schema": {"type": "object"}}]}],
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"include_thoughts": True}},
    },
    "nulls": request(user({"text": "hi", "thought": None}), toolConfig=None),
    "tools of the server": request(user("hi"), tools=[{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}]),
    "a schema of the API": request(user("hi"), tools=old()),
    "choice": request(
        user("hi"), toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["Read"]}}
    ),
    "settings": request(
        user("hi"),
        generationConfig={"temperature": 1, "topP": 0.9, "topK": 40, "maxOutputTokens": 9, "stopSequences": ["x"]},
        safetySettings=[{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
        labels={"team": "x"},
    ),
    "a form of the answer": {
        "contents": [user("hi")],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA},
    },
}  # fmt: skip


@pytest.mark.parametrize("body", VALID.values(), ids=VALID.keys())
def test_valid(body: dict[str, Any]) -> None:
    payload, record = ask(Provider(), body)
    assert record.status == 200, payload
    assert record.violation is None


Change = Callable[[dict[str, Any]], object]


def change(**more: Any) -> Change:
    return lambda body: body.update(more)


def at(number: int, **more: Any) -> Change:
    return lambda body: body["contents"][number].update(more)


def part(number: int, at: int, *drop: str, **more: Any) -> Change:
    def apply(body: dict[str, Any]) -> None:
        found = body["contents"][number]["parts"][at]
        found.update(more)
        for name in drop:
            del found[name]

    return apply


def inner(number: int, at: int, **more: Any) -> Change:
    """Change the call or the response of a part."""
    return lambda body: next(iter(body["contents"][number]["parts"][at].values())).update(more)


def config(**more: Any) -> Change:
    return change(generationConfig=more)


def choose(**more: Any) -> Change:
    return change(toolConfig={"functionCallingConfig": more})


INVALID: dict[str, tuple[Change, str]] = {
    "unknown field": (change(system="x"), 'Unknown name "system": Cannot find field.'),
    "unknown field of a content": (at(0, name="x"), "Unknown name \"name\" at 'contents[0]'"),
    "unknown field of a part": (part(1, 1, type="x"), "at 'contents[1].parts[1]'"),
    "unknown field of a call": (inner(1, 1, input={}), "at 'contents[1].parts[1].function_call'"),
    "unknown field of a response": (inner(2, 0, output="x"), "at 'contents[2].parts[0].function_response'"),
    "unknown field of a tool": (change(tools=[{"name": "x"}]), "at 'tools[0]'"),
    "unknown field of a schema": (change(tools=old(const=1)), "function_declarations[0].parameters'"),
    "unknown field of a schema inside": (change(tools=old(properties={"a": {"x": 1}})), "parameters.properties[a]'"),
    "unknown setting": (config(max_tokens=1), "at 'generation_config'"),
    "a field in both spellings": (change(toolConfig={}, tool_config={}), "there twice"),
    "contents a text": (change(contents="hi"), "Invalid value at 'contents': expected an array, got str"),
    "one content": (change(contents=user("hi")), "expected an array"),
    "a content a text": (change(contents=["hi"]), "Invalid value at 'contents[0]'"),
    "a text a number": (part(0, 0, text=1), "Invalid value at 'contents[0].parts[0].text'"),
    "a number a boolean": (config(temperature=True), "Invalid value at 'generation_config.temperature'"),
    "labels a list": (change(labels=[]), "Invalid value at 'labels'"),
    "a label a number": (change(labels={"a": 1}), "Invalid value at 'labels[a]'"),
    "bytes that are none": (part(1, 1, thoughtSignature="?"), "Base64 decoding failed"),
    "no contents": (change(contents=[]), "contents is not specified"),
    "contents left out": (lambda b: b.pop("contents"), "contents is not specified"),
    "no role": (lambda b: b["contents"][0].pop("role"), "valid role"),
    "a role of another API": (at(1, role="assistant"), "valid role"),
    "no parts": (at(3, parts=[]), "* GenerateContentRequest.contents[3].parts: contents.parts must not be empty."),
    "parts left out": (lambda b: b["contents"][3].pop("parts"), "must not be empty"),
    "an empty part": (at(3, parts=[{}]), "contents[3].parts[0].data: required oneof"),
    "a part with only a mark": (at(3, parts=[{"thought": True}]), "required oneof"),
    "a part with two things": (part(1, 1, text="x"), "required oneof"),
    "blank text": (part(0, 0, text=" "), "not blank"),
    "empty text of a model": (part(3, 0, text=""), "not blank"),
    "a user's call": (at(0, parts=[call()]), "'function_call' does not belong"),
    "a model's response": (at(1, parts=[result()]), "'function_response' does not belong"),
    "text of a function": (at(0, role="function"), "'text' does not belong"),
    "a user's thought": (part(0, 0, thought=True), "thoughts do not belong"),
    "no name of a call": (inner(1, 1, name=""), "function_call.name: is required"),
    "no name of a response": (inner(2, 0, name=None), "function_response.name: is required"),
    "a name with a space": (inner(1, 1, name="a b"), "Invalid function name"),
    "no id in an id": (inner(1, 1, id=""), "function_call.id"),
    "arguments a text": (inner(1, 1, args="{}"), "Invalid value at 'contents[1].parts[1].function_call.args'"),
    "a response a text": (inner(2, 0, response="done"), "function_response.response': expected object"),
    "a response a list": (inner(2, 0, response=[]), "function_response.response': expected object"),
    "no response": (inner(2, 0, response=None), "function_response.response: is required"),
    "an image without its kind": (at(0, parts=[{"inlineData": {"data": "AA=="}}]), "inline_data.mime_type"),
    "a file without address": (at(0, parts=[{"fileData": {"mimeType": "x"}}]), "file_data.file_uri"),
    "the model first": (lambda b: b["contents"].insert(0, model("hi")), "first content"),
    "the model last": (lambda b: b["contents"].append(model("so")), "last content"),
    "a call last": (lambda b: b["contents"].append(model(call())), "number of function response parts"),
    "a response missing": (lambda b: b["contents"][2]["parts"].pop(), "number of function response parts"),
    "a response too many": (lambda b: b["contents"][2]["parts"].append(result()), "number of function response parts"),
    "a response of another name": (inner(2, 0, name="Glob"), "No call is left for the response of 'Glob'"),
    "text beside responses": (lambda b: b["contents"][2]["parts"].append({"text": "x"}), "holds nothing else"),
    "no responses": (lambda b: b["contents"].pop(2), "number of function response parts"),
    "a turn before the responses": (lambda b: b["contents"].insert(2, user("x")), "number of function response parts"),
    "responses in two contents": (
        lambda b: b["contents"].insert(3, user(b["contents"][2]["parts"].pop())), "number of function response parts",
    ),
    "responses twice": (
        lambda b: b["contents"].insert(3, b["contents"][2]), "immediately after a function call turn",
    ),
    "a response to nothing": (lambda b: b["contents"].append(user(result())), "immediately after a function call turn"),
    "a response first": (lambda b: b["contents"].insert(0, user(result())), "immediately after a function call turn"),
    "a call behind the model": (lambda b: b["contents"].insert(1, model("x")), "immediately after a user turn"),
    "another id": (
        lambda b: (inner(1, 2, id="x")(b), inner(2, 0, id="y")(b)), "No call is left for the response of 'Grep'",
    ),
    "the id of another call": (
        lambda b: (inner(1, 1, id="x")(b), inner(1, 2, id="y")(b), inner(2, 0, id="x")(b)), "No call is left",
    ),
    "an id twice": (lambda b: (inner(1, 1, id="x")(b), inner(1, 3, id="x")(b)), "must be unique: x"),
    "an empty tool": (change(tools=[{}]), "tool_type"),
    "no tool name": (change(tools=declared(name=None)), "Invalid function name"),
    "a tool name": (change(tools=declared(name="1x")), "Invalid function name"),
    "a long tool name": (change(tools=declared(name="x" * 65)), "Invalid function name"),
    "two tools of a name": (change(tools=[*declared(), *declared()]), "Duplicate function declaration found: Read"),
    "a tool's description": (change(tools=declared(description="")), "description: must not be blank"),
    "too many tools": (
        change(tools=[{"functionDeclarations": [{"name": f"f{n}"} for n in range(129)]}]), "at most 128",
    ),
    "two schemas": (change(tools=declared(parameters=SCHEMA)), "only one of"),
    "a schema of no object": (change(tools=old(type="STRING")), "should be of type OBJECT"),
    "a JSON schema of no object": (change(tools=declared(parametersJsonSchema={})), "should be of type object"),
    "a schema without type": (change(tools=old(properties={"a": {}})), "properties[a].type"),
    "a list of what": (change(tools=old(properties={"a": {"type": "ARRAY"}})), "properties[a].items: missing"),
    "a need of nothing": (change(tools=old(required=["b"])), "property is not defined: b"),
    "an unknown mode": (choose(mode="required"), "function_calling_config.mode"),
    "a choice among nothing": (lambda b: (b.pop("tools"), choose(mode="AUTO")(b)), "without function_declarations"),
    "names where all may be called": (choose(mode="AUTO", allowedFunctionNames=["Read"]), "only with the modes"),
    "a name that is not declared": (choose(mode="ANY", allowedFunctionNames=["x"]), "no such function"),
    "a form beside tools": (config(responseMimeType="application/json"), "is unsupported"),
    "two answers": (config(candidateCount=2), "candidate_count: must be in the range"),
    "too hot": (config(temperature=2.1), "temperature: must be in the range"),
    "no tokens": (config(maxOutputTokens=0), "max_output_tokens: must be in the range"),
    "six stops": (config(stopSequences=list("abcdef")), "at most 5"),
    "two forms": (config(responseSchema=SCHEMA, responseJsonSchema={}), "only one of"),
    "a bad form": (config(responseSchema={"type": "ARRAY"}), "response_schema.items"),
    "a level on an old model": (config(thinkingConfig={"thinkingLevel": "LOW"}), "not supported for this model"),
    "a safety setting without": (change(safetySettings=[{"category": "HARM_CATEGORY_X"}]), "a threshold"),
    "a safety setting twice": (
        change(safetySettings=[{"category": "HARM_CATEGORY_X", "threshold": "OFF"}] * 2), "more than one",
    ),
    "instructions a text": (change(systemInstruction="x"), "Invalid value at 'system_instruction'"),
    "blank instructions": (change(systemInstruction={"parts": [{"text": ""}]}), "not blank"),
    "no instructions in it": (change(systemInstruction={"role": "user"}), "system_instruction.parts"),
    "an image for instructions": (change(systemInstruction={"parts": [IMAGE]}), "nothing else"),
    "an explicit cache": (change(cachedContent="cachedContents/x"), "not supported here"),
    "a signature made elsewhere": (part(1, 1, thoughtSignature="AAAA"), "Corrupted thought signature"),
}  # fmt: skip


@pytest.mark.parametrize(("breaks", "words"), INVALID.values(), ids=INVALID.keys())
def test_invalid(breaks: Change, words: str) -> None:
    body = copy.deepcopy(request(*ROUND))
    breaks(body)
    provider = Provider()
    payload, record = ask(provider, body)
    assert record.status == 400
    assert words in payload["error"]["message"]
    assert (payload["error"]["code"], payload["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert provider.invalid == provider.totals().invalid == 1
    assert record.dollars == 0


def test_a_model_may_come_last_where_that_is_allowed() -> None:
    provider = Provider(allow_prefill=True)
    assert ask(provider, request(user("x"), model("so")))[1].status == 200
    assert ask(provider, request(user("x"), model(call())))[1].status == 400


@pytest.mark.parametrize(("level", "words"), [("HIGH", None), ("low", None), ("x", "expected one of")])
def test_newer_models_think_by_level(level: str, words: str | None) -> None:
    asked = {"thinkingConfig": {"thinkingLevel": level}, "responseMimeType": "application/json"}
    record = ask(Provider(), request(user("hi"), generationConfig=asked), THIRD)[1]
    assert (record.violation is None) if words is None else (words in str(record.violation))
    both = {"thinkingConfig": {"thinkingLevel": level, "thinkingBudget": 1}}
    assert ask(Provider(), request(user("hi"), generationConfig=both), THIRD)[1].status == 400


# Thought signatures

CALLS = [{"type": "tool_use", "name": "Read", "input": {"n": n}} for n in (1, 2)]
STEPS: list[dict[str, Any]] = [
    {"content": [{"type": "thinking", "thinking": "hm"}, *CALLS]},
    {"content": CALLS},
    {"content": [{"type": "text", "text": "done"}]},
]


def played(name: str = THIRD) -> tuple[Provider, dict[str, Any]]:
    """A request of two steps in one turn, of which the answers are the server's own."""
    provider = Provider()
    provider.script("s", STEPS)
    contents = [user("go")]
    for _ in range(2):
        said = ask(provider, request(*contents), name, script="s")[0]["candidates"][0]["content"]
        calls = [part["functionCall"] for part in said["parts"] if "functionCall" in part]
        contents += [said, user(*[result(made["name"], made.get("id", "")) for made in calls])]
    return provider, request(*contents)


def again(provider: Provider, body: dict[str, Any], name: str = THIRD) -> str:
    """What is wrong with a request; "" for nothing."""
    return ask(provider, body, name, script="s")[1].violation or ""


def test_the_first_call_of_a_step_carries_a_signature() -> None:
    provider, body = played()
    assert [[("thoughtSignature" in part) for part in body["contents"][n]["parts"]] for n in (1, 3)] == [
        [False, True, False],
        [True, False],
    ]
    last, record = ask(provider, body, THIRD, script="s")
    assert record.violation is None
    said = last["candidates"][0]["content"]
    assert set(said["parts"][0]) == {"text", "thoughtSignature"}
    assert again(provider, request(*body["contents"], said, user("next"))) == ""


def test_models_before_the_third_give_neither_signatures_nor_ids() -> None:
    provider, body = played(MODEL)
    assert again(provider, body, MODEL) == ""
    assert "thoughtSignature" not in json.dumps(body)
    assert all("id" not in part.get("functionCall", {}) for part in body["contents"][1]["parts"])
    assert "missing a thought_signature" in again(provider, body, THIRD)
    assert "missing a thought_signature" in again(provider, body, "gemini-4-argon")


def edited(body: dict[str, Any], number: int, at: int, *drop: str, **more: Any) -> dict[str, Any]:
    other = copy.deepcopy(body)
    part(number, at, *drop, **more)(other)
    return other


@pytest.mark.parametrize(("number", "place"), [(1, 1), (3, 0)])
def test_the_current_turn_wants_its_signatures_back(number: int, place: int) -> None:
    provider, body = played()
    made = body["contents"][number]["parts"][place]
    gone = edited(body, number, place, "thoughtSignature")
    assert "Function call is missing a thought_signature in functionCall parts." in again(provider, gone)
    moved = edited(gone, number, place + 1, thoughtSignature=made["thoughtSignature"])
    assert "missing a thought_signature" in again(provider, moved)
    others: list[dict[str, Any]] = [{"name": "Grep"}, {"args": {"n": 7}}]
    for other in others:
        wrong = edited(body, number, place, functionCall={**made["functionCall"], **other})
        wrong["contents"][number + 1]["parts"][0] = result(other.get("name", "Read"))
        assert "was made for another part" in again(provider, wrong)
    bare = edited(body, number, place, thoughtSignature=made["thoughtSignature"][:-8] + "AAAAAAA=")
    assert "Corrupted" in again(provider, bare)
    assert provider.invalid == 5


def test_older_turns_want_none_but_made_ones() -> None:
    provider, body = played()
    longer = request(*body["contents"], model("so"), user("next"))
    assert again(provider, edited(longer, 1, 1, "thoughtSignature")) == ""
    changed = edited(longer, 1, 1, functionCall={**longer["contents"][1]["parts"][1]["functionCall"], "args": {}})
    assert again(provider, changed) == ""
    assert "Corrupted" in again(provider, edited(longer, 1, 1, thoughtSignature="AAAA"))
    assert "Corrupted" in again(provider, edited(longer, 1, 1, thoughtSignature="AAAA"), MODEL)


def test_signatures_are_bytes_and_may_be_spelled_otherwise() -> None:
    provider, body = played()
    made = base64.b64decode(body["contents"][1]["parts"][1]["thoughtSignature"])
    spelled = base64.urlsafe_b64encode(made).decode().rstrip("=")
    other = edited(body, 1, 1, "thoughtSignature", thought_signature=spelled)
    assert again(provider, other) == ""


@pytest.mark.parametrize("word", ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"])
def test_a_history_from_elsewhere_is_let_pass(word: str) -> None:
    provider, body = played()
    for spelled in (word, base64.b64encode(word.encode()).decode()):
        passing = edited(body, 1, 1, thoughtSignature=spelled, functionCall=call("Other")["functionCall"])
        passing["contents"][2]["parts"][0] = result("Other")
        assert again(provider, passing) == ""


def test_only_an_empty_text_of_a_signature_may_be_empty() -> None:
    provider, body = played()
    said = ask(provider, body, THIRD, script="s")[0]["candidates"][0]["content"]["parts"][0]
    streamed = model(said["text"], {**said, "text": ""})
    assert again(provider, request(*body["contents"], streamed, user("next"))) == ""
    assert "not blank" in again(provider, request(*body["contents"], model("done", ""), user("next")))


# Cache and bill


def words(tokens: int) -> str:
    return "x" * int(tokens * 3.5)


def cached(provider: Provider, body: dict[str, Any], name: str = MODEL, **headers: str) -> int:
    """Tokens read, as the log has them and the answer too, which leaves nothing out but zero."""
    payload, record = ask(provider, body, name, **headers)
    usage = payload["usageMetadata"]
    assert usage.get("cachedContentTokenCount") == (record.usage["cache_read_input_tokens"] or None)
    assert usage["promptTokenCount"] == record.usage["input_tokens"] + record.usage["cache_read_input_tokens"]
    return int(record.usage["cache_read_input_tokens"])


def test_the_cache_is_by_prefix() -> None:
    provider = Provider()
    long = request(user(words(3000)), **SYSTEM)
    assert cached(provider, long, clock="0") == 0
    grown = request(*long["contents"], model("b"), user("c"), **SYSTEM)
    assert 2900 < cached(provider, grown, clock="10") <= 3100
    assert provider.log[-1].prefix_kept == 1
    changed = request(user(words(2000) + "y" + words(1000)), model("b"), user("c"), **SYSTEM)
    assert 1024 <= cached(provider, changed, clock="20") <= 2100
    assert cached(provider, {**grown, "systemInstruction": {"parts": [{"text": "Be bad."}]}}, clock="30") == 0
    assert cached(provider, {**grown, "tools": old()}, clock="30") == 0
    assert provider.log[-1].prefix_kept is not None
    assert provider.log[-1].prefix_kept < 1


@pytest.mark.parametrize(("name", "tokens"), [(MODEL, 1024), ("gemini-2.5-pro", 4096), (THIRD, 4096)])
def test_less_than_the_minimum_of_the_model_is_not_kept(name: str, tokens: int) -> None:
    for size, kept in ((tokens - 200, False), (tokens + 100, True)):
        provider, body = Provider(), request(user(words(size)))
        assert cached(provider, body, name, clock="0") == 0
        assert (cached(provider, body, name, clock="1") > 0) is kept
    begins = request(user(words(tokens - 200) + "y" * 2000))
    assert cached(provider, begins, name, clock="2") == 0


def test_what_is_used_lives_on_for_a_short_time() -> None:
    provider, body = Provider(), request(user(words(3000)))
    assert cached(provider, body, clock="0") == 0
    for now in ("299", "598"):
        assert cached(provider, body, clock=now) > 2900
    assert cached(provider, body, clock="898") == 0


def test_caches_are_apart_by_account_and_model_and_join_spellings() -> None:
    provider, body = Provider(), request(user(words(3000)), **SYSTEM)
    assert cached(provider, body, clock="0", session="a") == 0
    assert cached(provider, body, clock="1", session="b") == 0
    assert cached(provider, body, clock="1", session="c", account="a") > 0
    assert cached(provider, body, "gemini-2.5-flash-lite", clock="1", session="a") == 0
    spelled = {
        "system_instruction": {"parts": [{"text": "Be good.", "thought": None}], "role": "user"},
        "tools": [{"function_declarations": [{"name": FUNCTION["name"], "description": FUNCTION["description"],
                                              "parameters_json_schema": FUNCTION["parametersJsonSchema"]}]}],
        "contents": [{"parts": [{"text": words(3000)}], "role": "user"}],
    }  # fmt: skip
    assert cached(provider, spelled, clock="2", session="a") > 2900


def test_a_head_can_be_warm() -> None:
    for upto, most in (("tools", 4200), ("system", 4200), (1500, 1500)):
        provider = Provider()
        system = {"parts": [{"text": words(2000)}]}
        body = request(user(words(2000)), tools=declared(description=words(2000)), systemInstruction=system)
        provider.warm("a", upto, {**body, "contents": [user("other")]} if upto == "tools" else None)
        assert most - 300 < cached(provider, body, clock="0", account="a") <= most


def test_reading_is_cheap_and_a_long_prompt_dear() -> None:
    for name, fresh, read in ((MODEL, 0.3, 0.03), (THIRD, 2, 0.2)):
        provider, body = Provider(), request(user(words(6000)))
        provider.script("s", [{"content": [{"type": "text", "text": "x"}], "output_tokens": 0}])
        payload, record = ask(provider, body, name, clock="0", script="s")
        total = payload["usageMetadata"]["promptTokenCount"]
        assert "candidatesTokenCount" not in payload["usageMetadata"]
        assert record.dollars == pytest.approx(total * fresh / 1e6)
        hit = cached(provider, body, name, clock="1", script="s")
        assert provider.log[-1].dollars == pytest.approx((hit * read + (total - hit) * fresh) / 1e6)
        assert provider.totals().dollars == pytest.approx(sum(r.dollars for r in provider.log))
        assert (provider.totals().prompt_tokens, provider.totals().requests) == (2 * total, 2)
    pro = model_of("gemini-2.5-pro")
    assert dollars(pro, fresh=100_000, read=100_000, output=10) == pytest.approx(0.1375 + 1e-4)
    assert dollars(pro, fresh=100_000, read=100_001, output=10) == pytest.approx(0.275 + 1.5e-4, abs=1e-6)
    assert dollars(model_of(MODEL), fresh=300_000, read=0, output=0) == pytest.approx(0.09)


def test_families_are_found_by_the_longest_name() -> None:
    names = {"gemini-2.5-flash-lite": "gemini-2.5-flash-lite", THIRD: "gemini-3-pro", "gemini-2.0-flash": "gemini-2"}
    assert {name: model_of(name).family for name in names} == names
    assert model_of("gemini-4-argon") is OTHER
    assert all(0 < row.read < row.input < row.output for row in TABLE)


# Answers


def test_scripts_are_those_of_messages() -> None:
    provider = Provider()
    blocks = [
        {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I look."},
        {"type": "tool_use", "name": "Read", "input": {"path": "ä"}},
        {"type": "tool_use", "id": "x", "name": "g", "input": {}},
    ]  # fmt: skip
    provider.script("s", [{"content": blocks}, {"content": [], "stop_reason": "max_tokens"}])
    payload, record = ask(provider, request(user("go")), THIRD, script="s")
    candidate = payload["candidates"][0]
    assert (candidate["finishReason"], candidate["index"], candidate["content"]["role"]) == ("STOP", 0, "model")
    assert (payload["modelVersion"], payload["responseId"]) == (THIRD, "resp_00000000")
    thought, text, first, second = candidate["content"]["parts"]
    assert (thought, text) == (THOUGHT, {"text": "I look."})
    assert (first["functionCall"]["name"], first["functionCall"]["args"]) == ("Read", {"path": "ä"})
    assert (len(first["functionCall"]["id"]), second) == (12, {"functionCall": {"id": "x", "name": "g", "args": {}}})
    usage = payload["usageMetadata"]
    counted = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert usage["totalTokenCount"] == counted
    assert record.usage["output_tokens"] == usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert (record.turn, record.stream, record.model) == (0, False, THIRD)
    assert ask(provider, request(user("go")), THIRD, script="s")[0]["candidates"] == payload["candidates"]
    grown = request(user("go"), candidate["content"], user(result("Read"), result("g", "x")))
    ended, record = ask(provider, grown, THIRD, script="s")
    assert ended["candidates"] == [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}]
    assert record.turn == 1
    assert ask(provider, request(user("a"), model("b"), user("c"), model("d"), user("e")), script="s")[1].status == 404
    provider.script("s", [{"content": [{"type": "server_tool_use", "id": "s", "name": "x", "input": {}}]}])
    assert ask(provider, request(user("go")), script="s")[1].status == 500
    provider.script("s", [{"content": [], "stop_reason": "refusal"}, {"content": [], "stop_reason": "RECITATION"}])
    assert ask(provider, request(user("go")), script="s")[0]["candidates"][0]["finishReason"] == "SAFETY"
    other = ask(provider, request(user("go"), model("a"), user("b")), script="s")[0]
    assert other["candidates"][0]["finishReason"] == "RECITATION"


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE")],
)
def test_errors_have_the_shape_of_the_api_and_are_not_billed(status: int, word: str) -> None:
    provider = Provider()
    provider.script("s", [{"error": {"status": status, "message": "slow", "headers": {"retry-after": 1}}}])
    payload, record = ask(provider, request(user("go")), script="s")
    assert payload == {"error": {"code": status, "message": "slow", "status": word}}
    assert (record.status, record.dollars, provider.invalid, provider.totals().errors) == (status, 0, 0, 1)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_what_is_no_request_for_an_answer_is_turned_away(version: str) -> None:
    provider, path = Provider(), address(MODEL, version=version)
    body = json.dumps(request(user("hi"))).encode()
    assert provider.handle("POST", path, {}, body, body).status == 200
    refusal = provider.handle("POST", path, {}, b"{", b"{")
    assert (refusal.status, refusal.payload["error"]["status"]) == (400, "INVALID_ARGUMENT")
    refusal = provider.handle("POST", path, {}, body, body, authorized=False)
    assert (refusal.status, refusal.payload["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert provider.handle("GET", path, {}, b"", b"").status == 405
    big = b" " * 32_000_001
    assert provider.handle("POST", path, {}, big, big).status == 413
    for other in (f"/v2/models/{MODEL}:generateContent", f"/{version}/models/{MODEL}", path.replace("gen", "x")):
        assert provider.handle("POST", other, {}, body, body).status == 404


def test_the_log_keeps_the_query_but_not_the_key() -> None:
    provider, body = Provider(), json.dumps(request(user("hi"))).encode()
    provider.handle("POST", address(MODEL, stream=True) + "&key=secret", {}, body, body)
    record = provider.log[-1]
    assert (record.query, record.stream, "secret" in json.dumps(record.as_dict())) == ("alt=sse", True, False)
