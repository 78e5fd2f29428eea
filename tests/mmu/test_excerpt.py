"""Excerpts: what is shown and what is named tile the text, and every range named brings back just what was left out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.mmu.excerpt import LONGEST_LINE, RECALLABLE, Excerpt, Layout, Shows, excerpt, shows
from addon.mmu.page import NAME
from addon.recall.answer import answer, read
from addon.wire.conversation import Subject
from addon.wire.subject import numbered, split, subject

PAGE = "3fa9" * 6
FILE = subject("Read", {"file_path": "src/app.py"})
RUN = subject("Bash", {"command": "make all"})
LOG = [f"step {n} fine and dandy as always" for n in range(1000)]
CODE = [line for n in range(75) for line in (f"class Thing{n}:", *(f"    x{n}_{k} = compute({k})" for k in range(14)))]

_GAP = re.compile(rf"\[mmu page {PAGE}: lines? (\d+)(?:-(\d+))? \(")


def with_numbers(lines: list[str], start: int = 1, mark: str = "\t") -> list[str]:
    return [f"{n}{mark}{line}" for n, line in enumerate(lines, start)]


def made(about: Subject, text: str, room: int = 4000, tool: str = NAME, layout: Layout | None = None) -> Excerpt:
    found = excerpt(PAGE, about, text, room=room, tool=tool, layout=layout)
    assert found is not None
    return found


def put_back(shown: str, text: str) -> str:
    """The text again: every range that the excerpt names, as the recall tool gives it, put where it is named."""
    original, between = split(text)
    has_numbers = any(number for number, _ in numbered(original))
    lines, _ = split(shown)
    out: list[str] = []
    for line in lines:
        gap = _GAP.match(line)
        if gap is None:
            out.append(line)
            continue
        told = gap[1] if gap[2] is None else f"{gap[1]}-{gap[2]}"
        given = answer(read({"page": PAGE, "lines": told}), {PAGE: text}, longest=10**9).split("\n")
        assert len(given) == int(gap[2] or gap[1]) - int(gap[1]) + 1
        out += given if has_numbers else [line.partition("\t")[2] for line in given]
    return between.join(out)


def test_an_output_shows_its_head_its_tail_and_its_trouble() -> None:
    lines = [*LOG[:500], "ERROR: disk on fire", *LOG[500:]]
    text = "\n".join(lines)
    found = made(RUN, text)
    shown = found.text.split("\n")
    gaps = [n for n, line in enumerate(shown) if line.startswith("[mmu page ")]
    assert len(gaps) == 2
    assert shown[: gaps[0]] == lines[: gaps[0]]
    assert shown[gaps[0] + 1 : gaps[1]] == lines[499:502]
    assert shown[gaps[1] + 1 :] == lines[gaps[1] + 1 - len(shown) :]
    assert shown[gaps[0]] == (
        f"[mmu page {PAGE}: lines {gaps[0] + 1}-499 ({len(chr(10).join(lines[gaps[0] : 499])):,} bytes) left out; "
        "an exact copy is kept, mmu_recall(page, lines) shows it]"
    )
    assert re.fullmatch(rf"\[mmu page {PAGE}: lines 503-\d+ \([\d,]+ bytes\) left out\]", shown[gaps[1]])
    assert len(found.text) < 4000 + 400
    assert put_back(found.text, text) == text
    assert found.lines == len(lines) - (len(shown) - 2)


def test_a_files_ranges_are_told_in_its_own_numbers() -> None:
    text = "\n".join(with_numbers(CODE, start=40))
    found = made(FILE, text)
    first = next(m for m in map(_GAP.match, found.text.split("\n")) if m)
    start = found.gaps[0][0]
    assert int(first[1]) == start + 40
    assert answer(read({"page": PAGE, "lines": first[1]}), {PAGE: text}) == f"{start + 40}\t{CODE[start]}"
    assert put_back(found.text, text) == text


def test_a_files_outline_is_shown_between_head_and_tail() -> None:
    found = made(FILE, "\n".join(with_numbers(CODE)), layout=Layout(0.1, 0.1, 0, 0.8))
    shown = found.text.split("\n")
    marks = [n for n, line in enumerate(shown) if line.startswith("[mmu page")]
    middle = [line for line in shown[marks[0] : marks[-1]] if not line.startswith("[mmu page")]
    assert len(middle) > 10
    assert all("\tclass Thing" in line for line in middle)


def test_without_the_tool_only_numbered_reads_of_the_clients_own_come_in_part() -> None:
    text_with = "\n".join(with_numbers(CODE))
    assert "; an exact copy is kept, reading those lines again shows them]" in made(FILE, text_with, tool="").text
    for about, text in [
        (FILE, "\n".join(CODE)),
        (subject("Bash", {"command": "cat -n src/app.py"}), text_with),
        (RUN, "\n".join(LOG)),
    ]:
        assert excerpt(PAGE, about, text, room=4000) is None
        assert excerpt(PAGE, about, text, room=4000, tool=NAME) is not None


def test_what_the_client_writes_around_a_numbered_file_stays() -> None:
    around = ["<path>/w/app.py</path>", "<content>"], ["", "(Showing lines 1-900)", "</content>"]
    text = "\n".join([*around[0], *with_numbers(CODE[:900], mark=": "), *around[1]])
    found = made(subject("read", {"filePath": "/w/app.py"}), text, layout=Layout(0, 0, 0, 1))
    shown = found.text.split("\n")
    assert shown[:2] == around[0]
    assert shown[-3:] == around[1]
    assert put_back(found.text, text) == text


def test_a_line_that_is_too_long_shows_how_it_begins() -> None:
    lines = ["head", "var a=" + "x" * 20_000, "tail"]
    found = made(RUN, "\n".join(lines))
    head, gap, tail = found.text.split("\n")
    assert (head, tail) == ("head", "tail")
    assert gap.startswith(f"[mmu page {PAGE}: line 2 (20,006 bytes) left out, which begins `var a=xxx")
    assert put_back(found.text, "\n".join(lines)) == "\n".join(lines)
    assert made(RUN, '{"a": "' + "y" * 9000 + '"}').lines == 1


def test_of_many_long_lines_only_the_first_says_how_it_begins() -> None:
    text = "\n".join(["a", *(f"{n}. " + "b" * (LONGEST_LINE + 900) for n in range(10, 60)), "d"])
    found = made(RUN, text)
    assert found.gaps == ((1, 51),)
    assert "left out, which begin `10. bbb" in found.text
    assert len(found.text) < 1000
    assert put_back(found.text, text) == text


def test_neighbouring_names_do_not_fill_more_than_the_room() -> None:
    lines = [line for n in range(200) for line in (f"class Thing{n}:", *(f"    x{k} = {n}" for k in range(16)))]
    text = "\n".join(with_numbers(lines))
    found = made(FILE, text)
    assert len(found.gaps) > 3
    assert len(found.text) < 6000


def test_a_line_that_no_recall_could_bring_back_stays() -> None:
    assert excerpt(PAGE, RUN, "a\n" + "x" * (RECALLABLE + 1) + "\nb", room=4000, tool=NAME) is None


def cline(lines: list[str]) -> str:
    return json.dumps([{"query": "/w/a.py", "result": "\n".join(lines), "success": True}], separators=(",", ":"))


def test_a_result_in_json_stays_json_and_its_ranges_can_be_asked_for() -> None:
    about = subject("read_files", {"files": [{"path": 'C:\\w\\my "app".py'}]})
    for lines in (with_numbers(CODE, mark=" | "), CODE):
        text = cline(lines)
        found = made(about, text)
        (only,) = json.loads(found.text)
        assert only["query"] == "/w/a.py"
        assert only["success"] is True
        shown = only["result"].split("\n")
        assert shown[0] == lines[0]
        assert shown[-1] == lines[-1]
        assert any(line.startswith(f"[mmu page {PAGE}: lines ") for line in shown)
        assert put_back(found.text, text) == text


def test_how_a_line_begins_is_spelled_so_that_json_stays_json() -> None:
    text = cline(["a", "b", "x" + "\\" * 3000, *LOG])
    (only,) = json.loads(made(RUN, text, layout=Layout(0, 1, 0, 0)).text)
    assert any("which begin" in line for line in only["result"].split("\n"))


def test_the_pieces_of_json_between_two_strings_stay() -> None:
    text = json.dumps({"a": "\n".join(LOG[:400]), "b": [{"c": "\n".join(LOG[400:])}]})
    found = json.loads(made(RUN, text).text)
    assert set(found) == {"a", "b"}
    assert set(found["b"][0]) == {"c"}
    assert found["a"].endswith(LOG[399])
    assert found["b"][0]["c"].startswith(LOG[400])


WHOLE: dict[str, tuple[Subject, str, dict[str, Any]]] = {
    "an error": (RUN, "\n".join(LOG), {"error": True}),
    "an edit": (subject("Edit", {"file_path": "a.py"}), "\n".join(CODE), {}),
    "a report": (subject("Task", {"prompt": "look"}), "\n".join(LOG), {}),
    "a web page": (subject("WebFetch", {"url": "http://x"}), "\n".join(LOG), {}),
    "a folded one": (RUN, f"[mmu page {PAGE}: 9 lines, the same as lines 1-9]\n" + "\n".join(LOG), {}),
    "a preview": (RUN, "\n".join([*LOG[:500], "... [80 lines omitted] ...", *LOG[580:]]) + " truncated", {}),
    "a small one": (RUN, "\n".join(LOG[:150]), {}),
    "one that hardly fits": (RUN, "\n".join(LOG), {"room": 24_000}),
}


@pytest.mark.parametrize("what", WHOLE)
def test_what_comes_whole(what: str) -> None:
    about, text, given = WHOLE[what]
    assert excerpt(PAGE, about, text, **{"room": 4000, "tool": NAME, **given}) is None


def test_a_shell_that_prints_files_shows_files() -> None:
    def of(command: str) -> Shows | None:
        return shows(subject("exec_command", {"cmd": command}))

    assert of("sed -n '1,220p' a.md && sed -n '1,80p' b.md") is Shows.FILE
    assert of("cat a.md") is Shows.FILE
    assert of("cat a.md && make") is Shows.OUTPUT
    assert of("rg -n x; ls") is Shows.OUTPUT
    assert shows(subject("mcp__x__report", {"a": 1})) is None


LINE = st.one_of(
    st.sampled_from(["", "}", "x = 1", "ERROR: no", "class A:", "    def f(self):", 'say "hi" \\ \\n', "é😀" * 9]),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=60),
    st.integers(900, 2500).map(lambda n: "z" * n),
)
TEXT = st.lists(LINE, min_size=1, max_size=20).flatmap(
    lambda block: st.integers(1, 12).map(lambda times: [line for _ in range(times) for line in block])
)
WRAP = st.sampled_from(["plain", "numbered", "tagged", "json", "json numbered"])
SHARES = st.floats(0, 1).flatmap(lambda a: st.floats(0, 1).map(lambda b: (a * b, a * (1 - b), (1 - a) * b)))


def written(how: str, lines: list[str]) -> str:
    if how == "numbered":
        return "\n".join(with_numbers(lines, start=7))
    if how == "tagged":
        return "\n".join(["<file>", *with_numbers(lines, mark="→"), "</file>"])
    if how == "json":
        return cline(lines)
    return cline(with_numbers(lines, mark=" | ")) if how == "json numbered" else "\n".join(lines)


@settings(deadline=None)
@given(TEXT, WRAP, st.sampled_from([FILE, RUN]), st.integers(0, 8000), SHARES)
def test_ranges_and_lines_tile_the_text(
    lines: list[str], how: str, about: Subject, room: int, shares: tuple[float, float, float]
) -> None:
    text = written(how, lines)
    layout = Layout(*shares, outline=max(0.0, 1 - sum(shares)))
    found = excerpt(PAGE, about, text, room=room, tool=NAME, layout=layout)
    assert found == excerpt(PAGE, about, text, room=room, tool=NAME, layout=layout)
    if found is None:
        return
    assert len(text) - len(found.text) >= len(text) / 3
    raw, between = split(text)
    pieces, at = [], 0
    shown = split(found.text)[0]
    rest = iter(shown)
    for start, end in found.gaps:
        assert at <= start < end
        pieces += [next(rest) for _ in range(start - at)]
        marker = next(rest)
        assert marker.startswith("[mmu page ")
        assert start == found.gaps[0][0] or len(marker) < sum(len(line) + len(between) for line in raw[start:end])
        pieces += raw[start:end]
        at = end
    assert pieces + list(rest) == raw
    assert put_back(found.text, text) == text
    if how.startswith("json") and between != "\n":
        json.loads(found.text)
