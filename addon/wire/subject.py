"""What a client's tool call is about: which file it reads or changes, which command it repeats.

Two results are copies of the same thing when their calls have the same subject. Agents name their tools and arguments
differently; the tables below hold the spellings met in the field (Claude Code, opencode, gemini-cli, qwen-code, cline,
pi, gptme). A tool that is not known is its own subject: name and arguments together.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from addon.wire.conversation import Act, Subject

_READ = {"read", "read_file", "readfile", "view", "view_file", "open_file", "cat", "notebookread", "fs_read"}
_EDIT = {
    "edit", "multiedit", "write", "write_file", "edit_file", "replace", "str_replace", "create_file", "apply_patch",
    "notebookedit", "replace_in_file", "write_to_file", "save", "append", "patch", "str_replace_based_edit_tool",
    "str_replace_editor", "fs_write",
}  # fmt: skip
_PATH = ("file_path", "path", "filePath", "filename", "absolute_path", "notebook_path", "target_file", "file")
_MAIN = (*_PATH, "command", "cmd", "pattern", "query", "url", "prompt", "description")


def subject(tool: str, arguments: Any) -> Subject:
    """What a call to `tool` with these decoded arguments is about."""
    given: Mapping[str, Any] = arguments if isinstance(arguments, dict) else {}
    name = tool.rsplit("__", 1)[-1].lower()
    main = next((str(given[key]) for key in _MAIN if isinstance(given.get(key), str)), "")
    label = f"{tool} {' '.join(main.split())[:120]}".strip()
    path = next((given[key] for key in _PATH if isinstance(given.get(key), str)), "")
    if path and name in _READ:
        return Subject(Act.READ, path, label)
    if path and name in _EDIT:
        act = Act.READ if given.get("command") == "view" else Act.EDIT
        return Subject(act, path, label)
    # What a shell prints does not depend on how the client describes or times the call.
    command = given.get("command", given.get("cmd"))
    if isinstance(command, str):
        return Subject(Act.RUN, f"{name} {command}", label)
    return Subject(Act.RUN, f"{name} {json.dumps(arguments, sort_keys=True, ensure_ascii=False)}", label)


# `12\tcode` and `12→code` Claude Code, `12: code` opencode, `12 | code` cline, `12|code` others.
_NUMBER = re.compile(r" *(\d{1,9})(\t|→|: ?| \| ?|\|)")


def numbered(lines: list[str]) -> list[tuple[int, str]]:
    """Split file lines from the numbers a read tool put before them: (number, content), 0 where there is none.

    Only when most lines are numbered, each one up from the last; otherwise every line is returned as it is.
    """
    plain = [(0, line) for line in lines]
    out: list[tuple[int, str]] = []
    mark = ""
    last = hits = 0
    for line in lines:
        found = _NUMBER.match(line)
        number = int(found[1]) if found else 0
        if found and (not mark or found[2] == mark) and (not last or number == last + 1):
            mark, last, hits = found[2], number, hits + 1
            out.append((number, line[found.end() :]))
        else:
            out.append((0, line))
    return out if hits * 2 > len(lines) and hits > 1 else plain


_UNCHANGED = re.compile(r"^(?:<[\w-]+>)?\s*File unchanged since last read\.")


def says_unchanged(text: str) -> bool:
    """Whether a read answered, in place of the file, that the earlier result still holds (Claude Code)."""
    return len(text) < 1000 and _UNCHANGED.match(text) is not None


def says_modified(text: str, path: str) -> bool:
    """Whether a client notes that somebody else changed a file, `Note: /w/a.py was modified, either by ...` (Claude
    Code). Only the file's name is compared; with no path, any file will do."""
    return f"{posixpath.basename(path)} was modified" in text
