"""What a client's tool call is about: which file it reads or changes, which command it repeats.

Two results are copies of the same thing when their calls have the same subject. Agents name their tools and arguments
differently; the tables below hold the spellings met in the field (Claude Code, Codex, opencode, gemini-cli, qwen-code,
cline, pi, gptme). A shell's command that does no more than show a file is a read of it. A tool that is not known is its
own subject: name and arguments together.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

from addon.wire import javascript
from addon.wire.conversation import Act, Subject
from addon.wire.shell import plain_read, same_path

_READ = {
    "read", "read_file", "read_files", "readfile", "view", "view_file", "open_file", "cat", "notebookread", "fs_read",
}  # fmt: skip
_EDIT = {
    "edit", "multiedit", "write", "write_file", "edit_file", "editor", "replace", "str_replace", "create_file",
    "apply_patch", "notebookedit", "replace_in_file", "write_to_file", "save", "append", "patch",
    "str_replace_based_edit_tool", "str_replace_editor", "fs_write",
}  # fmt: skip
_SHELL = {
    "bash", "container.exec", "exec", "exec_command", "execute_command", "local_shell", "run_command", "run_commands",
    "run_shell_command", "shell", "shell_command", "terminal",
}  # fmt: skip
_PATH = ("file_path", "path", "filePath", "filename", "absolute_path", "notebook_path", "target_file", "file")
_PATHS = ("files", "file_paths", "paths")
_MAIN = (*_PATH, "command", "cmd", "pattern", "query", "url", "prompt", "description")
_COMMAND = ("command", "cmd", "commands")
_FOLDER = ("workdir", "cwd", "directory", "dir_path")
_SHELL_PROGRAM = re.compile(r"(?:/(?:usr/)?bin/)?(?:ba|z|da)?sh")
_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+?)\s*$", re.MULTILINE)


def subject(tool: str, arguments: Any) -> Subject:
    """What a call to `tool` with these decoded arguments is about."""
    found = _subject(tool, arguments)
    return Subject(found.act, _sayable(found.name), _sayable(found.label), _sayable(found.run))


def _sayable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can spell and no request can be made of."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _subject(tool: str, arguments: Any) -> Subject:
    given: Mapping[str, Any] = arguments if isinstance(arguments, dict) else {}
    name = tool.rsplit("__", 1)[-1].lower()
    path = _path(given)
    main = path or next((str(given[key]) for key in _MAIN if isinstance(given.get(key), str)), "")
    label = _label(tool, main)
    if path and name in _READ:
        return Subject(Act.READ, path, label)
    if name in _EDIT:
        if path:
            return Subject(Act.READ if given.get("command") == "view" else Act.EDIT, path, label)
        if patched := _patched(arguments):
            return Subject(Act.EDIT, patched, _label(tool, patched))
    if name == "exec" and isinstance(arguments, str) and (made := javascript.shell(arguments)) is not None:
        run = f"exec_command {made.command}" if made.passes else f"exec {arguments}"
        return _run(f"exec_command {made.command}", run, made.folder, _label("exec_command", made.command))
    # What a shell prints does not depend on how the client describes or times the call.
    command = _command(given) if name in _SHELL else given.get("command", given.get("cmd"))
    if isinstance(command, str):
        run = f"{name} {command}"
        if name not in _SHELL:
            return Subject(Act.RUN, run, label)
        folder = next((given[key] for key in _FOLDER if isinstance(given.get(key), str)), "")
        return _run(run, run, folder, _label(tool, command))
    return Subject(Act.RUN, f"{name} {json.dumps(arguments, sort_keys=True, ensure_ascii=False)}", label)


def _label(tool: str, main: str) -> str:
    return f"{tool} {' '.join(main.split())[:120]}".strip()


def _run(name: str, run: str, folder: str, label: str) -> Subject:
    """A shell's command: the read of a file where it is no more than that."""
    shown = plain_read(name.partition(" ")[2], folder)
    return Subject(Act.RUN, name, label) if shown is None else Subject(Act.READ, shown.path, label, run)


def _path(given: Mapping[str, Any]) -> str:
    """The one file that a call names, "" where it names none or more."""
    for key in _PATH:
        if isinstance(given.get(key), str):
            return str(given[key])
    for key in _PATHS:
        files = given.get(key)
        one = files[0] if isinstance(files, list) and len(files) == 1 else files
        one = one.get("path") if isinstance(one, dict) else one
        if isinstance(one, str):
            return one
    return ""


def _patched(arguments: Any) -> str:
    """The one file that a patch in Codex's own notation changes, "" where it changes none or more."""
    texts = arguments.values() if isinstance(arguments, dict) else [arguments]
    files = {path for text in texts if isinstance(text, str) for path in _PATCHED.findall(text)}
    return files.pop() if len(files) == 1 else ""


def _command(given: Mapping[str, Any]) -> str | None:
    """What a shell is given to run. Commands that are run one after the other stand in lines of their own."""
    told = next((given[key] for key in _COMMAND if key in given), None)
    if isinstance(told, list) and "commands" in given:
        lines = [_line(each) for each in told]
        return None if None in lines else "\n".join(line for line in lines if line is not None)
    return _line(told, given.get("args"))


def _line(told: Any, more: Any = None) -> str | None:
    if isinstance(told, dict):
        return _line([told.get("command")], told.get("args")) if isinstance(told.get("command"), str) else None
    if isinstance(told, str) and not more:
        return told
    words = [*(told if isinstance(told, list) else [told]), *(more if isinstance(more, list) else [])]
    if not words or not all(isinstance(word, str) for word in words):
        return None
    if len(words) == 3 and _SHELL_PROGRAM.fullmatch(words[0]) and words[1] in ("-c", "-lc"):
        return str(words[2])
    return shlex.join(words)


def same(one: Subject, other: Subject) -> bool:
    """Whether two calls are about the same thing: a command word for word, a file by what may be its path."""
    if not one.name or one.act is not other.act:
        return False
    if one.name == other.name:
        return True
    ends = one.name.rpartition("/")[2] == other.name.rpartition("/")[2]
    return one.act is Act.READ and ends and same_path(one.name, other.name)


_ESCAPED = re.compile(r"(?<!\\)\\n")


def split(text: str) -> tuple[list[str], str]:
    """The lines of a result, and what stands between them: a newline, or the escape of one where the result is JSON
    that holds the lines in a string (cline)."""
    if text.startswith(("[", "{")) and text.count("\\n") > 4 * text.count("\n"):
        return _ESCAPED.split(text), "\\n"
    return text.split("\n"), "\n"


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
