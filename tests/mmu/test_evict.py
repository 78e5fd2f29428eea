"""When the prefix may change, and who leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from addon.mmu.evict import Occasion, Policy
from addon.mmu.plan import Offer, Plan, plan, poison, rewrite, told, without_new
from addon.mmu.view import Change, Descent, View
from addon.wire import anthropic
from addon.wire.usage import Usage

POLICY = Policy(file_age=4, output_age=2, every_file_age=4, every_output_age=2, least=50, every_least=50)
LONG = "\n".join(f"{n}\tsome line of a file that is long enough to matter, number {n}" for n in range(1, 60))


class Session:
    """A client that only appends, and the plans made for it."""

    def __init__(self, model: str = "claude-opus-4-8", ttl: str = "5m", policy: Policy = POLICY) -> None:
        self.model, self.ttl, self.policy = model, ttl, policy
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
        self.views: list[View] = []
        self.now = 0.0
        self.calls = 0
        self.more: dict[str, Any] = {}

    def call(self, tool: str, arguments: dict[str, Any], text: str = "", idle: float = 5.0, **more: Any) -> None:
        self.calls += 1
        name = f"t{self.calls}"
        use = {"type": "tool_use", "id": name, "name": tool, "input": arguments}
        self.messages.append({"role": "assistant", "content": [use]})
        body = text or f"{tool} {arguments} {self.calls}\n{LONG}"
        result = {"type": "tool_result", "tool_use_id": name, "content": body, **more}
        self.messages.append({"role": "user", "content": [result]})
        self.now += idle

    def request(self, **more: Any) -> Plan:
        body = {"model": self.model, "max_tokens": 9, "messages": self.messages, **self.more}
        if self.ttl:
            body["cache_control"] = {"type": "ephemeral", "ttl": self.ttl}
        read = anthropic.parse(json.dumps(body).encode())
        made = plan(read, self.views, self.now, self.policy, lambda t, _: len(t) // 4, "line", **more)
        self.views = [made.view]
        self.sent = json.loads(rewrite(read, made.table, made.splices))
        return made

    def text(self, call: int) -> str:
        return str(self.sent["messages"][2 * call]["content"][0]["content"])


def bash(n: int) -> tuple[str, dict[str, Any]]:
    return "Bash", {"command": f"make {n}"}


def evicted(made: Plan) -> list[str]:
    return [s.anchor.partition("#")[0] for s in made.new if s.change is Change.EVICT]


def play(session: Session, steps: int) -> None:
    for n in range(steps):
        session.call(*bash(n))
        assert evicted(session.request()) == []


def test_nothing_leaves_while_the_cache_is_warm_and_all_that_is_old_when_it_is_cold() -> None:
    session = Session()
    play(session, 6)
    session.call(*bash(6), idle=300 + 59)
    assert session.request().epoch is None
    session.call(*bash(7), idle=300 + 61)
    made = session.request()
    assert made.epoch is not None
    assert made.epoch.occasion is Occasion.COLD
    assert evicted(made) == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert session.text(1).startswith("[mmu page ")
    assert session.text(8).startswith("Bash")


def test_an_hour_asked_for_is_an_hour_waited_and_what_was_reported_counts_more() -> None:
    session = Session(ttl="1h")
    play(session, 6)
    session.call(*bash(6), idle=3600)
    assert session.request().epoch is None
    view = session.views[0]
    session.views = [replace(view, state={**view.state, "told": 300})]
    session.call(*bash(7), idle=400)
    assert session.request().epoch is not None


def test_without_caching_every_request_may_evict() -> None:
    session = Session(ttl="")
    for n in range(5):
        session.call(*bash(n))
        assert session.request().epoch is None
    report = told(session.views[0], Usage(fresh=20_000))
    assert report == {"cached": False}
    session.views = [replace(session.views[0], state={**session.views[0].state, **report})]
    session.call(*bash(5))
    made = session.request()
    assert made.epoch is not None
    assert made.epoch.occasion is Occasion.UNCACHED


def test_errors_the_newest_and_the_file_under_edit_stay() -> None:
    session = Session()
    session.call("Read", {"file_path": "edited.py"})
    session.call("Read", {"file_path": "other.py"})
    session.call("Bash", {"command": "false"}, is_error=True)
    session.call("Edit", {"file_path": "edited.py", "old_string": "a", "new_string": "b"}, "done")
    play(session, 5)
    session.call(*bash(9), idle=4000)
    made = session.request()
    assert evicted(made) == ["t2", "t5", "t6", "t7", "t8"]


def test_no_pin_lasts_for_ever() -> None:
    session = Session()
    session.call("Read", {"file_path": "edited.py"})
    session.call("Edit", {"file_path": "edited.py", "old_string": "a", "new_string": "b"}, "done")
    play(session, 25)
    session.now += 4000
    session.call(*bash(99))
    assert "t1" in evicted(session.request())


def test_a_compaction_request_is_no_moment_to_evict() -> None:
    session = Session()
    play(session, 6)
    session.now += 4000
    session.messages.append({"role": "assistant", "content": "ok"})
    session.messages.append({"role": "user", "content": "Summarise everything."})
    assert session.request(compacting=True).new == []


def test_a_read_that_a_fold_refers_to_leaves_only_together_with_the_fold() -> None:
    session = Session()
    text = LONG
    session.call("Read", {"file_path": "a.py"}, text)
    session.request()
    play(session, 4)
    session.call("Read", {"file_path": "a.py"}, text)
    assert session.request().count(Change.FOLD) == 1
    session.call(*bash(8), idle=4000)
    assert "t1" not in evicted(session.request())
    for n in range(20, 26):
        session.call(*bash(n))
        session.request()
    session.call(*bash(30), idle=4000)
    made = session.request()
    assert {"t1", "t6"} <= set(evicted(made))
    assert "unchanged" not in session.text(6)


def test_an_implicit_fault_is_seen_once_and_keeps_the_next_copy_longer() -> None:
    session = Session()
    text = LONG
    session.call("Read", {"file_path": "a.py"}, text)
    play(session, 9)
    session.call(*bash(50), idle=4000)
    assert "t1" in evicted(session.request())
    session.call("Read", {"file_path": "a.py"}, text)
    made = session.request()
    assert [(f.anchor.partition("#")[0], f.distance) for f in made.faults] == [("t1", 11)]
    assert made.count(Change.FOLD) == 0
    assert session.request().faults == []
    for n in range(60, 70):
        session.call(*bash(n), idle=4000)
        assert "t12" not in evicted(session.request())


def test_a_shells_read_of_an_evicted_file_is_a_fault_and_the_other_way_round() -> None:
    text = LONG.replace("\t", " | ")
    bare = "\n".join(line.partition("\t")[2] for line in LONG.split("\n"))
    tool, shell = ("Read", {"file_path": "/w/src/a.py"}), ("Bash", {"command": "cd src && sed -n '1,90p' a.py"})
    for first, second in (((*tool, text), (*shell, bare)), ((*shell, bare), (*tool, text))):
        session = Session()
        session.call(*first)
        session.request()
        play(session, 5)
        session.call(*bash(5), idle=4000)
        assert "t1" in evicted(session.request())
        session.call(*second)
        assert [f.anchor.partition("#")[0] for f in session.request().faults] == ["t1"]


def test_a_file_that_comes_twice_at_once_is_one_fault() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.request()
    play(session, 5)
    session.call(*bash(5), idle=4000)
    session.request()
    session.call("Read", {"file_path": "a.py"}, LONG)
    use = {"type": "tool_use", "id": "again", "name": "Bash", "input": {"command": "cat a.py"}}
    session.messages[-2]["content"].append(use)
    session.messages[-1]["content"].append({"type": "tool_result", "tool_use_id": "again", "content": LONG})
    assert len(session.request().faults) == 1


def test_an_edit_by_path_pins_what_a_shell_read_by_a_relative_one() -> None:
    for path, stays in (("/w/src/a.py", True), ("/w/src/b.py", False)):
        session = Session()
        session.call("Bash", {"command": "cat src/a.py"}, LONG)
        session.call("Edit", {"file_path": path, "old_string": "x"}, "done")
        session.request()
        play(session, 5)
        session.call(*bash(5), idle=4000)
        assert ("t1" not in evicted(session.request())) is stays


def test_a_relative_path_that_could_be_two_files_is_neither() -> None:
    session = Session()
    session.call("Bash", {"command": "cat a.py"}, LONG)
    session.call("Edit", {"file_path": "/w/a.py", "old_string": "x"}, "done")
    session.call("Edit", {"file_path": "/x/a.py", "old_string": "x"}, "done")
    session.request()
    play(session, 5)
    session.call(*bash(5), idle=4000)
    assert "t1" in evicted(session.request())


@pytest.mark.parametrize(("more", "found"), [("", ["t1"]), ("\nand one warning more", [])])
def test_a_repeated_command_faults_on_its_evicted_result_if_it_says_nothing_new(more: str, found: list[str]) -> None:
    session = Session()
    session.call("Bash", {"command": "make all"}, LONG)
    play(session, 4)
    session.call(*bash(50), idle=4000)
    assert "t1" in evicted(session.request())
    session.call("Bash", {"command": "make all"}, LONG + more)
    assert [f.anchor.partition("#")[0] for f in session.request().faults] == found


def test_unchanged_is_answered_with_the_page_when_the_earlier_read_has_left() -> None:
    session = Session()
    stub = "File unchanged since last read. The content from the earlier Read tool_result is still current."
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.request()
    session.call("Read", {"file_path": "a.py"}, stub)
    assert session.request().new == []
    play(session, 12)
    session.call(*bash(50), idle=4000)
    assert "t1" in evicted(session.request())
    session.call("Read", {"file_path": "a.py"}, stub)
    made = session.request()
    assert made.count(Change.SERVE) == 1
    assert session.text(session.calls) == LONG


def test_a_changed_model_alone_is_no_epoch() -> None:
    session = Session()
    play(session, 6)
    session.model = "claude-haiku-4-5"
    session.call(*bash(7))
    assert session.request().epoch is None


def test_a_rewind_keeps_what_it_kept_and_may_evict_behind_the_change() -> None:
    session = Session()
    play(session, 6)
    session.call(*bash(7), idle=4000)
    session.request()
    before = session.sent["messages"]
    del session.messages[9:]
    session.messages[8]["content"].append({"type": "text", "text": "no, differently"})
    made = session.request()
    assert made.line.how is Descent.DIVERGED
    assert session.sent["messages"][:8] == before[:8]


def test_two_conversations_with_the_same_start_never_mix() -> None:
    one, other = Session(), Session()
    one.request()
    other.views = one.views
    one.call("Bash", {"command": "one"})
    other.call("Bash", {"command": "other"})
    one.request()
    other.views = one.views
    made = other.request()
    assert made.line.how is Descent.DIVERGED
    assert "other" in other.text(1)
    assert "one" not in json.dumps(other.sent)


def test_the_published_age_rule() -> None:
    session = Session(policy=Policy(name="fifo", fifo_age=4, fifo_bytes=500))
    session.call("Bash", {"command": "small"}, "x" * 499)
    session.call("Bash", {"command": "large"}, "x" * 500)
    session.call("Bash", {"command": "failed"}, "x" * 500, is_error=True)
    for n in range(3):
        session.call(*bash(n))
        made = session.request()
    assert evicted(made) == ["t2"]
    session.call(*bash(9))
    session.request()
    session.call(*bash(10))
    assert evicted(session.request()) == ["t4"]


def test_without_new_goes_back_to_what_stood_before() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.call("Read", {"file_path": "a.py"}, LONG)
    made = session.request()
    assert made.count(Change.FOLD) == 1
    bare = without_new(made)
    assert bare.new == []
    assert bare.splices == {}
    assert bare.view.splices == {}
    assert bare.view.digests == made.view.digests


def test_a_sibling_that_shares_the_prefix_keeps_it_warm() -> None:
    session = Session()
    play(session, 8)
    sibling = replace(session.views[0], id="sibling", last_at=session.now + 390)
    session.call(*bash(9), idle=400)
    session.views = [sibling, session.views[0]]
    assert session.request().epoch is None


def test_what_a_restarted_proxy_did_not_see_go_by_is_not_folded_later() -> None:
    session = Session()
    session.request()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.call(*bash(1))
    made = session.request()
    assert made.line.how is Descent.CONTINUED
    assert made.new == []


def test_nothing_is_folded_where_the_provider_clears_results_by_itself() -> None:
    edits = {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}
    for more, expected in (({}, 1), (edits, 0), ({"context_management": {"edits": [{"type": "clear_thinking_x"}]}}, 1)):
        session = Session()
        session.more = more
        session.call("Read", {"file_path": "a.py"}, LONG)
        session.request()
        session.call("Read", {"file_path": "a.py"}, LONG)
        assert session.request().count(Change.FOLD) == expected


def test_what_stands_before_a_server_side_compaction_is_not_resident() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.request()
    session.messages.append({"role": "assistant", "content": [{"type": "compaction", "content": "so far"}]})
    session.messages.append({"role": "user", "content": "go on"})
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.calls += 1
    assert session.request().new == []


def test_an_evicted_page_that_had_been_served_is_named_by_what_it_shows() -> None:
    session = Session()
    stub = "File unchanged since last read. The content from the earlier Read tool_result is still current."
    session.call("Read", {"file_path": "a.py"}, LONG)
    play(session, 12)
    session.call(*bash(50), idle=4000)
    session.request()
    session.call("Read", {"file_path": "a.py"}, stub)
    served = session.request()
    assert served.count(Change.SERVE) == 1
    session.call("Read", {"file_path": "a.py"}, stub)
    assert session.request().count(Change.SERVE) == 0
    call = session.calls - 1
    for n in range(60, 90):
        session.call(*bash(n))
        session.request()
    session.call(*bash(99), idle=4000)
    session.request()
    assert session.text(call).startswith(f"[mmu page {served.new[0].page}") is False
    assert "lines 1-59" in session.text(call)


def test_reasoning_is_given_up_only_for_pages_that_weigh_more() -> None:
    for weight, dropped in ((10, True), (100_000, False)):
        session = Session(model="claude-opus-5-5")
        for n in range(6):
            session.call(*bash(n))
            thinking = {"type": "thinking", "thinking": "x" * weight, "signature": "s"}
            session.messages[-2]["content"].insert(0, thinking)
            session.request()
        session.messages.append({"role": "assistant", "content": "done"})
        session.messages.append({"role": "user", "content": "next"})
        session.now += 4000
        made = session.request()
        assert (made.count(Change.DROP) == 6) is dropped
        assert bool(evicted(made)) is dropped


def test_digits_without_end_are_no_line_number() -> None:
    session = Session()
    for _ in range(2):
        session.call("Read", {"file_path": "a.py"}, "\n".join(["9" * 5000 + "\tx"] * 9))
        session.request()


def test_a_refused_eviction_gives_way_to_what_stood_before_and_is_not_tried_again() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.request()
    session.call("Read", {"file_path": "a.py"}, LONG + "".join(f"\n{n}\tnew and long line {n}" for n in range(60, 120)))
    session.request()
    folded = session.text(2)
    play(session, 10)
    session.call(*bash(30), idle=4000)
    made = session.request()
    assert {"t1", "t2"} <= set(evicted(made))
    back, news = poison(made.view, [s.anchor for s in made.new], 9, made.replay)
    view = replace(made.view, splices={**made.view.splices, **{s.anchor: s for s in back}})
    session.views = [replace(view, state={**view.state, **news})]
    session.call(*bash(31), idle=4000)
    made = session.request()
    assert session.text(1) == LONG
    assert session.text(2) == folded
    assert not {"t1", "t2"} & set(evicted(made))


def test_an_output_that_a_young_fold_refers_to_stays() -> None:
    session = Session()
    session.call("Bash", {"command": "check"}, LONG)
    session.request()
    play(session, 5)
    session.call("Bash", {"command": "check"}, LONG)
    assert session.request().count(Change.FOLD) == 1
    session.call(*bash(30), idle=4000)
    made = session.request()
    assert evicted(made)
    assert "t1" not in evicted(made)


def test_reasoning_that_was_bound_once_stays_bound() -> None:
    session = Session(model="claude-opus-5-5")
    for n in range(8):
        session.call(*bash(n))
        thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
        session.messages[-2]["content"].insert(0, thinking)
        session.request()
    session.model = "claude-opus-4-8"
    session.call(*bash(9), idle=4000)
    assert evicted(session.request()) == []


def test_the_recall_tool_waits_until_what_has_left_outweighs_the_head() -> None:
    for description, offered in (("short", 1), ("x" * 80_000, 0)):
        session = Session()
        session.more = {"tools": [{"name": "Bash", "description": description, "input_schema": {}}]}
        play(session, 6)
        session.call(*bash(6), idle=4000)
        made = session.request(offer=Offer("mmu_recall", '{"name":"mmu_recall"}'))
        assert evicted(made)
        assert made.count(Change.TOOL) == offered


def test_a_fold_stores_the_page_it_refers_to() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.request()
    session.call("Read", {"file_path": "a.py"}, LONG + "\n60\tmore")
    made = session.request()
    assert made.count(Change.FOLD) == 1
    assert {p.text for p in made.pages} == {LONG, LONG + "\n60\tmore"}


SUMMARY = {"summary": "All of it was made. " * 100, "upto": "second"}


def wished(session: Session, calls: int) -> None:
    """A first task of so many calls, a second one begun, and the wish that a summary stands for the first."""
    for n in range(calls):
        session.call(*bash(n))
        session.request()
    session.messages += [{"role": "assistant", "content": "done"}, {"role": "user", "content": "second"}]
    session.request()
    session.call("mmu_recall", SUMMARY, "Noted.")
    session.request()


def test_a_summary_is_weighed_against_what_is_still_shown() -> None:
    session = Session()
    wished(session, 6)
    session.call(*bash(30), idle=4000)
    assert session.request().collapse is None, "handles weigh less than the summary"


def test_a_span_that_holds_an_image_is_not_collapsed() -> None:
    for images in (0, 1):
        session = Session()
        session.call("Read", {"file_path": "a.py"}, LONG * 40)
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
        session.messages[-1]["content"] += [picture] * images
        wished(session, 0)
        session.call("Edit", {"file_path": "a.py"}, "ok", idle=4000)
        assert (session.request().collapse is None) is bool(images)


def test_reasoning_that_was_removed_behind_a_span_does_not_come_back_with_a_summary() -> None:
    session = Session(model="claude-opus-5-5")
    for n in range(8):
        session.call(*bash(n))
        thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
        session.messages[-2]["content"].insert(0, thinking)
        session.request()
        if n == 3:
            session.messages += [{"role": "assistant", "content": "done"}, {"role": "user", "content": "second"}]
    session.messages += [{"role": "assistant", "content": "done"}, {"role": "user", "content": "third"}]
    session.now += 4000
    assert session.request().count(Change.DROP) == 8
    for n in range(8, 12):
        session.call(*bash(n))
    session.call("mmu_recall", {"summary": "In short.", "upto": "second"}, "Noted.", idle=4000)
    assert session.request().collapse is None, "in the middle of a turn no reasoning can be removed"
