"""What a shell command does to files: whether it prints just one, or lines of it, and whether it can have changed any.

Both err on the side of doubt: what is not known by name here may have changed something.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainRead:
    """A command that prints one file or lines of it, and nothing else."""

    path: str
    """Normalised; relative to where the shell is unless it begins with a slash."""
    numbers: bool
    """`cat -n`: six characters of line number and a tab before every line."""
    whole: bool = True
    """All of its lines, as they are."""


_OPERATORS = ";&|<>()"
_EXPANDED = re.compile(r"[$`*?\[\]{}~!\\\n]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_LOOKS = {
    "find_path", "glob", "grep", "list", "list_dir", "list_directory", "list_files", "ls", "read_many_files", "search",
    "search_file_content", "search_files",
}  # fmt: skip
"""Tools, not shells, whose answer depends on the files alone and that change none."""

_ASIDE = {
    "bashoutput", "fetch", "mmu_recall", "todoread", "todowrite", "toolsearch", "web_fetch", "webfetch", "web_search",
    "websearch",
}  # fmt: skip
"""Other tools that change no file."""

_READS = {
    "basename", "cat", "cd", "cmp", "column", "cut", "diff", "dirname", "echo", "egrep", "false", "fgrep", "file",
    "grep", "head", "jq", "less", "ls", "md5sum", "more", "nl", "od", "printf", "pwd", "readlink", "realpath", "rg",
    "sha256sum", "tail", "test", "tr", "tree", "true", "type", "uniq", "wc", "which",
}  # fmt: skip
"""Programs whose output depends on the files alone and that change none, whatever their arguments."""

_PHRASES = (
    ("git", "blame"), ("git", "diff"), ("git", "grep"), ("git", "log"), ("git", "ls-files"), ("git", "rev-parse"),
    ("git", "show"), ("git", "status"),
)  # fmt: skip
"""First words of commands of that kind."""

_CHECKS = (
    ("cargo", "check"), ("cargo", "test"), ("date",), ("df",), ("du",), ("go", "list"), ("go", "test"), ("go", "vet"),
    ("mypy",), ("npm", "test"), ("pytest",), ("python", "-m", "pytest"), ("python3", "-m", "pytest"), ("sleep",),
    ("stat",), ("uname",), ("whoami",),
)  # fmt: skip
"""First words of commands that say something else every time, but leave sources alone."""

_RANGE = re.compile(r"[\d,$ ]+p")
_QUOTED_RANGE = re.compile(r"'[\d,$ ]+p'")
_SHOWS = re.compile(r"\b(?:cat|nl|head|tail|sed)\b")
_COUNT = re.compile(r"[-+]?\d+")
_COUNTED = re.compile(r"-n[-+]?\d+|-\d+")
_FINDS_AND_WRITES = re.compile(r"-(?:delete|exec|execdir|ok|okdir|fprint.*|fls)")
_SORTS_INTO = re.compile(r"-[a-zA-Z]*o.*|--output.*")


def _commands(line: str) -> list[tuple[str, list[str]]] | None:
    """The simple commands of a line, each with the operator before it ("" for the first); None on doubt: it cannot be
    taken apart, runs something inside of something, or writes what it prints to a file."""
    if "`" in line or "$(" in line or "<<" in line:
        return None
    lexer = shlex.shlex(line.strip().replace("\n", ";"), posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split, lexer.commenters = True, ""
    out: list[tuple[str, list[str]]] = [("", [])]
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if not token or set(token) - set(_OPERATORS):
            out[-1][1].append(token)
        elif "(" in token or ")" in token:
            return None
        elif "<" in token or ">" in token:
            target = tokens[at] if at < len(tokens) else ""
            at += 1
            if not target or not set(target) - set(_OPERATORS):
                return None
            if ">" in token and target != "/dev/null" and not (token == ">&" and target.isdigit()):
                return None
            if out[-1][1] and out[-1][1][-1].isdigit():
                out[-1][1].pop()
        else:
            out.append((token, []))
    return out


def _shows(words: list[str]) -> tuple[str, bool, bool] | None:
    """The file that a simple command shows ("" for what is piped into it), with numbers or not, whole or not."""
    if not words:
        return None
    program, arguments = words[0], words[1:]
    taken = 0
    if program == "cat":
        taken = int(arguments[:1] == ["-n"])
    elif program == "nl":
        if arguments[:1] != ["-ba"]:
            return None
        taken = 1
    elif program in ("head", "tail"):
        if arguments[:1] == ["-n"] and _COUNT.fullmatch(" ".join(arguments[1:2])):
            taken = 2
        elif arguments and _COUNTED.fullmatch(arguments[0]):
            taken = 1
    elif program == "sed":
        if arguments[:1] != ["-n"] or not _RANGE.fullmatch(" ".join(arguments[1:2])):
            return None
        taken = 2
    else:
        return None
    files = arguments[taken:]
    if len(files) > 1 or any(not file or file.startswith("-") for file in files):
        return None
    # `nl` leaves out lines that it takes for the marks of its own page breaks.
    return "".join(files), program == "nl" or (program == "cat" and taken > 0), program == "cat"


def plain_read(line: str, folder: str = "") -> PlainRead | None:
    """The one file that a command prints, which runs in `folder`: `cat`, `nl -ba`, `head`, `tail` or `sed -n 3,9p` of
    it, in another folder after `cd FOLDER &&`, piped into more of them. None for any other command."""
    if not _SHOWS.search(line) or _EXPANDED.search(_QUOTED_RANGE.sub("", line)):
        return None
    commands = _commands(line)
    if commands is None:
        return None
    if len(commands) > 1 and commands[1][0] == "&&":
        words = commands[0][1]
        if len(words) != 2 or words[0] != "cd" or words[1].startswith("-"):
            return None
        folder = posixpath.join(folder, words[1])
        commands = [("", commands[1][1]), *commands[2:]]
    shown = [_shows(words) for _, words in commands]
    first = shown[0]
    if first is None or not first[0] or any(operator != "|" for operator, _ in commands[1:]):
        return None
    if any(later is None or later[0] or later[1] for later in shown[1:]):
        return None  # of another file, or with numbers that are not the file's
    path = posixpath.join(folder, first[0])
    whole = first[2] and len(shown) == 1
    return None if ".." in path.split("/") else PlainRead(posixpath.normpath(path), first[1], whole)


def same_path(one: str, other: str) -> bool:
    """Whether two paths may name one file: they are equal, or the relative one is how the absolute one ends."""
    one, other = posixpath.normpath(one), posixpath.normpath(other)
    if one.startswith("/") == other.startswith("/"):
        return one == other
    short, long = sorted((one, other), key=lambda path: path.startswith("/"))
    return long.endswith(f"/{short}")


def _starts(words: list[str], phrases: tuple[tuple[str, ...], ...]) -> bool:
    return any(tuple(words[: len(phrase)]) == phrase for phrase in phrases)


def _reads(words: list[str], checks: bool) -> bool:
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return True
    program, arguments = words[0], words[1:]
    if program == "sed":
        return len(arguments) >= 2 and arguments[0] == "-n" and _RANGE.fullmatch(arguments[1]) is not None
    if program == "find":
        return not any(_FINDS_AND_WRITES.fullmatch(argument) for argument in arguments)
    if program == "sort":
        return not any(_SORTS_INTO.fullmatch(argument) for argument in arguments)
    return program in _READS or _starts(words, _PHRASES) or (checks and _starts(words, _CHECKS))


def only_reads(run: str, *, checks: bool = True) -> bool:
    """Whether a call leaves files alone. `run` is its `Subject.name`: the tool, a blank, the command or arguments.

    Without `checks` it must also answer the same as long as the files are the same.
    """
    tool, _, given = run.partition(" ")
    if given.startswith(("{", "[")):
        return tool in _LOOKS or (checks and tool in _ASIDE)
    commands = _commands(given)
    return commands is not None and all(_reads(words, checks) for _, words in commands)
