"""The few shell commands the agent runs, all of them harmless and all played in process.

The same command on the same files prints the same bytes: no clock, no process id, no locale.
"""

from __future__ import annotations

import ast
import difflib
import functools
import shlex
import traceback
from collections.abc import Callable, Sequence

from .workspace import Workspace

LIMIT = 30_000


class Failed(Exception):
    """The command left with a status other than zero; the text is what it printed."""


def run(space: Workspace, command: str) -> str:
    """What `command` prints, cut in the middle beyond LIMIT characters. Raises Failed."""
    words = shlex.split(command)
    for length in (3, 2, 1):
        known = COMMANDS.get(" ".join(words[:length]))
        if known is not None:
            return _cut(known(space, words[length:]))
    raise Failed(f"bash: {words[0] if words else ''}: command not found")


def _cut(text: str) -> str:
    if len(text) <= LIMIT:
        return text
    half = LIMIT // 2
    return f"{text[:half]}\n... [{len(text) - 2 * half} characters left out] ...\n{text[-half:]}"


def _open(space: Workspace, tool: str, name: str) -> str:
    try:
        return space.text(name)
    except OSError:
        raise Failed(f"{tool}: {name}: No such file or directory") from None


def _cat(space: Workspace, names: Sequence[str]) -> str:
    return "".join(_open(space, "cat", name) for name in names)


def _head(space: Workspace, words: Sequence[str]) -> str:
    count = int(words[1]) if words[0] == "-n" else 10
    return "".join(_open(space, "head", words[-1]).splitlines(keepends=True)[:count])


def _ls(space: Workspace, words: Sequence[str]) -> str:
    names = [word for word in words if not word.startswith("-")] or ["."]
    lines = []
    for name in names:
        folder = space.real(name)
        if not folder.is_dir():
            raise Failed(f"ls: cannot access '{name}': No such file or directory")
        for path in sorted(folder.iterdir()):
            size = path.stat().st_size if path.is_file() else 4096
            lines.append(f"{'d' if path.is_dir() else '-'}rw-r--r-- 1 dev dev {size:>8} {path.name}")
    return "\n".join(lines) + "\n"


def _wc(space: Workspace, words: Sequence[str]) -> str:
    names = [word for word in words if not word.startswith("-")]
    counts = [_open(space, "wc", name).count("\n") for name in names]
    lines = [f"{count:>7} {name}" for count, name in zip(counts, names, strict=True)]
    return "\n".join([*lines, f"{sum(counts):>7} total"] if len(names) > 1 else lines) + "\n"


def _py_compile(space: Workspace, names: Sequence[str]) -> str:
    for name in names:
        try:
            compile(_open(space, "python", name), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise Failed("".join(traceback.format_exception_only(error))) from None
    return ""


def _check(space: Workspace, words: Sequence[str]) -> str:
    """A test run: a line per class and per file of the project. Fails where a file does not compile."""
    lines, broken, count = ["collecting ... done", ""], [], 0
    for name in space.names("lib/**/*.py"):
        found = _found(name, space.text(name))
        if isinstance(found, str):
            broken.append(found)
            lines.append(f"{name} ERROR")
        else:
            count += found[0]
            lines += found[1]
    lines += ["", *broken, f"{count} passed, {len(broken)} errors"]
    if broken:
        raise Failed("\n".join(lines))
    return "\n".join(lines) + "\n"


@functools.cache
def _found(name: str, source: str) -> tuple[int, tuple[str, ...]] | str:
    """How many functions a file has, with a line for each class and one for the rest; or the compiler's complaint."""
    try:
        tree = ast.parse(source, name)
    except SyntaxError as error:
        return "".join(traceback.format_exception_only(error))
    total, lines = 0, []
    for node in tree.body:
        count = sum(isinstance(inner, ast.FunctionDef) for inner in ast.walk(node))
        total += count
        if isinstance(node, ast.ClassDef) and count:
            lines.append(f"{name}::{node.name} {count} passed, lines {node.lineno}-{node.end_lineno}")
    return total, (*lines, f"{name} {total} passed")


def _diff(space: Workspace, words: Sequence[str]) -> str:
    out: list[str] = []
    for name in space.names("**/*"):
        before = space.original.get(name, "").splitlines(keepends=True)
        after = space.text(name).splitlines(keepends=True)
        out += difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    return "".join(out)


COMMANDS: dict[str, Callable[[Workspace, Sequence[str]], str]] = {
    "cat": _cat,
    "head": _head,
    "ls": _ls,
    "wc": _wc,
    "git diff": _diff,
    "python -m py_compile": _py_compile,
    "python -m check": _check,
}
