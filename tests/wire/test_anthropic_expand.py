"""Hidden exchanges put back: what the provider saw, whatever the client made of the message it was shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import anthropic, exchange
from addon.wire.anthropic_expand import SAYS_MUCH, carried_on, expand, result, says_much
from addon.wire.anthropic_reply import Speech
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange, Round
from addon.wire.reply import Call
from addon.wire.rules import BREAKPOINTS
from tests.effort import cases
from tests.mmu.sessions import spell
from tests.upstream.direct import TOOL, text, user
from tests.upstream.direct import result as tool_result
from tests.upstream.provider import MESSAGES, Provider
from tests.wire.replies import Block, Reply, conversations, is_blank, is_hidden

MANY = settings(max_examples=cases(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
EPHEMERAL = {"type": "ephemeral"}
PAGE = 'The page.\u2028 "ä" \\'


def said(reply: Reply) -> list[Block]:
    """What of a reply may be sent back."""
    return [block for block in reply["content"] if not is_blank(block)]


def is_reasoning(block: Block) -> bool:
    return "thinking" in block["type"]


def is_text(block: Block) -> bool:
    return bool(block["type"] == "text")


def results(reply: Reply) -> dict[str, str]:
    calls = [Call(block["id"], block["name"], {}) for block in reply["content"] if is_hidden(block)]
    return {call.id: result(call, PAGE) for call in calls}


def made(replies: list[Reply], *, finished: bool = True) -> Exchange:
    """The exchange as it is kept."""
    rounds = tuple(Speech.whole(reply).round(results(reply)) for reply in replies)
    kept = Exchange(rounds, finished, replies[0]["id"], replies[-1]["id"])
    assert exchange.load(exchange.dump(kept)) == kept
    return kept


def answers(reply: Reply) -> list[Block]:
    """What the client says next: its tools' results, and a word."""
    calls = [b["id"] for b in reply["content"] if b["type"] == "tool_use" and not is_hidden(b)]
    return [*(tool_result(call, "done", is_error=False) for call in calls), text("go on")]


def seen(replies: list[Reply], *, reasons: bool = True) -> list[dict[str, Any]]:
    """The messages as the provider saw them, the client's next one included."""
    out: list[dict[str, Any]] = []
    for reply in replies:
        blocks = [block for block in said(reply) if reasons or not is_reasoning(block)]
        out += [{"role": "assistant", "content": blocks}] if blocks else []
        out.append({"role": "user", "content": [json.loads(raw) for raw in results(reply).values()]})
    out[-1]["content"] += answers(replies[-1])
    return out


@dataclass(frozen=True)
class Client:
    """What a client makes of the message it is shown."""

    style: int = 0
    content_first: bool = False
    keeps_reasoning: bool = True
    keeps_blank: bool = False
    mark: int | None = None
    """Which block gets a cache mark."""
    joins: str | None = None
    """Texts in a row are run together with this between them."""
    texts_first: bool = False
    """All texts are run together, before everything else."""
    trims: bool = False
    plain: bool = False
    """A single text is a plain string."""
    more: dict[str, Any] = field(default_factory=dict)
    """Other members of the message."""

    def blocks(self, shown: list[Block]) -> list[Block]:
        kept = [b for b in shown if self.keeps_blank or not is_blank(b)]
        kept = [b for b in kept if self.keeps_reasoning or not is_reasoning(b)]
        if self.trims:
            kept = [{**b, "text": b["text"].strip()} if is_text(b) else b for b in kept]
        if self.texts_first:
            words = (self.joins or "").join(block["text"] for block in kept if is_text(block))
            kept = [*([text(words)] if words else []), *(block for block in kept if not is_text(block))]
        elif self.joins is not None:
            kept = self._joined(kept)
        if self.mark is not None and kept and not is_reasoning(kept[self.mark % len(kept)]):
            kept[self.mark % len(kept)] = {**kept[self.mark % len(kept)], "cache_control": EPHEMERAL}
        return kept

    def _joined(self, blocks: list[Block]) -> list[Block]:
        out: list[Block] = []
        for block in blocks:
            if out and is_text(block) and is_text(out[-1]):
                out[-1] = text(f"{out[-1]['text']}{self.joins}{block['text']}")
            else:
                out.append(block)
        return out

    @property
    def retells(self) -> bool:
        return self.texts_first or self.joins is not None

    def body(self, content: list[Block], after: list[Block]) -> bytes:
        words: Any = content
        if self.plain and len(content) == 1 and content[0].keys() == {"type", "text"}:
            words = content[0]["text"]
        message = {"role": "assistant", "content": words, **self.more}
        if self.content_first:
            message = dict(reversed(message.items()))
        messages = [user("begin ä"), message, user(*after), {"role": "assistant", "content": "Done."}, user("more")]
        return spell({"model": "claude-opus-5-5", "max_tokens": 9, "messages": messages, "top": 1e5}, self.style)


CLIENTS = st.builds(
    Client,
    style=st.integers(0, 3),
    content_first=st.booleans(),
    keeps_reasoning=st.sampled_from([True, True, False]),
    keeps_blank=st.booleans(),
    mark=st.one_of(st.none(), st.integers(0, 9)),
    joins=st.sampled_from([None, None, None, "", "\n\n"]),
    texts_first=st.sampled_from([False, False, False, True]),
    trims=st.sampled_from([False, False, True]),
    plain=st.booleans(),
    more=st.sampled_from([{}, {}, {"id": "msg_1", "stop": None}]),
)


def plain(value: Any) -> Any:
    """Without cache marks."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "cache_control"}
    return [plain(v) for v in value] if isinstance(value, list) else value


def put_back(body: bytes, *exchanges: Exchange, at: int = 1) -> tuple[Conversation, str, list[str]]:
    read = anthropic.parse(body)
    out, done = expand(read, {at: [(str(n), one) for n, one in enumerate(exchanges)]})
    return read, out, done


@MANY
@given(conversations(sound=True), CLIENTS)
def test_the_provider_sees_what_it_saw(replies: list[Reply], client: Client) -> None:
    assume(results(replies[0]))
    shown = [block for reply in replies for block in reply["content"] if not is_hidden(block)]
    body = client.body(client.blocks(shown), answers(replies[-1]))
    before, out, done = put_back(body, made(replies))
    texts = [block for block in shown if is_text(block)]
    others = any(b["type"].startswith(("server", "web")) for b in shown) or any("citations" in b for b in texts)
    if not done:
        assert client.retells
        assert others
        return
    event("told again" if client.retells else "block by block")
    reasons = client.keeps_reasoning
    after = anthropic.parse(out.encode())
    got = json.loads(out)
    expected = [{**m, **(client.more if m["role"] == "assistant" else {})} for m in seen(replies, reasons=reasons)]
    if client.retells and any("citations" in b for b in texts):
        return  # the text is there, and no more can be asked of a client that rewrites it
    assert plain(got["messages"][1 : len(expected) + 1]) == expected
    assert plain(got["messages"][len(expected) + 1 :]) == json.loads(body)["messages"][3:]
    assert len(after.messages) == len(expected) + 3

    # Outside the message and its successor not a byte is another; in the successor only the results are new.
    asked = before.messages[1]
    assert out[: asked.start] == before.text[: asked.start]
    beside = ",".join(results(replies[-1]).values())
    rest = before.text[asked.end :]
    if beside:
        assert out.count(beside + ",") == 1
        at = out.rindex(beside + ",")
        out = out[:at] + out[at + len(beside) + 1 :]
    assert out.endswith(rest)
    assert after.messages[-1].digest == before.messages[-1].digest


@MANY
@given(conversations(sound=True), CLIENTS, st.data())
def test_nothing_is_put_into_another_message(replies: list[Reply], client: Client, data: st.DataObject) -> None:
    assume(results(replies[0]))
    shown = client.blocks([b for reply in replies for b in reply["content"] if not is_hidden(b)])
    texts = [n for n, block in enumerate(shown) if is_text(block) and not is_blank(block)]
    named = [n for n, block in enumerate(shown) if "id" in block]
    signed = [n for n, block in enumerate(shown) if is_reasoning(block)]
    ways = ["more", *["word"] * bool(texts), *["id", "less"] * bool(named), *["swap"] * (len(named) > 1)]
    ways += ["signature"] * bool(signed)
    way = data.draw(st.sampled_from(ways))
    event(way)
    if way == "more":
        shown.insert(data.draw(st.integers(0, len(shown))), text("Besides."))
    elif way == "word":
        n = data.draw(st.sampled_from(texts))
        shown[n] = {**shown[n], "text": shown[n]["text"] + "!"}
    elif way == "swap":
        one, two = data.draw(st.sampled_from([(a, b) for a in named for b in named if a < b]))
        shown[one], shown[two] = shown[two], shown[one]
    elif way == "signature":
        n = data.draw(st.sampled_from(signed))
        shown[n] = {**shown[n], ("signature" if "signature" in shown[n] else "data"): "another"}
    else:
        n = data.draw(st.sampled_from(named))
        shown[n : n + 1] = [{**shown[n], "id": "another"}] if way == "id" else []
    body = client.body(shown, answers(replies[-1]))
    read, out, done = put_back(body, made(replies))
    assert (out, done) == (read.text, [])


@MANY
@given(conversations(4, sound=True), conversations(2), CLIENTS)
def test_what_came_behind_an_unfinished_exchange_is_the_clients(
    replies: list[Reply], more: list[Reply], client: Client
) -> None:
    rounds = replies[:-1]
    assume(rounds)
    shown = [block for reply in rounds for block in said(reply) if not is_hidden(block)]
    kept = [block for block in shown if client.keeps_reasoning or not is_reasoning(block)]
    behind = [b for b in said(more[-1]) if not is_hidden(b)]
    behind = [{**b, "id": f"x{b['id']}"} if "id" in b else b for b in behind if not is_reasoning(b)]
    simple = Client(client.style, client.content_first, mark=client.mark)
    body = simple.body(simple.blocks([*kept, *behind]), [text("go on")])
    read, out, done = put_back(body, made(rounds, finished=False))
    if not kept:
        assert (out, done) == (read.text, [])
        return
    last = [{"role": "assistant", "content": behind}] if behind else []
    expected = [*seen(rounds, reasons=client.keeps_reasoning), *last]
    expected[len(expected) - len(last) - 1]["content"] = [json.loads(r) for r in results(rounds[-1]).values()]
    assert plain(json.loads(out)["messages"][1 : len(expected) + 1]) == expected
    assert done == ["0"]


def reply(*content: Block) -> Reply:
    return {"id": "m", "content": list(content), "stop_reason": "tool_use"}


def call(identity: str, name: str = "mmu_recall", **given: Any) -> Block:
    return {"type": "tool_use", "id": identity, "name": name, "input": given}


FIRST, LAST = reply(text("I look."), call("h1")), reply(text("Done."))
MIXED = reply(text("Both."), call("h2"), call("r2", "Read"))


def test_results_beside_the_clients_need_its_message() -> None:
    """A request that ends with the calls, or answers them in a string, is left as it is."""
    shown = [text("I look."), text("Both."), call("r2", "Read")]
    for after in ([], [{"role": "user", "content": "Never mind."}], [{"role": "user", "content": []}],
                  [{"role": "assistant", "content": [text("x")]}]):  # fmt: skip
        messages = [user("begin"), {"role": "assistant", "content": shown}, *after]
        read, out, done = put_back(spell({"model": "m", "messages": messages}, 0), made([FIRST, MIXED]))
        assert (out, done) == (read.text, [])
    body = spell({"messages": [user("begin"), {"role": "assistant", "content": shown}, user(tool_result("r2"))]}, 2)
    _, out, done = put_back(body, made([FIRST, MIXED]))
    assert done == ["0"]
    assert [b["tool_use_id"] for b in json.loads(out)["messages"][-1]["content"]] == ["h2", "r2"]


def test_the_first_that_fits_is_taken() -> None:
    body = Client().body([text("I look."), text("Done.")], [text("go on")])
    other = made([reply(text("I look."), call("h9")), LAST])
    assert put_back(body, made([MIXED, LAST]), other, made([FIRST, LAST]))[2] == ["1"]
    assert put_back(body, made([MIXED, LAST]))[2] == []


def test_an_answer_of_which_nothing_was_shown() -> None:
    """The client has an empty message; the provider gets the rounds, and no empty one."""
    _, out, done = put_back(Client().body([], [text("go on")]), made([reply(call("h1")), reply(text(" "))]))
    assert done == ["0"]
    roles = [message["role"][0] for message in json.loads(out)["messages"]]
    assert roles == ["u", "a", "u", "u", "a", "u"]


def test_only_what_says_much_is_known_anywhere() -> None:
    assert not says_much(made([FIRST, LAST]))
    assert not says_much(made([FIRST, reply(text("x " * (SAYS_MUCH - 8)))]))
    assert says_much(made([FIRST, reply(text("x" * SAYS_MUCH))]))
    assert says_much(made([FIRST, MIXED]))
    assert says_much(made([FIRST, reply({"type": "thinking", "thinking": "", "signature": "s"})]))


CONTROL = st.sampled_from([None, None, EPHEMERAL, {**EPHEMERAL, "ttl": "1h"}, {**EPHEMERAL, "ttl": "5m"}])
HEADERS = {"anthropic-version": "2023-06-01", "x-upstream-script": "s", "x-upstream-session": "p"}


def _marked(block: Block, control: Any) -> Block:
    return block if control is None else {**block, "cache_control": control}


@MANY
@given(conversations(sound=True), st.lists(CONTROL, min_size=6, max_size=6), st.integers(0, 3), st.booleans())
def test_a_strict_provider_takes_every_request(
    replies: list[Reply], controls: list[Any], style: int, free: bool
) -> None:
    """Carried on round by round, and then the client's next request with the exchange put back."""
    assume(results(replies[0]))
    provider = Provider()
    model = "claude-opus-4-8" if free else "claude-opus-5-5"
    tools = [_marked(TOOL, controls[0]), {**TOOL, "name": "mmu_recall"}]
    opening = user("begin", *(_marked(text(f"word {n}"), controls[2 + n]) for n in range(3)))
    parts: dict[str, Any] = {"model": model, "max_tokens": 9, "tools": tools, "cache_control": controls[5]}
    parts["system"] = [_marked(text("You are."), controls[1])]
    if controls[5] is None:
        del parts["cache_control"]

    def ask(body: bytes, number: int) -> Reply:
        # blank texts are left out: what is signed behind one is bound to what cannot be sent
        provider.script("s", lambda _: {"content": said(replies[number]) or [text("-")]})
        answer = provider.handle("POST", MESSAGES, HEADERS, body, body)
        assume(number or answer.status == 200)  # the client's own marks may break a rule
        assert answer.status == 200, provider.log[-1].violation
        return answer.payload

    body = spell({**parts, "messages": [opening]}, style)
    sent = anthropic.parse(body)
    room = BREAKPOINTS - sent.breakpoints
    rounds: list[Round] = []
    got = [ask(body, 0)]
    for number in range(1, len(replies)):
        rounds.append(Speech.whole(got[-1]).round(results(got[-1])))
        on = carried_on(sent, rounds, room=room)
        messages = json.loads(on)["messages"]
        assert messages[0] == opening
        marks = [block["cache_control"] for m in messages[1:] for block in m["content"] if "cache_control" in block]
        last = [c for c in controls[2:5] if c is not None][-1:]
        wanted = [{k: v for k, v in c.items() if v != "5m"} for c in last if room > 0 and controls[5] is None]
        assert marks == wanted
        assert not marks or "cache_control" in messages[-1]["content"][-1]
        got.append(ask(on, number))

    shown = [b for reply in got for b in said(reply) if not is_hidden(b)]
    messages = [opening, {"role": "assistant", "content": shown}, user(*answers(got[-1]))]
    body = spell({**parts, "messages": messages}, style)
    exchanges = made(got)
    if len(rounds) or results(got[-1]):
        _, out, done = put_back(body, exchanges)
        assert done == ["0"]
        body = out.encode()
    answer = provider.handle("POST", MESSAGES, HEADERS, body, body)
    assert answer.status == 200, provider.log[-1].violation
    assert provider.log[-1].prefix_kept == 1.0
