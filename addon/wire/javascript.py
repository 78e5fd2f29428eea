"""The shell command inside a piece of JavaScript: Codex reads files by programs like this.

    const r = await tools.exec_command({cmd: "cat src/app.py", workdir: "/w"}); text(r.output)

Nothing is interpreted. The program is split into literals and what lies between them, and counts as a shell command if
`tools` occurs in it once, in a call of `exec_command` whose argument is an object of plain literals. Another tool could
change files, and what is put together while it runs cannot be known; so of any other program nothing is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 64 * 1024
"""Characters of a program that is looked at."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What a program runs."""

    command: str
    folder: str
    """Where, "" if it does not say."""
    passes: bool
    """It shows what the command prints, as it is."""


_LITERAL = re.compile(
    r"//[^\n]*|/\*.*?(?:\*/|\Z)"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|'(?:[^'\\\n]|\\.)*'?"
    r"|`(?:[^`\\$]|\\.|\$(?!\{))*`?",
    re.DOTALL,
)
"""Also one without end, up to where it cannot go on: to look for its end anew from every quote takes quadratic time."""
_DOUBT = re.compile(r"[\"'`/]")
"""A template with something in it, a string without end, or a regular expression, in which quotes mean nothing."""

_ENDED = re.compile(r"([\"'`])(?:[^\\]|\\.)*\1", re.DOTALL)
_CALL = re.compile(r"\btools\s*\.\s*exec_command\s*\(\s*\{([^{}]*)\}\s*\)")
_MEMBER = re.compile(r"\s*(\w+|<\d+>)\s*:\s*(<\d+>|[\w.+-]+)\s*")
_PASSES = re.compile(
    r"\s*(?:(?:const|let|var)\s+(\w+)\s*=\s*await\s*CALL\s*;?\s*text\(\s*\1\s*\.\s*output\s*\)"
    r"|text\(\s*\(\s*await\s*CALL\s*\)\s*\.\s*output\s*\))\s*;?\s*"
)

_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(\r\n|.))", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "\n": "", "\r\n": ""}


def shell(source: str) -> Shell | None:
    """The one shell command that a program runs; None if that is not certain."""
    if len(source) > LONGEST or "exec_command" not in source or "<" in _LITERAL.sub("", source):
        return None
    literals: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        if found[0].startswith("/"):
            return " "
        if not _ENDED.fullmatch(found[0]):
            return found[0][0]
        literals.append(found[0][1:-1])
        return f"<{len(literals) - 1}>"

    bare = _LITERAL.sub(put_aside, source)
    call = _CALL.search(bare)
    if call is None or _DOUBT.search(bare) or len(re.findall(r"\btools\b", bare)) != 1:
        return None
    given = _members(call[1], literals)
    if given is None or not given.get("cmd"):
        return None
    whole = f"{bare[: call.start()]}CALL{bare[call.end() :]}"
    return Shell(given["cmd"], given.get("workdir", ""), _PASSES.fullmatch(whole) is not None)


def _members(text: str, literals: list[str]) -> dict[str, str] | None:
    """The members of an object that are strings; None if it has any that is no literal."""
    out: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        found = _MEMBER.match(text, at)
        if found is None or (found.end() < len(text) and text[found.end()] != ","):
            return None
        at = found.end() + 1
        key, value = found[1], found[2]
        if key.startswith("<"):
            key = literals[int(key[1:-1])]
        if value.startswith("<"):
            said = _string(literals[int(value[1:-1])])
            if said is None:
                return None
            out[key] = said
        elif not (value[0].isdigit() or value in ("true", "false", "null", "undefined")):
            return None
    return out


def _string(literal: str) -> str | None:
    """What a string says; None for escapes by octal numbers."""
    doubt = False

    def character(found: re.Match[str]) -> str:
        nonlocal doubt
        code = found[1] or found[2] or found[3]
        if code:
            number = int(code, 16)
            doubt = doubt or number > 0x10FFFF
            return chr(min(number, 0x10FFFF))
        doubt = doubt or found[4].isdigit()
        return _NAMED.get(found[4], found[4])

    said = _ESCAPE.sub(character, literal)
    return None if doubt else said
