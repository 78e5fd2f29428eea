"""Chat Completions requests: what a block is, what its hash covers, and that a second reading gives the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.wire import chat
from addon.wire.conversation import Act, Conversation, Kind, Subject
from addon.wire.retention import DAY, HOUR
from addon.wire.scan import Malformed
from addon.wire.usage import Usage
from tests.effort import cases
from tests.mmu.sessions import spell


def parse(messages: Any, style: int = 0, **more: Any) -> Conversation:
    return chat.parse(spell({"model": "gpt-4o", "messages": messages, **more}, style))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def call(identity: str, arguments: Any = "{}", name: str = "Read") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*made: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(made), **more}


def result(identity: str, content: Any = "x") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


EPHEMERAL = {"type": "ephemeral"}
MARKED = {"mode": "explicit"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}


def test_blocks_stand_where_they_say() -> None:
    messages = [
        {"role": "system", "content": "Be good."},
        {"role": "developer", "content": [text("Be brief.")]},
        user([text("look"), IMAGE]),
        calls(call("c1", '{"file_path": "a", "n": 1}'), content="I look.", reasoning_content="hm", annotations=[]),
        result("c1", [text("one"), IMAGE, text("zwei ä")]),
        user("hello"),
    ]
    for style in range(4):
        read = parse(messages, style)
        assert [b.text for b in read.instructions] == ["Be good.", "Be brief."]
        for block in read.instructions:
            assert "Be" in read.text[block.start : block.end]
        kinds = [[b.kind for b in m.blocks] for m in read.messages]
        assert kinds == [
            [Kind.TEXT, Kind.OTHER],
            [Kind.TEXT, Kind.CALL, Kind.OTHER, Kind.REASONING],
            [Kind.RESULT, Kind.OTHER, Kind.RESULT],
            [Kind.TEXT],
        ]
        for message, original in zip(read.messages, messages[2:], strict=True):
            assert json.loads(read.text[message.start : message.end]) == original
            for block in message.blocks:
                json.loads(read.text[message.start + block.start : message.start + block.end])
                if block.literal is not None:
                    start, end = block.literal
                    assert json.loads(read.text[message.start + start : message.start + end]) == block.text
        made = read.messages[1].blocks[1]
        assert (made.call, made.name, made.about) == ("c1", "Read", Subject(Act.READ, "a", "Read a"))
        assert made.arguments == {"file_path": "a", "n": 1}
        assert [(b.call, b.part, b.text) for b in read.messages[2].blocks] == [
            ("c1", 0, "one"), ("c1", 1, ""), ("c1", 2, "zwei ä"),
        ]  # fmt: skip


def test_only_the_instructions_at_the_head_stand_apart() -> None:
    late = {"role": "system", "content": "Now be quick."}
    read = parse([{"role": "system", "content": "Be good."}, user("hi"), late, user("go")])
    assert [b.text for b in read.instructions] == ["Be good."]
    assert [m.role for m in read.messages] == ["user", "system", "user"]


def test_instructions_do_not_name_a_conversation() -> None:
    one, other = (parse([{"role": "system", "content": words}, user("hi")]) for words in ("Monday", "Tuesday"))
    assert (one.opening, one.digests) == (other.opening, other.digests)
    assert one.instructions != other.instructions


@pytest.mark.parametrize("odd", ["", "{", "nonsense", '{"a":' * 100_000, '"' + "\\ud800" + '"', "1" * 5000])
def test_arguments_that_are_no_json_are_their_own_subject(odd: str) -> None:
    read = parse([user("go"), calls(call("c1", odd), call("c2", odd + " ")), result("c1"), result("c2")], 1)
    one, other = read.messages[1].blocks
    assert (one.call, other.call) == ("c1", "c2")
    assert one.about is not None
    assert one.about.act is Act.RUN


def test_arguments_that_are_an_object_already_are_taken_so() -> None:
    read = parse([user("go"), calls(call("c1", {"path": "a"}, "read_file"))])
    assert read.messages[1].blocks[0].about == Subject(Act.READ, "a", "read_file a")


def test_custom_tools_are_calls_too() -> None:
    made = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    block = parse([user("go"), calls(made)]).messages[1].blocks[0]
    assert (block.kind, block.name, block.arguments) == (Kind.CALL, "shell", "ls -l")


def test_a_result_without_text_cannot_be_replaced() -> None:
    empty: tuple[Any, ...] = (None, [])
    for content in empty:
        block = parse([user("go"), calls(call("c")), result("c", content)]).messages[2].blocks[0]
        assert (block.kind, block.literal) == (Kind.RESULT, None)
    for odd in ({"a": 1}, 3, [3], ["x"], [[text("x")]], [IMAGE], [text("x", extra=1)]):
        read = parse([user("go"), calls(call("c")), result("c", odd)]).messages[2].blocks
        assert [(b.kind, b.call) for b in read] == [(Kind.OTHER, "c")]


SAME: dict[str, tuple[Any, Any]] = {
    "string for a list of one text": (user("hi"), user([text("hi")])),
    "a cache mark": (user([text("hi")]), user([text("hi", cache_control=EPHEMERAL)])),
    "a breakpoint": (user([text("hi")]), user([text("hi", prompt_cache_breakpoint=MARKED)])),
    "a cache mark on a result": (result("t"), result("t", [text("x", cache_control=EPHEMERAL)])),
    "a cache mark on an image": (user([IMAGE]), user([{**IMAGE, "prompt_cache_breakpoint": MARKED}])),
    "no content for null": (calls(call("c")), {"role": "assistant", "tool_calls": [call("c")]}),
    "a null member": (calls(call("c")), calls(call("c"), refusal=None, function_call=None)),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_what_clients_move_about_is_not_hashed(pair: tuple[Any, Any]) -> None:
    one, other = (parse([message]) for message in pair)
    assert one.digests == other.digests
    assert one.head == other.head


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "text": (user("hi"), user("ho")),
    "role": (user("hi"), {"role": "assistant", "content": "hi"}),
    "call": (result("t"), result("u")),
    "result": (result("t"), result("t", "y")),
    "arguments": (calls(call("c")), calls(call("c", '{"a":1}'))),
    "tool": (calls(call("c")), calls(call("c", name="Write"))),
    "reasoning": (calls(call("c"), reasoning_content="a"), calls(call("c"), reasoning_content="b")),
    "its member": (calls(call("c"), reasoning_content="a"), calls(call("c"), reasoning="a")),
    "reasoning or none": (calls(call("c"), reasoning="a"), calls(call("c"))),
    "refusal": (calls(call("c"), refusal="no"), calls(call("c"))),
    "audio": (calls(call("c"), audio={"id": "1"}), calls(call("c"), audio={"id": "2"})),
    "name": (user("hi"), {**user("hi"), "name": "bob"}),
    "unknown member": (user("hi"), {**user("hi"), "beams": [1]}),
    "unknown part": (user([IMAGE]), user([{**IMAGE, "detail": "low"}])),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_says_something_else_hashes_differently(pair: tuple[Any, Any]) -> None:
    one, other = (parse([message]) for message in pair)
    assert one.digests != other.digests


MALFORMED: dict[str, Any] = {
    "no messages": {"model": "m"},
    "messages null": {"messages": None},
    "messages empty": {"messages": []},
    "messages a string": {"messages": "hi"},
    "message a string": {"messages": ["hi"]},
    "nothing but instructions": {"messages": [{"role": "system", "content": "x"}]},
    "message without role": {"messages": [{"content": "hi"}]},
    "role a number": {"messages": [{"role": 1, "content": "hi"}]},
    "content a number": {"messages": [user(3)]},
    "content an object": {"messages": [user({"type": "text"})]},
    "type a number": {"messages": [user([{"type": 3}])]},
    "no call id": {"messages": [{"role": "tool", "content": "x"}]},
    "an empty call id": {"messages": [result("")]},
    "call id a number": {"messages": [{**result("c"), "tool_call_id": 3}]},
    "a user's call id": {"messages": [{**user("x"), "tool_call_id": "c"}]},
    "calls an object": {"messages": [{"role": "assistant", "tool_calls": {}}]},
    "call a string": {"messages": [{"role": "assistant", "tool_calls": ["c"]}]},
    "call without id": {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x"}}]}]},
    "tools a string": {"messages": [user("x")], "tools": "all"},
    "tool a string": {"messages": [user("x")], "tools": ["all"]},
    "model a list": {"messages": [user("x")], "model": []},
    "stream a string": {"messages": [user("x")], "stream": "yes"},
    "two answers": {"messages": [user("x")], "n": 2},
    "functions": {"messages": [user("x")], "functions": []},
    "a function's answer": {"messages": [{"role": "function", "name": "f", "content": "x"}]},
    "a function call": {"messages": [calls(function_call={"name": "f", "arguments": ""})]},
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_in_doubt_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed):
        chat.parse(json.dumps(body).encode())


def test_duplicate_keys_are_malformed() -> None:
    for body in (
        '{"messages":[{"role":"user","content":"a"}],"messages":[]}',
        '{"messages":[{"role":"user","content":"a","content":"b"}]}',
        '{"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}',
    ):
        with pytest.raises(Malformed):
            chat.parse(body.encode())


def test_time_to_live_is_what_is_asked_for_or_known() -> None:
    def ttl(model: str, **more: Any) -> float | None:
        return parse([user("x")], **{"model": model, **more}).ttl

    assert [ttl(m) for m in ("gpt-4o", "o3", "gpt-5.6", "gpt-6.2-astra", "openai/gpt-4o-mini")] == [HOUR] * 5
    assert [ttl(m) for m in ("gpt-5", "gpt-5.5-pro", "gpt-4.1-mini", "openai/gpt-5.1", "deepseek-chat")] == [DAY] * 5
    assert [ttl(m) for m in ("gpt-oss-120b", "llama-4", "qwen3", "anthropic/claude-opus-4.8", "")] == [None] * 5
    assert ttl("gpt-4o", prompt_cache_retention="24h") == DAY
    assert ttl("gpt-5.1", prompt_cache_retention="in_memory") == HOUR
    assert ttl("gpt-5.1", prompt_cache_retention=None) == DAY
    for options, seconds in (({"ttl": "12h"}, DAY), ({"ttl": "30m"}, HOUR), ({}, HOUR), (3, HOUR)):
        assert ttl("gpt-5.6", prompt_cache_options=options) == seconds


def test_cache_marks_are_counted_and_say_how_long() -> None:
    marked = user([text("x", cache_control=EPHEMERAL), text("y", cache_control={"type": "ephemeral", "ttl": "1h"})])
    read = parse([{"role": "system", "content": [text("s", cache_control=EPHEMERAL)]}, marked], model="claude-opus-4.8")
    assert (read.ttl, read.breakpoints, read.messages[0].marks) == (3600, 3, (300, 3600))
    for mark, seconds in ((MARKED, HOUR), ({**MARKED, "ttl": "12h"}, DAY), ({**MARKED, "ttl": "9d"}, DAY)):
        assert parse([user([text("x", prompt_cache_breakpoint=mark)])], model="x").ttl == seconds
    tool = {"type": "function", "function": {"name": "f"}, "cache_control": EPHEMERAL}
    assert parse([user("x")], tools=[tool]).breakpoints == 1


def test_signed_reasoning_is_bound_where_the_model_may_bind_it() -> None:
    signed = [{"type": "reasoning.text", "text": "hm", "signature": "s"}]
    for details, model, bound in (
        (signed, "anthropic/claude-opus-5.5", True),
        (signed, "anthropic/claude-opus-4.8", False),
        (signed, "unheard-of", True),
        ([{"type": "reasoning.encrypted", "data": "x"}], "openai/gpt-6.2", True),
        ([{"type": "reasoning.encrypted", "data": "x"}], "openai/gpt-5.1", False),
        ([{"type": "reasoning.summary", "summary": "x"}], "openai/gpt-6.2", False),
    ):
        read = parse([user("x"), {"role": "assistant", "content": "y", "reasoning_details": details}], model=model)
        assert read.bound is bound
        assert read.messages[1].blocks[-1].kind is Kind.REASONING
    assert not parse([user("x"), calls(reasoning_content="hm")], model="unheard-of").bound


def test_tools_have_the_names_of_their_functions() -> None:
    tools = [json.loads(chat.tool("f", "does", {"type": "object"})), {"type": "custom", "custom": {"name": "g"}}, {}]
    read = parse([user("x")], tools=tools)
    assert [t.name for t in read.tools] == ["f", "g", ""]
    assert json.loads(read.text[read.tools[0].start : read.tools[0].end]) == tools[0]
    assert parse([user("x")], tools=None).tools == []


def test_tool_choice_is_an_object() -> None:
    assert parse([user("x")], tool_choice="auto").options["tool_choice"] == {"type": "auto"}
    assert "tool_choice" not in parse([user("x")], tool_choice=None).options
    assert parse([user("x")], tool_choice={"type": "function"}).options["tool_choice"] == {"type": "function"}


def test_a_provider_that_drops_the_middle_clears() -> None:
    assert parse([user("x")], transforms=["middle-out"]).clears
    assert not parse([user("x")]).clears
    assert not parse([user("x")], transforms=[]).clears


def test_usage_counts_what_was_cached_apart() -> None:
    report: dict[str, Any] = {"prompt_tokens": 2000, "completion_tokens": 7}
    assert chat.usage(report) == Usage(fresh=2000, output=7, untold=True)
    report["prompt_tokens_details"] = {"cached_tokens": 1024, "cache_write_tokens": 512}
    got = chat.usage(report)
    assert got == Usage(fresh=464, read=1024, written=512, output=7, untold=True)
    assert got.prompt == 2000
    assert chat.usage({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}).read == 4
    assert chat.usage({"prompt_tokens": 9, "cached_tokens": 5}).read == 5
    assert chat.usage({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 50}}).fresh == 0
    assert chat.usage({"prompt_tokens": None, "prompt_tokens_details": None}) == Usage(untold=True)


def test_a_stream_reports_its_usage_at_the_end() -> None:
    heard: Usage | None = None
    for data in ('{"choices":[{"delta":{"content":"\\"usage\\""}}],"usage":null}', "[DONE]", '"usage"', '["usage"]'):
        heard = chat.stream_usage("", data, heard)
        assert heard is None
    heard = chat.stream_usage("", '{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}', heard)
    heard = chat.stream_usage("", '{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}', heard)
    assert heard == Usage(fresh=5, output=3, untold=True)
    assert chat.stream_usage("", "[DONE]", heard) == heard
    groq = '{"x_groq":{"usage":{"prompt_tokens":6,"completion_tokens":1}},"choices":[]}'
    assert chat.stream_usage("", groq, None) == Usage(fresh=6, output=1, untold=True)


def test_refusals_that_a_rewrite_may_have_caused() -> None:
    may = chat.rewrite_may_have_caused
    assert may(400, "Invalid parameter: messages with role 'tool' must be a response to a preceeding message")
    assert may(422, "tool schema")
    long = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."
    assert not may(400, long)
    assert may(400, long, longer=True)
    assert not any(may(status, "x") for status in (401, 403, 404, 413, 429, 500, 503))


def test_the_words_of_a_refusal() -> None:
    assert chat.refusal_text('{"error":{"message":"no","code":null}}') == "no"
    assert chat.refusal_text('{"error":"no"}') == "no"
    assert chat.refusal_text('{"detail":"no"}') == '{"detail":"no"}'
    assert chat.refusal_text("<html>") == "<html>"
    assert chat.says_bound('{"error":{"message":"The block is bound to a different conversation"}}')


def test_paths_of_the_api() -> None:
    assert all(chat.is_call(path) for _, path in chat.HOSTS)
    assert not any(map(chat.is_call, ("/v1/messages", "/v1/chat/completions/abc", "/v1/completions", "/v1/responses")))


@settings(max_examples=cases(300), deadline=None)
@given(
    st.lists(st.text(max_size=6), min_size=1, max_size=6),
    st.lists(st.text(max_size=6), min_size=1, max_size=6),
    st.sampled_from(["system", "developer", "user", "assistant"]),
    st.integers(0, 8),
    st.integers(0, 3),
)
def test_reading_again_gives_what_reading_anew_gives(
    first: list[str], second: list[str], role: str, shared: int, style: int
) -> None:
    head = [{"role": "system", "content": "Be good."}, {"role": role, "content": "x"}]
    one = [*head, *(user(words) for words in first)]
    two = [*one[:shared], *({"role": role, "content": [text(words)]} for words in second), user("end")]
    before = parse(one, style)
    body = spell({"stop": "x" * len(second), "model": "gpt-4o", "messages": two}, style)
    anew = chat.parse(body)
    assert chat.parse(body, {chat.key(anew): before}) == anew
    assert chat.parse(body, {chat.key(before): before}) == anew


def test_a_second_reading_takes_the_messages_of_the_first() -> None:
    head = [{"role": "system", "content": "s" * 9000}]
    one = [*head, user("hi" * 3000), {"role": "system", "content": "late"}, user("more")]
    before = parse(one)
    after = chat.parse(spell({"model": "gpt-4o", "messages": [*one, user("new")]}, 0), {chat.key(before): before})
    assert all(old is new for old, new in zip(before.messages, after.messages, strict=False))
    assert len(after.messages) == 4


@pytest.mark.parametrize("order", ["role first", "content first", "no user"])
def test_the_key_is_guessed_without_reading(order: str) -> None:
    first = {"content": "ä" * 5000, "role": "user"} if order == "content first" else user("ä" * 5000)
    messages = [{"role": "system", "content": 'say "messages": ["role":"user"] ' * 40}, first]
    if order == "no user":
        messages = [{"role": "assistant", "content": "x" * 5000}]
    for style in range(3):
        body = spell({"tools": [], "messages": messages, "model": "m"}, style)
        assert chat.likely_key(body) == chat.key(chat.parse(body))
    assert chat.key(parse([user("a" * 5000)])) != chat.key(parse([user("b" * 5000)]))


def test_a_stream_reports_its_cost_only_where_it_was_asked_to() -> None:
    assert chat.reports_usage(parse([user("x")]))
    assert not chat.reports_usage(parse([user("x")], stream=True))
    assert not chat.reports_usage(parse([user("x")], stream=True, stream_options={"include_usage": False}))
    assert chat.reports_usage(parse([user("x")], stream=True, stream_options={"include_usage": True}))
