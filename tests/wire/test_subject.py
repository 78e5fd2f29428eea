"""What a call is about, and how read tools number lines."""

from __future__ import annotations

import json

import pytest

from addon.wire.conversation import Act, Subject
from addon.wire.subject import numbered, same, says_unchanged, split, subject


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
        ("read", {"filePath": "/w/a.py", "offset": 40, "limit": 9}, Act.READ, "/w/a.py"),
        ("read_file", {"absolute_path": "/w/a.py"}, Act.READ, "/w/a.py"),
        ("ReadFile", {"path": "a.py"}, Act.READ, "a.py"),
        ("read_files", {"files": [{"path": "/w/a.py", "start_line": 9, "end_line": 40}]}, Act.READ, "/w/a.py"),
        ("read_files", {"files": ["/w/a.py"]}, Act.READ, "/w/a.py"),
        ("read_files", {"file_paths": "/w/a.py"}, Act.READ, "/w/a.py"),
        ("read_files", {"paths": ["a", "b"]}, Act.RUN, 'read_files {"paths": ["a", "b"]}'),
        ("read_many_files", {"include": ["a"]}, Act.RUN, 'read_many_files {"include": ["a"]}'),
        ("editor", {"path": "/w/a.py", "new_text": "x"}, Act.EDIT, "/w/a.py"),
        ("apply_patch", "*** Begin Patch\n*** Update File: src/a.py\n@@\n-x\n+y\n*** End Patch", Act.EDIT, "src/a.py"),
        ("apply_patch", {"input": "*** Begin Patch\n*** Add File: a.py\n+y\n*** End Patch"}, Act.EDIT, "a.py"),
        (
            "apply_patch",
            "*** Add File: a\n+y\n*** Delete File: b",
            Act.RUN,
            'apply_patch "*** Add File: a\\n+y\\n*** Delete File: b"',
        ),
        ("Bash", {"command": "cat /w/a.py"}, Act.READ, "/w/a.py"),
        ("bash", {"command": "sed -n '1,40p' a.py", "workdir": "/w"}, Act.READ, "/w/a.py"),
        ("run_shell_command", {"command": "cat a.py", "directory": "src"}, Act.READ, "src/a.py"),
        ("exec_command", {"cmd": "nl -ba a.py", "workdir": "/w"}, Act.READ, "/w/a.py"),
        ("shell", {"command": ["bash", "-lc", "cat a.py"], "workdir": "/w"}, Act.READ, "/w/a.py"),
        ("shell", {"command": ["cat", "my file"]}, Act.READ, "my file"),
        ("shell", {"command": ["bash", "-lc", "make -j"]}, Act.RUN, "shell make -j"),
        ("run_commands", {"commands": ["cat a.py"]}, Act.READ, "a.py"),
        ("run_commands", {"commands": [{"command": "cat", "args": ["a.py"]}]}, Act.READ, "a.py"),
        ("run_commands", {"commands": ["cat a", "cat b"]}, Act.RUN, "run_commands cat a\ncat b"),
        ("run_commands", {"commands": ["cat a", 3]}, Act.RUN, 'run_commands {"commands": ["cat a", 3]}'),
        ("mcp__far__query", {"command": "cat a.py"}, Act.RUN, "query cat a.py"),
        (
            "exec",
            'const r = await tools.exec_command({cmd:"cat a.py", workdir:"/w"}); text(r.output)',
            Act.READ,
            "/w/a.py",
        ),
        ("exec", 'const r = await tools.exec_command({cmd:"make"}); text(r.output)', Act.RUN, "exec_command make"),
        ("exec", "text(1)", Act.RUN, 'exec "text(1)"'),
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


def test_a_shells_read_knows_what_was_run() -> None:
    assert subject("Bash", {"command": "cat a.py"}) == Subject(Act.READ, "a.py", "Bash cat a.py", "bash cat a.py")
    assert subject("Read", {"file_path": "a.py"}).run == ""
    plain = 'const r = await tools.exec_command({cmd:"cat a.py"}); text(r.output)'
    assert subject("exec", plain) == Subject(Act.READ, "a.py", "exec_command cat a.py", "exec_command cat a.py")
    cut = plain.replace("r.output", "r.output.slice(9)")
    assert subject("exec", cut) == Subject(Act.READ, "a.py", "exec_command cat a.py", f"exec {cut}")


def test_what_is_the_same_thing() -> None:
    def about(act: Act, name: str) -> Subject:
        return Subject(act, name, "")

    assert same(about(Act.READ, "/w/src/a.py"), about(Act.READ, "src/a.py"))
    assert not same(about(Act.READ, "/w/src/a.py"), about(Act.READ, "rc/a.py"))
    assert not same(about(Act.READ, "/w/a.py"), about(Act.READ, "/x/a.py"))
    assert not same(about(Act.READ, "a.py"), about(Act.EDIT, "a.py"))
    assert not same(about(Act.RUN, "/bash ls"), about(Act.RUN, "bash ls"))
    assert not same(about(Act.RUN, ""), about(Act.RUN, ""))


def test_lines_in_a_string_of_json_are_lines() -> None:
    text = json.dumps([{"query": "/w/a.py", "result": "1 | a\n2 | b\\n\n3 | c\\\n4 | d", "success": True}])
    lines, between = split(text)
    assert between.join(lines) == text
    assert lines[1:3] == ["2 | b\\\\n", '3 | c\\\\\\n4 | d", "success": true}]']
    assert split("[1] a\n[2] b") == (["[1] a", "[2] b"], "\n")
    assert split("a\\nb") == (["a\\nb"], "\n")


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


def test_half_a_surrogate_pair_enters_no_text_that_is_sent() -> None:
    for tool, given in (("Read", {"file_path": "a\ud800"}), ("Bash", {"command": "cat \udfff"}), ("x\ud800", {})):
        about = subject(tool, given)
        assert (about.name + about.label + about.run).encode("utf-8")
