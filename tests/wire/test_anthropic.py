"""Messages requests: what a block is, what its hash covers, and that a second reading is the first one's equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.wire import anthropic, apis
from addon.wire.conversation import Act, Conversation, Kind, Subject
from addon.wire.scan import Malformed
from tests.effort import cases
from tests.mmu.sessions import spell


def parse(messages: Any, style: int = 0, **more: Any) -> Conversation:
    return anthropic.parse(spell({"model": "claude-opus-4-8", "max_tokens": 9, "messages": messages, **more}, style))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


EPHEMERAL = {"type": "ephemeral"}
UNKNOWN = {"type": "hologram", "beams": [1, {"content": [{"x": None}]}], "content": {"deep": [True]}}


@pytest.mark.parametrize(
    ("path", "model", "bound"),
    [
        ("/v1/messages?beta=true", "", True),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-5@20251101:streamRawPredict",
         "claude-opus-4-5@20251101", False),
        ("/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke", "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
         False),
        ("/model/arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fab1/invoke-with-response-stream",
         "arn:aws:bedrock:us-east-1:1:application-inference-profile/ab1", True),
    ],
)  # fmt: skip
def test_the_model_may_be_named_in_the_path(path: str, model: str, bound: bool) -> None:
    read = anthropic.parse(b'{"messages":[{"role":"user","content":"hi"}]}', path=path)
    assert (read.model, read.bound, read.path) == (model, bound, path)
    spoken = [apis.spoken(path.partition("?")[0], [host], trusted=False) for host in NAMES]
    assert spoken.count(anthropic) == 1


NAMES = ("api.anthropic.com", "us-east5-aiplatform.googleapis.com", "bedrock-runtime.us-east-1.amazonaws.com")


def test_blocks_stand_where_they_say() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "a", "n": 1}}
    parts = [{"type": "text", "text": "one"}, {"type": "image", "source": {}}, {"type": "text", "text": "zwei ä"}]
    messages = [
        user("hello"),
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}, call]},
        user([{"type": "tool_result", "tool_use_id": "t1", "content": parts, "is_error": True}, UNKNOWN]),
    ]
    for style in range(4):
        read = parse(messages, style)
        kinds = [[b.kind for b in m.blocks] for m in read.messages]
        assert kinds == [[Kind.TEXT], [Kind.REASONING, Kind.CALL], [Kind.RESULT, Kind.OTHER, Kind.RESULT, Kind.OTHER]]
        for message in read.messages:
            assert json.loads(read.text[message.start : message.end])["role"] == message.role
            for block in message.blocks:
                inside = json.loads(read.text[message.start + block.start : message.start + block.end])
                assert inside == block.text if message is read.messages[0] else isinstance(inside, dict)
                if block.literal is not None:
                    start, end = block.literal
                    assert json.loads(read.text[message.start + start : message.start + end]) == block.text
        last = read.messages[2].blocks
        assert [(b.call, b.part, b.error) for b in last[:3:2]] == [("t1", 0, True), ("t1", 2, True)]
        assert read.messages[1].blocks[0].signed
        assert read.messages[1].blocks[1].about == Subject(Act.READ, "a", "Read a")


SAME = {
    "string for a list of one text": (user("hi"), user([{"type": "text", "text": "hi"}])),
    "a cache mark on text": (user("hi"), user([{"type": "text", "text": "hi", "cache_control": EPHEMERAL}])),
    "a cache mark on a result": (
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}]),
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x", "cache_control": EPHEMERAL}]),
    ),
    "a result's string for a list": (
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}]),
        user([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}]),
    ),
    "a cache mark on an unknown block": (user([UNKNOWN]), user([{**UNKNOWN, "cache_control": EPHEMERAL}])),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_what_clients_move_about_is_not_hashed(pair: tuple[Any, Any]) -> None:
    one, other = (parse([message]) for message in pair)
    assert one.digests == other.digests
    assert one.head == other.head


DIFFERENT = {
    "text": (user("hi"), user("ho")),
    "role": (user("hi"), {"role": "assistant", "content": "hi"}),
    "kind": (user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}]), user("x")),
    "call": (
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}]),
        user([{"type": "tool_result", "tool_use_id": "u", "content": "x"}]),
    ),
    "error": (
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}]),
        user([{"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": True}]),
    ),
    "citations": (
        user([{"type": "text", "text": "x"}]),
        user([{"type": "text", "text": "x", "citations": [{"a": 1}]}]),
    ),
    "unknown inside": (user([UNKNOWN]), user([{**UNKNOWN, "beams": []}])),
    "extra key": (user("hi"), {**user("hi"), "name": "bob"}),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_says_something_else_hashes_differently(pair: tuple[Any, Any]) -> None:
    one, other = (parse([message]) for message in pair)
    assert one.digests != other.digests


def test_billing_block_is_no_instruction() -> None:
    blocks = [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": "Be good."}]
    assert [b.text for b in parse([user("hi")], system=blocks).instructions] == ["Be good."]
    assert [b.text for b in parse([user("hi")], system="Be good.").instructions] == ["Be good."]


def test_time_to_live_is_what_the_messages_ask_for() -> None:
    hour = {"type": "ephemeral", "ttl": "1h"}
    marked = user([{"type": "text", "text": "x", "cache_control": EPHEMERAL}])
    assert parse([user("x")]).ttl is None
    assert parse([user("x")], system=[{"type": "text", "text": "s", "cache_control": hour}]).ttl is None
    assert parse([marked]).ttl == 300
    assert parse([marked], cache_control=hour).ttl == 3600
    odd = user([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "9d"}}])
    assert parse([odd]).ttl == 3600
    nested = [{"type": "text", "text": "x", "cache_control": EPHEMERAL}]
    read = parse([user([{"type": "tool_result", "tool_use_id": "t", "content": nested}])])
    assert (read.ttl, read.breakpoints) == (300, 1)


MALFORMED: dict[str, Any] = {
    "no messages": {"model": "m"},
    "messages null": {"messages": None},
    "messages a string": {"messages": "hi"},
    "message a string": {"messages": ["hi"]},
    "message without role": {"messages": [{"content": "hi"}]},
    "message without content": {"messages": [{"role": "user"}]},
    "content null": {"messages": [user(None)]},
    "content a number": {"messages": [user(3)]},
    "block a string": {"messages": [user(["hi"])]},
    "text a number": {"messages": [user([{"type": "text", "text": 3}])]},
    "type a number": {"messages": [user([{"type": 3}])]},
    "result content an object": {"messages": [user([{"type": "tool_result", "tool_use_id": "t", "content": {}}])]},
    "result part a string": {"messages": [user([{"type": "tool_result", "tool_use_id": "t", "content": ["x"]}])]},
    "call id a number": {"messages": [user([{"type": "tool_result", "tool_use_id": 3, "content": ""}])]},
    "tools a string": {"messages": [user("x")], "tools": "all"},
    "tool a string": {"messages": [user("x")], "tools": ["all"]},
    "system a number": {"messages": [user("x")], "system": 3},
    "model a list": {"messages": [user("x")], "model": []},
    "stream a string": {"messages": [user("x")], "stream": "yes"},
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_wrong_types_are_malformed(body: Any) -> None:
    with pytest.raises(Malformed):
        anthropic.parse(json.dumps(body).encode())


@pytest.mark.parametrize("place", ["text", "result", "input", "thinking"])
def test_lone_surrogates_are_malformed_where_they_would_be_hashed(place: str) -> None:
    block = {
        "text": '{"type":"text","text":"\\ud800"}',
        "result": '{"type":"tool_result","tool_use_id":"t","content":"\\udfff"}',
        "input": '{"type":"tool_use","id":"t","name":"n","input":{"a":"\\ud800"}}',
        "thinking": '{"type":"thinking","thinking":"\\ud800","signature":"s"}',
    }[place]
    body = f'{{"model":"m","messages":[{{"role":"user","content":[{block}]}}]}}'.encode()
    if place in ("text", "result"):
        with pytest.raises(Malformed):
            anthropic.parse(body)
    else:  # kept raw: the escape is hashed as it is spelled, and stays
        assert anthropic.parse(body).text.encode() == body


leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(
    ["", "text", "tool_result", "tool_use", "thinking", "user", "assistant", "5m", "ä"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["type", "text", "content", "role", "tool_use_id", "id", "name", "input", "cache_control", "is_error", "signature",
     "ttl", "x"]
)  # fmt: skip
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=30
)


@settings(max_examples=cases(1000), deadline=None)
@given(st.dictionaries(st.sampled_from(["messages", "system", "tools", "model", "stream", "cache_control"]), junk))
def test_any_json_is_read_or_malformed(body: dict[str, Any]) -> None:
    try:
        read = anthropic.parse(spell(body, 0))
    except Malformed:
        return
    assert read.text.encode() == spell(body, 0)


@settings(max_examples=cases(500), deadline=None)
@given(
    st.lists(st.text(max_size=6), min_size=1, max_size=8),
    st.lists(st.text(max_size=6), min_size=1, max_size=8),
    st.integers(0, 8),
    st.integers(0, 3),
)
def test_reading_again_gives_what_reading_anew_gives(
    first: list[str], second: list[str], shared: int, style: int
) -> None:
    one = [user(text) for text in first]
    two = [*one[:shared], *(user([{"type": "text", "text": text}]) for text in second)]
    before = parse(one, style)
    body = spell({"system": "x" * len(second), "model": "claude-opus-4-8", "messages": two}, style)
    recent = {anthropic.key(before): before}
    key = anthropic.key(anthropic.parse(body))
    again = anthropic.parse(body, {key: before})
    assert again == anthropic.parse(body)
    assert anthropic.parse(body, recent) == anthropic.parse(body)


def test_models_that_bind_reasoning() -> None:
    free = "claude-3-5-sonnet-20241022 claude-opus-4-5 claude-opus-4-8 claude-haiku-4-5 claude-opus-5 claude-sonnet-5"
    free += " claude-fable-5 claude-opus-5-20260101 anthropic/claude-opus-4-5"
    bound = "claude-opus-5-5 claude-sonnet-5-5-20260801 claude-haiku-5-5 claude-fable-5-1 claude-mythos-5-2"
    assert not any(map(anthropic.binds_reasoning, free.split()))
    assert all(map(anthropic.binds_reasoning, [*bound.split(), "something-new"]))


def test_refusals_that_a_rewrite_may_have_caused() -> None:
    may = anthropic.rewrite_may_have_caused
    assert may(400, "messages.3.content.0: Invalid `signature` in `thinking` block")
    assert not may(400, "prompt is too long: 210000 tokens > 200000 maximum")
    assert not any(may(status, "x") for status in (401, 403, 404, 413, 429, 500, 529))
