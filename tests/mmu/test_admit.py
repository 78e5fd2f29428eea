"""Folding: what is replaced, what the reference says, and when it is not worth it."""

from __future__ import annotations

from addon.mmu.admit import fold
from addon.mmu.view import Entry
from addon.wire.conversation import Block, Kind
from addon.wire.subject import subject


def entry(text: str, tool: str = "Read", page: str = "p", error: bool = False, **arguments: str) -> Entry:
    given = arguments or {"file_path": "src/app.py"}
    block = Block(Kind.RESULT, 0, 0, b"", text, (0, 0), error=error)
    return Entry(f"{page}#0.0:{page}", page, block, 0, 0, 0, subject(tool, given))


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
    assert fold(entry(text), [entry(text, "Bash", command="cat src/app.py")]) is None
    assert fold(entry(text), [entry(text, error=True)]) is None
    assert fold(entry(text, error=True), [entry(text)]) is None


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
