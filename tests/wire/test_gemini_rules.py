"""The rules of Gemini: each holds for what we do, and catches an edit that it forbids."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from addon.wire import gemini, gemini_rules, rules
from addon.wire.conversation import Conversation
from addon.wire.scan import Malformed
from tests.upstream.gemini_direct import FUNCTION, call, model, result, user


def base() -> dict[str, Any]:
    contents = [
        user("go"),
        model({"text": "hm", "thought": True}, call(n=1), call(n=2)),
        user(result(output="text 1"), result(output="text 2")),
        model("so"),
        user("next"),
        model({"text": "hm", "thought": True}, call(identity="c3", n=3)),
        user(result(identity="c3", output="text 3")),
    ]
    instructions = {"parts": [{"text": "Be good."}]}
    return {"contents": contents, "systemInstruction": instructions, "tools": [{"functionDeclarations": [FUNCTION]}]}


def parse(body: dict[str, Any]) -> Conversation:
    return gemini.parse(json.dumps(body).encode())


def broken(change: Callable[[dict[str, Any]], object]) -> list[str]:
    before = base()
    after = copy.deepcopy(before)
    change(after)
    return rules.broken(parse(before), parse(after), rules=gemini_rules.RULES)


def parts(body: dict[str, Any], number: int) -> Any:
    return body["contents"][number]["parts"]


def answer(body: dict[str, Any], number: int, part: int = 0) -> Any:
    return parts(body, number)[part]["functionResponse"]


def declared(body: dict[str, Any]) -> Any:
    return body["tools"][0]["functionDeclarations"]


ADDED = json.loads(gemini.tool("mmu_recall", "d", {"type": "object"}))
ALLOWED: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda b: None,
    "a result's text": lambda b: answer(b, 2)["response"].update(output="[mmu page x: gone]"),
    "a result's empty text": lambda b: answer(b, 2)["response"].update(output=""),
    "a tool comes": lambda b: declared(b).append(ADDED),
}
FORBIDDEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "a result goes": lambda b: parts(b, 2).pop(),
    "a turn of results goes": lambda b: b["contents"].pop(2),
    "a result comes": lambda b: parts(b, 2).append(result()),
    "a result's id": lambda b: answer(b, 6).update(id="c9"),
    "a result's function": lambda b: answer(b, 6).update(name="Write"),
    "a result's key": lambda b: answer(b, 6).update(response={"error": "text 3"}),
    "something beside a result's text": lambda b: answer(b, 6)["response"].update(more=1),
    "a call's arguments": lambda b: parts(b, 5)[1]["functionCall"].update(args={}),
    "a call's id": lambda b: parts(b, 5)[1]["functionCall"].update(id="c9"),
    "a call's signature": lambda b: parts(b, 5)[1].update(thoughtSignature="c2ln"),
    "a text": lambda b: parts(b, 0)[0].update(text="other"),
    "a text beside results": lambda b: parts(b, 2).append({"text": "x"}),
    "a message comes": lambda b: b["contents"].append(model("x")),
    "a thought of the current turn goes": lambda b: parts(b, 5).pop(0),
    "instructions change": lambda b: b.update(systemInstruction="Be bad."),
    "a role": lambda b: b["contents"][3].update(role="user"),
    "a tool goes": lambda b: declared(b).pop(),
    "a tool of another API's comes": lambda b: declared(b).append({"function": {"name": "x"}}),
    "a tool comes twice": lambda b: declared(b).append(FUNCTION),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED.keys())
def test_allowed(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change) == []


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_forbidden(change: Callable[[dict[str, Any]], object]) -> None:
    assert broken(change)


def test_a_response_is_an_object() -> None:
    with pytest.raises(Malformed):
        broken(lambda b: answer(b, 2).update(response="gone"))


def wrong(*contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": list(contents), **more}


BREAKS: dict[rules.Rule, list[dict[str, Any]]] = {
    gemini_rules.calls_are_answered: [
        wrong(user("go"), model(call())),
        wrong(user("go"), model(call()), user("never mind")),
        wrong(user("go"), user(result())),
        wrong(user("go"), model(call()), user(result(), result())),
        wrong(user("go"), model(call(), call()), user(result())),
        wrong(user("go"), model(call()), user(result("Write"))),
        wrong(user("go"), model(call(identity="a")), user(result("Write", "a"))),
        wrong(user("go"), model(call()), user("x"), user(result())),
    ],
    gemini_rules.answers_stand_alone: [
        wrong(user("go"), model(call()), user(result(), "x")),
        wrong(user("go"), model(call()), user({"inlineData": {"mimeType": "image/png", "data": ""}}, result())),
    ],
    gemini_rules.calls_follow_the_user: [
        wrong(model(call()), user(result())),
        wrong(user("go"), model("x"), model(call()), user(result())),
    ],
    gemini_rules.calls_are_the_models: [
        wrong(user("go"), user(call())),
        wrong(user("go", {"text": "x", "thought": True})),
        wrong(user("go"), model(call()), model(result())),
    ],
    gemini_rules.contents_have_parts: [wrong(user()), wrong(user("go"), {"role": "model"}, user("x"))],
    gemini_rules.texts_say_something: [wrong(user(" ")), wrong(user("go", ""))],
    gemini_rules.the_user_is_first_and_last: [wrong(model("x"), user("go")), wrong(user("go"), model("x"))],
    gemini_rules.tools_have_names_of_their_own: [
        wrong(user("go"), tools=[{"functionDeclarations": [{"function": {"name": "x"}}]}]),
        wrong(user("go"), tools=[{"functionDeclarations": [FUNCTION]}, {"functionDeclarations": [FUNCTION]}]),
    ],
}


@pytest.mark.parametrize("rule", gemini_rules.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_tells_and_what_the_client_got_wrong_itself_is_not_held_against_us(rule: rules.Rule) -> None:
    fine = parse(base())
    assert list(rule(fine)) == []
    for body in BREAKS[rule]:
        read = parse(body)
        assert list(rule(read))
        assert rules.broken(read, read, rules=gemini_rules.RULES) == []
        assert rules.worsened(fine, read, gemini_rules.RULES)
