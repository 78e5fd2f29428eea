"""Sessions under mitmmu, under the age rule, untouched and by hindsight: every bill worked by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from addon.audit import planner as planning
from addon.audit.hindsight import without
from addon.audit.rebuilt import requests
from addon.audit.recorded import Request, Session
from addon.audit.replayed import HINDSIGHT, UNTOUCHED, Outcome, Sums, replay
from addon.mmu.evict import Policy
from addon.mmu.plan import Plan
from addon.mmu.plan import plan as planner
from addon.mmu.price import Rates
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation
from addon.wire.usage import Usage
from tests.audit.make import Claude, Json, call, counter, keeping, near, text, write
from tests.audit.test_bodies import grown
from tests.audit.test_codex import BEGIN, rollout
from tests.audit.test_flows import asked, usage
from tests.audit.test_flows import write as write_flows

RATES = Rates(fresh=1.0, read=0.1, written=1.25, written_hour=2.0, output=5.0, minimum=0)
NEVER = Policy(name="fifo", fifo_age=1_000_000)
AUTO = Policy(excerpts=False, cuts=False, stubs=False)
"""What these sessions are about: folds, and evictions on a cold cache."""
POLICIES = {"auto": AUTO, "fifo": Policy(name="fifo"), "never": NEVER}


def played(session: Session, policies: Mapping[str, Policy] = POLICIES, rates: Rates = RATES) -> Outcome:
    outcome = replay(session, counter(), policies, lambda _: rates)
    if "never" in outcome.arms:
        # Whatever the session, who does nothing pays what the untouched session costs, to the last digit.
        assert outcome.arms["never"] == outcome.arms[UNTOUCHED]
    return outcome


def bill(sums: Sums) -> Any:
    return sums.tokens, near(sums.dollars)


OUTPUT = "begin\n" + "¤" * 2000 + "\nwarm\nend"
"""The lines that its handle shows have no ¤."""


def pausing(path: Path, *, again: bool = False) -> Session:
    """A command with a result of 2,000, three small ones, a pause, and two requests more. With `again`, the second of
    these brings the result once more."""
    log = Claude()
    log.user("¤" * 1000)
    log.says("m1", call("t1", "Bash", command="make"))
    log.result("t1", OUTPUT)
    for n in range(2, 5):
        log.says(f"m{n}", call(f"t{n}", "Bash", command=f"echo {n}"))
        log.result(f"t{n}", "ok")
    log.says("m5", text("done"))
    log.at += 1000
    log.user("¤")
    log.says("m6", call("t6", "Bash", command="make" if again else "ls"))
    log.result("t6", OUTPUT if again else "ok")
    log.says("m7", text("done"))
    [session] = keeping(write(path / "s.jsonl", log.lines))
    return session


def test_an_eviction_at_a_pause(tmp_path: Path) -> None:
    outcome = played(pausing(tmp_path))
    assert (outcome.requests, outcome.untimed, outcome.unpriced, outcome.reported) == (7, 0, 0, 0)
    arms = outcome.arms
    # Written when they come, read four times; behind the pause all is written again, and read once.
    before = 1.25 * 1000 + (0.1 * 1000 + 1.25 * 2000) + 3 * 0.1 * 3000
    assert bill(arms[UNTOUCHED]) == (1000 + 4 * 3000 + 2 * 3001, before + 1.25 * 3001 + 0.1 * 3001)
    # At the pause the result leaves.
    assert bill(arms["auto"]) == (1000 + 4 * 3000 + 2 * 1001, before + 1.25 * 1001 + 0.1 * 1001)
    assert (arms["auto"].evictions, arms["auto"].folds, arms["auto"].faults) == (1, 0, 0)
    # The result was used when it came, by the second request.
    early = 1.25 * 1000 + (0.1 * 1000 + 1.25 * 2000) + 3 * 0.1 * 1000
    assert bill(arms[HINDSIGHT]) == (1000 + 3000 + 3 * 1000 + 2 * 1001, early + 1.25 * 1001 + 0.1 * 1001)
    assert outcome.saved("auto") == near(1.35 * 2000)


def test_the_age_rule_gives_up_a_warm_cache(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤" * 1000)
    for n in range(1, 8):
        log.says(f"m{n}", call(f"t{n}", "Bash", command=f"make {n}"))
        log.result(f"t{n}", "¤" * 300)
    log.says("m8", text("done"))
    [session] = keeping(write(tmp_path / "s.jsonl", log.lines))
    arms = played(session).arms
    # Everything is read but the newest result.
    sent = [1000 + 300 * n for n in range(8)]
    untouched = 1.25 * 1000 + sum(0.1 * (tokens - 300) + 1.25 * 300 for tokens in sent[1:])
    assert bill(arms[UNTOUCHED]) == (sum(sent), untouched)
    assert arms["auto"] == arms[UNTOUCHED]
    # From the sixth request on, a result of the fifth before it leaves: only what the first has marked still stands
    # before the change, and four results are written again, not to speak of the newest.
    kept = [*sent[:5], 2200, 2200, 2200]
    fifo = 1.25 * 1000 + sum(0.1 * (tokens - 300) + 1.25 * 300 for tokens in sent[1:5])
    fifo += 3 * (0.1 * 1000 + 1.25 * 1200)
    assert bill(arms["fifo"]) == (sum(kept), fifo)
    assert arms["fifo"].evictions == 3


def test_a_fold(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤" * 1000)
    lines = "\n".join(f"line {n} of the file says ¤¤¤¤¤¤¤¤¤¤" for n in range(100))
    for n in (1, 2):
        log.says(f"m{n}", call(f"t{n}", "Read", file_path="/a"))
        log.result(f"t{n}", lines)
    log.says("m3", text("done"))
    [session] = keeping(write(tmp_path / "s.jsonl", log.lines))
    arms = played(session).arms
    assert bill(arms[UNTOUCHED]) == (1000 + 2000 + 3000, 1.25 * 1000 + (100 + 1250) + (200 + 1250))
    assert bill(arms["auto"]) == (1000 + 2000 + 2000, 1.25 * 1000 + (100 + 1250) + 200)
    assert (arms["auto"].folds, arms["auto"].evictions) == (1, 0)
    assert bill(arms[HINDSIGHT]) == bill(arms["auto"])


def test_a_fault_is_counted_and_paid_by_all(tmp_path: Path) -> None:
    arms = played(pausing(tmp_path, again=True)).arms
    assert (arms["auto"].evictions, arms["auto"].faults) == (1, 1)
    # The second copy is folded into the first where that still stands; here it comes in full.
    assert arms["auto"].tokens == 1000 + 4 * 3000 + 1001 + 3001
    assert arms[UNTOUCHED].tokens == 1000 + 4 * 3000 + 3001 + 5001


def test_reports_give_the_level_of_the_bill(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤" * 100)
    read = {"cache_read_input_tokens": 4000, "cache_creation_input_tokens": 100, "output_tokens": 7}
    log.says("m1", call("t1", "Bash", command="ls"), usage={"input_tokens": 0, **read})
    log.result("t1", "¤" * 50)
    log.says("m2", text("¤" * 9))
    [session] = keeping(write(tmp_path / "s.jsonl", log.lines))
    outcome = played(session)
    # A head of 4,000 stands before the first 100, and others have kept it warm. The second answer was not reported, and
    # weighs what is seen of it.
    first = 0.1 * 4000 + 1.25 * 100 + 5 * 7
    assert bill(outcome.arms[UNTOUCHED]) == (4100 + 4150, first + 0.1 * 4100 + 1.25 * 50 + 5 * 9)
    assert (outcome.reported, outcome.recorded, outcome.simulated) == (1, near(first), near(first))


def test_a_provider_that_was_seen_to_cache_nothing(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤" * 1000)
    log.says("m1", call("t1", "Bash", command="ls"), usage={"input_tokens": 1000, "output_tokens": 0})
    log.result("t1", "¤" * 50)
    log.says("m2", text(""), usage={"input_tokens": 1050, "output_tokens": 0})
    [session] = keeping(write(tmp_path / "s.jsonl", log.lines))
    assert bill(played(session).arms[UNTOUCHED]) == (2050, 2050.0)


def test_the_planner_hears_that_nothing_is_cached(tmp_path: Path) -> None:
    """Then every token is paid for on every turn, and what is old may leave at any time."""
    talk: list[Json] = [{"role": "user", "content": "¤" * 9000}]
    sent = [{"model": "unheard-of", "messages": [*talk]}]
    for n in range(6):
        function = {"name": "Bash", "arguments": json.dumps({"command": f"make {n}"})}
        calls = [{"id": f"t{n}", "type": "function", "function": function}]
        talk.append({"role": "assistant", "content": None, "tool_calls": calls})
        talk.append({"role": "tool", "tool_call_id": f"t{n}", "content": "ok" if n else OUTPUT})
        sent.append({"model": "unheard-of", "messages": [*talk]})
    [session] = keeping(write(tmp_path / "b.jsonl", sent))
    assert played(session).arms["auto"].evictions == 0
    for _, request in session.in_order():
        request.usage = Usage(fresh=9000)
    assert played(session).arms["auto"].evictions == 1


def test_a_session_that_goes_on_with_another(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤" * 1000)
    log.says("m1", text(""), usage={"input_tokens": 0, "cache_creation_input_tokens": 1000})
    write(tmp_path / "a.jsonl", log.lines)
    log.user("¤" * 100)
    log.says("m2", text(""), usage={"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100})
    write(tmp_path / "b.jsonl", log.lines)
    [_, resumed] = keeping(tmp_path)
    assert bill(played(resumed).arms[UNTOUCHED]) == (1100, 0.1 * 1000 + 1.25 * 100)


def as_bodies(session: Session, folder: Path) -> Session:
    """The same requests, recorded as bodies, with their times."""
    bodies = [json.loads(each.conversation.text) for each in requests(session)]
    [again] = keeping(write(folder / "bodies.jsonl", bodies))
    for (_, one), (_, other) in zip(session.in_order(), again.in_order(), strict=True):
        other.at = one.at
    return again


@pytest.mark.parametrize(
    ("purpose", "evictions"), [(Purpose.MAIN, 1), (Purpose.COMPACTION, 0), (Purpose.AUXILIARY, 0)]
)
def test_a_request_for_a_summary_is_no_moment_to_evict(purpose: Purpose, evictions: int, tmp_path: Path) -> None:
    session = as_bodies(pausing(tmp_path), tmp_path)
    for _, request in session.in_order()[5:]:
        assert request.sent is not None
        request.sent = replace(request.sent, purpose=purpose)
    outcome = played(session)
    assert outcome.arms["auto"].evictions == evictions
    assert outcome.arms[UNTOUCHED].tokens == 1000 + 4 * 3000 + 2 * 3001


def test_what_stands_beside_a_conversation_is_no_beginning_of_one(tmp_path: Path) -> None:
    session = as_bodies(pausing(tmp_path), tmp_path)
    [(_, first), *_] = session.in_order()
    assert first.sent is not None
    first.sent = replace(first.sent, purpose=Purpose.AUXILIARY)
    planned: list[str] = []

    def plan(conversation: Conversation, *given: Any, **more: Any) -> Plan:
        planned.append(conversation.text)
        return planner(conversation, *given, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "plan", plan)
        replay(session, counter(), {"auto": AUTO}, lambda _: RATES)
    assert len(planned) == 6


def test_a_rewrite_that_breaks_a_rule_does_not_go_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rewrite(conversation: Conversation, *_: object) -> bytes:
        body = json.loads(conversation.text)
        return json.dumps({**body, "messages": body["messages"][1:]}).encode()

    monkeypatch.setattr(planning, "rewrite", rewrite)
    arms = played(pausing(tmp_path)).arms
    assert arms["auto"] == arms[UNTOUCHED]


def test_tools_that_are_never_called(tmp_path: Path) -> None:
    user = {"role": "user", "content": "¤"}
    [session] = keeping(write_flows(tmp_path / "f", asked([user], 1.0, usage(0)), asked([user], 2.0, usage(0))))
    outcome = played(session)
    # Ten of system, 15 of tools that are sent, one of the user. Nothing was marked.
    assert bill(outcome.arms[UNTOUCHED]) == (52, near(52.0 + 2 * 5))
    assert bill(outcome.arms[HINDSIGHT]) == (22, near(22.0 + 2 * 5))
    assert outcome.recorded == 2 * 5.0


def test_codex_is_cached_unasked(tmp_path: Path) -> None:
    [session] = keeping(write(tmp_path / "r.jsonl", rollout(*BEGIN)))
    outcome = played(session)
    # 100 were reported where 4 of instructions and 3 of messages are recorded: the other 93 stand before them. Then six
    # come. That 10 were read is for somebody else's sake, and no beginning of ours.
    untouched = 1.25 * 100 + 5 * 2 + 0.1 * 100 + 1.25 * 6 + 5 * 2
    assert bill(outcome.arms[UNTOUCHED]) == (100 + 106, near(untouched))


def test_what_has_no_price_and_no_time(tmp_path: Path) -> None:
    for api in ("messages", "chat", "responses", "gemini"):
        [session] = keeping(write(tmp_path / api / "b.jsonl", grown(3, api)))
        outcome = played(session, rates=Rates(1, 1, 1, 1, 1, known=False))
        assert (outcome.unpriced, outcome.untimed) == (3, 3)
        assert outcome.arms[UNTOUCHED] == Sums(tokens=24)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("bodies", [False, True])
def test_with_all_that_it_may_do_nothing_gets_dearer(again: bool, bodies: bool, tmp_path: Path) -> None:
    session = pausing(tmp_path, again=again)
    session = as_bodies(session, tmp_path) if bodies else session
    arms = played(session, {"auto": Policy()}).arms
    assert arms["auto"].evictions == 1
    assert arms["auto"].dollars < arms[UNTOUCHED].dollars


def test_outcomes_add_up(tmp_path: Path) -> None:
    outcome, total = played(pausing(tmp_path)), Outcome()
    total.add(outcome)
    total.add(outcome)
    assert total.arms["auto"].evictions == 2
    assert total.requests == 14
    assert total.saved("auto") == near(2 * outcome.saved("auto"))


def test_prices_are_those_of_the_request(tmp_path: Path) -> None:
    seen: list[Request] = []

    def price(request: Request) -> Rates:
        seen.append(request)
        return RATES

    session = pausing(tmp_path)
    replay(session, counter(), {}, price)
    assert [id(request) for request in seen] == [id(request) for _, request in session.in_order()]


@pytest.mark.parametrize("stretch", ["read", "written_hour", "written", "fresh"])
def test_what_is_taken_out_leaves_its_stretch(stretch: str) -> None:
    whole = Usage(read=10, written_hour=10, written=10, fresh=10)
    unit = ["read", "written_hour", "written", "fresh"].index(stretch)
    for taken, left in ((7, 3), (70, 0)):
        changed: Any = {stretch: left}
        assert without(whole, [10, 10, 10, 10], {unit: taken}) == replace(whole, **changed)
