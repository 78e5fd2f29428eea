"""How the provider is asked to clear, worked by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.wire import anthropic, rules
from addon.wire.anthropic_clear import BETA, HOST, TYPE, again, asked, available, place, refuses, told, tool_uses
from addon.wire.conversation import Conversation
from addon.wire.scan import splice

THINKING = {"type": "clear_thinking_20251015", "keep": "all"}


def read(uses: int, **more: Any) -> Conversation:
    messages: list[Any] = [{"role": "user", "content": "begin"}]
    for n in range(uses):
        call = {"type": "tool_use", "id": f"t{n}", "name": "b", "input": {}}
        result = {"type": "tool_result", "tool_use_id": f"t{n}", "content": "out"}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    body = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": messages, **more}
    return anthropic.parse(json.dumps(body, indent=1).encode())


def edits(conversation: Conversation, cleared: int) -> list[Any]:
    """What is asked for; the rest of the body is as it was."""
    made = splice(conversation.text, place(conversation, cleared))
    after = anthropic.parse(made.encode())
    assert after.digests == conversation.digests
    assert rules.broken(conversation, after) == []
    before, now = json.loads(conversation.text), json.loads(made)
    before.pop("context_management", None)
    found: list[Any] = now.pop("context_management")["edits"]
    assert before == now
    return found


def ours(cleared: int, keep: int) -> dict[str, Any]:
    trigger, kept = {"type": "tool_uses", "value": cleared}, {"type": "tool_uses", "value": keep}
    return {"type": TYPE, "trigger": trigger, "keep": kept}


@pytest.mark.parametrize(
    ("own", "before"),
    [
        ({}, []),
        ({"context_management": None}, []),
        ({"context_management": {}}, []),
        ({"context_management": {"edits": []}}, []),
        ({"context_management": {"edits": [THINKING]}}, [THINKING]),
    ],
    ids=["none", "null", "empty", "no edits", "thinking"],
)
def test_it_stands_behind_the_clients_own(own: dict[str, Any], before: list[Any]) -> None:
    conversation = read(5, **own)
    assert available(HOST, conversation)
    assert edits(conversation, 3) == [*before, ours(3, 2)]


def test_the_more_tool_uses_the_more_are_kept() -> None:
    assert [edits(read(n), 2)[0]["keep"]["value"] for n in (3, 4, 9)] == [1, 2, 7]
    shorter, longer = read(4), read(6)
    asked_before = splice(shorter.text, place(shorter, 2))[len(shorter.text.rstrip("} \n")) :]
    grown = anthropic.parse((longer.text.rstrip("} \n") + asked_before).encode())
    assert tool_uses(grown) == 6
    assert json.loads(splice(grown.text, again(grown, 2)))["context_management"]["edits"] == [ours(2, 4)]


@pytest.mark.parametrize(("uses", "cleared"), [(0, 1), (2, 2), (3, 0)])
def test_nothing_is_asked_for_that_would_leave_no_tool_use(uses: int, cleared: int) -> None:
    assert place(read(uses), cleared) == []


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", {}),
        (HOST, {"context_management": {"edits": [{"type": TYPE}]}}),
        (HOST, {"context_management": {"edits": [THINKING, {"type": "compact_20260112"}]}}),
        (HOST, {"context_management": {"edits": "all"}}),
        (HOST, {"compaction": {"type": "enabled"}}),
    ],
    ids=["elsewhere", "clears", "compacts", "not understood", "compaction"],
)
def test_where_it_may_not_be_asked_for(host: str, own: dict[str, Any]) -> None:
    assert not available(host, read(5, **own))


def test_tools_of_the_providers_count() -> None:
    body = json.loads(read(2).text)
    body["messages"].append(
        {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]}
    )
    assert tool_uses(anthropic.parse(json.dumps(body).encode())) == 3


@pytest.mark.parametrize(
    ("betas", "then"),
    [(None, BETA), ("", BETA), ("a, b", f"a,b,{BETA}"), (f"a, {BETA}", f"a, {BETA}")],
)
def test_the_clients_betas_stay(betas: str | None, then: str) -> None:
    assert asked(betas) == then


def test_what_a_response_says() -> None:
    def said(*applied: Any) -> Any:
        return {"context_management": {"applied_edits": list(applied)}}

    assert told({}) is None
    assert told({"context_management": None}) is None
    assert told(said()) == 0
    assert told(said({"type": THINKING["type"]}, {"type": TYPE, "cleared_tool_uses": 7})) == 7


def test_which_refusals_are_due_to_it() -> None:
    assert refuses("context_management: Extra inputs are not permitted")
    assert refuses(f"Unexpected value(s) `{BETA}` for the `anthropic-beta` header")
    assert not refuses("messages.3: text content blocks must be non-empty")
