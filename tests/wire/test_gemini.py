"""Gemini requests: what a block is, what its hash covers, which id a call without one has, and that a second reading
gives the same."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.mmu.plan import rewrite
from addon.mmu.view import Change, Splice, page_table, restore
from addon.options import Recall
from addon.recall.offer import offered
from addon.wire import anthropic, apis, gemini
from addon.wire.conversation import Act, Conversation, Kind, Subject
from addon.wire.retention import HOUR
from addon.wire.scan import Elsewhere, Malformed
from addon.wire.usage import Usage
from tests.effort import cases
from tests.mmu.sessions import spell

PATH = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
WHOLE = "/v1/models/gemini-2.5-pro:generateContent"


def parse(contents: Any, style: int = 0, path: str = PATH, **more: Any) -> Conversation:
    return gemini.parse(spell({"contents": contents, **more}, style), path=path)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": part} if isinstance(part, str) else part for part in parts]}


def model(*parts: Any) -> dict[str, Any]:
    return {**user(*parts), "role": "model"}


def call(name: str = "read_file", identity: str = "", **args: Any) -> dict[str, Any]:
    named = {"id": identity} if identity else {}
    return {"functionCall": {**named, "name": name, "args": args}}


def result(response: Any = None, name: str = "read_file", identity: str = "") -> dict[str, Any]:
    named = {"id": identity} if identity else {}
    answer = {"output": "x"} if response is None else response
    return {"functionResponse": {**named, "name": name, "response": answer}}


SIGNED = {"thoughtSignature": "c2ln"}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}
# gemini-cli with a key: no ids in the calls, its own in the answers.
CLI: dict[str, Any] = {
    "contents": [
        user("<session_context>\nWorkspace Directories:\n  - /w\n</session_context>", "Fix the bug."),
        model(
            {"text": "**Looking**", "thought": True, **SIGNED},
            {**call(file_path="a.py"), **SIGNED},
            call("run_shell_command", command="ls"),
        ),
        user(
            result({"output": "one\ntwo"}, identity="read_file-1764-0"),
            result({"error": "no"}, "run_shell_command", "run_shell_command-1764-1"),
        ),
    ],
    "systemInstruction": {"role": "user", "parts": [{"text": "You are Gemini CLI."}]},
    "tools": [{"functionDeclarations": [{"name": "read_file"}, {"name": "run_shell_command"}]}],
    "generationConfig": {"temperature": 1, "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 8192}},
}
# The vendor's SDK for Python, against a model that has ids.
SDK: dict[str, Any] = {
    "contents": [
        {"parts": [{"text": "Fix the bug."}], "role": "user"},
        {"parts": [{"functionCall": {"id": "x8k2", "args": {"path": "a"}, "name": "look"}, **SIGNED}], "role": "model"},
        {"parts": [{"functionResponse": {"response": {"result": "1"}, "name": "look", "id": "x8k2"}}], "role": "user"},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}], "role": "user"},
    "tools": [{"functionDeclarations": [{"name": "look", "parameters_json_schema": {"type": "object"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {},
}


def ids(read: Conversation) -> list[list[str]]:
    return [[b.call for b in m.blocks if b.call] for m in read.messages]


def test_blocks_stand_where_they_say() -> None:
    for style in range(4):
        read = gemini.parse(spell(CLI, style), path=PATH)
        assert (read.model, read.stream, read.options) == ("gemini-2.5-pro", True, {})
        assert [b.text for b in read.instructions] == ["You are Gemini CLI."]
        assert [t.name for t in read.tools] == ["read_file", "run_shell_command"]
        assert [m.role for m in read.messages] == ["user", "assistant", "user"]
        assert [[b.kind for b in m.blocks] for m in read.messages] == [
            [Kind.TEXT, Kind.TEXT], [Kind.REASONING, Kind.CALL, Kind.CALL], [Kind.RESULT, Kind.RESULT],
        ]  # fmt: skip
        for message, original in zip(read.messages, CLI["contents"], strict=True):
            assert json.loads(read.text[message.start : message.end]) == original
            for block, part in zip(message.blocks, original["parts"], strict=True):
                assert json.loads(read.text[message.start + block.start : message.start + block.end]) == part
                if block.literal is not None:
                    start, end = block.literal
                    assert json.loads(read.text[message.start + start : message.start + end]) == block.text
        thought, made, _ = read.messages[1].blocks
        assert (thought.signed, thought.stays, read.bound) == (False, True, False)
        assert (made.name, made.arguments) == ("read_file", {"file_path": "a.py"})
        assert made.about == Subject(Act.READ, "a.py", "read_file a.py")
        assert [(b.text, b.error) for b in read.messages[2].blocks] == [("one\ntwo", False), ("no", True)]


def test_what_the_sdk_sends_is_read() -> None:
    read = gemini.parse(spell(SDK, 0), path=WHOLE)
    assert ids(read) == [[], ["x8k2"], ["x8k2"]]
    assert (read.stream, read.options) == (False, {"tool_choice": {"type": "auto"}})
    assert read.messages[2].blocks[0].text == "1"
    assert read.as_read == []


def test_a_request_may_stand_in_another() -> None:
    outer = {"model": "gemini-3-pro-preview", "project": "p", "user_prompt_id": "u", "request": CLI}
    for style in range(4):
        raw = spell(outer, style)
        read, plain = gemini.parse(raw, path="/v1internal:streamGenerateContent?alt=sse"), parse(style=style, **CLI)
        assert (read.model, read.stream, read.ttl) == ("gemini-3-pro-preview", True, HOUR)
        assert [b.text for m in read.messages for b in m.blocks] == [b.text for m in plain.messages for b in m.blocks]
        assert style == 2 or read.digests == plain.digests  # there indentation is part of what the arguments are
        assert [t.name for t in read.tools] == ["read_file", "run_shell_command"]
        assert gemini.parse(raw, {gemini.key(read): read}, read.path) == read
        assert gemini.likely_key(raw) == gemini.key(read)
    assert parse([user("x")], request={"contents": [user("y")]}).messages[0].blocks[0].text == "x"
    with pytest.raises(Elsewhere):
        gemini.parse(spell({"request": {**CLI, "cachedContent": "cachedContents/1"}}, 0))


def snaked(value: Any) -> Any:
    if isinstance(value, dict):
        return {gemini_snake(key): snaked(inner) for key, inner in value.items()}
    return [snaked(inner) for inner in value] if isinstance(value, list) else value


def gemini_snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def test_either_spelling_of_a_field_says_the_same() -> None:
    whole = {**CLI, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["read_file"]}}}
    one, other = (gemini.parse(spell(body, 0), path=PATH) for body in (whole, snaked(whole)))
    assert '"function_response"' in other.text
    assert (one.digests, ids(one), one.options) == (other.digests, ids(other), other.options)
    assert [t.name for t in one.tools] == [t.name for t in other.tools]
    assert [b.digest for b in one.instructions] == [b.digest for b in other.instructions]
    with pytest.raises(Malformed):
        gemini.parse(spell({"contents": [user("x")], "generation_config": {"candidate_count": 2}}, 0))


KINDS: dict[str, tuple[Any, list[Kind]]] = {
    "a text": ({"text": "x"}, [Kind.TEXT]),
    "a thought": ({"text": "x", "thought": True}, [Kind.REASONING]),
    "no thought": ({"text": "x", "thought": False}, [Kind.TEXT]),
    "a signed text": ({"text": "x", **SIGNED}, [Kind.TEXT]),
    "only a signature": ({"text": "", **SIGNED}, [Kind.OTHER]),
    "a signature": (SIGNED, [Kind.OTHER]),
    "an image": (IMAGE, [Kind.OTHER]),
    "code": ({"executableCode": {"language": "PYTHON", "code": "1"}}, [Kind.OTHER]),
    "null and a text": ({"text": "x", "functionCall": None}, [Kind.TEXT]),
    "output": (result({"output": "x"}), [Kind.RESULT]),
    "result": (result({"result": "x"}), [Kind.RESULT]),
    "content": (result({"content": "x"}), [Kind.RESULT]),
    "error": (result({"error": "x"}), [Kind.RESULT]),
    "one string": (result({"stdout": "x"}), [Kind.RESULT]),
    "one string and a number": (result({"stdout": "x", "code": 0}), [Kind.RESULT, Kind.OTHER]),
    "output and more": (result({"output": "x", "more": {"a": "b"}}), [Kind.RESULT, Kind.OTHER]),
    "two strings": (result({"stdout": "x", "stderr": ""}), [Kind.OTHER]),
    "a string and an object": (result({"status": "ok", "data": {"a": 1}}), [Kind.OTHER]),
    "output an object": (result({"output": {"a": "b"}}), [Kind.OTHER]),
    "nothing": (result({}), [Kind.RESULT]),
}


@pytest.mark.parametrize(("part", "kinds"), KINDS.values(), ids=KINDS.keys())
def test_what_a_part_is(part: Any, kinds: list[Kind]) -> None:
    blocks = parse([user("go"), model(call()), {"role": "function", "parts": [part]}]).messages[2].blocks
    assert [b.kind for b in blocks] == kinds
    assert all((b.literal is None) == (b.kind is not Kind.TEXT and b.text != "x") for b in blocks)
    if "functionResponse" in part:
        assert [(b.call[:10], b.part) for b in blocks] == [("read_file~", n) for n in range(len(kinds))]


def test_the_first_known_key_has_the_text_and_only_error_alone_is_a_failure() -> None:
    for response, words, error in (
        ({"error": "e", "output": "o"}, "o", False),
        ({"error": "e", "output": 3}, "e", True),
        ({"content": "c", "result": "r"}, "r", False),
        ({"name": "n", "content": "c"}, "c", False),
    ):
        block = parse([user("go"), model(call()), user(result(response))]).messages[2].blocks[0]
        assert (block.text, block.error) == (words, error)


def test_an_answer_in_place_of_a_refusal_is_no_error_any_more() -> None:
    refusal = 'Tool "mmu_recall" not found in registry.'
    asked, splices = [user("go"), model(call("mmu_recall", page="x"))], {}
    for style in range(4):
        for response, sent in (
            ({"error": refusal}, {"output": "the page"}),
            ({"code": 1, "error": refusal}, {"code": 1, "output": "the page"}),
            # Where both keys are there one of them would come twice.
            ({"error": refusal, "output": None}, {"error": "the page", "output": None}),
        ):
            read = parse([*asked, user(result(response, "mmu_recall"))], style)
            table = page_table(read)
            entry = table.entries[0]
            assert entry.block.error
            spelled = {0: "utf8", 1: "ascii", 2: "utf8", 3: "html"}[style] + "!"
            splices = {entry.anchor: Splice(entry.anchor, 0, Change.ANSWER, entry.page, "the page", spelled)}
            out = gemini.parse(rewrite(read, table, splices), path=PATH)
            answered = json.loads(out.text)["contents"][2]["parts"][0]["functionResponse"]["response"]
            assert answered == sent
            assert restore(out, splices, {entry.page: refusal}) == read.text


def test_calls_without_an_id_get_one_that_lasts() -> None:
    history = [user("go"), model(call(file_path="a"), call(file_path="b")), user(result(), result()), user("on")]
    before = parse(history)
    assert ids(before)[1] == ids(before)[2]
    assert len(set(ids(before)[1])) == 2
    again = [model({**call(file_path="a"), **SIGNED}), user(result())]
    after = parse([*history, *again])
    assert ids(after)[: len(history)] == ids(before)
    assert ids(after)[4] == ids(after)[5] == [ids(before)[1][0].removesuffix(".0") + ".1"]
    assert before.digests == after.digests[: len(before.digests)]


def test_the_same_call_again_is_another_message() -> None:
    turn = [model(call(file_path="a")), user(result())]
    read = parse([user("go"), *turn, *turn])
    assert len({message.digest for message in read.messages}) == len(read.messages)


def test_answers_go_to_the_calls_they_name_else_to_the_next_of_their_function() -> None:
    made = model(call("a", n=1), call("b", n=2), call("a", n=3), call("a", "given", n=4))
    one, two, three, four = ids(parse([user("go"), made]))[1]
    assert four == "given"
    for answers, expected in (
        ([result(name="b"), result(name="a"), result(name="a"), result(name="a")], [two, one, three, four]),
        ([result(name="a", identity="given"), result(name="a"), result(name="b")], [four, one, two]),
        ([result(name="a", identity="made-up"), result(name="a", identity="too")], [one, three]),
        ([result(name="a"), result(name="a", identity="given"), result(name="a")], [one, four, three]),
        ([result(name="c")], ["~"]),
        ([result(name="c", identity="odd")], ["odd"]),
        ([result(name="a", identity=name) for name in ("x", "y", "z")], [one, three, "z"]),
        ([result({"output": "x", "n": 1}, "a"), result(name="a")], [one, one, three]),
    ):
        assert ids(parse([user("go"), made, user(*answers)]))[2] == expected
    swapped = [model(call("a", "given"), call("a")), user(result(name="a"), result(name="a", identity="given"))]
    assert ids(parse([user("go"), *swapped]))[2][1] == "given"
    given_up = parse([user("go"), made, user("never mind"), model("I see."), user(result(name="a"))])
    assert ids(given_up)[4] == ["~"]
    apart = parse([user("go"), made, user(result(name="a")), user(result(name="a")), user(result(name="b"))])
    assert ids(apart)[2:] == [[one], [three], [two]]


SAME: dict[str, tuple[Any, Any]] = {
    "no role": (user("hi"), {"parts": [{"text": "hi"}]}),
    "a part without a list": (user("hi"), {"parts": {"text": "hi"}}),
    "a null member": (user("hi"), {**user("hi"), "x": None}),
    "the role of a function": (user(result()), {**user(result()), "role": "function"}),
    "spelling": (model(call()), model({"function_call": call()["functionCall"]})),
}
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "text": (user("hi"), user("ho")),
    "role": (user("hi"), model("hi")),
    "result": (user(result()), user(result({"output": "y"}))),
    "failure": (user(result({"error": "x"})), user(result({"output": "x"}))),
    "what stands beside": (user(result({"output": "x", "n": 1})), user(result({"output": "x", "n": 2}))),
    "function": (user(result()), user(result(name="look"))),
    "id": (user(result(identity="a")), user(result(identity="b"))),
    "arguments": (model(call(a=1)), model(call(a=2))),
    "signature": (model(call()), model({**call(), **SIGNED})),
    "a signed text": (model("x"), model({"text": "x", **SIGNED})),
    "thought": (model("x"), model({"text": "x", "thought": True})),
    "thoughts": (model({"text": "x", "thought": True}), model({"text": "y", "thought": True})),
    "image": (user(IMAGE), user({**IMAGE, "mediaResolution": {"level": "LOW"}})),
    "unknown member": (user("hi"), {**user("hi"), "x": 1}),
    "nested parts": (user({"functionResponse": {**result()["functionResponse"], "parts": [IMAGE]}}), user(result())),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_what_says_the_same_hashes_alike(pair: tuple[Any, Any]) -> None:
    one, other = (parse([content]) for content in pair)
    assert one.digests == other.digests


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_says_something_else_hashes_differently(pair: tuple[Any, Any]) -> None:
    one, other = (parse([content]) for content in pair)
    assert one.digests != other.digests


MALFORMED: dict[str, Any] = {
    "no contents": {"model": "m"},
    "contents null": {"contents": None},
    "contents empty": {"contents": []},
    "contents an object": {"contents": user("x")},
    "content a string": {"contents": ["hi"]},
    "role a number": {"contents": [{"role": 1, "parts": []}]},
    "parts a string": {"contents": [{"parts": "hi"}]},
    "part a string": {"contents": [{"parts": ["hi"]}]},
    "call a string": {"contents": [model({"functionCall": "x"})]},
    "call's name a number": {"contents": [model({"functionCall": {"name": 1}})]},
    "call's id a number": {"contents": [model({"functionCall": {"name": "f", "id": 1}})]},
    "answer a list": {"contents": [user({"functionResponse": []})]},
    "response a string": {"contents": [user(result("x"))]},
    "both spellings": {"contents": [model({**call(), "function_call": None})]},
    "both spellings above": {"contents": [user("x")], "tool_config": {}, "toolConfig": {}},
    "instructions a number": {"contents": [user("x")], "systemInstruction": 3},
    "tools an object": {"contents": [user("x")], "tools": {"functionDeclarations": []}},
    "tool a string": {"contents": [user("x")], "tools": ["all"]},
    "functions an object": {"contents": [user("x")], "tools": [{"functionDeclarations": {}}]},
    "function a string": {"contents": [user("x")], "tools": [{"functionDeclarations": ["f"]}]},
    "two answers": {"contents": [user("x")], "generationConfig": {"candidateCount": 2}},
    "an inner request that is none": {"request": "x"},
    "model a list": {"contents": [user("x")], "model": []},
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_in_doubt_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed) as raised:
        gemini.parse(json.dumps(body).encode())
    assert not isinstance(raised.value, Elsewhere)


def test_duplicate_keys_are_malformed() -> None:
    for body in (
        '{"contents":[{"parts":[{"text":"a"}]}],"contents":[]}',
        '{"contents":[{"parts":[{"text":"a","text":"b"}]}]}',
        '{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{"output":"a","output":"b"}}}]}]}',
    ):
        with pytest.raises(Malformed):
            gemini.parse(body.encode())


@pytest.mark.parametrize("key", ["cachedContent", "cached_content"])
def test_a_beginning_that_the_server_has_is_elsewhere(key: str) -> None:
    with pytest.raises(Elsewhere):
        gemini.parse(spell({"contents": [user("x")], key: "cachedContents/1"}, 0))
    assert gemini.parse(spell({"contents": [user("x")], key: None}, 0)).messages


def test_instructions_may_be_a_string_or_one_part() -> None:
    for said in ("Be good.", {"parts": {"text": "Be good."}}, {"parts": [{"text": "Be good."}]}):
        (block,) = parse([user("x")], systemInstruction=said).instructions
        assert block.text == "Be good."
    assert parse([user("x")], systemInstruction=None).instructions == []


def test_functions_of_every_tool_are_told_in_order() -> None:
    def names(*tools: Any) -> list[str]:
        read = parse([user("x")], tools=list(tools))
        for tool in read.tools:
            assert json.loads(read.text[tool.start : tool.end])["name"] == tool.name
        return [tool.name for tool in read.tools]

    one, two = ({"functionDeclarations": [{"name": name}]} for name in "ab")
    assert names({"googleSearch": {}}, one, {"codeExecution": {}}) == ["a"]
    assert names(one, two, {"functionDeclarations": []}) == ["a", "b"]
    assert parse([user("x")], tools=None).tools == []
    assert parse([user("x")], tools=[{"googleSearch": {}}]).tools == []


def test_how_free_the_model_is_to_call() -> None:
    def choice(**config: Any) -> Any:
        return parse([user("x")], toolConfig={"functionCallingConfig": config}).options.get("tool_choice")

    assert choice() is None
    assert choice(mode="AUTO") == choice(mode="auto") == choice(mode="MODE_UNSPECIFIED") == {"type": "auto"}
    assert [choice(mode=mode)["type"] for mode in ("ANY", "NONE", "VALIDATED")] == ["any", "none", "validated"]
    assert choice(mode="ANY", allowedFunctionNames=["f"]) == {"type": "any"}
    assert choice(allowedFunctionNames=["f"]) == choice(mode="AUTO", allowedFunctionNames=["f"]) == {"type": "named"}
    configs: tuple[Any, ...] = (None, {}, {"functionCallingConfig": None}, {"retrievalConfig": {}})
    for config in configs:
        assert "tool_choice" not in parse([user("x")], toolConfig=config).options


def test_the_path_says_model_and_method() -> None:
    vertex = "/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash"
    for path, name, stream, unframed in (
        (PATH, "gemini-2.5-pro", True, None),
        (WHOLE, "gemini-2.5-pro", False, None),
        (f"{vertex}:streamGenerateContent", "gemini-2.5-flash", True, True),
        (f"{vertex}:streamGenerateContent?key=a&$alt=sse", "gemini-2.5-flash", True, None),
        (f"{vertex}:streamGenerateContent?alt=json", "gemini-2.5-flash", True, True),
        (f"{vertex}:generateContent?alt=json", "gemini-2.5-flash", False, None),
        ("", "", False, None),
    ):
        read = parse([user("x")], path=path)
        assert (read.model, read.stream, read.options.get("unframed"), read.path) == (name, stream, unframed, path)


def test_a_tool_is_only_offered_where_its_call_can_be_followed() -> None:
    for path, may in ((PATH, True), (WHOLE, True), (PATH.partition("?")[0], False)):
        assert (offered(gemini, parse([user("x")], path=path), Recall.RELAY) is not None) is may


def test_time_to_live_is_what_is_known_of_the_model() -> None:
    def ttl(name: str) -> float | None:
        return parse([user("x")], path=f"/v1beta/models/{name}:generateContent").ttl

    new = ("gemini-2.5-pro", "gemini-3-pro-preview", "gemini-4-argon", "gemini-3.8-flash", "gemini-flash-latest")
    assert [ttl(name) for name in new] == [HOUR] * 5
    old = ("gemini-2.0-flash", "gemini-1.5-pro-002", "gemini-pro", "gemini-exp-1206", "gemma-3-27b", "learnlm")
    assert [ttl(name) for name in old] == [None] * 6


def test_paths_of_the_api() -> None:
    google, cloud = "generativelanguage.googleapis.com", "europe-west4-aiplatform.googleapis.com"
    vertex = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent"

    def of(path: str, host: str) -> Any:
        return apis.spoken(path, [host], trusted=False)

    for path, host in (
        (WHOLE, google), ("/v1alpha/models/gemini-3-pro-preview:streamGenerateContent", google),
        (vertex, cloud), (vertex, "aiplatform.googleapis.com"),
        ("/v1beta1/publishers/google/models/gemini-2.5-pro:streamGenerateContent", "aiplatform.googleapis.com"),
        ("/v1internal:streamGenerateContent", "cloudcode-pa.googleapis.com"),
    ):  # fmt: skip
        assert of(path, host) is gemini
        assert gemini.is_call(path)
    for path, host in (
        ("/v1beta/models/gemini-2.5-pro:countTokens", google), ("/v1beta/cachedContents", google),
        (vertex.replace("google/", "meta/"), cloud), ("/v1internal:loadCodeAssist", "cloudcode-pa.googleapis.com"),
        (WHOLE, "evil-generativelanguage.googleapis.com"),
    ):  # fmt: skip
        assert of(path, host) is None
    claude = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-8:streamRawPredict"
    assert of(claude, cloud) is anthropic
    assert apis.spoken("/gateway/models/x:generateContent", ["llm.example"], trusted=True) is gemini


def test_the_words_of_the_model_and_the_declaration_of_a_tool() -> None:
    said = parse([user("x"), json.loads(gemini.answer("Grüße"))]).messages[1]
    assert (said.role, said.blocks[0].text) == ("assistant", "Grüße")
    declared = json.loads(gemini.tool("f", "does", {"type": "object"}))
    assert parse([user("x")], tools=[{"functionDeclarations": [declared]}]).tools[0].name == "f"


def test_usage_counts_what_was_cached_apart() -> None:
    report = {"promptTokenCount": 2000, "candidatesTokenCount": 7, "totalTokenCount": 2010, "thoughtsTokenCount": 3}
    assert gemini.usage(report) == Usage(fresh=2000, output=10, untold=True)
    got = gemini.usage({**report, "cachedContentTokenCount": 1500, "toolUsePromptTokenCount": 20})
    assert got == Usage(fresh=520, read=1500, output=10, untold=True)
    assert gemini.usage({"promptTokenCount": 9, "cachedContentTokenCount": 50}).fresh == 0
    assert gemini.usage({"promptTokenCount": None, "candidatesTokenCount": True}) == Usage(untold=True)


def test_the_last_report_of_a_response_counts_however_it_comes() -> None:
    first = {"candidates": [], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1}}
    last = {"candidates": [], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3}}
    odd = {"usageMetadata": {"trafficType": "ON_DEMAND"}}
    cost = Usage(fresh=5, output=3, untold=True)
    assert gemini.whole_usage(last) == gemini.whole_usage({"response": last}) == cost
    assert gemini.whole_usage([first, last, odd, "x"]) == gemini.whole_usage([{"response": last}]) == cost
    nothing: tuple[Any, ...] = (None, [], {}, odd, "x", {"error": {"code": 1}}, {"usageMetadata": []})
    assert [gemini.whole_usage(payload) for payload in nothing] == [None] * len(nothing)
    heard: Usage | None = None
    for chunk in (odd, first, {"response": last}, odd):
        heard = gemini.stream_usage("", json.dumps(chunk), heard)
    assert heard == cost
    for event, data in (("", "{"), ("", '"usageMetadata"'), ("", "[DONE]"), ("error", json.dumps(first))):
        assert gemini.stream_usage(event, data, heard) == heard
    assert not gemini.drops_reasoning("", "{}")
    assert gemini.reports_usage(parse([user("x")]))


def failure(message: str, status: str = "INVALID_ARGUMENT") -> str:
    return json.dumps({"error": {"code": 400, "message": message, "status": status}})


def test_refusals_that_a_rewrite_may_have_caused() -> None:
    may = gemini.rewrite_may_have_caused
    assert may(400, failure("Please ensure that function call turn comes immediately after a user turn"))
    long = failure("The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).")
    large = failure("Request payload size exceeds the limit: 20971520 bytes.")
    assert not any(may(400, body) for body in (long, large))
    assert all(may(status, long, longer=True) for status in (400, 413))
    assert not may(400, failure("API key not valid. Please pass a valid API key."), longer=True)
    assert not any(may(status, "x") for status in (401, 403, 404, 413, 429, 500, 503))


def test_the_words_of_a_refusal() -> None:
    assert gemini.refusal_text(failure("no")) == gemini.refusal_text(f"[{failure('no')}]") == "no"
    for odd in ("<html>", "[]", '{"error":"no"}', '{"error":{"message":3}}'):
        assert gemini.refusal_text(odd) == odd
    assert not gemini.says_bound("bound to a different conversation")


PARTS = st.sampled_from(
    [call(n=1), call(n=2), call("b", n=1), call("b", "c1"), call("b", "c2"), result(), result(name="b"),
     result(name="b", identity="c1"), result(name="b", identity="c2"), result({"n": 1}),
     result({"output": "x", "n": 1}), {"text": "x"}, {"text": "y"}, IMAGE]
)  # fmt: skip
CONTENTS = st.lists(
    st.builds(lambda role, parts: {"role": role, "parts": parts}, st.sampled_from(["user", "model"]),
              st.lists(PARTS, max_size=4)),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=cases(400), deadline=None)
@given(CONTENTS, CONTENTS, st.integers(0, 6), st.integers(0, 6), st.integers(0, 3))
def test_reading_again_gives_what_reading_anew_gives(
    first: list[Any], second: list[Any], shared: int, skipped: int, style: int
) -> None:
    before = parse(first, style)
    body = spell({"x": "x" * len(second), "contents": [*first[skipped:shared], *second, user("end")]}, style)
    anew = gemini.parse(body, path=PATH)
    assert gemini.parse(body, {gemini.key(anew): before}, PATH) == anew
    twice = gemini.parse(body, {gemini.key(before): before}, PATH)
    assert twice == anew
    assert gemini.parse(body, {gemini.key(anew): twice}, PATH) == anew


def test_a_second_reading_takes_the_messages_of_the_first() -> None:
    for name in ("", "c1"):
        one = [user("hi" * 3000), model(call(identity=name)), user(result(identity=name)), model("so")]
        before = parse(one)
        after = gemini.parse(spell({"contents": [*one, user("new")]}, 0), {gemini.key(before): before}, PATH)
        known, found = (read.as_read or read.messages for read in (before, after))
        assert all(old is new for old, new in zip(known, found, strict=False))
        assert len(after.messages) == 5


def test_the_key_is_guessed_without_reading() -> None:
    body = {"tools": [], "contents": [user("ä" * 5000)], "x": 1}
    for style in range(3):
        raw = spell(body, style)
        assert gemini.likely_key(raw) == gemini.key(gemini.parse(raw))
    one, other = (parse([user(letter * 5000)]) for letter in "ab")
    assert gemini.key(one) != gemini.key(other)


def test_what_is_read_is_not_changed_by_a_later_reading() -> None:
    history = [user("go"), model(call()), user(result())]
    before = parse(history)
    kept = copy.deepcopy(before)
    gemini.parse(spell({"contents": [*history[1:], *history]}, 0), {gemini.key(before): before}, PATH)
    assert before == kept
