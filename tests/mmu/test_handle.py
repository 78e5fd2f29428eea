"""Handles: short, true, the same every time, and no instruction."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from addon.mmu.handle import handle
from addon.mmu.page import page_id
from addon.wire.subject import subject

CODE = "\n".join(
    f"{n}\t{line}"
    for n, line in enumerate(
        ["import os", "", *(f"class Thing{k}:\n    def run(self): ...".split("\n")[k % 2] for k in range(120))], 40
    )
)


def test_a_file_says_what_it_was_and_keeps_an_outline() -> None:
    text = handle("abc", subject("Read", {"file_path": "src/app.py"}), CODE)
    head, *kept = text.split("\n")
    assert head.startswith("[mmu page abc: Read src/app.py, lines 40-161, ")
    assert "exact copy" in head
    assert kept[0] == "42\tclass Thing0:"
    assert len(text) < len(CODE) / 4


def test_an_outline_has_what_stands_at_the_top_before_methods_but_in_the_order_of_the_file() -> None:
    lines = [line for n in range(9) for line in (f"class Thing{n}:", f"    def method{n}(self):", "        run()" * 25)]
    kept = handle("abc", subject("Read", {"file_path": "a.py"}), "\n".join(lines)).split("\n")[1:]
    assert [line for line in kept if line.startswith("class")] == lines[::3]
    assert 0 < len([line for line in kept if "def" in line]) < 9
    assert kept == [line for line in lines if line in kept]


def test_a_file_in_json_has_an_outline_too() -> None:
    text = json.dumps([{"query": "/w/a.py", "result": CODE.replace("\t", " | "), "success": True}])
    _, first, *_ = handle("abc", subject("read_files", {"files": [{"path": "/w/a.py"}]}), text).split("\n")
    assert first == "42 | class Thing0:"


def test_an_output_keeps_its_first_failing_and_last_lines() -> None:
    lines = [f"step {n} fine and dandy as always" for n in range(200)]
    lines[77] = "step 77 ERROR: disk on fire"
    text = handle("abc", subject("Bash", {"command": "make\n  all"}), "\n".join(lines))
    head, *kept = text.split("\n")
    assert head.startswith("[mmu page abc: Bash make all, 200 lines, ")
    assert kept == [lines[0], lines[77], lines[198], lines[199]]


@given(st.text(max_size=3000), st.binary(min_size=16, max_size=16))
def test_pure_and_small(text: str, digest: bytes) -> None:
    page = page_id(digest)
    assert re.fullmatch(r"[a-z0-9-]+", page)
    about = subject("mcp__tool", {"q": "\n\t"})
    assert handle(page, about, text) == handle(page, about, text)
    assert len(handle(page, about, text)) < 400 + len(text) // 10
