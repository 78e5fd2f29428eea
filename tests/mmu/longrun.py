"""A long session without prompt caching: an agent that reads what it needs where it does not see it.

Most of a prompt is what tools answered: files, and the output of tests and searches. The agent works on a few files for
a while, then on others, and now and then on one of long ago. It needs a line of a file before it changes it, and looks
for that line in what was really sent: a page that is missing makes it read again, a request it would not have made.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from addon.mmu.evict import Policy
from addon.mmu.plan import Plan, plan, rewrite, told
from addon.mmu.view import View, restore
from addon.recall.offer import offer
from addon.wire import anthropic
from addon.wire.usage import Usage
from benchmarks.filler import COMMON_TOOLS, WORDS, prose, schemas
from benchmarks.rebuild import encode

Json = dict[str, Any]
FILES = 60
PHASE = 25
"""Requests for which the agent works on the same files."""
AT_ONCE = 3
"""Files that it works on."""


def _words(rng: random.Random, least: int, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


@dataclass
class Agent:
    """The agent under a policy, None for a proxy that does nothing."""

    policy: Policy | None
    seed: int
    messages: list[Json] = field(default_factory=lambda: [{"role": "user", "content": "Please make all tests pass."}])
    sizes: list[int] = field(default_factory=list)
    """Bytes sent, by request."""
    missed: int = 0
    """Reads of what had been shown, and was no longer."""
    pages: dict[str, str] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    seen: str = ""
    """What was last sent."""

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        self.files = {f"/w/src/part{n}.py": self.source(rng.randint(80, 320)) for n in range(FILES)}
        self.tools = schemas([(name, {}) for name in COMMON_TOOLS[:8]], 12_000, 8)
        self.system = prose("system", 6_000)
        self.view: View | None = None
        self.shown: set[str] = set()
        self.works: list[str] = []

    def source(self, lines: int) -> list[str]:
        rng = self.rng
        return [f"    {rng.choice(WORDS)}_{rng.randrange(10**6)} = {_words(rng, 3, 8)}" for _ in range(lines)]

    def run(self, requests: int) -> None:
        """Works for so many requests."""
        steps = self.steps()
        while len(self.sizes) < requests:
            self.ask()
            name, given, answer = next(steps)
            call = f"toolu_{len(self.messages):08d}"
            said = [
                {"type": "text", "text": _words(self.rng, 5, 30)},
                {"type": "tool_use", "id": call, "name": name, "input": given},
            ]
            self.messages.append({"role": "assistant", "content": said})
            result = {"type": "tool_result", "tool_use_id": call, "content": answer}
            self.messages.append({"role": "user", "content": [result]})

    def steps(self) -> Iterator[tuple[str, Json, str]]:
        """Calls with their answers, one a request."""
        rng = self.rng
        while True:
            if not self.works or len(self.sizes) // PHASE * AT_ONCE >= len(self.shown):
                older = sorted(set(self.files) - set(self.works))
                self.works = rng.sample(older, AT_ONCE)
            began = len(self.sizes)
            while len(self.sizes) < began + PHASE:
                path = rng.choice(self.works)
                at = rng.randrange(len(self.files[path]))
                line = self.files[path][at]
                if json.dumps(line)[1:-1] not in self.seen:
                    self.missed += path in self.shown
                    yield self.read(path)
                if rng.random() < 0.6:
                    changed = f"{line} + {_words(rng, 1, 2)}"
                    self.files[path][at] = changed
                    given = {"file_path": path, "old_string": line, "new_string": changed}
                    yield "Edit", given, f"The file {path} has been updated."
                    if rng.random() < 0.15:
                        yield self.read(path)
                yield self.command()
                yield self.command()
            self.works = rng.sample(sorted(set(self.files) - set(self.works)), AT_ONCE - 1) + self.works[:1]

    def read(self, path: str) -> tuple[str, Json, str]:
        self.shown.add(path)
        return "Read", {"file_path": path}, "\n".join(f"{n:>6}\t{line}" for n, line in enumerate(self.files[path], 1))

    def command(self) -> tuple[str, Json, str]:
        rng = self.rng
        command = rng.choice(["python -m pytest -q", f"grep -rn {rng.choice(WORDS)} src", "git diff", "make lint"])
        lines = [f"{_words(rng, 4, 9)} {rng.randrange(10**6)}" for _ in range(rng.randint(60, 400))]
        return "Bash", {"command": command}, "\n".join(lines)

    def ask(self) -> None:
        """One request. What leaves can be restored to the byte."""
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 32_000,
            "system": self.system,
            "tools": self.tools,
            "messages": self.messages,
        }
        raw = encode(body)
        sent = raw if self.policy is None else self.planned(raw, self.policy)
        self.seen = sent.decode()
        self.sizes.append(len(sent))

    def planned(self, raw: bytes, policy: Policy) -> bytes:
        known = [self.view] if self.view is not None else []
        made = plan(
            anthropic.parse(raw),
            known,
            1e6 + 20.0 * len(self.sizes),
            policy,
            lambda words, _: len(words) // 4,
            "line",
            offer=offer(anthropic),
        )
        self.plans.append(made)
        self.pages.update((page.id, page.text) for page in made.pages)
        out = rewrite(anthropic.parse(raw), made.table, made.splices)
        assert restore(anthropic.parse(out), made.splices, self.pages).encode() == raw
        state = told(made.view, Usage(fresh=len(out) // 4))
        self.view = replace(made.view, state={**made.view.state, **state})
        return out
