"""Hidden exchanges put back: what the server saw, whatever the client made of the content it was shown."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import exchange, gemini, gemini_rules, rules
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange
from addon.wire.gemini_expand import SAYS_MUCH, carried_on, expand, result, says_much
from addon.wire.gemini_speech import Speech
from addon.wire.reply import Call
from tests.effort import cases
from tests.mmu.sessions import spell
from tests.wire.gemini_replies import build, call, calls, conversations, is_hidden, parts, run_together
from tests.wire.replies import HIDDEN, Reply

MANY = settings(max_examples=cases(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAGE = 'The page.\u2028 "ä" \\'
COST = {"promptTokenCount": 10, "candidatesTokenCount": 5}
BEGIN = [{"role": "user", "parts": [{"text": "begin ä"}]}]

type Part = dict[str, Any]
type Content = dict[str, Any]


def results(reply: Reply) -> dict[str, str]:
    made = [each for each in Speech.whole(reply).calls if each.name == HIDDEN]
    return {each.id: result(each, PAGE) for each in made}


def made(replies: list[Reply], *, finished: bool = True) -> Exchange:
    """The exchange as it is kept."""
    rounds = tuple(Speech.whole(reply).round(results(reply)) for reply in replies)
    kept = Exchange(rounds, finished, replies[0]["responseId"], replies[-1]["responseId"])
    assert exchange.load(exchange.dump(kept)) == kept
    return kept


def shown(replies: list[Reply]) -> list[Part]:
    return [part for reply in replies for part in parts(reply) if not is_hidden(part)]


def answer(made: Part, text: str = "done") -> Part:
    """What the client's tools say."""
    call = {key: value for key, value in made["functionCall"].items() if key != "args"}
    return {"functionResponse": {**call, "response": {"output": text}}}


@dataclass(frozen=True)
class Client:
    """What a client makes of the content it is shown."""

    style: int = 0
    joins: bool = False
    """It runs texts of one kind together, whatever the round."""
    size: int = 0
    """Else, characters of the pieces that it keeps."""
    trims: bool = False
    thoughts: bool = True
    signatures: str = "kept"
    """`kept`, `dropped`, in the `other` spelling, or `stood in` for."""
    wrapped: bool = False

    def content(self, replies: list[Reply]) -> Content:
        said = [part for part in shown(replies) if self.thoughts or not part.get("thought")]
        said = run_together(said) if self.joins else [piece for part in said for piece in self._cut(part)]
        said = [self._signed(part) for part in said]
        if self.trims:
            texts = ("text" in part and "thoughtSignature" not in part for part in said)
            said = [{**p, "text": p["text"].strip()} if text else p for p, text in zip(said, texts, strict=True)]
        return {"role": "model", "parts": [p for p in said if p != {"text": ""} and p != {"text": "", "thought": True}]}

    def _cut(self, part: Part) -> list[Part]:
        words = part.get("text", "")
        if not words or not self.size or "thoughtSignature" in part:
            return [part]
        return [{**part, "text": words[at : at + self.size]} for at in range(0, len(words), self.size)]

    def _signed(self, part: Part) -> Part:
        bare = {name: value for name, value in part.items() if name != "thoughtSignature"}
        if self.signatures == "stood in" and "functionCall" in part and bare == part:
            return {**part, "thoughtSignature": b64encode(b"skip_thought_signature_validator").decode()}
        if self.signatures == "dropped":
            return bare
        if self.signatures == "other" and bare != part:
            return {**part, "thoughtSignature": part["thoughtSignature"] + "=="}
        return part

    def body(self, content: Content) -> bytes:
        own = [answer(part) for part in content["parts"] if "functionCall" in part]
        after = [{"role": "user", "parts": own}] if own else []
        after += [{"role": "user", "parts": [{"text": "go on"}]}, {"role": "model", "parts": [{"text": "Done."}]}]
        contents = [*BEGIN, content, *after, {"role": "user", "parts": [{"text": "more"}]}]
        request = {"contents": contents, "generationConfig": {"temperature": 1e0}}
        return spell({"model": "m", "request": request} if self.wrapped else request, self.style)


CLIENTS = st.builds(
    Client,
    style=st.integers(0, 3),
    joins=st.booleans(),
    size=st.sampled_from([0, 1, 7]),
    trims=st.booleans(),
    thoughts=st.booleans(),
    signatures=st.sampled_from(["kept", "kept", "dropped", "other", "stood in"]),
    wrapped=st.booleans(),
)


def put_back(body: bytes, *exchanges: Exchange, at: int = 1) -> tuple[Conversation, str, list[str]]:
    read = gemini.parse(body)
    out, done = expand(read, {at: [(str(n), one) for n, one in enumerate(exchanges)]})
    return read, out, done


def contents(text: str | bytes) -> list[Content]:
    body = json.loads(text)
    found: list[Content] = body.get("request", body)["contents"]
    return found


def bare(text: str) -> str:
    return "".join(text.split())


def plain(content: Content) -> tuple[Any, ...]:
    """What a content says, but for what clients change."""
    said = content["parts"]
    words = bare("".join(p["text"] for p in said if "text" in p and not p.get("thought")))
    others = [{k: v for k, v in p.items() if k != "thoughtSignature"} for p in said if "text" not in p]
    return content["role"], words, others


def seen(replies: list[Reply]) -> list[Content]:
    """The contents as the server saw them, up to the last reply."""
    out: list[Content] = []
    for reply in replies:
        said = run_together(parts(reply))
        if any(not p.get("thought") and (p.get("text", "x").strip() or "text" not in p) for p in said):
            out.append({"role": "model", "parts": said})
        if given := [json.loads(each) for each in results(reply).values()]:
            own = [answer(p) for p in calls(reply) if not is_hidden(p)]
            out.append({"role": "user", "parts": [*given, *own]})
    return out


@MANY
@given(conversations(sound=True), CLIENTS)
def test_the_server_sees_what_it_saw(replies: list[Reply], client: Client) -> None:
    assume(results(replies[0]))
    assume(plain({"role": "model", "parts": shown(replies)}) != ("model", "", []))
    body = client.body(client.content(replies))
    before, out, done = put_back(body, made(replies))
    assert done == ["0"]
    got, expected = contents(out)[1:], seen(replies)
    assert [plain(each) for each in got[: len(expected)]] == [plain(each) for each in expected]
    hidden = 2 * (len(replies) - 1)
    assert got[:hidden] == expected[:hidden], "a hidden round is not as it was sent"
    beside = bool(results(replies[-1]))
    assert got[len(expected) :] == contents(body)[3 if beside else 2 :]
    after = gemini.parse(out.encode())
    assert after.messages[-1].digest == before.messages[-1].digest
    assert rules.worsened(before, after, gemini_rules.RULES) == []
    held = before.messages[1]
    assert out[: held.start] == before.text[: held.start]
    assert out.endswith(before.text[before.messages[3 if beside else 2].start :])
    event(f"{len(replies)} rounds")


@MANY
@given(conversations(sound=True), CLIENTS, st.data())
def test_nothing_is_put_into_another_content(replies: list[Reply], client: Client, data: st.DataObject) -> None:
    assume(results(replies[0]))
    content = client.content(replies)
    own = [part for part in content["parts"] if "functionCall" in part]
    way = data.draw(st.sampled_from(["word", "image", "signed", "more", *["args", "less"] * bool(own)]))
    if way == "word":
        content["parts"] = [{"text": "!"}, *content["parts"]]
    elif way == "image":
        content["parts"].append({"inlineData": {"mimeType": "image/png", "data": "aGk="}})
    elif way == "signed":
        content["parts"].append({"text": "", "thoughtSignature": "b3RoZXI="})
    elif way == "more":
        content["parts"].append(call("Read", "another"))
    else:
        content["parts"].remove(own[0])
        if way == "args":
            identity = own[0]["functionCall"].get("id")
            content["parts"].append(call("Read", identity and f"{identity}0", novel=1))
    read, out, done = put_back(client.body(content), made(replies))
    assert (out, done) == (read.text, [])


@MANY
@given(conversations(4, sound=True), st.sampled_from(["", " Besides."]), st.booleans(), CLIENTS)
def test_what_came_behind_an_unfinished_exchange_is_the_clients(
    replies: list[Reply], words: str, calling: bool, client: Client
) -> None:
    behind = replies[:-1]
    assume(behind)
    last = [*([{"text": words}] if words else []), *([call("Read", "own")] if calling else [])]
    content = client.content([*behind, build(9, last, COST)])
    assume(content["parts"])
    body = client.body(content)
    read, out, done = put_back(body, made(behind, finished=False))
    if not plain({"role": "model", "parts": shown(behind)})[1]:
        assert (out, done) == (read.text, [])
        return
    assert done == ["0"]
    expected = seen([*behind, build(9, last, COST)])
    got = contents(out)[1:]
    assert [plain(each) for each in got[: len(expected)]] == [plain(each) for each in expected]
    assert got[len(expected) :] == contents(body)[2:]


FIRST, LAST = build(0, [{"text": "I look."}, call()], COST), build(1, [{"text": "Done."}], COST)
MIXED = build(1, [{"text": "Both."}, call(signature="c2ln"), call("Read", n=1), call(), call("Read", n=2)], COST)


def test_a_text_that_was_run_together_is_cut_where_the_round_ended() -> None:
    first = build(0, [{"text": "I look.\n"}, call()], COST)
    last = build(1, [{"text": "    code"}], COST)
    body = Client().body({"role": "model", "parts": [{"text": "I look.\n    code"}]})
    assert contents(put_back(body, made([first, last]))[1])[3]["parts"] == [{"text": "    code"}]


def test_the_first_that_fits_is_taken() -> None:
    body = Client().body(Client().content([FIRST, LAST]))
    other = made([build(0, [{"text": "I look."}, call(page="x")], COST), LAST])
    assert put_back(body, made([MIXED]), other, made([FIRST, LAST]))[2] == ["1"]
    assert put_back(body, made([MIXED]))[2] == []


def test_calls_beside_the_clients_stand_at_their_place_and_its_own_stay_its_own() -> None:
    content = {"role": "model", "parts": [{"text": "Both."}, call("Read", n=1), call("Read", n=2)]}
    body = spell({"contents": [*BEGIN, content, {"parts": answer(call("Read")), "role": "function"}]}, 1)
    _, out, done = put_back(body, made([MIXED]))
    assert done == ["0"]
    _, asked, answered = contents(out)
    assert asked["parts"] == parts(MIXED)
    assert answered["role"] == "function"
    assert [each["functionResponse"]["name"] for each in answered["parts"]] == [HIDDEN, HIDDEN, "Read"]


def test_without_the_clients_answers_nothing_can_stand_beside_them() -> None:
    body = spell({"contents": [*BEGIN, Client().content([MIXED]), *BEGIN]}, 0)
    assert put_back(body, made([MIXED]))[2] == []


def test_a_leaked_call_that_the_client_made_another_of_is_the_models_again() -> None:
    leaked = call(identity="h", page="p")
    kept = Exchange((Speech.whole(build(0, [{"text": "So."}, leaked], COST)).round({}),), True)
    content = {"role": "model", "parts": [{"text": "So."}, call("invalid", "h", tool=HIDDEN)]}
    _, out, done = put_back(Client().body(content), kept)
    assert done == ["0"]
    assert contents(out)[1]["parts"] == [{"text": "So."}, leaked]


def test_only_what_says_much_is_known_anywhere() -> None:
    assert not says_much(made([FIRST, LAST]))
    assert not says_much(made([MIXED]))
    assert not says_much(made([FIRST, build(1, [{"text": "x " * (SAYS_MUCH - 8)}], COST)]))
    assert says_much(made([FIRST, build(1, [{"text": "x" * SAYS_MUCH}], COST)]))
    assert says_much(made([build(1, [call(), call("Read", "r")], COST)]))


@pytest.mark.parametrize(("identity", "told"), [("h", {"id": "h"}), (f"{HIDDEN}#0", {})])
def test_a_result_names_its_call_where_that_has_a_name(identity: str, told: dict[str, str]) -> None:
    made = json.loads(result(Call(identity, HIDDEN, {}), PAGE))
    assert made == {"functionResponse": {**told, "name": HIDDEN, "response": {"output": PAGE}}}


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_is_carried_on_is_what_is_put_back(wrapped: bool) -> None:
    request = {"contents": BEGIN}
    sent = gemini.parse(spell({"request": request} if wrapped else request, 1))
    kept = made([FIRST, LAST])
    body = carried_on(sent, kept.rounds[:1], room=0)
    _, out, _ = put_back(Client(wrapped=wrapped).body(Client().content([FIRST, LAST])), kept)
    assert contents(body) == contents(out)[:3]
    assert len(contents(body)) == 3
