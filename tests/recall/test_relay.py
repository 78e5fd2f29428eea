"""What follows a round of a relayed recall, branch by branch; the provider's and the store's parts are played here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from addon.call import Call
from addon.keeper import Name
from addon.mmu.evict import Policy
from addon.mmu.plan import plan
from addon.mmu.view import Splice
from addon.recall import patch, relay_whole
from addon.recall.answer import LONGEST, NO_PAGE, Ask
from addon.recall.relay import FEW, NO_MORE, ROUNDS, SHORT, TOO_LONG, Ends, GoesOn, Next, Relay
from addon.recall.replay import place
from addon.watch.metrics import Metrics
from addon.wire import anthropic, anthropic_expand, anthropic_reply, exchange
from addon.wire.anthropic_reply import Speech
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange
from addon.wire.reply import Relaying
from tests.mmu.sessions import spell
from tests.upstream.direct import TOOL, assistant, result, text, user

PAGE, HUGE = "a" * 24, "b" * 24
TEXTS: dict[str, str | None] = {PAGE: "line\n" * 800, HUGE: "x\n" * LONGEST}
UNAVAILABLE = patch.unavailable(Ask()).text
MARK = {"type": "ephemeral"}


class Pager:
    """Knows two pages, and keeps what it is given as long as it is not told to fail."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Exchange | None]] = []
        self.takes = True
        self.standing: list[dict[str, str]] = []

    async def answers(
        self,
        name: Name,
        conversation: Conversation,
        splices: Mapping[str, Splice],
        asks: Mapping[str, Ask],
        standing: Mapping[str, str],
    ) -> dict[str, patch.Answered]:
        del name, conversation, splices
        self.standing.append(dict(standing))
        return {call: patch.answered(ask, TEXTS, standing) for call, ask in asks.items()}

    async def keep(self, call: Call, anchor: str, text: str | None) -> bool:
        del call
        self.kept.append((anchor, None if text is None else exchange.load(text)))
        return self.takes

    def sent(self, call: Call, body: bytes) -> Conversation:
        return call.api.parse(body)

    @property
    def last(self) -> Exchange:
        made = self.kept[-1][1]
        assert made is not None
        return made


class Response:
    """One response under way."""

    def __init__(self, *messages: dict[str, Any], **more: Any) -> None:
        opening = messages or (user(text("begin", cache_control=MARK)),)
        body = spell({"model": "claude-opus-4-8", "tools": [TOOL], "messages": list(opening), **more}, 0)
        read = anthropic.parse(body)
        draft = plan(read, [], 1e6, Policy(), lambda words, _: len(words), "line")
        self.call = Call(anthropic, Name("t", "o", "h"), read, draft, body, rewritten=True, stored=True)
        self.pager, self.metrics = Pager(), Metrics()
        self.relay = Relay(self.call, Relaying(anthropic_reply, anthropic_expand), body, self.pager, self.metrics)
        self.opening = len(opening)
        self.said = 0
        self.speech = Speech()

    async def says(self, *blocks: dict[str, Any], stop: str = "tool_use", **odd: bool) -> Next:
        """The model speaks; `odd` sets what is special about it."""
        self.said += 1
        self.speech = Speech.whole({"id": f"m{self.said}", "content": list(blocks), "stop_reason": stop})
        for name, value in odd.items():
            setattr(self.speech, name, value)
        return await self.relay.after(self.speech)

    async def refused(self, status: int = 400) -> Next:
        return await self.relay.refused(self.speech, status)

    def results(self, what: Next) -> list[str]:
        """The results in a body that asks the model to go on, all of them."""
        assert isinstance(what, GoesOn)
        messages = json.loads(what.body)["messages"][self.opening :]
        return [block["content"] for message in messages[1::2] for block in message["content"]]

    def relays(self, kind: str) -> bool:
        return f'mmu_relays_total{{result="{kind}"}} 1' in self.metrics.text()


def recall(identity: str, page: str = PAGE, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "mmu_recall", "input": {"page": page, **more}}


READ = {"type": "tool_use", "id": "r", "name": "Read", "input": {}}
DONE = text("Done.")


def blocks(made: Exchange) -> list[list[str]]:
    """Each round's blocks: a call's id, another block's type."""
    return [[str(json.loads(raw).get("id") or json.loads(raw)["type"]) for raw in r.blocks] for r in made.rounds]


async def test_an_answer_without_a_recall_ends() -> None:
    there = Response()
    assert await there.says(DONE, stop="end_turn") == Ends()
    assert await there.says(READ) == Ends()
    assert there.pager.kept == []


async def test_a_recall_is_kept_before_it_is_answered_and_again_at_the_end() -> None:
    there = Response()
    what = await there.says(text("I look."), recall("h1"))
    anchor = f"{place(there.call.conversation)}:h1"
    assert [kept[0] for kept in there.pager.kept] == [anchor]
    assert (there.pager.last.finished, there.pager.last.id) == (False, "")
    assert blocks(there.pager.last) == [["text", "h1"]]
    assert there.results(what) == [TEXTS[PAGE]]
    assert isinstance(what, GoesOn)
    messages = json.loads(what.body)["messages"]
    assert messages[1] == assistant("I look.", recall("h1"))
    assert messages[2] == user({**result("h1", TEXTS[PAGE]), "cache_control": MARK})

    assert await there.says(DONE, stop="end_turn") == Ends()
    assert [kept[0] for kept in there.pager.kept] == [anchor, anchor]
    made = there.pager.last
    assert (made.finished, made.shown_as, made.id) == (True, "m1", "m2")
    assert blocks(made) == [["text", "h1"], ["text"]]
    assert there.metrics.value("mmu_faults_total") == 1
    assert there.relays("finished")


async def test_the_place_is_counted_in_the_clients_own_request() -> None:
    there = Response()
    there.call.client = anthropic.parse(spell({"messages": [user("a"), assistant("b"), user("c")]}, 0))
    await there.says(recall("h1"))
    assert there.pager.kept[0][0] == f"{place(there.call.client)}:h1"


async def test_a_mark_only_where_there_is_room() -> None:
    full = user(*(text(f"part {n}", cache_control=MARK) for n in range(4)))
    for opening, marked in ((full, False), (user("begin"), False), (user(text("x", cache_control=MARK)), True)):
        what = await Response(opening).says(recall("h1"))
        assert isinstance(what, GoesOn)
        assert ("cache_control" in json.loads(what.body)["messages"][-1]["content"][-1]) is marked


async def test_what_cannot_be_kept_is_not_shown() -> None:
    there = Response()
    there.pager.takes = False
    what = await there.says(recall("h1"), recall("h2", lines="1-1"))
    assert there.results(what) == [UNAVAILABLE] * 2
    assert [json.loads(r)["content"] for r in there.pager.last.rounds[0].results.values()] == [UNAVAILABLE] * 2
    assert there.relay.rounds == list(there.pager.last.rounds)
    there.pager.takes = True
    assert there.results(await there.says(recall("h3")))[-1] == TEXTS[PAGE], "nor is it pointed to"


async def test_several_calls_are_answered_at_once() -> None:
    there = Response()
    what = await there.says(recall("h1", lines="1-1"), text("and"), recall("h2", "c" * 24), recall("h3", page="x"))
    one, two, three = there.results(what)
    assert one == "1\tline"
    assert two.startswith("There is no page")
    assert three == NO_PAGE
    assert there.metrics.value("mmu_faults_total") == 1
    assert list(there.pager.last.rounds[0].results) == ["h1", "h2", "h3"]


async def test_a_model_that_never_stops_asking_is_stopped() -> None:
    there = Response()
    for n in range(ROUNDS):
        what = await there.says(recall(f"h{n}", lines="1-1"))
        assert there.results(what) == ["1\tline"] * (n + 1)
    what = await there.says(recall("more"))
    assert there.results(what)[-1] == NO_MORE
    assert await there.says(DONE, recall("again"), READ) == Ends(leak=True)
    assert there.relays("leaked: too many")
    made = there.pager.last
    assert (made.finished, len(made.rounds)) == (True, ROUNDS + 2)
    assert blocks(made)[-1] == ["text", "r", "again"]  # as the client is shown them
    assert made.rounds[-1].results == {}


@pytest.mark.parametrize("cut", [{"stop": "max_tokens"}, {"stop": "refusal"}, {"closed": False}])
async def test_a_call_that_was_cut_short_is_left_out(cut: dict[str, Any]) -> None:
    there = Response()
    assert await there.says(DONE, recall("h1"), **cut) == Ends()
    assert there.pager.kept == []
    assert there.relays("cut short")

    there = Response()
    await there.says(recall("h1"))
    assert await there.says(DONE, recall("h2"), **cut) == Ends()
    assert blocks(there.pager.last) == [["h1"], ["text"]]
    assert there.pager.last.finished


async def test_an_answer_that_was_not_understood_is_leaked() -> None:
    odd = {**recall("h1"), "input": ["no object"]}
    for block, intact in ((odd, True), (recall("h1"), False)):
        for more in ((), (READ,)):
            there = Response()
            assert await there.says(DONE, block, *more, intact=intact) == Ends(leak=True)
            assert there.pager.kept == []
            assert there.relays("leaked: not understood")

            there = Response()
            await there.says(recall("h0"))
            assert await there.says(DONE, block, *more, intact=intact) == Ends(leak=True)
            assert blocks(there.pager.last) == [["h0"]]
            assert not there.pager.last.finished  # what the client holds counts


async def test_an_end_that_was_not_understood_stays_open() -> None:
    there = Response()
    await there.says(recall("h1"))
    assert await there.says(DONE, stop="end_turn", intact=False) == Ends()
    assert (blocks(there.pager.last), there.pager.last.finished) == ([["h1"]], False)


async def test_a_resident_page_is_pointed_to_and_given_to_who_insists() -> None:
    body = "line of the file\n" * 40
    there = Response(user("begin"), assistant({**READ, "input": {"file_path": "a.py"}}), user(result("r", body)))
    page = there.call.plan.table.entries[0].page
    TEXTS[page] = body
    asked = [there.results(await there.says(recall(f"h{n}", page)))[-1] for n in range(3)]
    assert asked[0] == f"Page {page} stands above already, in full and unchanged, as the result of Read a.py."
    assert asked[1] == body
    assert asked[2].endswith(f"as the result of your recall of page {page}.")
    part = there.results(await there.says(recall("h9", page, lines="2-2")))[-1]
    assert part == "2\tline of the file"
    assert there.metrics.value("mmu_faults_total") == 2


async def test_one_asked_for_twice_at_once_stands_afterwards() -> None:
    there = Response()
    assert there.results(await there.says(recall("h1"), recall("h2"))) == [TEXTS[PAGE]] * 2
    assert there.results(await there.says(recall("h3")))[-1].startswith(f"Page {PAGE} stands above already")
    assert there.results(await there.says(recall("h4")))[-1] == TEXTS[PAGE], "who insists is given it"


async def test_what_the_provider_may_have_cleared_is_not_pointed_to() -> None:
    body = "line of the file\n" * 40
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    there = Response(user("begin"), assistant(READ), user(result("r", body)), context_management=edits)
    page = there.call.plan.table.entries[0].page
    TEXTS[page] = body
    assert there.results(await there.says(recall("h1", page))) == [body]


async def test_one_that_was_pointed_to_in_an_earlier_response_is_given() -> None:
    body = "line of the file\n" * 40
    first = Response(user("begin"), assistant(READ), user(result("r", body)))
    page = first.call.plan.table.entries[0].page
    TEXTS[page] = body
    pointer = first.results(await first.says(recall("h1", page)))[0]
    there = Response(
        user("begin"), assistant(READ), user(result("r", body)), assistant(recall("h1", page)),
        user(result("h1", pointer)),
    )  # fmt: skip
    assert there.results(await there.says(recall("h2", page))) == [body]


async def test_a_page_that_was_cut_is_not_pointed_to() -> None:
    there = Response()
    first = there.results(await there.says(recall("h1", HUGE)))
    assert "[cut here" in first[0]
    assert there.results(await there.says(recall("h2", HUGE)))[-1] == first[0]
    assert there.pager.standing == [{}, {}]


async def test_a_refused_answer_is_shortened_and_then_leaked() -> None:
    there = Response()
    await there.says(DONE, recall("h1"), recall("h2", lines="1-1"))
    assert len(TEXTS[PAGE] or "") > SHORT
    assert there.results(await there.refused()) == [TOO_LONG, "1\tline"]
    assert there.relays("shortened")
    assert await there.refused(413) == Ends(leak=True)
    assert there.relays("leaked: refused with 413")
    assert there.pager.kept[-1][0] == there.pager.kept[0][0]
    assert [dict(r.results) for r in there.pager.last.rounds] == [{}], "what was refused still stands"
    assert there.relay.rounds == []


async def test_every_round_has_its_own_chance_of_being_shortened() -> None:
    there = Response()
    await there.says(recall("h1"))
    await there.refused()
    await there.says(recall("h2"))
    assert there.results(await there.refused()) == [TOO_LONG, TOO_LONG]
    assert there.pager.standing == [{}, {}], "what was not shown is not pointed to"
    assert await there.says(DONE, stop="end_turn") == Ends()
    assert blocks(there.pager.last) == [["h1"], ["h2"], ["text"]]


async def test_a_short_answer_that_is_refused_is_leaked_at_once() -> None:
    there = Response()
    await there.says(recall("h1", lines="1-1"))
    assert await there.refused() == Ends(leak=True)
    assert [dict(r.results) for r in there.pager.last.rounds] == [{}], "what was refused still stands"


async def test_a_later_refusal_keeps_what_was_taken_before() -> None:
    there = Response()
    await there.says(recall("h1"))
    await there.says(recall("h2", lines="1-1"), DONE)
    assert await there.refused() == Ends(leak=True)
    made = there.pager.last
    assert (blocks(made), made.finished) == ([["h1"], ["text", "h2"]], True)
    assert (list(made.rounds[0].results), made.rounds[1].results) == (["h1"], {})


async def test_a_recall_beside_the_clients_calls_is_answered_in_its_next_request() -> None:
    there = Response()
    assert await there.says(DONE, recall("h1", lines="1-1"), READ) == Ends()
    made = there.pager.last
    assert (made.finished, blocks(made)) == (True, [["text", "h1", "r"]])
    assert json.loads(made.rounds[0].results["h1"])["content"] == "1\tline"
    assert (len(there.pager.kept), there.relays("beside")) == (1, True)

    there = Response()
    await there.says(recall("h0"))
    assert await there.says(recall("h1"), READ) == Ends()
    assert blocks(there.pager.last) == [["h0"], ["h1", "r"]]
    assert there.pager.last.shown_as == "m1"


async def test_a_page_beside_that_cannot_be_kept_is_not_promised() -> None:
    there = Response()
    there.pager.takes = False
    assert await there.says(recall("h1"), READ) == Ends()
    assert json.loads(there.pager.last.rounds[0].results["h1"])["content"] == UNAVAILABLE


async def test_where_the_client_uses_all_marks_fewer_rounds_are_carried_on() -> None:
    marked = [text(str(n), cache_control=MARK) for n in range(4)]
    for opening, most in ((user(*marked), FEW), (user(*marked[:3]), ROUNDS)):
        there = Response(opening)
        carried = 0
        while isinstance(await there.says(recall(f"h{carried}", lines="1-1")), GoesOn):
            carried += 1
        assert carried == most + 1
        assert json.loads(there.pager.last.rounds[most].results[f"h{most}"])["content"] == NO_MORE


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"content": [3]}', b'{"usage": 3}'])
async def test_a_whole_answer_that_is_none_is_a_failure_and_not_the_hidden_call(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(*_: Any) -> http.Response:
        return http.Response.make(200, body)

    monkeypatch.setattr(relay_whole, "_ask", ask)
    there = Response()
    flow = tflow.tflow(resp=True)
    first = {"id": "m1", "content": [recall("h1")], "stop_reason": "tool_use", "usage": {"output_tokens": 7}}
    flow.response = http.Response.make(200, json.dumps(first))
    await relay_whole.carry_on(flow, there.call, there.relay, there.metrics)
    assert flow.response.status_code == 529
    assert json.loads(flow.response.content or b"")["error"]["type"] == "overloaded_error"
    assert there.relays("failed")
    assert there.call.usage is not None
