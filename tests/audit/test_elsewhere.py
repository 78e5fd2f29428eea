"""What earlier sessions leave to later ones: stubs, warm heads and the recall tool, every bill worked by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from addon.audit import planner as planning
from addon.audit.begun import in_time
from addon.audit.elsewhere import STEP, Elsewhere, Log
from addon.audit.recorded import Session
from addon.audit.replayed import UNTOUCHED, Outcome, Sums, replay
from addon.mmu.evict import Policy
from addon.mmu.outlook import credit
from addon.mmu.plan import Plan
from addon.mmu.plan import plan as planner
from addon.mmu.price import Rates
from addon.mmu.view import View
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation
from storage.tallies import added, faded
from tests.audit.make import Claude, Json, call, counter, keeping, near, text, write
from tests.audit.test_flows import asked, usage
from tests.audit.test_flows import write as write_flows

RATES = Rates(fresh=1.0, read=0.1, written=1.25, written_hour=2.0, output=5.0, minimum=0)
MARK = {"cache_control": {"type": "ephemeral"}}
TOOLS = [
    {"name": "Bash", "description": "Runs. " + "¤" * 50, "input_schema": {"type": "object"}},
    {"name": "Web", "description": "Asks. " + "¤" * 500, "input_schema": {"type": "object"}},
]
THREE = [*TOOLS, {"name": "Draw", "description": "Draws. " + "¤" * 500, "input_schema": {"type": "object"}}]
HEAD = 100 + 50 + 500
STUBBED = HEAD - 500


def session(at: float, *, warm: int = 0, tool: str = "Bash", result: str = "¤" * 20, tools: Sequence[Json] = TOOLS,
            rounds: int = 1, name: str = "") -> Session:  # fmt: skip
    """A question, a call a second later, and its result. The first request has read `warm` tokens."""
    talk: list[Json] = [{"role": "user", "content": "¤" * 10}]
    for n in range(rounds):
        talk.append({"role": "assistant", "content": [call(f"t{n}", tool, command="make")]})
        talk.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{n}", "content": result}]})
    whole = sum(json.dumps(tool, ensure_ascii=False).count("¤") for tool in tools) + 110
    flows = []
    for n in range(rounds + 1):
        grown = {"read": whole, "creation": result.count("¤")} if n else {"read": warm, "creation": whole - warm}
        answer = usage(0, usage={f"cache_{how}_input_tokens": tokens for how, tokens in grown.items()})
        whole += result.count("¤") if n else 0
        flow = asked(talk[: 1 + 2 * n], at + n, answer, user_agent="claude-cli/2.1 (x)")
        system = [{"type": "text", "text": "¤" * 100, **MARK}]
        body = {"model": "claude-opus-4-5", "system": system, "messages": talk[: 1 + 2 * n], **MARK}
        body |= {"tools": tools} if tools else {}
        flow.request.content = json.dumps(body, ensure_ascii=False).encode()
        flows.append(flow)
    path = Path(name)
    [found] = keeping(write_flows(path, *flows))
    return found


class Recording:
    """Sessions, replayed one after the other."""

    def __init__(self, folder: Path, policy: Policy | None = None) -> None:
        self.folder, self.policy, self.elsewhere = folder, policy or Policy(), Elsewhere()

    def play(self, at: float, **given: Any) -> Outcome:
        return self.replay(session(at, name=str(self.folder / "f"), **given))

    def replay(self, made: Session) -> Outcome:
        return replay(made, counter(), {"auto": self.policy}, lambda _: RATES, elsewhere={"auto": self.elsewhere})

    def auto(self, at: float, **given: Any) -> Sums:
        return self.play(at, **given).arms["auto"]


def cold(head: int) -> float:
    """Written, read, and 20 of a result written."""
    return 1.25 * (head + 10) + 0.1 * (head + 10) + 1.25 * 20


def test_stubs_come_when_two_sessions_have_shown_what_is_used(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000):
        outcome = recording.play(at)
        assert outcome.arms["auto"] == outcome.arms[UNTOUCHED]
        assert outcome.arms[UNTOUCHED].dollars == near(cold(HEAD))
    outcome = recording.play(30_000)
    assert outcome.arms[UNTOUCHED].dollars == near(cold(HEAD))
    assert (outcome.arms["auto"].stubs, outcome.arms["auto"].blind) == (1, 0)
    assert outcome.arms["auto"].dollars == near(cold(STUBBED))
    assert outcome.arms["auto"].tokens == 2 * (STUBBED + 10) + 20


def test_a_request_knows_nothing_of_what_came_after_it(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    recording.play(10_000)
    recording.play(30_000)
    assert recording.auto(20_000).stubs == 0
    assert recording.auto(40_000).stubs == 1


@pytest.mark.parametrize(("client", "sub", "stubs"), [("claude-code", 0, 1), ("codex", 0, 0), ("claude-code", 1, 0)])
def test_habits_are_those_of_a_client_and_of_its_main_or_sub_agents(
    client: str, sub: int, stubs: int, tmp_path: Path
) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000):
        recording.play(at)
    made = session(30_000, name=str(tmp_path / "f"))
    made.client = client
    for _, request in made.in_order():
        assert request.sent is not None
        request.sent = replace(request.sent, purpose=Purpose.SUBAGENT if sub else Purpose.MAIN)
    assert recording.replay(made).arms["auto"].stubs == stubs


def test_a_project_has_habits_of_its_own(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    # One that is new has those of its client, where two of the three sessions before called Bash and one called Web.
    for at, project, tool, stubs in (
        (1, "a", "Bash", 0),
        (2, "a", "Bash", 0),
        (3, "b", "Web", 2),
        (4, "b", "Web", 1),
        (5, "b", "Web", 1),
        (6, "a", "Bash", 2),
    ):
        made = session(10_000.0 * at, name=str(tmp_path / "f"), tool=tool, tools=THREE)
        for _, request in made.in_order():
            assert request.sent is not None
            request.sent = replace(request.sent, project=project)
        assert recording.replay(made).arms["auto"].stubs == stubs, at


@pytest.mark.parametrize("purpose", [Purpose.COMPACTION, Purpose.AUXILIARY])
def test_what_repeats_a_conversation_shows_nothing(purpose: Purpose, tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000):
        made = session(at, name=str(tmp_path / "f"))
        for _, request in made.in_order():
            assert request.sent is not None
            request.sent = replace(request.sent, purpose=purpose)
        recording.replay(made)
    assert recording.auto(30_000).stubs == 0


def test_the_ledger_books_what_the_simulated_reports_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[View] = []

    def plan(conversation: Conversation, lines: list[View], *given: Any, **more: Any) -> Plan:
        known[:] = lines
        return planner(conversation, lines, *given, **more)

    monkeypatch.setattr(planning, "plan", plan)
    recording = Recording(tmp_path)
    for at in (10_000, 20_000, 30_000):
        recording.play(at)
    # As the second request comes, the first has been booked.
    assert credit(known[0]) == near(1.25 * 500)
    # In front of a transcript stands what is not in it: 1,000 that are read before and after an eviction.
    log = Claude()
    log.user("¤" * 1000)
    reads = {"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 1000, "output_tokens": 0}
    log.says("m0", call("t0", "Bash", command="make"), usage={"input_tokens": 0, **reads})
    log.result("t0", "begin\n" + "¤" * 2000 + "\nwarm\nend")
    for n in range(1, 6):
        log.says(f"m{n}", call(f"t{n}", "Bash", command=f"echo {n}"))
        log.result(f"t{n}", "ok")
    log.at += 1000
    log.says("m6", text("done"), usage={"input_tokens": 0, **reads})
    log.user("¤")
    log.says("m7", text("done"))
    log.user("¤")
    log.says("m8", text("done"))
    [made] = keeping(write(tmp_path / "s.jsonl", log.lines))
    outcome = recording.replay(made)
    assert outcome.arms["auto"].evictions == 1
    last = 0.1 * 2000
    assert credit(known[0]) == pytest.approx(outcome.saved("auto") - last, rel=0.02)


def test_a_head_that_others_keep_warm_is_not_given_up(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000):
        recording.play(at)
    # (1.25 - 0.1) x 650 would be lost at once, 1.25 x 500 saved.
    outcome = recording.play(30_000, warm=HEAD)
    assert outcome.arms["auto"] == outcome.arms[UNTOUCHED]
    assert outcome.arms["auto"].dollars == near(cold(HEAD) - 1.15 * HEAD)


@pytest.mark.parametrize(("later", "read"), [(200, STUBBED), (302, 0)])
def test_a_head_with_stubs_is_warm_for_the_next_session(later: float, read: int, tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000, 30_000):
        recording.play(at)
    # The client's own would be warm as well, as long as one with stubs is.
    outcome = recording.play(30_000 + later, warm=HEAD if read else 0)
    assert outcome.arms["auto"].stubs == 1
    assert outcome.arms["auto"].dollars == near(cold(STUBBED) - 1.15 * read)


def test_a_call_of_a_tool_that_came_as_a_stub_is_counted(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000):
        recording.play(at)
    assert recording.auto(30_000, tool="Web", rounds=3).blind == 1


def test_an_excerpt_needs_the_tool_that_comes_with_stubs(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    big = "\n".join(f"line {n} " + "¤" * 20 for n in range(600))
    for at in (10_000, 20_000):
        assert recording.auto(at, result=big).excerpts == 0
    outcome = recording.play(30_000, result=big)
    assert outcome.arms["auto"].excerpts == 1
    assert outcome.arms["auto"].tokens < outcome.arms[UNTOUCHED].tokens - 2 * 500 - 6000


def test_without_tools_there_are_no_stubs(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    for at in (10_000, 20_000, 30_000):
        outcome = recording.play(at, tools=())
        assert outcome.arms["auto"] == outcome.arms[UNTOUCHED]


def test_sums_of_a_log_are_those_of_all_that_was_before() -> None:
    chance = random.Random(1)
    entries = [(float(chance.randrange(500)), {"a": float(n), "total": 9.0}) for n in range(3 * STEP)]
    log = Log()
    for n, (at, amounts) in enumerate(entries):
        log.add(at, amounts)
        now = float(chance.randrange(500))
        held: dict[str, float] = {}
        for one, more in sorted(entries[: n + 1], key=itemgetter(0)):
            held = faded(added(held, more)) if one <= now else held
        assert log.upto(now) == held


def test_recordings_in_the_order_of_their_times(tmp_path: Path) -> None:
    flows = [write_flows(tmp_path / f"{at}.flows", asked([], at, usage(0))) for at in (1_000_500.0, 999_000.0)]
    log = Claude()
    log.user("hello")
    log.says("m", text("hello"))
    transcript = write(tmp_path / "a.jsonl", log.lines)
    body = write(tmp_path / "b.jsonl", [{"messages": []}])
    damaged = tmp_path / "c"
    damaged.write_bytes(b"99:nonsense")
    given = [body, damaged, *flows, transcript]
    assert in_time(given) == [flows[1], transcript, flows[0], body, damaged]
