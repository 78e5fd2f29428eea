"""Sessions: what the person says, what the model answers, and how long everybody takes.

A session is written by living it once on a scratch copy of the work folder, so that every edit quotes text that is
really there and every failing command really fails. Nothing is random but the seed.
"""

from __future__ import annotations

import random
import string
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .tools import execute
from .workspace import Workspace

type Before = Literal["", "compact", "rewind"]

LONG = 900  # lines
ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Reply:
    """One assistant message. `pause`: seconds the agent then needs for its tools."""

    text: str
    calls: tuple[dict[str, Any], ...] = ()
    thinking: str = ""
    pause: float = 4.0

    def scripted(self) -> dict[str, Any]:
        """The reply as the fake provider's script spells it."""
        content: list[dict[str, Any]] = []
        if self.thinking:
            content.append({"type": "thinking", "thinking": self.thinking})
        if self.text:
            content.append({"type": "text", "text": self.text})
        content += self.calls
        return {"content": content, "stop_reason": "tool_use" if self.calls else "end_turn"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One human turn. `idle`: seconds of silence before it. `before`: what the client does to its history first
    (rewind takes the previous prompt back and everything after it). `script`: what the model answers from here on."""

    text: str
    idle: float
    script: str
    before: Before = ""


@dataclass(frozen=True, slots=True)
class Session:
    """`scripts`: name -> replies, to be registered with the provider. `requests`: how many the whole session makes."""

    name: str
    prompts: tuple[Prompt, ...]
    scripts: dict[str, list[dict[str, Any]]]
    pauses: dict[str, list[float]]
    requests: int
    thinking: bool = False


@dataclass(slots=True)
class _Writer:
    name: str
    space: Workspace
    rng: random.Random
    thinking: bool
    replies: list[Reply] = field(default_factory=list)
    serial: int = 0

    def call(self, tool: str, **given: Any) -> dict[str, Any]:
        self.serial += 1
        tail = "".join(self.rng.choices(ALPHABET, k=18))
        return {"type": "tool_use", "id": f"toolu_01{self.serial:04d}{tail}", "name": tool, "input": given}

    def say(self, text: str, *calls: dict[str, Any], pause: float | None = None) -> None:
        """Adds one assistant message and makes its changes on the scratch copy."""
        for call in calls:
            if call["name"] in ("Edit", "Write"):
                execute(self.space, call["name"], call["input"])
        think = f"Step {len(self.replies)}: {text} I know enough to go on." if self.thinking and calls else ""
        seconds = self.rng.uniform(2, 20) if pause is None else pause
        self.replies.append(Reply(text, calls, think, round(seconds, 1)))

    def read(self, name: str, **span: int) -> dict[str, Any]:
        """A read of the whole file, or of the beginning of a very long one, unless `span` says otherwise."""
        if not span and name in self.space.original and self.space.original[name].count("\n") > LONG:
            span = {"limit": LONG}
        return self.call("Read", file_path=self.space.shown(name), **span)

    def place(self, name: str) -> tuple[int, str]:
        """A line (number from 1, text) that stands once in the file and can be edited without harm to the syntax."""
        text = self.space.text(name)
        lines = text.split("\n")[:LONG]
        fit = [
            (number, line)
            for number, line in enumerate(lines, 1)
            if line.startswith("    def ") and line.rstrip().endswith(":") and text.count(line + "\n") == 1
        ] or [(n, line) for n, line in enumerate(lines, 1) if line.startswith("def ") and text.count(line + "\n") == 1]
        return self.rng.choice(fit)

    def edit(self, name: str, line: str, note: str) -> dict[str, Any]:
        return self.call("Edit", file_path=self.space.shown(name), old_string=line + "\n",
                         new_string=f"{line}  # {note}\n")  # fmt: skip


class _Tasks:
    """What people ask of a coding agent, over and over, each on another pair of files."""

    def __init__(self, writer: _Writer) -> None:
        self.w = writer
        self.python = [name for name in writer.space.names("lib/**/*.py") if "__main__" not in name]
        self.seen: list[str] = []

    def pick(self) -> str:
        fresh = [name for name in self.python if name not in self.seen and self._editable(name)]
        name = self.w.rng.choice(fresh or self.python)
        self.seen.append(name)
        return name

    def _editable(self, name: str) -> bool:
        return "\n    def " in self.w.space.text(name) or "\ndef " in self.w.space.text(name)

    def explore(self) -> str:
        w, one, two = self.w, self.pick(), self.pick()
        w.say("I will look at the layout first.", w.call("Bash", command="ls -la lib"),
              w.call("Glob", pattern="lib/**/*.py"))  # fmt: skip
        w.say("Now the sizes and where errors are raised.",
              w.call("Bash", command=f"wc -l {one} {two}"),
              w.call("Grep", pattern=r"^\s+raise \w+", output_mode="content", head_limit=120))  # fmt: skip
        w.say("These two decide it; I read both.", w.read(one), w.read(two))
        w.say(f"{one} does the work and {two} leans on it; errors are raised close to where they arise.")
        return f"How is the code in lib/ laid out, and how do {one} and {two} report errors?"

    def change(self) -> str:
        w, name = self.w, self.pick()
        number, line = w.place(name)
        note = f"kept for callers of {line.strip().split('(')[0].removeprefix('def ')}"
        w.say("I note the steps.", w.call("TodoWrite", todos=[
            {"content": f"Read {name}", "status": "in_progress", "activeForm": "Reading"},
            {"content": "Mark the function", "status": "pending", "activeForm": "Marking"},
        ]))  # fmt: skip
        w.say(f"Reading {name}.", w.read(name))
        w.say("The place itself, closer.", w.read(name, offset=max(1, number - 20), limit=60))
        w.say("Now the edit.", w.edit(name, line, note))
        w.say("I check that it stands there and that everything passes.",
              w.read(name, offset=max(1, number - 10), limit=30),
              w.call("Bash", command="python -m check"))  # fmt: skip
        w.say(f"Done: line {number} of {name} says why the function stays.")
        return f"Mark the function near line {number} of {name} so that nobody removes it."

    def debug(self) -> str:
        w, name = self.w, self.pick()
        number, line = w.place(name)
        bad = line.rstrip(":") + " ->:"
        w.say("First the checks as they are.", w.call("Bash", command="python -m check"))
        w.say(f"All pass. I read {name}.", w.read(name))
        w.say("I try a return type.", w.call("Edit", file_path=w.space.shown(name), old_string=line + "\n",
                                             new_string=bad + "\n"))  # fmt: skip
        w.say("And compile it.", w.call("Bash", command=f"python -m py_compile {name}"), pause=45)
        w.say("That does not compile; what is in the old notes?", w.read("NOTES.txt"),
              w.call("Bash", command="python -m check"))  # fmt: skip
        w.say("I take it back.", w.call("Edit", file_path=w.space.shown(name), old_string=bad + "\n",
                                        new_string=line + "\n"))  # fmt: skip
        w.say("And read the file again, to be sure of what is there.", w.read(name),
              w.call("Bash", command="python -m check"))  # fmt: skip
        w.say(f"{name} is as it was and the checks pass; a return type there needs its real name.")
        return f"Can the function at line {number} of {name} say what it returns?"

    def review(self) -> str:
        w = self.w
        old = w.rng.choice(self.seen or self.python)
        w.say("What has changed so far?", w.call("Bash", command="git diff"))
        w.say(f"I read {old} once more.", w.read(old))
        w.say("And who uses it.", w.call("Grep", pattern=Path(old).stem, output_mode="count"))
        w.say("I write the summary down.", w.call("Write", file_path=w.space.shown("REVIEW.md"),
              content=f"# Review\n\nLooked at {old}; {len(self.seen)} files were opened in all.\n"))  # fmt: skip
        w.say("A last look.", w.call("Bash", command="cat REVIEW.md"), w.call("Bash", command="python -m check"))
        w.say(f"The review is in REVIEW.md; {old} needs nothing more.")
        return f"Review what you did, with another look at {old}."

    def longwait(self) -> str:
        w, name = self.w, self.pick()
        w.say("The slow check first.", w.call("Bash", command="python -m check"), pause=420)
        w.say(f"While that was running: {name}.", w.read(name))
        w.say("And the same check again.", w.call("Bash", command="python -m check"))
        w.say("Both runs agree.")
        return f"Run the slow check twice and look at {name} in between."


IDLE = (30.0, 75.0, 410.0, 50.0, 900.0, 120.0, 3700.0, 60.0)


def build(
    seed: int = 1, requests: int = 70, *, thinking: bool = False, compact: bool = False, rewind: bool = False
) -> Session:
    """A session of exactly `requests` requests (a compaction's own request included). With `compact` the client
    summarises its history at two thirds, with `rewind` it takes a prompt back at one third. Raises ValueError when
    `requests` is too small for what is asked."""
    if requests < (24 if compact or rewind else 1):
        raise ValueError(f"{requests} requests are too few")
    with tempfile.TemporaryDirectory() as scratch:
        return _write(seed, requests, thinking, compact, rewind, Workspace(Path(scratch)))


def _write(seed: int, requests: int, thinking: bool, compact: bool, rewind: bool, space: Workspace) -> Session:
    name = f"session-{seed}"
    writer = _Writer(name, space, random.Random(seed), thinking)
    tasks = _Tasks(writer)
    cycle = (tasks.explore, tasks.change, tasks.debug, tasks.review, tasks.longwait)
    prompts: list[Prompt] = []
    scripts: dict[str, list[Reply]] = {}
    script, used, number = name, 0, 0
    history: list[Reply] = []
    starts: list[int] = []
    while used < requests:
        before: Before = ""
        if rewind and prompts and used >= requests // 3:
            before, rewind = "rewind", False
            history = history[: starts.pop()]
            script = f"{name}/rewound"
        elif compact and used >= requests * 2 // 3 and used + 2 <= requests:
            before, compact = "compact", False
            summary = Reply(f"<summary>{len(history)} steps; files read: {', '.join(tasks.seen)}.</summary>")
            scripts[f"{name}/summary"] = [*history, summary]
            history, starts, script = [], [], f"{name}/compacted"
            used += 1
        writer.replies = []
        text = cycle[number % len(cycle)]()
        left = requests - used
        fresh = writer.replies[:left]
        if len(writer.replies) > left:
            fresh[-1] = Reply("That is all for today.")
        starts.append(len(history))
        history = [*history, *fresh]
        scripts[script] = history
        prompts.append(Prompt(text, IDLE[number % len(IDLE)] if number else 0.0, script, before))
        used, number = used + len(fresh), number + 1
    return Session(
        name,
        tuple(prompts),
        {key: [reply.scripted() for reply in replies] for key, replies in scripts.items()},
        {key: [reply.pause for reply in replies] for key, replies in scripts.items()},
        requests,
        thinking,
    )
