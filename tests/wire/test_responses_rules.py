"""The rules of Responses: each holds for what we do, and catches an edit that it forbids."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from addon.wire import chat_rules, responses, responses_rules, rules
from tests.wire.test_responses import call, free, model, result, said, think, user, wrote

TOOL = json.loads(responses.tool("Read", "d", {"type": "object"}))


def base() -> dict[str, Any]:
    items = [
        {"role": "developer", "content": "Be good."},
        user("go"),
        think(),
        model(wrote("I look."), phase="commentary"),
        call("c1"),
        free("c2"),
        result("c1", [said("text 1")]),
        result("c2", "text 2", type="custom_tool_call_output"),
        model(wrote("so")),
        user("next"),
        think("gBBB"),
        call("c3"),
        result("c3", "text 3"),
    ]
    return {"model": "gpt-5", "input": items, "tools": [TOOL]}


def broken(change: Callable[[dict[str, Any]], object]) -> list[str]:
    before = base()
    after = copy.deepcopy(before)
    change(after)
    one, other = (responses.parse(json.dumps(body).encode()) for body in (before, after))
    return rules.broken(one, other, rules=responses_rules.RULES)


def item(body: dict[str, Any], number: int) -> Any:
    return body["input"][number]


ADDED = json.loads(responses.tool("mmu_recall", "d", {"type": "object"}))
ALLOWED: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda b: None,
    "a result's text": lambda b: item(b, 7).update(output="[mmu page x: gone]"),
    "a part of a result": lambda b: item(b, 6)["output"][0].update(text="[mmu page x: gone]"),
    "a tool comes": lambda b: b["tools"].append(ADDED),
}
FORBIDDEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "a result goes": lambda b: b["input"].pop(7),
    "results change places": lambda b: b["input"].insert(6, b["input"].pop(7)),
    "a result's id": lambda b: item(b, 6).update(call_id="c9"),
    "a result comes": lambda b: b["input"].insert(8, item(b, 7)),
    "a result is empty": lambda b: item(b, 12).update(output=" "),
    "a result of another kind": lambda b: item(b, 7).update(type="function_call_output"),
    "a call's arguments": lambda b: item(b, 4).update(arguments='{"n": 1}'),
    "a call's id": lambda b: item(b, 4).update(call_id="c9"),
    "a call goes": lambda b: b["input"].pop(4),
    "calls change places": lambda b: b["input"].insert(4, b["input"].pop(5)),
    "a text": lambda b: item(b, 1).update(content="other"),
    "an item comes": lambda b: b["input"].append(model(wrote("x"))),
    "reasoning of the current turn goes": lambda b: b["input"].pop(10),
    "reasoning stands behind what it led to": lambda b: b["input"].insert(11, b["input"].pop(10)),
    "what reasoning led to goes": lambda b: b["input"].pop(11),
    "instructions change": lambda b: item(b, 0).update(content="Be bad."),
    "a role": lambda b: item(b, 8).update(role="user"),
    "a tool goes": lambda b: b["tools"].pop(),
    "a tool of another API's comes": lambda b: b["tools"].append({"name": "x", "input_schema": {"type": "object"}}),
    "a tool of Chat's comes": lambda b: b["tools"].append({"type": "function", "function": {"name": "x"}}),
    "a cache mark comes": lambda b: item(b, 6)["output"][0].update(prompt_cache_breakpoint={"mode": "explicit"}),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change) == []


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_forbidden(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change)


def wrong(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "input": [user("go"), *items], **more}


BREAKS: dict[rules.Rule, list[dict[str, Any]]] = {
    responses_rules.calls_are_answered: [
        wrong(call("c")),
        wrong(call("c"), user("never mind")),
        wrong(call("c"), call("d"), result("c"), model(wrote("x"))),
        wrong(result("c")),
        wrong(call("c"), result("c"), result("c")),
        wrong(free("c"), result("c")),
        wrong(call("c"), result("c", type="custom_tool_call_output")),
    ],
    responses_rules.reasoning_is_followed: [
        wrong(think()),
        wrong(think(), user("x")),
        wrong(model(wrote("x")), think()),
    ],
    chat_rules.texts_say_something: [wrong(user(" ")), wrong(model(wrote("")))],
    responses_rules.messages_have_content: [wrong(user([])), wrong(model())],
    chat_rules.tools_have_names: [wrong(tools=[{"name": "x", "input_schema": {}}])],
}


@pytest.mark.parametrize("rule", responses_rules.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_tells_and_what_the_client_got_wrong_itself_is_not_held_against_us(rule: rules.Rule) -> None:
    fine = responses.parse(json.dumps(base()).encode())
    assert list(rule(fine)) == []
    for body in BREAKS[rule]:
        read = responses.parse(json.dumps(body).encode())
        assert list(rule(read)), body
        assert rules.broken(read, read, rules=responses_rules.RULES) == []
        assert rules.worsened(fine, read, responses_rules.RULES)


def test_what_needs_no_answer() -> None:
    fine = wrong(
        {"type": "web_search_call", "id": "ws_1", "action": {}},
        {"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {}},
        {"type": "tool_search_output", "call_id": None, "execution": "server", "tools": []},
        {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}},
        result("c"),
        {"type": "computer_call", "call_id": "d", "action": {"type": "wait"}},
        {"type": "computer_call_output", "call_id": "d", "output": {"type": "computer_screenshot"}},
    )
    read = responses.parse(json.dumps(fine).encode())
    assert [line for rule in responses_rules.RULES for line in rule(read)] == []
