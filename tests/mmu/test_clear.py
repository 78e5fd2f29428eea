"""What the provider is left to clear: from the first tool use up to the first result that is to stay."""

from __future__ import annotations

import json
from typing import Any

from addon.mmu.clear import UNCLEARABLE, cleared
from addon.mmu.evict import Occasion
from addon.mmu.plan import Offer, Plan, poison
from addon.mmu.view import CLEARED, Change, left, pages_of, shown
from addon.wire import anthropic
from tests.mmu.test_evict import LONG, Session, bash

BOUND = "claude-opus-5-5"
TOOL = Offer("mmu_recall", json.dumps({"name": "mmu_recall", "input_schema": {"type": "object"}}))
COLD = 4_000.0


class Bound(Session):
    """A session whose model signs what it thinks in every answer, and may recall."""

    def __init__(self) -> None:
        super().__init__(BOUND)
        self.more = {"tools": [{"name": "Bash", "input_schema": {"type": "object"}}]}
        # A turn that ends: its reasoning goes with its pages, and the tool comes.
        for n in range(4):
            self.call(*bash(n))
        self.request()
        self.messages += [{"role": "assistant", "content": "Done."}, {"role": "user", "content": "go on"}]
        self.now += COLD
        made = self.request(offer=TOOL)
        assert made.count(Change.TOOL) == 1

    def call(self, tool: str, arguments: dict[str, Any], text: str = "", idle: float = 5.0, **more: Any) -> None:
        super().call(tool, arguments, text, idle, **more)
        thought = {"type": "thinking", "thinking": "hm", "signature": f"s{self.calls}"}
        self.messages[-2]["content"].insert(0, thought)

    def turn(self, many: int = 1) -> Plan:
        made: Plan | None = None
        for _ in range(many):
            self.call(*bash(self.calls))
            made = self.request(clears=True)
        assert made is not None
        return made

    def cold(self) -> Plan:
        self.call(*bash(self.calls))
        self.now += COLD
        return self.request(clears=True)

    def cleared(self, made: Plan) -> int:
        body = {"model": BOUND, "max_tokens": 9, "messages": self.messages, **self.more}
        return cleared(anthropic.parse(json.dumps(body).encode()), made.table, made.splices)


def test_it_goes_up_when_it_is_cold_and_at_no_other_time() -> None:
    talk = Bound()
    assert talk.cleared(talk.turn(6)) == 0
    made = talk.cold()
    assert made.epoch is not None
    assert made.epoch.occasion is Occasion.COLD
    first = talk.cleared(made)
    assert 4 < first < talk.calls
    before = json.dumps(talk.sent["messages"])
    made = talk.turn(6)
    assert talk.cleared(made) == first
    assert json.dumps(talk.sent["messages"]).startswith(before[:-1])
    assert talk.cleared(talk.cold()) > first


def test_what_is_sent_is_what_was_sent() -> None:
    talk = Bound()
    talk.turn(6)
    before = talk.sent["messages"]
    made = talk.cold()
    assert talk.cleared(made) > 4
    assert talk.sent["messages"][: len(before)] == before
    gone = [e for e in made.table.entries if e.anchor in made.splices and made.splices[e.anchor].change is Change.CLEAR]
    assert {p.id for p in made.pages} == {e.page for e in gone}
    assert {e.page for e in gone} <= pages_of(made.splices)
    assert all(shown(e, made.splices) == CLEARED for e in gone)


def test_without_the_tool_nothing_is_cleared() -> None:
    talk = Session(BOUND)
    for n in range(10):
        talk.call(*bash(n))
        talk.messages[-2]["content"].insert(0, {"type": "thinking", "thinking": "hm", "signature": "s"})
        made = talk.request(clears=True)
    talk.now += COLD
    talk.call(*bash(10))
    made = talk.request(clears=True)
    assert made.count(Change.CLEAR) == 0


def test_it_ends_before_what_is_to_stay() -> None:
    talk = Bound()
    talk.turn(3)
    talk.call("Read", {"file_path": "/a.py"})
    at = talk.calls
    talk.call("Edit", {"file_path": "/a.py", "old_string": "a", "new_string": "b"}, "done")
    talk.turn(8)
    assert talk.cleared(talk.cold()) == at - 1


def test_old_errors_and_small_results_go_along() -> None:
    talk = Bound()
    talk.turn(2)
    talk.call(*bash(talk.calls), "make: no such target", is_error=True)
    talk.call("Edit", {"file_path": "/a.py", "old_string": "a", "new_string": "b"}, "done")
    at = talk.calls
    talk.turn(6)
    assert talk.cleared(talk.cold()) > at


def test_an_image_ends_it() -> None:
    talk = Bound()
    talk.turn(2)
    talk.call(*bash(talk.calls))
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    talk.messages[-1]["content"][0]["content"] = [{"type": "image", "source": source}]
    at = talk.calls
    talk.turn(6)
    assert talk.cleared(talk.cold()) == at - 1


def test_no_reference_is_left_to_what_is_cleared() -> None:
    talk = Bound()
    talk.turn(2)
    talk.call("Bash", {"command": "cat"}, LONG)
    at = talk.calls
    talk.turn(6)
    talk.call("Bash", {"command": "cat"}, f"{LONG}\nand one line more")
    made = talk.request(clears=True)
    assert made.count(Change.FOLD) == 1
    talk.now += COLD
    made = talk.cold()
    assert talk.cleared(made) == at - 1
    made = talk.turn(4)
    assert sum(s.change is Change.FOLD for s in made.splices.values()) == 1


def test_what_is_read_again_is_not_folded_against_it() -> None:
    talk = Bound()
    talk.call("Bash", {"command": "cat"}, LONG)
    talk.turn(6)
    assert talk.cleared(talk.cold()) > 5
    talk.call("Bash", {"command": "cat"}, LONG)
    made = talk.request(clears=True)
    assert made.count(Change.FOLD) == 0
    assert len(made.faults) == 1


def test_where_the_client_goes_back_it_ends() -> None:
    talk = Bound()
    talk.turn(6)
    many = talk.cleared(talk.cold())
    assert many > 7
    talk.messages = talk.messages[:17]  # 7 calls, and what ended the first turn
    talk.now += 5
    assert talk.cleared(talk.request(clears=True)) == 7
    # and before a result that the client has changed
    talk.messages[14]["content"][0]["content"] = "[gone]"
    assert talk.cleared(talk.request(clears=True)) == 5


def test_what_was_refused_is_not_tried_again() -> None:
    talk = Bound()
    talk.turn(6)
    made = talk.cold()
    back, _ = poison(made.view, [s.anchor for s in made.new], made.table.requests, made.replay)
    view = talk.views[0]
    kept = {**view.splices, **{s.anchor: s for s in back}}
    talk.views = [view.__class__(view.id, view.requests, view.digests, view.last_at, kept, view.state)]
    assert talk.cold().count(Change.CLEAR) == 0


def test_a_line_on_which_it_was_refused_is_left_alone() -> None:
    talk = Bound()
    talk.turn(6)
    view = talk.views[0]
    state = {**view.state, UNCLEARABLE: "no"}
    talk.views = [view.__class__(view.id, view.requests, view.digests, view.last_at, view.splices, state)]
    assert talk.cold().count(Change.CLEAR) == 0


def test_pages_are_found_by_the_command() -> None:
    talk = Bound()
    talk.turn(6)
    made = talk.cold()
    entry = made.table.entries[5]
    assert left(made.table, made.splices, "make 5") == [entry.page]
    assert left(made.table, made.splices, f"make {talk.calls - 1}") == []  # it is shown
    assert left(made.table, made.splices, "make 500") == []
