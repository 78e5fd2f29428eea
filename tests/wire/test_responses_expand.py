"""Hidden exchanges put back: what the provider saw, whatever the client made of the items it was shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import exchange, responses, rules
from addon.wire.exchange import Exchange
from addon.wire.reply import Call
from addon.wire.responses_expand import SAYS_MUCH, carried_on, expand, result, says_much
from addon.wire.responses_reply import whole
from tests.effort import cases
from tests.mmu.sessions import spell
from tests.upstream.provider import Provider
from tests.upstream.responses import PATH
from tests.upstream.responses_prompt import level
from tests.wire.replies import HIDDEN, Reply
from tests.wire.responses_replies import (
    Item,
    build,
    call,
    can_be_sent,
    conversations,
    is_blank,
    is_hidden,
    message,
    reasoning,
    usage,
)

MANY = settings(max_examples=cases(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAGE = 'The page.\u2028 "ä" \\'
COST = usage(1, 2, 3, 4)
BEGIN: list[Item] = [{"role": "user", "content": "begin ä"}]


def results(reply: Reply) -> dict[str, str]:
    calls = [each for each in whole(reply).calls if each.name == HIDDEN and each.id in _hidden(reply)]
    return {each.id: result(each, PAGE) for each in calls}


def _hidden(reply: Reply) -> set[str]:
    return {item["call_id"] for item in reply["output"] if is_hidden(item)}


def made(replies: list[Reply], *, finished: bool = True) -> Exchange:
    """The exchange as it is kept."""
    kept = Exchange(tuple(whole(reply).round(results(reply)) for reply in replies), finished)
    assert exchange.load(exchange.dump(kept)) == kept
    return kept


def shown(replies: list[Reply]) -> list[Item]:
    return [item for reply in replies for item in reply["output"] if not is_hidden(item)]


@dataclass(frozen=True)
class Client:
    """What a client makes of the items that it is shown."""

    style: int = 0
    ids: bool = True
    reasons: bool = True
    trims: bool = False
    joins: bool = False
    """It keeps all texts of an answer in one message."""

    def items(self, replies: list[Reply]) -> list[Item]:
        said = [item for item in shown(replies) if (self.reasons or item["type"] != "reasoning") and not is_blank(item)]
        if self.joins:
            words = "".join(_words(item) for item in said if item["type"] == "message")
            said = [item for item in said if item["type"] != "message"]
            said = [*([message(words, 99)] if words else []), *said]
        return [self._kept(item) for item in said]

    def _kept(self, item: Item) -> Item:
        if item["type"] == "message":
            words = _words(item)
            part = {"type": "output_text", "text": words.strip() if self.trims else words}
            item = {**item, "content": [part]}
        return item if self.ids else {k: v for k, v in item.items() if k not in ("id", "status")}

    def body(self, said: list[Item]) -> bytes:
        own = [
            {"type": item["type"].replace("_call", "_call_output"), "call_id": item["call_id"], "output": "done"}
            for item in said
            if "call_id" in item
        ]
        more = [{"role": "user", "content": "go on"}, {"role": "assistant", "content": "Yes."}]
        items = [*BEGIN, *said, *own, *more, {"role": "user", "content": "more"}]
        return spell({"model": "gpt-5.1", "input": items}, self.style)


def _words(item: Item) -> str:
    return str(item["content"][0]["text"])


CLIENTS = st.builds(Client, st.integers(0, 3), *[st.booleans()] * 4)


def bare(items: list[Item]) -> list[Any]:
    """Without what is only spelling, white space in texts too."""
    out = []
    for item in map(level, ({"type": "message", **item} for item in items)):
        if item["type"] == "message":
            text = "".join(part["text"] for part in item["content"])
            item = {**item, "content": "".join(text.split())}
        out.append(item)
    return out


def seen(replies: list[Reply], *, reasons: bool) -> list[Item]:
    """What the provider has seen of an answer: each round, and its results behind it. Without other `reasons`, that
    which led to a hidden call."""
    out: list[Item] = []
    for reply in replies:
        said = [item for item in reply["output"] if not is_blank(item)]
        out += [item for n, item in enumerate(said) if item["type"] != "reasoning" or reasons or leads(said[n:])]
        out += [json.loads(each) for each in results(reply).values()]
    return out


def leads(said: list[Item]) -> bool:
    """Whether reasoning stands before a hidden call."""
    return is_hidden(next(item for item in said if item["type"] != "reasoning"))


@MANY
@given(conversations(sound=True), CLIENTS)
def test_the_provider_sees_what_it_saw(replies: list[Reply], client: Client) -> None:
    assume(any(map(_hidden, replies)) and can_be_sent(replies))
    said = client.items(replies)
    assume(said and says_much(made(replies)))
    asked = responses.parse(client.body(said))
    at = next(n for n, each in enumerate(asked.messages) if each.role == "assistant")
    text, done = expand(asked, {at: [("other", made([build(9, [message("Not this.")], COST)])), ("it", made(replies))]})
    assert done == ["it"]
    back = json.loads(text)["input"]
    kept = any(item["type"] == "reasoning" for item in said)
    whole_answer = seen(replies, reasons=kept)
    assert bare(back[len(BEGIN) : len(BEGIN) + len(whole_answer)]) == bare(whole_answer)
    # everything else is the client's own, in its own bytes
    own = asked.messages[at]
    assert text.startswith(asked.text[: own.start])
    assert text.endswith(asked.text[own.end :])
    assert rules.worsened(asked, responses.parse(text.encode()), responses.RULES) == []
    event(f"{len(replies)} rounds")


@MANY
@given(conversations(sound=True), st.integers(0, 3))
def test_an_answer_that_is_carried_on_stands_behind_what_was_sent(replies: list[Reply], style: int) -> None:
    assume(can_be_sent(replies))
    rounds = made(replies[:-1]).rounds
    assume(rounds and all(each.blocks for each in rounds))
    sent = responses.parse(spell({"model": "gpt-5.1", "input": BEGIN}, style))
    body = carried_on(sent, rounds, room=0)
    assert json.loads(body)["input"] == [*BEGIN, *seen(replies[:-1], reasons=True)]
    plain = responses.parse(spell({"model": "gpt-5.1", "input": "begin ä"}, style))
    assert json.loads(carried_on(plain, rounds, room=0))["input"] == json.loads(body)["input"]


ROUNDS = [build(0, [message("I look.", 1), call(number=2)], COST), build(1, [message("Done.", 3)], COST)]


@pytest.mark.parametrize(
    "said",
    [
        [message("I look.", 1)],
        [message("I look.", 1), message("Done, mostly.", 3)],
        [message("I look.", 1), message("Done.", 3), message("More.", 4)],
        [message("I look.", 1), message("Done.", 3), call("Read", 5)],
        [reasoning(7), message("I look.", 1), message("Done.", 3)],
        [message("I look.", 1), {"type": "web_search_call", "id": "ws_1"}, message("Done.", 3)],
    ],
)
def test_another_answer_gets_nothing(said: list[Item]) -> None:
    asked = responses.parse(Client().body(said))
    assert expand(asked, {1: [("it", made(ROUNDS))]}) == (asked.text, [])


def test_behind_an_exchange_that_was_cut_off_the_clients_own_words_stand() -> None:
    said = [message("I look.", 1), message("It broke", 8)]
    asked = responses.parse(Client().body(said))
    text, done = expand(asked, {1: [("it", made(ROUNDS[:1], finished=False))]})
    assert done == ["it"]
    kinds = [item.get("type", "message") for item in json.loads(text)["input"][1:5]]
    assert kinds == ["message", "function_call", "function_call_output", "message"]
    other = responses.parse(Client().body([message("It broke", 8)]))
    assert expand(other, {1: [("it", made(ROUNDS[:1], finished=False))]})[1] == []


def test_a_call_that_the_client_renamed_is_the_models_again() -> None:
    leaked = [build(0, [message("I look.", 1), call(number=2, page="x")], COST)]
    kept = Exchange((whole(leaked[0]).round({}),), True)
    renamed = {**call("invalid", 2, error="no such tool"), "id": "fc_2"}
    asked = responses.parse(Client().body([message("I look.", 1), renamed]))
    text, done = expand(asked, {1: [("it", kept)]})
    assert done == ["it"]
    assert json.loads(text)["input"][2] == leaked[0]["output"][1]


def test_few_words_may_be_anothers() -> None:
    assert not says_much(made([build(0, [message("x" * (SAYS_MUCH - 1)), call(number=2)], COST)]))
    assert says_much(made([build(0, [message("x" * SAYS_MUCH), call(number=2)], COST)]))
    assert says_much(made([build(0, [reasoning(1), call(number=2)], COST)]))
    assert json.loads(result(Call("c", HIDDEN, {}), PAGE)) == {
        "type": "function_call_output", "call_id": "c", "output": PAGE,
    }  # fmt: skip


def test_reasoning_that_led_to_nothing_cannot_be_sent_back() -> None:
    with pytest.raises(ValueError, match="led to"):
        whole(build(0, [message("x"), reasoning(1), message(" ", 2)], COST)).round({})


HEADERS = {"x-upstream-script": "s", "x-upstream-session": "p"}
TOOLS = [json.loads(responses.tool(name, "does", {"type": "object"})) for name in ("Read", HIDDEN)]
CUSTOM = {"type": "custom", "name": "run"}
SEALED = {"store": False, "include": ["reasoning.encrypted_content"]}


def ask(provider: Provider, body: bytes, reply: Reply) -> Reply:
    """A request to a strict server, answered with what a reply says."""
    content: list[dict[str, Any]] = []
    for item in reply["output"]:
        if item["type"] == "message":
            content.append({"type": "text", "text": _words(item)})
        elif item["type"] == "reasoning":
            content.append({"type": "thinking", "thinking": item["id"]})
        elif item["type"] == "function_call":
            given = json.loads(item["arguments"])
            content.append({"type": "tool_use", "id": item["call_id"], "name": item["name"], "input": given})
        else:
            content.append({"type": "tool_use", "id": item["call_id"], "name": "run", "input": item["input"]})
    provider.script("s", lambda _: {"content": content})
    answer = provider.handle("POST", PATH, HEADERS, body, body)
    assert answer.status == 200, provider.log[-1].violation
    return answer.payload


def is_taken(provider: Provider, body: bytes) -> bool:
    provider.script("s", lambda _: {"content": [{"type": "text", "text": "-"}]})
    return provider.handle("POST", PATH, HEADERS, body, body).status == 200


@MANY
@given(conversations(sound=True), CLIENTS, st.booleans())
def test_a_strict_server_takes_every_request(replies: list[Reply], client: Client, stores: bool) -> None:
    """Carried on round by round, and then the client's next request with the exchange put back."""
    # What says nothing is not taken back, and then reasoning before it stands alone: such a recall reaches the client.
    for reply in replies:
        reply["output"] = [item for item in reply["output"] if not is_blank(item)]
    assume(any(map(_hidden, replies)) and all(reply["output"] for reply in replies) and can_be_sent(replies))
    provider = Provider()
    head = {"model": "gpt-5.1", "tools": [*TOOLS, CUSTOM], **({} if stores else SEALED)}
    sent = responses.parse(spell({**head, "input": BEGIN}, client.style))
    got: list[Reply] = []
    body = sent.text.encode()
    for n, reply in enumerate(replies):
        got.append(ask(provider, body, reply))
        if n < len(replies) - 1:
            body = carried_on(sent, made(got).rounds, room=0)
    own = [item for item in shown(got) if "call_id" in item]
    # Who keeps no reasoning must not name what followed upon it, and a call's name is its own.
    reasons = client.reasons or bool(own)
    # Without an id nobody can tell what reasoning that is not sealed is.
    client = replace(client, reasons=reasons, ids=reasons and (client.ids or stores))
    said = client.items(got)
    assume(said)
    outputs = [
        {"type": item["type"].replace("_call", "_call_output"), "call_id": item["call_id"], "output": "done"}
        for item in own
    ]
    asked = responses.parse(
        spell({**head, "input": [*BEGIN, *said, *outputs, {"role": "user", "content": "go on"}]}, client.style)
    )
    text, done = expand(asked, {1: [("it", made(got))]})
    assert done == ["it"]
    assert is_taken(provider, text.encode()), provider.log[-1].violation
    event(f"reasons: {client.reasons}, {len(replies)} rounds")


def items_of(*said: Item, **more: Any) -> bytes:
    return spell({"model": "gpt-5.1", "input": [*BEGIN, *said, {"role": "user", "content": "go on"}], **more}, 0)


THOUGHT = [
    build(0, [reasoning(1), message("I look. ", 2), reasoning(3), call(number=4)], COST),
    build(1, [message("Done.", 5)], COST),
]


def test_a_hidden_call_brings_the_reasoning_that_led_to_it() -> None:
    """OpenAI refuses a call without it; of what else the client has dropped, nothing comes back by its id."""
    words = [{"role": "assistant", "content": words} for words in ("I look.", "Done.")]
    _, done = (got := expand(responses.parse(items_of(*words)), {1: [("it", made(THOUGHT))]}))
    assert done == ["it"]
    back = json.loads(got[0])["input"][1:-1]
    assert [item.get("id") for item in back] == [None, "rs_3", "fc_4", None, None]
    assert back[0]["content"][0]["text"] == "I look. "


def test_reasoning_that_is_neither_sealed_nor_stored_is_not_sent() -> None:
    unsealed = [{k: v for k, v in item.items() if k != "encrypted_content"} for item in THOUGHT[0]["output"]]
    replies = [build(0, unsealed, COST), THOUGHT[1]]
    for stores, ids in ((True, ["rs_1", "msg_2", "rs_3", "fc_4"]), (False, [None, None])):
        sent = responses.parse(spell({"model": "gpt-5.1", "input": BEGIN, "store": stores}, 0))
        items = json.loads(carried_on(sent, made(replies).rounds[:1], room=0))["input"]
        assert [item.get("id") for item in items[1:-1]] == ids
        assert items[-2]["call_id"] == items[-1]["call_id"] == "call_4"
    words = [{"role": "assistant", "content": words} for words in ("I look. ", "Done.")]
    text, done = expand(responses.parse(items_of(*words, store=False)), {1: [("it", made(replies))]})
    assert done == ["it"]
    kinds = [item.get("type") for item in json.loads(text)["input"]]
    assert kinds == [None, None, "function_call", "function_call_output", None, None]
