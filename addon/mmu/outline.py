"""The outline of a text: the lines that name what is in it, each with a rank.

Python that parses is read by its grammar, so that a `def` inside a string names nothing. Everything else (other
languages, and a part of a file, which seldom parses) is read by what its lines look like, one pattern a language; the
language is told by the file's ending, and where there is none, the patterns common to most of them are used. Nothing
is ever executed, nothing raises, and the work is bounded: of a long line or a very long text only the beginning is
looked at.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

LINES = 50_000
"""Lines looked at."""

WIDTH = 200
"""Characters looked at of a line, where patterns are used."""

PARSED = 60_000
"""Characters of the longest Python text that is parsed: about 15 ms. A longer one is read by patterns, which are ten
times as fast."""


@dataclass(frozen=True, slots=True)
class Named:
    """A line that names something. `rank` is 0 for what stands at the top, and higher the deeper it is nested."""

    index: int
    rank: int


def outline(lines: Sequence[str], name: str = "") -> list[Named]:
    """The lines that name things, in order. `lines` are those of the text itself, without the numbers that a client
    puts before them; `name` is the path of the file, "" where it is not known."""
    lines = lines[:LINES]
    ending = name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name else ""
    if ending in ("py", "pyi"):
        parsed = _parsed(lines)
        if parsed is not None:
            return parsed
    if ending in ("md", "mdx", "markdown", "rst"):
        return list(_headings(lines))
    return list(_matching(lines, _PATTERNS.get(ending, _COMMON), strings=ending in ("py", "pyi")))


def _parsed(lines: Sequence[str]) -> list[Named] | None:
    """Classes and functions by Python's own grammar; None where it does not parse."""
    # To Python a carriage return ends a line, to a client it does not.
    text = "\n".join(lines).replace("\r", " ")
    if len(text) > PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return sorted(_definitions(tree), key=lambda named: named.index)


def _definitions(tree: ast.Module) -> Iterator[Named]:
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield Named(child.lineno - 1, depth)
                waiting.append((child, depth + 1))
            elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                waiting.append((child, depth))


def _headings(lines: Sequence[str]) -> Iterator[Named]:
    fenced = False
    for index, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (found := _HEADING.match(line[:WIDTH])):
            yield Named(index, len(found[1]) - 1)


def _matching(lines: Sequence[str], pattern: re.Pattern[str], *, strings: bool = False) -> Iterator[Named]:
    """The lines that `pattern` matches, ranked by how far they are indented; `strings`: none in triple quotes."""
    steps: list[int] = []
    inside = ""
    for index, line in enumerate(lines):
        if strings:
            before = inside
            inside = _quoted(line, inside)
            if before:
                continue
        found = pattern.match(line[:WIDTH])
        if found is None:
            continue
        depth = len(found[1].expandtabs(4))
        while steps and steps[-1] >= depth:
            steps.pop()
        yield Named(index, len(steps) if depth else 0)
        steps.append(depth)


def _quoted(line: str, inside: str) -> str:
    """The triple quote that is open behind a line which begins inside `inside`, "" for none."""
    if '"""' not in line and "'''" not in line:
        return inside
    for found in _TRIPLE.finditer(line):
        inside = found[0] if not inside else "" if found[0] == inside else inside
    return inside


_TRIPLE = re.compile(r"\"\"\"|'''")
_HEADING = re.compile(r" {0,3}(#{1,6}) +\S")


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile(r"([ \t]*+)(?:" + "|".join(patterns) + ")")


_MODIFIERS = (
    r"(?:(?:public|private|protected|internal|static|final|abstract|sealed|open|override|virtual|async|suspend|data|"
    r"inline|partial|readonly|default|unsafe|extern|synchronized|native)\s+)"
)
_PYTHON = _words(r"(?:async\s+)?def\s+\w", r"class\s+\w")
_SCRIPT = _words(
    r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?"
    r"(?:function\b|class\s+[\w$]|interface\s+[\w$]|enum\s+\w|namespace\s+\w|type\s+\w+\s*[=<])",
    r"(?:export\s+)?(?:const|let|var)\s+[\w$]+\s*(?::[^=]*)?=\s*(?:async\b\s*)?(?:function\b|\(|[\w$]+\s*=>)",
    r"(?:describe|it|test)(?:\.\w+)?\(\s*['\"`]",
    rf"(?:{_MODIFIERS}|get\s+|set\s+)*+(?!(?:if|for|while|switch|catch|return|function|with)\b)[#\w$]++"
    r"\((?!.*=>)[^;]*\{\s*$",
)
_MANAGED = _words(
    rf"{_MODIFIERS}*+(?:class|interface|enum|record|struct|object|namespace|trait|@interface|fun)\s+[\w<]",
    rf"{_MODIFIERS}++(?:[\w<>\[\],.?]++\s*+)++\(",
)
_C = _words(
    r"(?:typedef\s+)?(?:struct|class|enum(?:\s+class)?|union|namespace)\s+\w+[^;()]*$",
    r"template\s*<",
    r"#\s*define\s+\w+",
    r"(?<![ \t])(?!(?:return|else|typedef|using|if|for|while|switch|case)\b)(?:[\w:<>,*&~\[\]]++\s++)++"
    r"[*&]*[\w:~]*\s*\([^;]*$",
)
_GO = _words(r"(?<![ \t])(?:func|type|package|var|const)\b")
_RUST = _words(
    r"(?:pub(?:\([^)]*\))?\s+)?+(?:(?:async|unsafe|const|default)\s+|extern\s+\"[^\"]*\"\s+)*+"
    r"(?:fn|struct|enum|trait|impl|mod|type|union)\b[\s<]|macro_rules!"
)
_RUBY = _words(r"(?:class|module|def)\s+\S", r"(?:describe|context|it)\s+['\"]")
_PHP = _words(rf"{_MODIFIERS}*+(?:class|interface|trait|enum|function|namespace)\s+\S")
_SQL = _words(r"(?i:create|alter)\s+\S")
_YAML = re.compile(r"()(?:[\w.\"'/-]+):(?:\s|$)")
_TOML = re.compile(r"()\[{1,2}[^\[\]]+\]{1,2}\s*(?:#.*)?$")
_SHELL = _words(r"(?:function\s+)?[\w:-]+\s*\(\)\s*\{?\s*$")
_COMMON = re.compile(
    r"([ \t]{0,8})(?:(?:async\s+def|def|class|func|fn|pub|impl|struct|enum|trait|interface|type|export|function|module|"
    r"public|private|protected|static|package|namespace|CREATE)\b|#{1,3} )\s*\S"
)


def _table(*rows: tuple[str, re.Pattern[str]]) -> dict[str, re.Pattern[str]]:
    return {ending: pattern for endings, pattern in rows for ending in endings.split()}


_PATTERNS = _table(
    ("py pyi", _PYTHON),
    ("js jsx mjs cjs ts tsx mts cts vue svelte", _SCRIPT),
    ("java cs kt kts scala swift", _MANAGED),
    ("c h cc cpp cxx hh hpp hxx m mm", _C),
    ("go", _GO),
    ("rs", _RUST),
    ("rb", _RUBY),
    ("php", _PHP),
    ("sql", _SQL),
    ("yaml yml", _YAML),
    ("toml ini cfg", _TOML),
    ("sh bash zsh", _SHELL),
)
"""A file's ending to the pattern of the lines that name something. Group 1 is what the line is indented by."""


def first(named: Iterable[Named]) -> list[int]:
    """The indexes of the named lines, those of a low rank first, in order among equals."""
    return [each.index for each in sorted(named, key=lambda each: (each.rank, each.index))]
