from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from addon.mmu.tokens import Counter
from benchmarks.inprocess import answer_tokens
from benchmarks.lab import __main__ as lab
from benchmarks.lab.figure import Dot, figure
from benchmarks.lab.lay import lay
from benchmarks.lab.outcome import Outcome, summaries
from benchmarks.lab.policies import PUBLISHED, parsed, policies, switched
from benchmarks.lab.recording import record
from benchmarks.lab.tariff import TARIFFS
from benchmarks.meter import Meter
from benchmarks.rebuild import Session
from benchmarks.test_rebuild import call, event, result, session, text
from benchmarks.traces import Event
from tests.upstream.models import model_of
from tests.upstream.prompt import prompt

ANTHROPIC = TARIFFS["anthropic"]


def source(name: str, lines: int = 120) -> str:
    return "\n".join(f"def {name}_{n}(argument): return argument + {n} * len('{name}')" for n in range(lines))


def working(pause: float = 0.0, edits: bool = True) -> Session:
    """Reads eight files, edits some of what it read long before, and may pause in the middle."""
    events: list[Event] = [event("user", 0, text("look"))]
    at = 1.0
    for n in range(8):
        name = f"file{n}"
        blocks = [call(name, file_path=f"/w/{name}.txt")]
        if edits and n in (3, 6):
            old = source(f"file{n - 2}").splitlines()[0]  # which its handle keeps
            given = {"file_path": f"/w/file{n - 2}.txt", "old_string": old, "new_string": "pass"}
            blocks.append({"type": "tool_use", "id": f"edit{n}", "name": "Edit", "input": given})
        events.append(event("assistant", at, *blocks))
        results = [result(name, source(name))]
        events.append(event("user", at + 1, *results, *(result(b["id"], "done") for b in blocks[1:])))
        at += 2 + (pause if n == 4 else 0.0)
    for n in range(6):
        events.append(event("assistant", at, text(f"thought {n}")))
        events.append(event("user", at + 1, text("go on")))
        at += 2
    return session(*events, event("assistant", at, text("bye")))


def test_the_account_bills_like_the_meter_and_none_is_untouched() -> None:
    for made in (working(), working(pause=9000)):
        meter = Meter(made.ratio.bytes_per_token)
        bills = [meter.bill(made.body(turn), turn.at, answer_tokens(made, turn)) for turn in made.turns]
        recording = record(made, ANTHROPIC)
        assert recording.dollars(recording.untouched) == pytest.approx(sum(bill.dollars for bill in bills))
        assert [split.read for split in recording.untouched] == [bill.read for bill in bills]
        (none,) = lab.judged(recording, [parsed("none")], Counter())
        assert none.bill == none.untouched == pytest.approx(sum(bill.dollars for bill in bills))
        assert (none.saved, none.charge, none.evicted) == (0, 0, 0)


def test_what_stands_again_is_laid_out_as_if_it_had_been_new() -> None:
    made = working()
    known = None
    for turn in made.turns:
        body = made.body(turn)
        known = lay(body, known)
        assert known.line == prompt(body)
    changed = json.loads(json.dumps(made.body(made.turns[-1])))
    changed["messages"][2]["content"][0]["content"] = "other"
    assert lay(changed, known).line == prompt(changed)


def test_the_age_rule_evicts_by_age_and_size_and_is_charged_for_what_was_needed() -> None:
    recording = record(working(), ANTHROPIC)
    early, late = lab.judged(recording, [parsed("fifo:1:500"), parsed("fifo:6:500")], Counter())
    assert (early.evicted, late.evicted) == (8, 8)
    assert early.faults == {"edit": 2}  # both edits quote what was read two requests before
    assert late.faults == {}
    assert early.charge > 0 == late.charge
    assert early.evicted_in_requests == sum(len(recording.turns) - (n + 2) for n in range(8))


def test_a_head_that_others_keep_warm_is_read_in_every_arm() -> None:
    usual = event("assistant", 1, call("a", file_path="/w/x.txt"), read=13_000)
    made = session(event("user", 0, text("look")), usual, event("user", 2, result("a", source("a"))), event(
        "assistant", 3, text("bye")
    ))  # fmt: skip
    recording = record(made, ANTHROPIC)
    assert recording.untouched[0].read > 1000
    (idle,) = lab.judged(recording, [parsed("fifo:9:500")], Counter())
    assert idle.bill == pytest.approx(idle.untouched)


def test_every_policy_forwards_valid_requests_under_every_tariff() -> None:
    made = working(pause=9000)
    for tariff in TARIFFS.values():
        found = lab.judged(record(made, tariff), [parsed("full"), parsed(PUBLISHED)], Counter())
        assert [outcome.refused for outcome in found] == [0, 0]


def test_openai_keeps_half_an_hour_and_charges_writes_and_uncached_pays_in_full() -> None:
    short, long = (record(working(pause=pause), TARIFFS["openai"]) for pause in (1200, 2400))
    assert all(split.fresh == 0 and split.write_1h == 0 for split in short.untouched)
    cold = [k for k, split in enumerate(long.untouched) if k and not split.read]
    assert (len(cold), [k for k, split in enumerate(short.untouched) if k and not split.read]) == (1, [])
    assert short.account().prices.write_5m == pytest.approx(1.25 * short.account().prices.fresh)
    assert all(split.read % 128 == 0 for split in long.untouched)

    bare = record(working(), TARIFFS["uncached"])
    price = model_of(bare.session.model)
    tokens = sum(split.fresh for split in bare.untouched)
    assert tokens == sum(split.fresh + split.read + split.write_1h for split in record(working(), ANTHROPIC).untouched)
    paid = (tokens * price.input + sum(bare.outputs) * price.output) / 1e6
    assert bare.dollars(bare.untouched) == pytest.approx(paid)
    assert "cache_control" not in str(bare.bodies)


def test_a_session_cut_short_is_the_session_that_ended_there() -> None:
    recording = record(working(), ANTHROPIC)
    short = recording.first(3)
    assert short.dollars(short.untouched) < recording.dollars(recording.untouched)
    found = lab.judged(short, policies(), Counter())
    assert {outcome.requests for outcome in found} == {3}
    assert [outcome.policy for outcome in found] == [named.name for named in policies()]


def outcome(name: str, policy: str, bill: float, faults: int = 0, ttl: str = "5m") -> Outcome:
    made = Outcome(name, policy, policy, ttl, 10, 10.0, bill, evicted=4, evicted_in_requests=50)
    made.faults, made.charges = {"edit": faults, "reread": 1}, {"edit": faults * 0.5, "reread": 0.25}
    return made


def test_sums_over_sessions_by_hand() -> None:
    rows = summaries("all", [
        outcome("a", "full", 8.0, 2), outcome("b", "full", 8.5), outcome("a", "clairvoyant", 5.75),
        outcome("b", "clairvoyant", 5.75),
    ])  # fmt: skip
    full, best = rows
    assert (full.sessions, full.requests, full.untouched, full.bill, full.charge) == (2, 20, 20.0, 16.5, 1.5)
    assert full.saved == pytest.approx(0.175)
    assert full.saved_charged == pytest.approx(0.1)
    assert full.saved_but_rereads == pytest.approx(0.125)
    assert full.worst == pytest.approx(0.075)
    assert full.worst_session == "a"
    assert (full.fault_count, full.faults_per_request) == (4, 0.2)
    assert (full.per_eviction_request, full.per_page) == (4 / 100, 4 / 8)
    assert full.share == pytest.approx(2.0 / 8.0)
    assert (best.share, best.share_whole) == (1.0, None)


def test_groups_are_by_lifetime_where_the_client_chooses_it_and_by_length_where_short() -> None:
    found = [outcome("a", "full", 8), outcome("b", "full", 8, ttl="1h"), replace(outcome("c", "full", 8), requests=3)]
    names = {name: len(members) for name, members in lab.grouped(found, ANTHROPIC, False).items()}
    assert names == {"5-minute cache": 2, "1-hour cache": 1, "all": 3}
    assert list(lab.grouped(found, TARIFFS["openai"], False)) == ["all"]
    assert list(lab.grouped(found, ANTHROPIC, True)) == ["ending after 3 requests", "ending after 10 requests"]


def test_policies_are_told_by_name() -> None:
    assert parsed("fifo:2:900").policy.fifo_bytes == 900
    assert parsed("full:5:2").policy.output_age == 2
    own = parsed("file_age=4,cuts=0").policy
    assert (own.file_age, own.cuts, own.folds) == (4, False, True)
    assert parsed("folds").policy == switched("folds")
    with pytest.raises(ValueError, match="file_age"):
        parsed("nonsense")
    names = [named.name for named in policies()]
    assert len(names) == len(set(names))


def test_the_figure_holds_every_policy_and_its_names_are_escaped() -> None:
    drawn = figure("a & b", "bill", {"one": [Dot("x<1", 0.0, 90.0), Dot("y", 0.05, 120.0)]}, {"level": 60.0})
    assert drawn.count("<title>") == 2
    assert "x&lt;1" in drawn
    assert "a &amp; b" in drawn
    assert "level (60 %)" in drawn
    assert drawn.startswith("<svg")
    assert drawn.endswith("</svg>\n")


def test_names_that_would_cover_each_other_are_left_to_the_dots() -> None:
    drawn = figure("a", "bill", {"one": [Dot(f"policy {n}", 0.01, 90.0) for n in range(9)]}, {})
    assert drawn.count("<title>") == 9
    assert drawn.count('font-size="10"') == 4


def test_without_recordings_it_says_that_it_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--frontier"], ["--short"]):
        assert lab.main(["--traces", str(tmp_path), *more]) == 0
        assert capsys.readouterr().out.startswith("skipped: no recorded s")
