"""Hidden exchanges put back: what the server saw, whatever the client made of the message it was shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import chat, exchange
from addon.wire.chat_expand import SAYS_MUCH, WANTED, carried_on, expand, fitted, result, says_much
from addon.wire.chat_speech import Speech
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange, Round
from addon.wire.reply import Call
from tests.effort import cases
from tests.mmu.sessions import spell
from tests.upstream.chat import PATH
from tests.upstream.provider import Provider
from tests.wire.chat_replies import build, call, calls, conversations, is_hidden, said
from tests.wire.replies import HIDDEN, Reply

MANY = settings(max_examples=cases(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAGE = 'The page.\u2028 "ä" \\'
COST = {"prompt_tokens": 10, "completion_tokens": 5}
NAMES = ("Read", "mmu", "mmu_recaller", "x", HIDDEN)
TOOLS = [json.loads(chat.tool(name, "does", {"type": "object"})) for name in NAMES]
BEGIN = [{"role": "system", "content": "You are."}, {"role": "user", "content": "begin ä"}]


def results(reply: Reply) -> dict[str, str]:
    made = [Call(each["id"], HIDDEN, {}) for each in calls(reply) if is_hidden(each)]
    return {each.id: result(each, PAGE) for each in made}


def made(replies: list[Reply], *, finished: bool = True, reasons: bool = True) -> Exchange:
    """The exchange as it is kept."""
    rounds = [Speech.whole(reply).round(results(reply)) for reply in replies]
    carried = len(rounds) - finished
    fit = [round_ if reasons else fitted(NONE, round_) for round_ in rounds[:carried]]
    kept = Exchange((*fit, *rounds[carried:]), finished, replies[0]["id"], replies[-1]["id"])
    assert exchange.load(exchange.dump(kept)) == kept
    return kept


def parsed(*messages: dict[str, Any], style: int = 0) -> Conversation:
    return chat.parse(spell({"model": "gpt-4.1", "messages": [*BEGIN, *messages], "tools": TOOLS}, style))


def asked(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call("r", "Read")], **more}


NONE = parsed(asked(), {"role": "tool", "tool_call_id": "r", "content": "x"})
"""A conversation whose client sends no reasoning back."""


def content(reply: Reply) -> str | None:
    words = said(reply)["content"]
    return words if (words or "").strip() else None


def seen(replies: list[Reply], *, reasons: bool) -> list[dict[str, Any]]:
    """The messages as the server saw them, up to the last reply."""
    out: list[dict[str, Any]] = []
    for reply in replies:
        message: dict[str, Any] = {"role": "assistant", "content": content(reply)}
        thought = said(reply).get("reasoning_content")
        if reasons and thought is not None:
            message["reasoning_content"] = thought
        if calls(reply):
            message["tool_calls"] = calls(reply)
        out += [message] if content(reply) is not None or calls(reply) else []
        out += map(json.loads, results(reply).values())
    return out


def answers(message: dict[str, Any]) -> list[dict[str, Any]]:
    """What the client's tools say."""
    return [{"role": "tool", "tool_call_id": made["id"], "content": "done"} for made in message.get("tool_calls", [])]


@dataclass(frozen=True)
class Client:
    """What a client makes of the message it is shown."""

    style: int = 0
    reasons: bool = False
    trims: bool = False
    listed: bool = False
    """Its texts are lists of parts."""
    more: dict[str, Any] = field(default_factory=dict)
    """Other members of the message."""

    def message(self, replies: list[Reply]) -> dict[str, Any]:
        words = "".join(said(reply)["content"] or "" for reply in replies)
        words = words.strip() if self.trims else words
        told: Any = [{"type": "text", "text": words}] if self.listed and words.strip() else words or None
        message: dict[str, Any] = {"role": "assistant", "content": told}
        thought = [said(reply)["reasoning_content"] for reply in replies if "reasoning_content" in said(reply)]
        if self.reasons and thought:
            message["reasoning_content"] = "".join(thought)
        own = [made for reply in replies for made in calls(reply) if not is_hidden(made)]
        return {**message, **({"tool_calls": own} if own else {}), **self.more}

    def body(self, message: dict[str, Any]) -> bytes:
        after = [*answers(message), {"role": "user", "content": "go on"}, {"role": "assistant", "content": "Done."},
                 {"role": "user", "content": "more"}]  # fmt: skip
        parts = {"model": "gpt-4.1", "tools": TOOLS, "messages": [*BEGIN, message, *after], "temperature": 1e0}
        return spell(parts, self.style)


CLIENTS = st.builds(
    Client,
    style=st.integers(0, 3),
    reasons=st.booleans(),
    trims=st.booleans(),
    listed=st.booleans(),
    more=st.sampled_from([{}, {}, {"refusal": None}, {"name": "agent"}]),
)


def put_back(body: bytes, *exchanges: Exchange, at: int = 1) -> tuple[Conversation, str, list[str]]:
    read = chat.parse(body)
    out, done = expand(read, {at: [(str(n), one) for n, one in enumerate(exchanges)]})
    return read, out, done


def plain(message: dict[str, Any], client: Client) -> dict[str, Any]:
    """A message without what the client put in, and what it may spell in several ways."""
    words = message.get("content")
    if isinstance(words, list):
        words = "".join(part["text"] for part in words)
    out = {k: v for k, v in message.items() if k not in client.more}
    out["content"] = "".join((words or "").split()) if message["role"] == "assistant" else words
    return {k: v for k, v in out.items() if v or k == "content"}


@MANY
@given(conversations(sound=True), CLIENTS)
def test_the_server_sees_what_it_saw(replies: list[Reply], client: Client) -> None:
    assume(results(replies[0]))
    body = client.body(client.message(replies))
    before, out, done = put_back(body, made(replies, reasons=client.reasons))
    assert done == ["0"]
    after = chat.parse(out.encode())
    got, expected = json.loads(out)["messages"][2:], seen(replies, reasons=client.reasons)
    assert [plain(m, client) for m in got[: len(expected)]] == [plain(m, client) for m in expected]
    hidden = sum(1 + len(results(reply)) for reply in replies[:-1])
    assert got[:hidden] == expected[:hidden], "a hidden round is not as it was sent"
    assert got[len(expected) :] == json.loads(body)["messages"][3:]
    assert after.messages[-1].digest == before.messages[-1].digest

    # Outside the message not a byte is another.
    held = before.messages[1]
    assert out[: held.start] == before.text[: held.start]
    assert out.endswith(before.text[held.end :])
    event(f"{len(replies)} rounds")


@MANY
@given(conversations(sound=True), CLIENTS, st.data())
def test_nothing_is_put_into_another_message(replies: list[Reply], client: Client, data: st.DataObject) -> None:
    assume(results(replies[0]))
    message = client.message(replies)
    own = message.get("tool_calls", [])
    way = data.draw(st.sampled_from(["word", "part", *["id", "less"] * bool(own), *["swap"] * (len(own) > 1), "more"]))
    event(way)
    if way == "word":
        words = message["content"] or ""
        message["content"] = [*words, {"type": "text", "text": "!"}] if isinstance(words, list) else f"{words}!"
    elif way == "part":
        message["content"] = [{"type": "text", "text": "x"}, {"type": "refusal", "refusal": "no"}]
    elif way == "more":
        message["tool_calls"] = [*own, call("another", "Read")]
    elif way == "swap":
        assume(own[0] != own[-1])
        message["tool_calls"] = own[::-1]
    else:
        message["tool_calls"] = [{**own[0], "id": "another"}, *own[1:]] if way == "id" else own[1:]
    read, out, done = put_back(client.body(message), made(replies))
    assert (out, done) == (read.text, [])


@MANY
@given(conversations(4, sound=True), st.sampled_from(["", " Besides."]), st.booleans(), CLIENTS)
def test_what_came_behind_an_unfinished_exchange_is_the_clients(
    replies: list[Reply], words: str, calling: bool, client: Client
) -> None:
    behind = replies[:-1]
    assume(behind)
    own = [call("own", "Read")] if calling else []
    body = client.body(client.message([*behind, build(9, words, own, COST)]))
    read, out, done = put_back(body, made(behind, finished=False, reasons=client.reasons))
    if not any(map(content, behind)):
        assert (out, done) == (read.text, [])
        return
    assert done == ["0"]
    expected = seen(behind, reasons=client.reasons)
    last = {"role": "assistant", "content": words or None, **({"tool_calls": own} if own else {})}
    expected += [last] if words or own else []
    got = json.loads(out)["messages"][2:]
    assert [plain(m, client) for m in got[: len(expected)]] == [plain(m, client) for m in expected]
    assert got[len(expected) :] == json.loads(body)["messages"][3:]


def test_a_message_that_begins_otherwise_is_not_an_unfinished_exchange() -> None:
    first = build(0, "I look.", [call("h")], COST)
    for words in ("You look. So.", "I loo"):
        body = Client().body({"role": "assistant", "content": words})
        read, out, done = put_back(body, made([first], finished=False))
        assert (out, done) == (read.text, [])


FIRST, LAST = build(0, "I look.", [call("h1")], COST), build(1, "Done.", [], COST)
MIXED = build(1, "Both.", [call("r1", "Read"), call("h2"), call("r2", "Read")], COST)


def test_the_first_that_fits_is_taken() -> None:
    body = Client().body(Client().message([FIRST, LAST]))
    other = made([build(0, "I look.", [call("h9")], COST), LAST])
    assert put_back(body, made([MIXED, LAST]), other, made([FIRST, LAST]))[2] == ["1"]
    assert put_back(body, made([MIXED, LAST]))[2] == []


def test_an_answer_of_which_nothing_was_shown() -> None:
    """The client has an empty message; the server gets the rounds, and no empty one."""
    body = Client().body({"role": "assistant", "content": ""})
    _, out, done = put_back(body, made([build(0, None, [call("h1")], COST), build(1, " ", [], COST)]))
    assert done == ["0"]
    roles = [message["role"][0] for message in json.loads(out)["messages"]]
    assert roles == ["s", "u", "a", "t", "u", "a", "u"]


def test_results_beside_the_clients_stand_before_them_and_its_calls_stay_its_own() -> None:
    message = Client().message([FIRST, MIXED])
    message["tool_calls"] = [call(made["id"], "Read", "{ }") for made in message["tool_calls"]]
    _, out, done = put_back(spell({"model": "m", "messages": [*BEGIN, message]}, 1), made([FIRST, MIXED]))
    assert done == ["0"]
    last, tool = json.loads(out)["messages"][-2:]
    given = [(made["id"], made["function"]["arguments"]) for made in last["tool_calls"]]
    assert given == [("r1", "{ }"), ("h2", "{}"), ("r2", "{ }")]
    assert (last["content"], tool["tool_call_id"]) == ("Both.", "h2")


def test_a_leaked_call_that_the_client_made_another_of_is_the_models_again() -> None:
    kept = Exchange((Speech.whole(build(0, "So.", [call("h1", arguments='{"page": "p"}')], COST)).round({}),), True)
    message = {"role": "assistant", "content": "So.", "tool_calls": [call("h1", "invalid", '{"tool": "mmu_recall"}')]}
    _, out, done = put_back(Client().body(message), kept)
    assert done == ["0"]
    assert json.loads(out)["messages"][2]["tool_calls"] == [call("h1", arguments='{"page": "p"}')]


def signed(signature: str) -> dict[str, Any]:
    return {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": signature, "index": 0}]}


def test_reasoning_signed_otherwise_is_another_message() -> None:
    replies = [build(n, "So.", [call("h1")] if not n else [], COST) for n in range(2)]
    for n, reply in enumerate(replies):
        said(reply).update(signed(f"s{n}"))
    message = {"role": "assistant", "content": "So.So."}
    for signature in ("s0", "s1", "s2"):
        _, out, done = put_back(Client().body({**message, **signed(signature)}), made(replies))
        assert bool(done) is (signature != "s2")
        if done:
            details = [m.get("reasoning_details") for m in json.loads(out)["messages"] if m["role"] == "assistant"]
            assert details[:2] == [signed("s0")["reasoning_details"], signed("s1")["reasoning_details"]]


def test_only_what_says_much_is_known_anywhere() -> None:
    assert not says_much(made([FIRST, LAST]))
    assert not says_much(made([FIRST, build(1, "x " * (SAYS_MUCH - 8), [], COST)]))
    assert says_much(made([FIRST, build(1, "x" * SAYS_MUCH, [], COST)]))
    assert says_much(made([FIRST, MIXED]))
    reply = build(1, "x", [], COST)
    said(reply).update(signed("s"))
    assert says_much(made([FIRST, reply]))


GIVEN = {"reasoning_content": "hm", "reasoning": "hm", **signed("s")}
ANSWERED = {"role": "tool", "tool_call_id": "r", "content": "x"}


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ((), WANTED),
        (({"role": "assistant", "content": "x", "reasoning": "hm"}, BEGIN[1]), WANTED),
        ((asked(), ANSWERED), set()),
        ((asked(reasoning="hm"), ANSWERED), {"reasoning"}),
        ((asked(reasoning_content=""), ANSWERED), {"reasoning_content"}),
        ((asked(), ANSWERED, asked(**signed("t")), ANSWERED), {"reasoning_details"}),
    ],
)
def test_hidden_rounds_carry_the_reasoning_that_the_clients_calls_carry(before: Any, kept: Iterable[str]) -> None:
    reply = build(0, "I look.", [call("h")], COST)
    said(reply).update(GIVEN)
    sent = parsed(*before)
    body = json.loads(carried_on(sent, [fitted(sent, Speech.whole(reply).round(results(reply)))], room=4))
    assert body["messages"][-2].keys() == {"role", "content", "tool_calls", *kept}


def test_where_every_call_carries_it_one_without_carries_an_empty_one() -> None:
    round_ = Speech.whole(FIRST).round(results(FIRST))
    assert fitted(parsed(asked(reasoning_content="hm"), ANSWERED), round_).blocks[0] == '{"reasoning_content":""}'
    both = parsed(asked(reasoning_content="hm"), ANSWERED, asked(), ANSWERED)
    assert fitted(both, round_) == fitted(parsed(), round_) == round_


HEADERS = {"x-upstream-script": "s", "x-upstream-session": "p"}


def ask(provider: Provider, body: bytes, message: dict[str, Any] | None = None) -> Reply:
    """A request to a strict server, answered with a message."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "-"}]
    if message is not None:
        content = [{"type": "thinking", "thinking": t} for t in [message.get("reasoning_content")] if t]
        content += [{"type": "text", "text": message["content"]}] if message["content"] else []
        for made in message.get("tool_calls", []):
            given = json.loads(made["function"]["arguments"])
            content.append({"type": "tool_use", "id": made["id"], "name": made["function"]["name"], "input": given})
    provider.script("s", lambda _: {"content": content or [{"type": "text", "text": "-"}]})
    answer = provider.handle("POST", PATH, HEADERS, body, body)
    assert answer.status == 200, provider.log[-1].violation
    return answer.payload


@MANY
@given(conversations(sound=True), CLIENTS)
def test_a_strict_server_takes_every_request(replies: list[Reply], client: Client) -> None:
    """Carried on round by round, and then the client's next request with the exchange put back."""
    assume(results(replies[0]))
    provider = Provider()
    more = {"stream_options": {"include_usage": True}, "stream": True}
    sent = chat.parse(spell({"model": "gpt-4.1", "tools": TOOLS, "messages": BEGIN, **more}, client.style))
    got = [ask(provider, sent.text.encode(), said(replies[0]))]
    kept: list[Round] = []
    for reply in replies[1:]:
        kept.append(fitted(sent, Speech.whole(got[-1]).round(results(got[-1]))))
        on = carried_on(sent, kept, room=4)
        assert {name: json.loads(on)[name] for name in more} == more
        got.append(ask(provider, on, said(reply)))
    last = Speech.whole(got[-1]).round(results(got[-1]))
    shown = Client(client.style, client.reasons, client.trims, client.listed).message(got)
    parts = {"model": "gpt-4.1", "tools": TOOLS, **more}
    messages = [*BEGIN, shown, *answers(shown), {"role": "user", "content": "go on"}]
    _, out, done = put_back(spell({**parts, "messages": messages}, client.style), Exchange((*kept, last), True))
    assert done == ["0"]
    ask(provider, out.encode())
    assert provider.log[-1].prefix_kept == 1.0
