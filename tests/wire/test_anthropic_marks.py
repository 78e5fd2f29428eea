"""Where cache marks are put, worked by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.wire import anthropic, rules
from addon.wire.anthropic_marks import MARK, count, place, unasked
from addon.wire.conversation import Conversation
from addon.wire.scan import splice

TOOL = {"name": "Bash", "input_schema": {"type": "object"}}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "out"}]}
EPHEMERAL = {"type": "ephemeral"}


def read(messages: list[Any], **more: Any) -> Conversation:
    body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": messages, **more}
    return anthropic.parse(json.dumps(body, ensure_ascii=False, indent=1).encode())


def marked(conversation: Conversation, seen: int = 0, *, tail: bool = True) -> Any:
    """The body with its marks; checked to mean what it meant before."""
    edits = place(conversation, seen, tail=tail)
    text = splice(conversation.text, edits)
    after = anthropic.parse(text.encode())
    assert after.breakpoints == count(edits)
    assert after.digests == conversation.digests
    assert rules.broken(conversation, after, marks=count(edits)) == []
    for piece in ('[{"type":"text","text":', MARK + "}]", MARK):
        text = text.replace(piece, "")
    assert text == conversation.text
    return json.loads(splice(conversation.text, edits))


def where(body: Any) -> list[str]:
    """The paths of all marks."""
    found = [f"tools.{n}" for n, t in enumerate(body.get("tools", ())) if t.get("cache_control")]
    contents = [(f"messages.{n}", message["content"]) for n, message in enumerate(body["messages"])]
    for path, content in [("system", body.get("system", "")), *contents]:
        blocks = content if isinstance(content, list) else []
        found += [f"{path}.{n}" for n, block in enumerate(blocks) if block.get("cache_control") == EPHEMERAL]
    return found


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_the_head_what_was_seen_and_the_end() -> None:
    told = [{"role": "user", "content": "begin"}, CALL, RESULT]
    body = marked(read(told, system="Be good.", tools=[TOOL]), seen=1)
    assert where(body) == ["system.0", "messages.0.0", "messages.2.0"]
    assert body["system"] == [{**text("Be good."), "cache_control": EPHEMERAL}]
    assert body["messages"][2]["content"][0]["content"] == "out"


def test_tools_are_the_head_where_there_are_no_instructions() -> None:
    assert where(marked(read([user(text("a"))], tools=[TOOL, {**TOOL, "name": "B"}]))) == ["tools.1", "messages.0.0"]
    later = {**TOOL, "name": "B", "defer_loading": True}
    assert where(marked(read([user(text("a"))], tools=[TOOL, later]), tail=False)) == ["tools.0"]
    assert where(marked(read([user(text("a"))]), tail=False)) == []


def test_the_billing_block_is_no_head() -> None:
    billing = text("x-anthropic-billing-header: cch=1")
    assert where(marked(read([user(text("a"))], system=[billing], tools=[TOOL]), tail=False)) == ["tools.0"]
    assert where(marked(read([user(text("a"))], system=billing["text"], tools=[TOOL]), tail=False)) == ["tools.0"]
    assert where(marked(read([user(text("a"))], system=[billing, text("b"), text("c")]), tail=False)) == ["system.2"]


def test_what_can_carry_none_is_passed_over() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    odd = {"type": "server_thing", "id": "x"}
    answer = {"role": "assistant", "content": [text("So."), thinking]}
    assert where(marked(read([user(text("a"), odd, text(" \n"))]))) == ["messages.0.0"]
    assert where(marked(read([user(text("a")), answer]))) == ["messages.1.0"]
    assert where(marked(read([user(text("a")), {"role": "assistant", "content": [thinking]}]))) == ["messages.0.0"]
    late = {"role": "system", "content": "Mind the gap."}
    assert where(marked(read([user(text("a")), late]))) == ["messages.0.0"]
    declined = {**text("b"), "cache_control": None}
    assert where(marked(read([user(text("a"), declined)]))) == ["messages.0.0"]


def test_one_mark_where_two_would_fall_together() -> None:
    assert where(marked(read([user(text("a"))]), seen=1)) == ["messages.0.0"]
    assert where(marked(read([user(text("a")), user(odd := {"type": "odd"}), user(odd)]), seen=2)) == ["messages.0.0"]


def test_a_result_in_parts_is_marked_as_a_whole() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text("a"), image]}
    body = marked(read([user(text("a")), CALL, user(result)]))
    assert where(body) == ["messages.2.0"]
    assert [part.get("cache_control") for part in body["messages"][2]["content"][0]["content"]] == [None, None]


@pytest.mark.parametrize(
    "change",
    [
        {"cache_control": EPHEMERAL},
        {"cache_control": None},
        {"system": [{**text("s"), "cache_control": EPHEMERAL}]},
        {"tools": [{**TOOL, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"messages": [user({**text("a"), "cache_control": EPHEMERAL})]},
        {"model": "deepseek-v4"},
    ],
)
def test_who_asks_is_left_alone(change: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"model": "claude-opus-4-8", "messages": [user(text("a"))]}
    assert unasked(anthropic.parse(json.dumps(plain).encode()))
    assert not unasked(anthropic.parse(json.dumps(plain | change).encode()))


def test_the_model_may_be_named_in_the_path() -> None:
    body = json.dumps({"anthropic_version": "vertex-2023-10-16", "messages": [user(text("a"))]}).encode()
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-8:rawPredict"
    assert unasked(anthropic.parse(body, path=path))
