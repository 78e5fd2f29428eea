"""Who is in the working set: last use, activation that decays, copies that a newer one covers."""

from __future__ import annotations

from dataclasses import replace

from addon.mmu.evict import Policy
from addon.mmu.plan import Plan
from addon.mmu.view import Change, Splice
from addon.mmu.workingset import kept_for, last_access, stands_for, superseded
from tests.mmu.test_evict import LONG, Session, bash, evicted

UNCACHED = Policy(file_age=4, output_age=2, every_file_age=4, every_output_age=2, least=50, every_least=50)


def reads(*steps: tuple[int, str]) -> tuple[Session, Plan]:
    """Reads of a.py: so many other commands, then a read that shows this text."""
    session = Session()
    for idle, text in steps:
        for n in range(idle):
            session.call(*bash(n))
        session.call("Read", {"file_path": "a.py"}, text)
    return session, session.request()


def leaves(made: Plan, *gone: tuple[int, int]) -> dict[str, Splice]:
    """Splices by which a.py's nth read left at a request."""
    entries = [e for e in made.table.entries if e.subject.name == "a.py"]
    return {
        entries[n].anchor: Splice(entries[n].anchor, 0, Change.EVICT, entries[n].page, "", request=request)
        for n, request in gone
    }


def kept(made: Plan, splices: dict[str, Splice]) -> int:
    subjects = stands_for(made.table)
    return kept_for(made.table, splices, subjects, last_access(made.table, subjects)).get("a.py", 0)


def test_what_came_back_is_kept_for_twice_the_distance() -> None:
    _, made = reads((0, LONG), (9, LONG))
    assert kept(made, leaves(made, (0, 5))) == 20
    assert kept(made, {}) == 0


def test_what_left_when_its_next_copy_was_there_has_not_come_back() -> None:
    _, made = reads((0, LONG), (9, LONG))
    assert kept(made, leaves(made, (0, 11))) == 0


def test_activation_halves_with_every_stretch_without_a_use() -> None:
    for idle, expected in ((18, 20), (19, 10), (28, 10), (29, 5), (33, 5), (34, 2), (90, 0)):
        _, made = reads((0, LONG), (9, LONG), (idle, LONG))
        assert kept(made, leaves(made, (0, 5))) == expected


def test_a_stretch_ends_with_an_edit_too() -> None:
    for idle, expected in ((18, 20), (19, 10)):
        session, _ = reads((0, LONG), (9, LONG), (idle, ""))
        session.messages[-2]["content"][0] |= {"name": "Edit"}
        made = session.request()
        assert kept(made, leaves(made, (0, 5))) == expected


def test_quotes_keep_a_file_and_no_output() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    session.call("Bash", {"command": "ls"}, LONG)
    table = session.request().table
    assert last_access(table, stands_for(table), [7, 7]) == [7, 2]
    assert last_access(table, stands_for(table), [-1, -1]) == last_access(table, stands_for(table)) == [1, 2]


def stale(*texts: str) -> list[int]:
    """Which reads of a.py are covered by a later one."""
    _, made = reads(*((0, text) for text in texts))
    gone = superseded(made.table, {}, stands_for(made.table))
    return [n for n, e in enumerate(made.table.entries) if e.anchor in gone]


def lines(first: int, last: int, word: str = "line") -> str:
    return "\n".join(f"{n}\tsome {word} of a file, long enough to matter, {n}" for n in range(first, last + 1))


def test_a_copy_is_covered_by_all_of_its_lines_or_by_their_numbers() -> None:
    edited = lines(1, 30).replace("matter, 7", "matter, seven")
    assert stale(lines(1, 30), lines(1, 30)) == [0]
    assert stale(lines(1, 30), edited) == [0]
    assert stale(lines(3, 20), edited) == [0]
    assert stale(lines(1, 30), lines(2, 30)) == [], "the first line stands nowhere else"
    assert stale(lines(1, 30), lines(1, 30, "word")) == [], "another file by now, or moved"
    assert stale(lines(1, 30), lines(31, 60)) == []
    assert stale("1\tx\n2\ty", "1\tx\n2\ty") == [], "lines of which nothing can be told"


def test_of_copies_that_come_at_once_none_covers_another() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, lines(1, 30))
    session.messages[-2]["content"].append({**session.messages[-2]["content"][0], "id": "again"})
    session.messages[-1]["content"].append({**session.messages[-1]["content"][0], "tool_use_id": "again"})
    table = session.request().table
    assert superseded(table, {}, stands_for(table)) == set()


def test_what_has_left_covers_nothing() -> None:
    _, made = reads((0, lines(1, 30)), (0, lines(1, 30)))
    assert superseded(made.table, leaves(made, (1, 2)), stands_for(made.table)) == set()


def test_a_covered_copy_of_a_file_under_edit_leaves_at_once_and_the_newest_stays() -> None:
    session = Session(policy=UNCACHED)
    session.call("Read", {"file_path": "a.py"}, lines(1, 60))
    session.request()
    session.call("Edit", {"file_path": "a.py", "old_string": "x"}, "done")
    session.request()
    # Too short a run for a fold, so the new copy does not lean on the old one.
    changed = "\n".join(line + " # new" * (n % 3 == 0) for n, line in enumerate(lines(1, 60).split("\n")))
    session.call("Read", {"file_path": "a.py"}, changed)
    assert session.request().count(Change.FOLD) == 0
    session.call(*bash(1), idle=4000)
    assert evicted(session.request()) == ["t1"]


def test_a_quote_keeps_a_file_where_nothing_is_cached() -> None:
    quote = "cat <<E\nsome line of a file, long enough to matter, 9\nE"
    for cached, command, stays in ((False, quote, True), (False, "make", False), (True, quote, False)):
        session = Session(ttl="5m" if cached else "", policy=UNCACHED)
        session.call("Read", {"file_path": "a.py"}, lines(1, 60))
        gone: list[str] = []
        for n in range(6):
            made = session.request()
            gone += evicted(made)
            session.views = [replace(made.view, state={**made.view.state, "cached": cached})]
            session.call("Bash", {"command": command if n == 2 else f"make {n}"}, idle=4000)
        assert ("t1" not in gone) is stays


def test_pressure_makes_pages_stay() -> None:
    for scale, age in ((1.0, 4), (2.0, 8)):
        session = Session(policy=UNCACHED)
        session.call("Read", {"file_path": "a.py"}, LONG)
        felt = {"short": [0.5] * 3, "long": [0.5] * 3, "scale": scale}
        waited = 0
        while "t1" not in evicted(made := session.request()):
            session.views = [replace(made.view, state={**made.view.state, "pressure": felt})]
            session.call(*bash(waited), idle=4000)
            waited += 1
        assert waited == age


def test_a_request_that_is_repeated_adds_no_pressure() -> None:
    session = Session()
    session.call("Read", {"file_path": "a.py"}, LONG)
    for n in range(9):
        session.call(*bash(n))
        session.request()
    session.call(*bash(50), idle=4000)
    session.request()
    session.call("Read", {"file_path": "a.py"}, LONG)
    made = session.request()
    assert made.faults
    assert made.view.state["pressure"]["short"][0] > 0
    assert session.request().view.state["pressure"] == made.view.state["pressure"]


def test_a_command_that_says_something_else_was_not_missed() -> None:
    for again, felt in (("check failed\n" + LONG, False), (LONG, True)):
        session = Session()
        session.call("Bash", {"command": "check"}, LONG)
        for n in range(5):
            session.call(*bash(n))
            session.request()
        session.call(*bash(9), idle=4000)
        assert "t1" in evicted(session.request())
        session.call("Bash", {"command": "check"}, again)
        made = session.request()
        assert len(made.faults) == felt
        assert bool(made.view.state["pressure"]["short"][0]) is felt


def test_a_recall_is_a_fault_and_a_wish_is_none() -> None:
    for given, felt in (({"page": "0" * 24}, True), ({"release": ["a.py"]}, False)):
        session = Session()
        session.call(*bash(1))
        session.request()
        session.call("mmu_recall", given)
        assert bool(session.request().view.state["pressure"]["short"][0]) is felt
