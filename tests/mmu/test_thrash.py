"""Working sets that an age rule alone would evict and fetch for ever, played request by request.

Without prompt caching every request is an epoch, which is the hardest case; with it, pauses are. Required of both: a
file faults at most once in a phase, what the model has just asked for is there, so is what it edits, and pressure is
over soon after the last fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from addon.mmu import pressure
from addon.mmu.evict import Policy
from addon.mmu.plan import Plan
from addon.mmu.view import Change
from addon.mmu.workingset import PIN
from addon.wire.conversation import Act
from tests.mmu.play import FREE, Play
from tests.mmu.sessions import Call, Move

QUIET = 38
"""Requests after the last fault at which the pressure is below its set point at the latest: where every other request
brought a fault, log2(0.5 / 0.02) half-lives of the short window."""


def read(path: str) -> Call:
    return Call("Read", {"file_path": path}, "string")


def edit(path: str, line: int) -> Call:
    return Call("Edit", {"file_path": path, "line": line}, "string")


def files(count: int, name: str = "m") -> list[str]:
    return [f"src/{name}{n}.py" for n in range(count)]


def spread(calls: Iterable[Call], runs: int) -> Iterator[Call]:
    """The calls with so many other commands behind each."""
    for number, call in enumerate(calls):
        yield call
        for n in range(runs):
            yield Call("Bash", {"command": f"check {number} {n}"}, "string")


class Thrash:
    """An agent on many files. `caching` says whether epochs are pauses, of which every fifth request is one."""

    def __init__(self, *, caching: bool) -> None:
        self.caching = caching
        self.agent = Play(FREE, 0, policy=Policy(), caching=caching)
        self.faults: list[Counter[str]] = []

    def phase(self, calls: Iterable[Call]) -> None:
        """Plays the calls, one a request, and counts the faults by file."""
        seen = len(self.agent.plans)
        for number, call in enumerate([*calls, Call("Bash", {"command": "git status"}, "string")]):
            path = call.arguments.get("file_path")
            lines = [f"{path} says in line {n} what no other file says: value_{n}" for n in range(1, 90)]
            if path is not None:
                self.agent.project.files.setdefault(path, lines)
            idle = 4000.0 if self.caching and number % 5 == 0 else 2.0
            self.agent.play([Move(idle, False, "", (call,), "", "")])
        made = self.agent.plans[seen:]
        self.faults.append(Counter(plan.table.by_anchor[f.anchor].subject.name for plan in made for f in plan.faults))
        for plan in made:
            visible(plan)

    def calms(self) -> None:
        """Plays on without faults until the pressure is over."""
        last = max((n for n, plan in enumerate(self.agent.plans) if plan.faults), default=0)
        self.phase(Call("Bash", {"command": f"make {n}"}, "string") for n in range(QUIET))
        for plan in self.agent.plans[last + QUIET :]:
            assert pressure.share(plan.view.state["pressure"], "short") < pressure.SET_POINT


def visible(plan: Plan) -> None:
    """What was just asked for is there, and of every file under edit its newest copy is."""
    newest = {e.subject.name: e for e in plan.table.entries if e.subject.act is Act.READ}
    for path, entry in newest.items():
        edited = plan.table.edits.get(path)
        asked = entry.arrival == plan.table.requests
        if asked or (edited is not None and plan.table.requests - edited < PIN):
            found = plan.splices.get(entry.anchor)
            assert found is None or found.change is not Change.EVICT
            assert all(needed not in plan.splices for needed in (found.needs if found is not None else ()))


@pytest.fixture(params=[False, True], ids=["uncached", "cold gaps"])
def thrash(request: pytest.FixtureRequest) -> Thrash:
    return Thrash(caching=request.param)


def test_one_file_now_and_then(thrash: Thrash) -> None:
    thrash.phase(spread(map(read, files(1) * 4), 14))
    assert thrash.faults == [Counter(files(1))], "one fault is no pressure, and yet there is no second"


def test_a_file_that_is_edited_once(thrash: Thrash) -> None:
    thrash.phase([read("src/m.py"), *spread([edit("src/m.py", 3)], PIN)])
    assert any(plan.count(Change.EVICT) for plan in thrash.agent.plans)


def test_three_files_in_a_cycle(thrash: Thrash) -> None:
    thrash.phase(spread(map(read, files(3) * 4), 4))
    assert max(thrash.faults[0].values()) == 1
    thrash.calms()


def test_a_scan_of_seven_files_again_and_again(thrash: Thrash) -> None:
    thrash.phase(spread(map(read, files(7) * 4), 2))
    assert max(thrash.faults[0].values()) == 1
    thrash.calms()


def test_files_that_are_edited_between_two_reads(thrash: Thrash) -> None:
    steps = [step for turn in range(4) for path in files(3) for step in (read(path), edit(path, 3 + turn))]
    thrash.phase(spread(steps, 4))
    assert max(thrash.faults[0].values()) == 1
    assert any(plan.count(Change.EVICT) for plan in thrash.agent.plans)
    thrash.calms()


def test_a_working_set_that_does_not_stay_and_another_one_after_it(thrash: Thrash) -> None:
    for name, times in (("a", 2), ("b", 5), ("a", 2)):
        thrash.phase(spread(map(read, files(8, name) * times), 1))
        assert max(thrash.faults[-1].values(), default=0) <= 1
    assert thrash.faults[0]
    assert thrash.faults[-1]
    thrash.calms()


def test_a_phase_that_is_over_pins_nothing(thrash: Thrash) -> None:
    thrash.phase(spread(map(read, files(3) * 3), 4))
    thrash.phase(Call("Bash", {"command": f"make {n}"}, "string") for n in range(70))
    plan = thrash.agent.plans[-1]
    for entry in plan.table.entries:
        if entry.subject.act is Act.READ:
            assert plan.splices[entry.anchor].change is Change.EVICT
