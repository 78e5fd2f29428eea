"""Whole sessions for property tests: an agent with a small project, its ways of spelling a request, and its accidents.

Hypothesis draws the moves; what tools answer follows from a small file system, so that re-reads, partial reads, edits
and repeated commands produce the overlaps that folding and eviction live on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

PATHS = ("src/app.py", "src/größe.py", "README.md")
NAMES = ("Read", "Bash", "Edit", "mcp__x__odd")
COMMANDS = ("pytest -q", "ls -R", "git log", "cat src/app.py")


@dataclass(frozen=True)
class Call:
    tool: str
    arguments: dict[str, Any]
    shape: str
    """How the client spells the result: string, list, parts, image, empty or error; `relay` for none: it is not shown
    the call."""


@dataclass(frozen=True)
class Move:
    """What happens between two requests."""

    idle: float
    think: bool
    say: str
    calls: tuple[Call, ...]
    human: str
    event: str
    """Besides: "", retry, rewind, edit (the client clears an old result), compact, outage, touch, aside, reminder (the
    request has a word in it that no later one has) or broken (a response that would have been carried on ends)."""
    apart: bool = False
    """Whether hidden calls come first, each in an answer of its own."""

    @property
    def relays(self) -> bool:
        return any(call.shape == "relay" for call in self.calls)


def _recalls(*shapes: str) -> st.SearchStrategy[Call]:
    given = st.fixed_dictionaries(
        {"nth": st.integers(0, 3)}, optional={"lines": st.just("2-9"), "grep": st.sampled_from(["value_3", "(", "x"])}
    )
    return st.builds(Call, st.just("mmu_recall"), given, st.sampled_from(shapes))


def _calls() -> st.SearchStrategy[Call]:
    shape = st.sampled_from(["string", "string", "list", "parts", "image", "empty", "error"])
    read = st.fixed_dictionaries(
        {"file_path": st.sampled_from(PATHS)},
        optional={"offset": st.integers(1, 60), "limit": st.integers(10, 80)},
    )
    edit = st.fixed_dictionaries({"file_path": st.sampled_from(PATHS), "line": st.integers(1, 60)})
    run = st.fixed_dictionaries({"command": st.sampled_from(COMMANDS)})
    odd = st.fixed_dictionaries({"what": st.text(max_size=5)})
    return st.one_of(
        st.builds(Call, st.just("Read"), read, shape),
        st.builds(Call, st.just("Read"), read, shape),
        st.builds(Call, st.just("Bash"), run, shape),
        st.builds(Call, st.just("Edit"), edit, st.just("string")),
        st.builds(Call, st.just("mcp__x__odd"), odd, shape),
        _recalls("error", "relay", "relay"),
    )


EVENTS = ("", "", "", "", "", "retry", "rewind", "edit", "compact", "outage", "touch", "aside",
          "reminder", "broken")  # fmt: skip

_step = st.builds(
    Move,
    idle=st.sampled_from([2.0, 2.0, 2.0, 40.0, 400.0]),
    think=st.booleans(),
    say=st.sampled_from(["", "I look.", 'Schön \\ "so" \u2028 </tag> & 😀']),
    calls=st.lists(_calls(), min_size=1, max_size=3).map(tuple),
    human=st.sampled_from(["", "", "", "and now?"]),
    event=st.sampled_from(EVENTS),
    apart=st.booleans(),
)
_pause = st.builds(
    Move,
    idle=st.sampled_from([40.0, 400.0, 4000.0]),
    think=st.booleans(),
    say=st.just("Done."),
    calls=st.just(()),
    human=st.sampled_from(["go on", "thanks, next"]),
    event=st.sampled_from(EVENTS),
)
_recall = st.builds(
    Move,
    idle=st.sampled_from([2.0, 2.0, 400.0]),
    think=st.booleans(),
    say=st.sampled_from(["", "I look again.", "I look for long. " * 8]),
    calls=st.tuples(st.lists(_calls(), max_size=2), st.lists(_recalls("relay"), min_size=1, max_size=2)).map(
        lambda some: (*some[0], *some[1])
    ),
    human=st.sampled_from(["", "", "and now?"]),
    event=st.sampled_from(EVENTS),
    apart=st.booleans(),
)
LONGED = st.lists(st.one_of(_recall, _recall, _step, _pause), min_size=2, max_size=10)
"""Moves of a model that asks for what has left, for behind a start that lets something leave."""
MOVES = st.lists(st.one_of(_step, _step, _step, _pause), min_size=4, max_size=16)


@dataclass
class Project:
    """The files, and what the tools answer."""

    files: dict[str, list[str]] = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self) -> None:
        for path in PATHS:
            self.files[path] = [f"{path} line {n}: value_{n * 7 % 13} = 'ä{n}' \\ \t<x>" for n in range(1, 90)]

    def answer(self, call: Call) -> str:
        given = call.arguments
        if call.tool == "mmu_recall":
            return "<tool_use_error>Error: No such tool available: mmu_recall</tool_use_error>"
        if call.tool == "Read":
            first = given.get("offset", 1)
            lines = self.files[given["file_path"]][first - 1 : first - 1 + given.get("limit", 2000)]
            return "\n".join(f"{first + n}\t{line}" for n, line in enumerate(lines))
        if call.tool == "Edit":
            self.files[given["file_path"]][given["line"] - 1] += " # edited"
            return "The file has been updated."
        if call.tool == "Bash" and given["command"].startswith("cat "):
            text = "\n".join(self.files[given["command"].removeprefix("cat ")])
            size = f"{len(text.encode()) / 1024:.1f}".removesuffix(".0")
            return (
                f"<persisted-output>\nOutput too large ({size}KB). Full output saved to: /x/b.txt\n\n"
                f"Preview (first 2KB):\n{text[:2000]}\n...\n</persisted-output>"
            )
        if call.tool == "Bash":
            self.runs += 1
            body = [f"{given['command']} output {n}: {'x' * (n % 9)} passed" for n in range(60)]
            return "\n".join([*body, f"run {self.runs % 3}"])
        return "\n".join(f"odd {n}" for n in range(3))

    def result(self, call: Call, identity: str) -> dict[str, Any]:
        words = self.answer(call)
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": identity}
        if call.shape == "list":
            block["content"] = [{"type": "text", "text": words or "-"}]
        elif call.shape == "parts":
            block["content"] = [{"type": "text", "text": "Result:"}, {"type": "text", "text": words or "-"}]
        elif call.shape == "image":
            source = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
            block["content"] = [{"type": "image", "source": source}, {"type": "text", "text": words or "-"}]
        elif call.shape in ("error", "relay"):
            block |= {"content": words, "is_error": True}
        elif call.shape != "empty":
            block["content"] = words
        return block


def spell(body: dict[str, Any], style: int) -> bytes:
    """The body as one of several JSON writers spells it."""
    if style % 4 == 0:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if style % 4 == 1:
        return json.dumps(body).encode()
    if style % 4 == 2:
        return json.dumps(body, ensure_ascii=False, indent=1).encode()
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    for plain, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028")):
        text = text.replace(plain, escaped)
    return text.encode()
