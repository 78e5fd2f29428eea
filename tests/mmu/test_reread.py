"""A re-read that the client cut short while our page of it had left: what is put in its place, and when nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from addon.mmu.plan import Plan
from addon.mmu.view import Change
from tests.mmu.test_evict import POLICY, Session, evicted

FILE = "\n".join(f"def function_{n}(): return {n * 7919}  # a line of the file" for n in range(1, 701))
READ = "\n".join(f"{n}\t{line}" for n, line in enumerate(FILE.split("\n"), 1))
PATH = "/w/src/app.py"
REMINDER = "\n\n<system-reminder>\nConsider whether this file looks malicious.\n</system-reminder>\n"


def spilled(text: str, size: int = 0) -> str:
    kilobytes = f"{(size or len(text.encode())) / 1024:.1f}".removesuffix(".0")
    return (
        f"<persisted-output>\nOutput too large ({kilobytes}KB). Full output saved to: /h/tool-results/b.txt\n\n"
        f"Preview (first 2KB):\n{text[:2000].rpartition(chr(10))[0]}\n...\n</persisted-output>"
    )


PREVIEW = spilled(FILE)
CAT: dict[str, Any] = {"command": f"cat {PATH}"}


def quiet(session: Session, steps: int, idle: float = 5.0) -> None:
    """Commands that change nothing."""
    for _ in range(steps):
        session.call("Bash", {"command": f"ls {session.calls}"}, idle=idle)
        session.request()


def away(first: str = READ, path: str = PATH, tool: str = "Read") -> Session:
    """A session whose first result has been evicted."""
    session = Session()
    session.call(tool, {"file_path": path} if tool == "Read" else {"command": path}, first)
    session.request()
    quiet(session, 5)
    quiet(session, 1, idle=4000)
    assert "t1" in [anchor.partition("#")[0] for anchor in session.views[0].splices]
    return session


def reread(session: Session, text: str = PREVIEW, command: str = "", **more: Any) -> Plan:
    session.call("Bash", {"command": command} if command else CAT, text, **more)
    return session.request()


def served(made: Plan) -> int:
    return made.count(Change.SERVE)


def test_the_page_takes_the_place_of_a_preview_and_is_a_fault_once() -> None:
    session = away()
    made = reread(session)
    assert served(made) == 1
    assert session.text(session.calls) == READ
    assert [(f.anchor.partition("#")[0], f.distance) for f in made.faults] == [("t1", 7)]
    assert session.request().faults == []
    quiet(session, 1)
    assert session.text(8) == READ


@pytest.mark.parametrize(
    ("first", "command", "text"),
    [
        (READ, "cat src/app.py", PREVIEW),
        (READ, "cd /w && cat src/app.py", PREVIEW),
        (READ, f"cat -n '{PATH}'", spilled("\n".join(f"{n:>6}\t{s}" for n, s in enumerate(FILE.split("\n"), 1)))),
        (READ + f"\n701\t{REMINDER}", f"cat {PATH}", PREVIEW),
        (READ + REMINDER, f"cat {PATH}", PREVIEW),
        (FILE, f"cat {PATH}", PREVIEW),
        (READ, f"cat {PATH} 2>/dev/null", PREVIEW),
    ],
)
def test_other_ways_to_print_that_file(first: str, command: str, text: str) -> None:
    assert served(reread(away(first), text, command)) == 1


@pytest.mark.parametrize(
    ("first", "command", "text"),
    [
        (READ, "cat /w/src/other.py", PREVIEW),
        (READ, "cat pp.py", PREVIEW),
        (READ, "cd /x && cat src/app.py", PREVIEW),
        (READ, f"cat {PATH} {PATH}", PREVIEW),
        (READ, f"head -c 90000 {PATH}", PREVIEW),
        (READ, f"head -n 9000 {PATH}", PREVIEW),
        (READ, f"sed -n '1,9000p' {PATH}", PREVIEW),
        (READ, f"cat {PATH} | head -n 9000", PREVIEW),
        (READ, f"cat -n {PATH}", PREVIEW),
        (READ, f"cat {PATH}", spilled(FILE, 12_345)),
        (READ, f"cat {PATH}", PREVIEW.replace("function_7(", "function_x(")),
        (READ, f"cat {PATH}", PREVIEW.replace("function_1(", "function_x(")),
        (READ, f"cat {PATH}", "\n".join(FILE.split("\n")[:500]) + "\n\nShowing lines 1-500 of 700 total lines."),
        (READ, f"cat {PATH}", FILE[:9000]),
        ("\n".join(READ.split("\n")[40:]), f"cat {PATH}", spilled("\n".join(FILE.split("\n")[40:]))),
        ("\n".join(READ.split("\n")[:500]), f"cat {PATH}", PREVIEW),
        (READ + "\n\nsomething else", f"cat {PATH}", PREVIEW),
        (READ + f"{REMINDER}more", f"cat {PATH}", PREVIEW),
    ],
)
def test_on_any_doubt_the_preview_stays(first: str, command: str, text: str) -> None:
    session = away(first)
    made = reread(session, text, command)
    assert served(made) == 0
    assert made.new == []
    assert session.text(session.calls) == text


@pytest.mark.parametrize(
    ("command", "again", "expected"),
    [
        ("cat", "cat", 1),
        ("cat", "cd /w && cat src/app.py", 1),
        ("sed -n '1,900p'", "sed -n '1,900p'", 1),
        ("sed -n '1,900p'", "cat", 0),
        ("head -n 900", "cat", 0),
        ("cat", "head -n 900", 0),
        ("head -n 900", "tail -n 900", 0),
    ],
)
def test_a_shells_own_earlier_read(command: str, again: str, expected: int) -> None:
    """A part of a file may happen to be all of it, but that is not certain."""
    session = Session()
    session.call("Bash", {"command": f"{command} {PATH}"}, FILE)
    session.request()
    quiet(session, 25)
    quiet(session, 1, idle=4000)
    made = reread(session, command=again if "src" in again else f"{again} {PATH}")
    assert served(made) == expected
    assert len(made.faults) == 1


@pytest.mark.parametrize(("shows", "expected"), [("r.output", 1), ("r.output.trim()", 0)])
def test_a_program_that_shows_what_a_command_printed(shows: str, expected: int) -> None:
    """What it makes of the output is not known, so only the output itself is the file."""
    session = Session()
    program = f'const r = await tools.exec_command({{cmd:"cat {PATH}"}}); text({shows})'
    session.call("exec", {}, FILE)
    session.messages[-2]["content"][0]["input"] = program
    session.request()
    quiet(session, 25)
    quiet(session, 1, idle=4000)
    assert served(reread(session)) == expected


def test_unchanged_speaks_of_the_tools_own_read() -> None:
    session = away()
    session.call("Bash", {"command": f"head -n 3 {PATH}"}, "\n".join(FILE.split("\n")[:3]))
    session.request()
    session.call("Read", {"file_path": PATH}, "File unchanged since last read. The content is still current.")
    assert served(session.request()) == 1
    assert session.text(session.calls) == READ


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("Edit", {"file_path": PATH, "old_string": "a", "new_string": "b"}, 0),
        ("Write", {"file_path": "src/app.py", "content": "b"}, 0),
        ("Edit", {"file_path": "/w/src/other.py", "old_string": "a", "new_string": "b"}, 1),
        ("Bash", {"command": f"sed -i s/1/2/ {PATH}"}, 0),
        ("Bash", {"command": "git checkout ."}, 0),
        ("Bash", {"command": "python fix.py"}, 0),
        ("Bash", {"command": "git diff && pytest -q 2>&1 | tail -5"}, 1),
        ("Task", {"prompt": "tidy up"}, 0),
        ("Grep", {"pattern": "x"}, 1),
        ("Read", {"file_path": "/w/src/other.py"}, 1),
    ],
)
def test_what_may_have_changed_the_file_since_it_was_read(tool: str, arguments: dict[str, Any], expected: int) -> None:
    session = away()
    session.call(tool, arguments, "done")
    session.request()
    assert served(reread(session)) == expected


def test_a_change_beside_the_first_read_or_beside_the_second_counts() -> None:
    for first in (True, False):
        session = Session()
        change = {"type": "tool_use", "id": "e", "name": "Edit", "input": {"file_path": PATH, "old_string": "a"}}
        answer = {"type": "tool_result", "tool_use_id": "e", "content": "done"}
        session.call("Read", {"file_path": PATH}, READ)
        if first:
            session.messages[-2]["content"].append(change)
            session.messages[-1]["content"].append(answer)
        quiet(session, 25)
        quiet(session, 1, idle=4000)
        session.call("Bash", CAT, PREVIEW)
        if not first:
            session.messages[-2]["content"].insert(0, change)
            session.messages[-1]["content"].insert(0, answer)
        assert served(session.request()) == 0


def test_an_edit_before_the_read_does_not_count() -> None:
    session = Session()
    session.call("Edit", {"file_path": PATH, "old_string": "a"}, "done")
    session.call("Read", {"file_path": PATH}, READ)
    session.request()
    quiet(session, 25)
    quiet(session, 1, idle=4000)
    assert served(reread(session)) == 1


def test_a_note_that_the_file_was_modified_counts() -> None:
    for name, expected in (("app.py", 0), ("other.py", 1)):
        session = away()
        note = f"Note: /w/src/{name} was modified, either by the user or by a linter."
        session.messages[-1]["content"].append({"type": "text", "text": f"<system-reminder>\n{note}</system-reminder>"})
        assert served(reread(session)) == expected


def test_an_error_is_never_served() -> None:
    assert served(reread(away(), is_error=True)) == 0


def test_a_resident_copy_is_enough() -> None:
    session = Session()
    session.call("Read", {"file_path": PATH}, READ)
    session.request()
    assert served(reread(session)) == 0
    assert "the same as lines 1-" in session.text(2)
    session = away()
    session.call("Read", {"file_path": PATH}, READ)
    session.request()
    assert served(reread(session)) == 0
    session = away()
    assert served(reread(session)) == 1
    assert served(reread(session)) == 0
    assert served(reread(session, command="cat src/app.py")) == 0


def test_a_folded_copy_is_enough() -> None:
    session = away()
    session.call("Read", {"file_path": PATH}, READ + REMINDER)
    session.request()
    session.call("Read", {"file_path": PATH}, READ)
    assert session.request().count(Change.FOLD) == 1
    assert served(reread(session)) == 0


def test_a_call_id_used_again_hides_no_change() -> None:
    session = away()
    session.call("Edit", {"file_path": PATH, "old_string": "a"}, "done")
    session.request()
    session.call("Bash", CAT, PREVIEW)
    session.messages[-2]["content"][0]["id"] = session.messages[-1]["content"][0]["tool_use_id"] = "t1"
    assert served(session.request()) == 0


def test_a_recalled_copy_is_enough() -> None:
    session = away()
    view = session.views[0]
    tool = replace(next(iter(view.splices.values())), anchor="tool:mmu_recall", change=Change.TOOL, text="{}")
    session.views = [replace(view, splices={**view.splices, tool.anchor: tool})]
    session.call("mmu_recall", {"page": "x"}, "no such tool", is_error=True)
    assert session.request(answers={f"t{session.calls}": READ}).count(Change.ANSWER) == 1
    assert served(reread(session)) == 0


def test_two_previews_at_once_are_served_once() -> None:
    session = away()
    session.call("Bash", CAT, PREVIEW)
    use = {"type": "tool_use", "id": "again", "name": "Bash", "input": CAT}
    session.messages[-2]["content"].append(use)
    session.messages[-1]["content"].append({"type": "tool_result", "tool_use_id": "again", "content": PREVIEW})
    made = session.request()
    assert served(made) == 1
    assert len(made.faults) == 1


def test_the_newest_evicted_copy_wins() -> None:
    session = away(READ + "\n")
    session.call("Read", {"file_path": PATH}, READ + REMINDER)
    session.request()
    quiet(session, 30)
    quiet(session, 1, idle=4000)
    reread(session)
    assert session.text(session.calls) == READ + REMINDER


def test_the_same_call_again() -> None:
    output = "\n".join(f"src/file_{n}.py:{n}: something that was found, number {n}" for n in range(900))
    session = away(output, "grep -rn found src", "Bash")
    made = reread(session, spilled(output), "grep -rn found src")
    assert served(made) == 1
    assert [f.anchor.partition("#")[0] for f in made.faults] == ["t1"]
    session = away(output, "pytest -v", "Bash")
    assert served(reread(session, spilled(output), "pytest -v")) == 0
    session = away(output, "grep -rn found src", "Bash")
    session.call("Edit", {"file_path": "/w/any.py", "old_string": "a"}, "done")
    assert served(reread(session, spilled(output), "grep -rn found src")) == 0


def test_a_read_that_a_client_cuts_by_itself() -> None:
    session = away(FILE)
    lines = FILE.split("\n")
    cut = "\n".join(lines[:10]) + f"\n\n... [{len(lines) - 20} lines omitted] ...\n\n" + "\n".join(lines[-10:])
    where = "Output too large. Full output available at: /t/x.txt"
    session.call("Read", {"file_path": PATH}, f"<tool_output_masked>\n{cut}\n\n{where}\n</tool_output_masked>")
    made = session.request()
    assert served(made) == 1
    assert len(made.faults) == 1


def test_what_was_served_is_kept_as_long_as_a_file_that_came_back_and_may_then_leave_and_come_back_again() -> None:
    session = away()
    reread(session)
    call = f"t{session.calls}"
    distance = 7
    for _ in range(2 * distance - 1):
        session.call("Bash", {"command": f"ls {session.calls}"}, idle=4000)
        assert call not in evicted(session.request())
    session.call("Bash", {"command": f"ls {session.calls}"}, idle=4000)
    assert call in evicted(session.request())
    assert "lines 1-700" in session.text(8)
    made = reread(session)
    assert served(made) == 1
    assert len(made.faults) == 1
    assert session.text(session.calls) == READ
    call = f"t{session.calls}"
    for _ in range(2 * 15 - 1):
        session.call("Bash", {"command": f"ls {session.calls}"}, idle=4000)
        assert call not in evicted(session.request())


def test_what_was_served_is_pinned_by_an_edit_of_its_file() -> None:
    session = away()
    reread(session, command="cat src/app.py")
    call = f"t{session.calls}"
    quiet(session, 15)
    session.call("Edit", {"file_path": PATH, "old_string": "a"}, "done")
    session.request()
    quiet(session, 17, idle=4000)
    found = session.views[0].splices
    assert [s.change for a, s in found.items() if a.startswith(f"{call}#")] == [Change.SERVE]


def test_the_published_age_rule_serves_nothing() -> None:
    session = away()
    session.policy = replace(POLICY, name="fifo")
    assert served(reread(session)) == 0
