"""The rules of Chat Completions: each holds for what we do, and catches an edit that it forbids."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from addon.wire import chat, chat_rules, rules

TOOL = {"type": "function", "function": {"name": "Read"}}


def base() -> dict[str, Any]:
    def call(n: int) -> dict[str, Any]:
        return {"id": f"c{n}", "type": "function", "function": {"name": "Read", "arguments": f'{{"n": {n}}}'}}

    def result(n: int) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": f"c{n}", "content": [{"type": "text", "text": f"text {n}"}]}

    messages: list[Any] = [
        {"role": "system", "content": "Be good."},
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call(1), call(2)], "reasoning_content": "hm"},
        result(1),
        result(2),
        {"role": "assistant", "content": "so"},
        {"role": "user", "content": "next", "name": "bob"},
        {"role": "assistant", "content": None, "tool_calls": [call(3)], "reasoning_content": "hm"},
        result(3),
    ]
    return {"model": "gpt-5", "messages": messages, "tools": [TOOL]}


def broken(change: Callable[[dict[str, Any]], object]) -> list[str]:
    before = base()
    after = copy.deepcopy(before)
    change(after)
    one, other = (chat.parse(json.dumps(body).encode()) for body in (before, after))
    return rules.broken(one, other, rules=chat_rules.RULES)


def message(body: dict[str, Any], number: int) -> Any:
    return body["messages"][number]


ADDED = json.loads(chat.tool("mmu_recall", "d", {"type": "object"}))
ALLOWED: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda b: None,
    "a result's text": lambda b: message(b, 3).update(content="[mmu page x: gone]"),
    "a tool comes": lambda b: b["tools"].append(ADDED),
}
FORBIDDEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "a result goes": lambda b: b["messages"].pop(4),
    "results change places": lambda b: b["messages"].insert(3, b["messages"].pop(4)),
    "a result's id": lambda b: message(b, 3).update(tool_call_id="c9"),
    "a result comes": lambda b: b["messages"].insert(5, message(b, 4)),
    "a result is empty": lambda b: message(b, 3).update(content=" "),
    "a call's arguments": lambda b: message(b, 2)["tool_calls"][0]["function"].update(arguments="{}"),
    "a call's id": lambda b: message(b, 2)["tool_calls"][0].update(id="c9"),
    "a text": lambda b: message(b, 1).update(content="other"),
    "a name": lambda b: message(b, 6).update(name="eve"),
    "a message comes": lambda b: b["messages"].append({"role": "assistant", "content": "x"}),
    "reasoning of the current turn goes": lambda b: message(b, 7).pop("reasoning_content"),
    "instructions change": lambda b: message(b, 0).update(content="Be bad."),
    "a role": lambda b: message(b, 5).update(role="user"),
    "a tool goes": lambda b: b["tools"].pop(),
    "a tool of another API's comes": lambda b: b["tools"].append({"name": "x", "input_schema": {"type": "object"}}),
    "a cache mark comes": lambda b: message(b, 3)["content"][0].update(cache_control={"type": "ephemeral"}),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change) == []


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_forbidden(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change)


def wrong(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "messages": [{"role": "user", "content": "go"}, *messages], **more}


CALL: dict[str, Any] = base()["messages"][7]
BREAKS: dict[rules.Rule, list[dict[str, Any]]] = {
    chat_rules.calls_are_answered: [
        wrong(CALL),
        wrong(CALL, {"role": "user", "content": "never mind"}),
        wrong({"role": "tool", "tool_call_id": "c3", "content": "x"}),
        wrong(CALL, *[{"role": "tool", "tool_call_id": "c3", "content": "x"}] * 2),
    ],
    chat_rules.calls_are_the_models: [
        wrong({**CALL, "role": "user"}),
        wrong({"role": "user", "content": "x", "reasoning": "y"}),
    ],
    chat_rules.texts_say_something: [
        wrong({"role": "user", "content": " "}),
        wrong({"role": "assistant", "content": ""}),
    ],
    chat_rules.messages_have_content: [
        wrong({"role": "assistant", "content": None}),
        wrong({"role": "assistant", "reasoning_content": "hm"}),
    ],
    chat_rules.tools_have_names: [wrong(tools=[{"name": "x", "input_schema": {}}])],
}


@pytest.mark.parametrize("rule", chat_rules.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_tells_and_what_the_client_got_wrong_itself_is_not_held_against_us(rule: rules.Rule) -> None:
    fine = chat.parse(json.dumps(base()).encode())
    assert list(rule(fine)) == []
    for body in BREAKS[rule]:
        read = chat.parse(json.dumps(body).encode())
        assert list(rule(read))
        assert rules.broken(read, read, rules=chat_rules.RULES) == []
        assert rules.worsened(fine, read, chat_rules.RULES)
