"""Folding: what is replaced, what the reference says, and when it is not worth it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from addon.mmu.admit import fold
from addon.mmu.view import Entry
from addon.wire.conversation import Block, Kind
from addon.wire.subject import subject


def entry(text: str, tool: str = "Read", page: str = "p", error: bool = False, **arguments: str) -> Entry:
    given = arguments or {"file_path": "src/app.py"}
    block = Block(Kind.RESULT, 0, 0, b"", text, (0, 0), error=error)
    return Entry(f"{page}#0.0:{page}", page, block, 0, 0, 0, subject(tool, given))


def made(text: str, tool: str, arguments: Any, page: str = "new") -> Entry:
    return replace(entry(text, page=page), subject=subject(tool, arguments))


def numbered(first: int, lines: list[str], mark: str = "\t") -> str:
    return "\n".join(f"{n}{mark}{line}" for n, line in enumerate(lines, first))


FILE = [f"def function_{n}(argument): return argument * {n * n}" for n in range(100)]


def test_a_second_read_becomes_one_exact_reference() -> None:
    folded = fold(entry(numbered(1, FILE), page="new"), [entry(numbered(1, FILE), page="old")])
    assert folded is not None
    assert folded.text == "[mmu page old: src/app.py lines 1-100, unchanged since your read above]"
    assert folded.needs == ("old#0.0:old",)
    assert folded.lines == 100


def test_what_changed_is_kept_and_shifted_lines_say_where_they_were() -> None:
    changed = [*FILE[:40], "inserted", *FILE[40:]]
    folded = fold(entry(numbered(1, changed)), [entry(numbered(1, FILE), page="old")])
    assert folded is not None
    assert folded.text.split("\n") == [
        "[mmu page old: src/app.py lines 1-40, unchanged since your read above]",
        "41\tinserted",
        "[mmu page old: src/app.py lines 42-101, unchanged since your read above (lines 41-100 there)]",
    ]


def test_another_range_refers_only_to_what_overlaps() -> None:
    folded = fold(entry(numbered(60, FILE[59:])), [entry(numbered(1, FILE[:80]), page="old")])
    assert folded is not None
    first, *rest = folded.text.split("\n")
    assert first == "[mmu page old: src/app.py lines 60-80, unchanged since your read above]"
    assert rest == numbered(81, FILE[80:]).split("\n")


def test_a_repeated_command_is_compared_by_the_lines_of_its_output() -> None:
    old = [f"test_{n} passed in the usual way" for n in range(50)]
    new = [*old[:30], "test_30 FAILED", *old[31:]]
    folded = fold(
        entry("\n".join(new), "Bash", command="pytest", description="b"),
        [entry("\n".join(old), "Bash", "old", command="pytest", description="a")],
    )
    assert folded is not None
    assert folded.text.split("\n") == [
        "[mmu page old: 30 lines, the same as lines 1-30 of the earlier result of Bash pytest]",
        "test_30 FAILED",
        "[mmu page old: 19 lines, the same as lines 32-50 of the earlier result of Bash pytest]",
    ]


def test_other_files_other_commands_and_errors_are_not_matched() -> None:
    text = numbered(1, FILE)
    assert fold(entry(text), [entry(text, file_path="src/other.py")]) is None
    assert fold(entry(text), [entry(text, "Bash", command="cat src/other.py")]) is None
    assert fold(entry(text), [entry(text, "Bash", command="grep -n . src/app.py")]) is None
    assert fold(entry(text), [entry(text, error=True)]) is None
    assert fold(entry(text, error=True), [entry(text)]) is None


def lined(first: int, lines: list[str], mark: str) -> str:
    return "\n".join(f"{n}{mark}{line}" for n, line in enumerate(lines, first))


def opencode(first: int, lines: list[str]) -> str:
    end = f"(Showing lines {first}-{first + len(lines) - 1} of 100. Use offset=81 to continue.)"
    return f"<path>/w/app.py</path>\n<type>file</type>\n<content>\n{lined(first, lines, ': ')}\n\n{end}\n</content>"


def cline(first: int, lines: list[str]) -> str:
    shown = lined(first, lines, " | ")
    return json.dumps([{"query": f"/w/app.py:{first}", "result": shown, "success": True}], separators=(",", ":"))


def cut(first: int, lines: list[str]) -> str:
    shown = "\n".join(lines)
    return f"Showing lines {first}-{first + len(lines) - 1} of 100 total lines.\n\n---\n\n{shown}"


def bare(first: int, lines: list[str]) -> str:
    del first
    return "\n".join(lines)


def codex(first: int, lines: list[str]) -> str:
    return "Script completed\nWall time 0.1 seconds\nOutput:\n\n" + lined(first, lines, "\t")


def mini(first: int, lines: list[str]) -> str:
    return f"<returncode>0</returncode>\n<output>\n{bare(first, lines)}\n</output>"


NUMBERED = "[mmu page old: /w/app.py lines 60-80, unchanged since your read above]"
READERS: dict[str, tuple[str, Any, Any, Callable[[int, list[str]], str], str]] = {
    "Claude Code": (
        "Read", {"file_path": "/w/app.py"}, {"file_path": "/w/app.py", "offset": 60}, numbered, NUMBERED,
    ),
    "opencode": ("read", {"filePath": "/w/app.py"}, {"filePath": "/w/app.py", "offset": 60}, opencode, NUMBERED),
    "cline": (
        "read_files",
        {"files": [{"path": "/w/app.py"}]},
        {"files": [{"path": "/w/app.py", "start_line": 60}]},
        cline,
        "[mmu page old: /w/app.py lines 61-79, unchanged since your read above]",
    ),
    "gemini-cli and qwen-code": (
        "read_file",
        {"file_path": "/w/app.py"},
        {"file_path": "/w/app.py", "offset": 59},
        cut,
        "[mmu page old: 21 lines, the same as lines 64-84 of the earlier result of /w/app.py]",
    ),
    "pi and gptme": (
        "read",
        {"path": "/w/app.py"},
        {"path": "/w/app.py", "offset": 60},
        bare,
        "[mmu page old: 21 lines, the same as lines 60-80 of the earlier result of /w/app.py]",
    ),
    "Codex": (
        "exec",
        "const r = await tools.exec_command({cmd:\"nl -ba /w/app.py | sed -n '1,80p'\"}); text(r.output)",
        "const r = await tools.exec_command({cmd:\"nl -ba app.py | sed -n '60,$p'\", workdir:\"/w\"}); text(r.output)",
        codex,
        NUMBERED,
    ),
    "mini-swe-agent": (
        "bash",
        {"command": "cat /w/app.py | head -n 80"},
        {"command": "cd /w && tail -n +60 app.py"},
        mini,
        "[mmu page old: 21 lines, the same as lines 62-82 of the earlier result of /w/app.py]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("client", READERS)
def test_a_file_read_by_two_ranges_folds_however_it_is_spelled(client: str) -> None:
    tool, first, second, written, reference = READERS[client]
    old, new = written(1, FILE[:80]), written(60, FILE[59:])
    folded = fold(made(new, tool, second), [made(old, tool, first, "old")])
    assert folded is not None
    assert folded.text.count(reference) == 1
    assert folded.lines == (19 if client == "cline" else 21)
    assert FILE[78] not in folded.text
    assert [line for line in FILE[80:] if line not in folded.text] == []


CAT = {"command": "cd /w && cat src/app.py"}
ACROSS = [
    (
        ("Read", {"file_path": "/w/src/app.py"}, numbered(1, FILE)),
        ("Bash", CAT, "\n".join(FILE)),
        "[mmu page old: 100 lines, the same as lines 1-100 in your read of /w/src/app.py above]",
    ),
    (
        ("Bash", CAT, "\n".join(FILE)),
        ("Read", {"file_path": "/w/src/app.py"}, numbered(1, FILE)),
        "[mmu page old: lines 1-100, the same as lines 1-100 of the earlier result of /w/src/app.py]",
    ),
    (
        ("Bash", {"command": "sed -n '41,100p' src/app.py"}, "\n".join(FILE[40:])),
        ("Read", {"file_path": "/w/src/app.py", "offset": 61}, numbered(61, FILE[60:])),
        "[mmu page old: lines 61-100, the same as lines 21-60 of the earlier result of src/app.py]",
    ),
    (
        ("Read", {"file_path": "/w/src/app.py", "offset": 41}, numbered(41, FILE[40:])),
        ("Bash", {"command": "cat -n src/app.py | tail -n 20"}, lined(81, FILE[80:], "\t")),
        "[mmu page old: /w/src/app.py lines 81-100, unchanged since your read above]",
    ),
]


@pytest.mark.parametrize(("old", "new", "reference"), ACROSS)
def test_a_shells_read_folds_against_a_tools_and_the_other_way_round(
    old: tuple[str, Any, str], new: tuple[str, Any, str], reference: str
) -> None:
    folded = fold(made(new[2], *new[:2]), [made(old[2], *old[:2], "old")])
    assert folded is not None
    assert folded.text == reference


def test_no_run_goes_from_lines_with_numbers_to_lines_without() -> None:
    mixed = "\n".join([*FILE[:20], *numbered(21, FILE[20:]).split("\n")])
    folded = fold(made(mixed, "Read", {"path": "/w/src/app.py"}), [made("\n".join(FILE), "Bash", CAT, "old")])
    assert folded is not None
    assert folded.text.split("\n") == [
        "[mmu page old: 20 lines, the same as lines 1-20 of the earlier result of /w/src/app.py]",
        "[mmu page old: lines 21-100, the same as lines 21-100 of the earlier result of /w/src/app.py]",
    ]


def test_a_reference_in_json_is_part_of_its_string() -> None:
    arguments = {"files": [{"path": 'C:\\w\\my "app".py'}]}
    text = cline(1, FILE)
    folded = fold(made(text, "read_files", arguments), [made(text, "read_files", arguments, "old")])
    assert folded is not None
    (only,) = json.loads(folded.text)
    assert '\n[mmu page old: C:\\w\\my "app".py lines 2-99, unchanged since your read above]\n' in only["result"]


def test_short_runs_are_not_worth_a_reference() -> None:
    ours = [line if n % 4 else f"other {n}" for n, line in enumerate(FILE)]
    assert fold(entry(numbered(1, ours)), [entry(numbered(1, FILE))]) is None
    assert fold(entry("a\nb\nc"), [entry("a\nb\nc")]) is None


def test_the_earliest_copy_is_the_one_referred_to() -> None:
    copies = [entry(numbered(1, FILE), page="first"), entry(numbered(1, FILE), page="second")]
    folded = fold(entry(numbered(1, FILE)), copies)
    assert folded is not None
    assert folded.needs == ("first#0.0:first",)


def test_many_equal_lines_stay_quick_and_exact() -> None:
    text = "\n".join(["}"] * 20_000)
    folded = fold(entry(text, "Bash", command="x"), [entry(text, "Bash", "old", command="x")])
    assert folded is not None
    assert folded.lines == 20_000
