"""What a call is about, and how read tools number lines."""

from __future__ import annotations

import pytest

from addon.wire.conversation import Act
from addon.wire.subject import numbered, says_unchanged, subject


@pytest.mark.parametrize(
    ("tool", "arguments", "act", "name"),
    [
        ("Read", {"file_path": "a.py", "offset": 3}, Act.READ, "a.py"),
        ("read_file", {"path": "a.py"}, Act.READ, "a.py"),
        ("mcp__fs__read_file", {"path": "a.py"}, Act.READ, "a.py"),
        ("view", {"filePath": "a.py"}, Act.READ, "a.py"),
        ("Edit", {"file_path": "a.py", "old_string": "x"}, Act.EDIT, "a.py"),
        ("str_replace_based_edit_tool", {"command": "view", "path": "a.py"}, Act.READ, "a.py"),
        ("str_replace_based_edit_tool", {"command": "insert", "path": "a.py"}, Act.EDIT, "a.py"),
        ("Bash", {"command": "ls", "description": "List"}, Act.RUN, "bash ls"),
        ("Bash", {"command": "ls", "timeout": 3}, Act.RUN, "bash ls"),
        ("Grep", {"pattern": "x", "path": "a.py"}, Act.RUN, 'grep {"path": "a.py", "pattern": "x"}'),
        ("odd", None, Act.RUN, "odd null"),
        ("odd", ["x"], Act.RUN, 'odd ["x"]'),
        ("Read", {"file_path": 3}, Act.RUN, 'read {"file_path": 3}'),
    ],
)
def test_subjects(tool: str, arguments: object, act: Act, name: str) -> None:
    found = subject(tool, arguments)
    assert (found.act, found.name) == (act, name)
    assert "\n" not in found.label


@pytest.mark.parametrize("mark", ["\t", "→", ": ", " | ", "|"])
def test_numbers_are_stripped_however_they_are_written(mark: str) -> None:
    lines = [f"{n:>4}{mark}code {n}" for n in range(9, 40)]
    assert numbered(lines) == [(n, f"code {n}") for n in range(9, 40)]


def test_what_only_looks_numbered_is_left_alone() -> None:
    for lines in (["1\ta", "1\tb", "1\tc"], ["10: x", "30: y", "31: z", "w", "v"], ["plain"], [""], ["12\tone line"]):
        assert numbered(lines) == [(0, line) for line in lines]


def test_a_reminder_behind_a_file_is_no_numbered_line() -> None:
    lines = [*(f"{n}\tx{n}" for n in range(1, 9)), "", "<system-reminder>budget</system-reminder>"]
    assert numbered(lines)[-2:] == [(0, ""), (0, "<system-reminder>budget</system-reminder>")]
    assert numbered(lines)[0] == (1, "x1")


def test_unchanged_is_recognised_only_as_an_answer_of_its_own() -> None:
    assert says_unchanged("File unchanged since last read. The content from the earlier ...")
    assert not says_unchanged("12\tFile unchanged since last read. is what the client says")
    assert not says_unchanged("File unchanged since last read." + "x" * 2000)
