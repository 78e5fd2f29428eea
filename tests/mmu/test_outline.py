"""Outlines: what names something is found in every language, and nothing that is read can do harm."""

from __future__ import annotations

import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.mmu.outline import LINES, PARSED, first, outline

PYTHON = '''import os

class Top:
    """
    def not_me(self):
    class NorMe:
    """

    @property
    def method(self):
        async def inner(): ...

if os:
    def guarded(): ...
'''


def named(text: str, name: str) -> list[tuple[str, int]]:
    lines = text.split("\n")
    return [(lines[each.index].strip(), each.rank) for each in outline(lines, name)]


def test_python_is_read_by_its_grammar() -> None:
    found = [
        ("class Top:", 0), ("def method(self):", 1), ("async def inner(): ...", 2), ("def guarded(): ...", 0),
    ]  # fmt: skip
    assert named(PYTHON, "w/a.py") == found


def test_a_part_that_does_not_parse_still_names_what_is_in_it_and_nothing_in_quotes() -> None:
    found = named("    return (\n" + PYTHON, "a.py")
    assert [line for line, _ in found] == [
        "class Top:", "def method(self):", "async def inner(): ...", "def guarded(): ...",
    ]  # fmt: skip


def test_a_class_comes_before_its_methods_and_the_top_before_what_is_nested() -> None:
    lines = ["class A:", "    def a(self): ...", "class B:", "    def b(self): ...", "def c(): ..."]
    assert first(outline(lines, "x.py")) == [0, 2, 4, 1, 3]


OTHERS = {
    "a.ts": (
        "import x from 'y';\nexport class A {\n  constructor(a: number) {\n    if (a) {\n  async run(): Promise<void> "
        "{\n"
        "export const f = async (x) => {\nconst n = 1;\ninterface I {\ntype T = string;\ndescribe('it', () => {\n"
        "  useEffect(() => {\nfunction* g() {}",
        [1, 2, 4, 5, 7, 8, 9, 11],
    ),
    "a.go": ("package main\nimport \"x\"\ntype T struct {\n\tvar inner int\nfunc (t *T) Run() {\n\treturn", [0, 2, 4]),
    "a.rs": (
        "use x;\npub struct S;\nimpl<T> S {\n    pub(crate) async fn run() {\n        let f = 1;\nmacro_rules! m {",
        [1, 2, 3, 5],
    ),
    "A.java": (
        "import x;\npublic final class A {\n    private int n = 1;\n    public static void main(String[] a) {\n"
        "        return f(x);\n    @Override\n    protected Map<String, List<X>> get() {",
        [1, 3, 6],
    ),
    "A.kt": ("data class P(val x: Int)\nfun <T> f(x: T) {\n    val y = g()\n    override fun h() {}", [0, 1, 3]),
    "a.c": (
        "#include <x.h>\n#define N 1\nstruct s {\nstatic int *f(int x)\n{\n    return g(x);\nint h(void);\n"
        "void A::b(int x) const {\nint gnu (int x)\n  if (x) {",
        [1, 2, 3, 7, 8],
    ),
    "a.rb": ("require 'x'\nmodule M\n  class A\n    def run\n      x = 1", [1, 2, 3]),
    "a.php": ("<?php\nnamespace A;\nfinal class B {\n    public static function f() {\n        return 1;", [1, 2, 3]),
    "a.sql": ("-- x\nCREATE TABLE a (\n  id int\n);\nalter table a add b int;", [1, 4]),
    "a.md": ("# A\ntext\n## B\n```\n# not a heading\n```\n### C", [0, 2, 6]),
    "a.yaml": ("a: 1\nb:\n  c: 2\n# d: 3\n- e: 4\n\"f\": x", [0, 1, 5]),
    "a.toml": ("x = 1\n[a]\ny = [1]\n[[a.b]]", [1, 3]),
    "a.sh": ("set -e\nrun() {\n  echo\n}\nfunction go() {", [1, 4]),
    "no_ending": ("def f():\nplain text\nfunc G() {\n# Heading", [0, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_languages_are_read_by_what_their_lines_look_like(name: str) -> None:
    text, expected = OTHERS[name]
    assert [each.index for each in outline(text.split("\n"), name)] == expected


def test_headings_and_indentation_give_the_rank() -> None:
    assert named("## B\n# A\n### C", "a.md") == [("## B", 1), ("# A", 0), ("### C", 2)]
    assert [rank for _, rank in named("class A {\n    public void f() {\n}\nclass B {", "a.java")] == [0, 1, 0]


HOSTILE = [
    "a\0b", "-" * 50_000 + "1", "+".join("1" * 20_000), "a" + ".b" * 20_000, "f(" * 150 + "x y", "lambda:" * 5000 + "1",
    "if a:\n  b\n" + "elif a:\n  b\n" * 3000, "\ud800", "a\rdef f(): ...\r", "public " * 5000, "a " * 9000 + "(" * 9000,
    "\n".join(["f(" + "):" * 99] * 1000), "\n".join(["public static " * 14] * 1000), "\n".join([" " * 200] * 1000),
]  # fmt: skip


@pytest.mark.parametrize("name", ["a.py", "a.ts", "a.java", "a.c", "a.rs", "a.php", "a.toml", "a.md", ""])
def test_hostile_texts_neither_raise_nor_take_long(name: str) -> None:
    began = time.process_time()
    for text in HOSTILE:
        outline(text.split("\n"), name)
    assert time.process_time() - began < 1.0


def test_what_it_parses_never_warns() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert named("def f(): return '\\d' is 1", "a.py") == [("def f(): return '\\d' is 1", 0)]
    assert said == []


def test_ten_thousand_lines_take_milliseconds_and_the_rest_is_not_looked_at() -> None:
    lines = ["def function(argument): return argument"] * (LINES + 10)
    assert len("\n".join(lines)) > PARSED
    began = time.process_time()
    assert len(outline(lines[:10_000], "a.py")) == 10_000
    assert time.process_time() - began < 0.25
    assert len(outline(lines, "a.py")) == LINES


NAMES = st.sampled_from(
    ["", "a.py", "a.ts", "a.java", "a.c", "a.go", "a.rs", "a.md", "a.yaml", "a.toml", "a.sql", "a."]
)
CODE = st.lists(st.sampled_from(["class A:", "  def f(x):", '"""', "# x", "x = (", "\tfunc g() {", "", "\r", "\x0c"]))


@given(st.one_of(CODE, st.lists(st.text(max_size=80))), NAMES)
def test_indexes_are_those_of_lines_in_order(lines: list[str], name: str) -> None:
    found = outline(lines, name)
    indexes = [each.index for each in found]
    assert indexes == sorted(set(indexes))
    assert all(0 <= index < len(lines) for index in indexes)
    assert all(each.rank >= 0 for each in found)
    assert sorted(first(found)) == indexes
    assert outline(lines, name) == found
