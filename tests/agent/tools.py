"""The tools, really executed: each takes the model's input and gives (text, is_error)."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

from . import shell
from .workspace import Outside, Workspace

type Result = tuple[str, bool]

READ_LINES = 2000


def execute(space: Workspace, name: str, given: dict[str, Any]) -> Result:
    """Runs one tool call. An unknown tool or bad input is an error result, as in real agents, never an exception."""
    tool = TOOLS.get(name)
    if tool is None:
        return f"<tool_use_error>Error: No such tool available: {name}</tool_use_error>", True
    try:
        return tool(space, given)
    except (KeyError, TypeError, re.error, Outside, OSError) as error:
        return f"<tool_use_error>{type(error).__name__}: {error}</tool_use_error>", True


def _numbered(lines: list[str], first: int) -> str:
    return "\n".join(f"{number}\t{line}" for number, line in enumerate(lines, first))


def _read(space: Workspace, given: dict[str, Any]) -> Result:
    try:
        lines = space.text(given["file_path"]).split("\n")
    except FileNotFoundError:
        return f"File does not exist: {given['file_path']}", True
    first = given.get("offset", 1)
    return _numbered(lines[first - 1 :][: given.get("limit", READ_LINES)], first), False


def _grep(space: Workspace, given: dict[str, Any]) -> Result:
    pattern, glob, mode = re.compile(given["pattern"]), given.get("glob", "*"), given.get("output_mode", "files")
    found: list[str] = []
    for name in space.names("**/*"):
        if not fnmatch(name, glob) or given.get("path", name) not in (name, space.shown(name)):
            continue
        hits = [(n, line) for n, line in enumerate(space.text(name).split("\n"), 1) if pattern.search(line)]
        if hits and mode == "content":
            found += [f"{name}:{n}:{line}" for n, line in hits]
        elif hits:
            found.append(f"{name}:{len(hits)}" if mode == "count" else name)
    return "\n".join(found[: given.get("head_limit", 250)]) or "No matches found", False


def _glob(space: Workspace, given: dict[str, Any]) -> Result:
    return "\n".join(space.shown(name) for name in space.names(given["pattern"])) or "No files found", False


def _bash(space: Workspace, given: dict[str, Any]) -> Result:
    try:
        return shell.run(space, given["command"]) or "(Bash completed with no output)", False
    except shell.Failed as error:
        return f"Exit code 1\n{error}", True


def _edit(space: Workspace, given: dict[str, Any]) -> Result:
    path, old, new = given["file_path"], given["old_string"], given["new_string"]
    text = space.text(path)
    count = text.count(old)
    if count == 0:
        return f"<tool_use_error>old_string was not found in {path}</tool_use_error>", True
    if count > 1 and not given.get("replace_all"):
        return f"<tool_use_error>old_string occurs {count} times in {path}</tool_use_error>", True
    space.real(path).write_text(text.replace(old, new), "utf-8")
    start = max(0, text[: text.index(old)].count("\n") - 4)
    shown = space.text(path).split("\n")[start : start + 9 + new.count("\n")]
    return f"{path} has been edited; the place now reads:\n{_numbered(shown, start + 1)}", False


def _write(space: Workspace, given: dict[str, Any]) -> Result:
    target = space.real(given["file_path"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(given["content"], "utf-8")
    return f"File written: {given['file_path']}", False


def _todos(space: Workspace, given: dict[str, Any]) -> Result:
    left = sum(todo["status"] != "completed" for todo in given["todos"])
    return f"The list is saved, {left} of {len(given['todos'])} open.", False


TOOLS: dict[str, Callable[[Workspace, dict[str, Any]], Result]] = {
    "Read": _read,
    "Grep": _grep,
    "Glob": _glob,
    "Bash": _bash,
    "Edit": _edit,
    "Write": _write,
    "TodoWrite": _todos,
}
