"""The rules: each holds for what we do, and catches an edit that it forbids."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from addon.wire import anthropic, rules


def base() -> dict[str, Any]:
    def thinking(n: int) -> dict[str, Any]:
        return {"type": "thinking", "thinking": f"hm {n}", "signature": f"s{n}"}

    def call(n: int) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"t{n}", "name": "Read", "input": {"n": n}}

    def result(n: int) -> dict[str, Any]:
        return {"type": "tool_result", "tool_use_id": f"t{n}", "content": f"text {n}"}

    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [thinking(1), call(1), call(2)]},
        {"role": "user", "content": [result(1), result(2), {"type": "text", "text": "note"}]},
        {"role": "assistant", "content": [thinking(2), {"type": "text", "text": "so"}]},
        {"role": "user", "content": "next"},
        {"role": "assistant", "content": [thinking(3), call(3)]},
        {"role": "user", "content": [result(3)]},
    ]
    system = [{"type": "text", "text": "Be good.", "cache_control": {"type": "ephemeral"}}]
    return {"model": "claude-opus-5-5", "max_tokens": 9, "system": system, "messages": messages}


def broken(change: Callable[[dict[str, Any]], object]) -> list[str]:
    before = base()
    after = copy.deepcopy(before)
    change(after)
    one, other = (anthropic.parse(json.dumps(body).encode()) for body in (before, after))
    return rules.broken(one, other)


def content(body: dict[str, Any], message: int) -> Any:
    return body["messages"][message]["content"]


ALLOWED: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda b: None,
    "a result's text": lambda b: content(b, 2)[0].update(content="[mmu page x: gone]"),
    "the oldest reasoning goes": lambda b: content(b, 1).pop(0),
    "all reasoning of finished turns goes": lambda b: (content(b, 1).pop(0), content(b, 3).pop(0)),
}
FORBIDDEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "a result goes": lambda b: content(b, 2).pop(1),
    "results change places": lambda b: content(b, 2).insert(0, content(b, 2).pop(1)),
    "text before results": lambda b: content(b, 2).insert(0, content(b, 2).pop(2)),
    "a call id": lambda b: content(b, 2)[0].update(tool_use_id="t9"),
    "an error flag": lambda b: content(b, 2)[0].update(is_error=True),
    "a call's input": lambda b: content(b, 1)[1].update(input={}),
    "a text": lambda b: content(b, 2)[2].update(text="other"),
    "an empty text": lambda b: content(b, 3)[1].update(text=" "),
    "a message goes": lambda b: b["messages"].pop(),
    "a message comes": lambda b: b["messages"].append({"role": "assistant", "content": "x"}),
    "reasoning in the middle goes": lambda b: content(b, 3).pop(0),
    "reasoning of the current turn goes": lambda b: content(b, 5).pop(0),
    "reasoning changes": lambda b: content(b, 1)[0].update(thinking="else"),
    "instructions change": lambda b: b["system"][0].update(text="Be bad."),
    "a cache mark comes": lambda b: content(b, 2)[2].update(cache_control={"type": "ephemeral"}),
    "a cache mark goes": lambda b: b["system"][0].pop("cache_control"),
    "the first role": lambda b: b["messages"].pop(0),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change) == []


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_forbidden(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_what_the_client_got_wrong_itself_is_not_held_against_us(rule: rules.Rule) -> None:
    wrong: list[Any] = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "n", "input": {}}]},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "tool_result", "tool_use_id": "b"}]},
        {"role": "user", "content": []},
        {"role": "system", "content": "note"},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "n", "input": {}}]},
    ]
    mark = {"cache_control": {"type": "ephemeral"}}
    body = {"messages": wrong, "system": [{"type": "text", "text": str(n), **mark} for n in range(5)]}
    read = anthropic.parse(json.dumps(body).encode())
    assert list(rule(read))
    assert rules.broken(read, read) == []
