"""The model that the provider plays. What it is to say stands in headers, so that a client in another process knows it.

An answer of R recalls is R rounds that end in a call of the hidden tool, each for the next page, and a last one that
ends the turn. The client must find the words of all rounds, once each and in order, and nothing else. A page that is
not byte for byte the one that was evicted is answered with an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addon.mmu.page import NAME
from benchmarks.filler import prose
from benchmarks.relay.conversation import page
from tests.upstream.message import build, events
from tests.upstream.script import Reply, Request

SCRIPT = "relay"
_HANDLE = re.compile(r"\[mmu page ([a-z0-9-]+): ")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the model is to say: `words` bytes of text over all, `recalls` of the pages from number `page` on, or one
    call of the client's tool. `think_ms` is waited before the answer, `delay_ms` before each event."""

    name: str
    words: int
    recalls: int = 0
    page: int = 0
    calls: bool = False
    think_ms: int = 0
    delay_ms: int = 0

    def headers(self) -> dict[str, str]:
        return {
            "x-upstream-script": SCRIPT,
            "x-bench-name": self.name,
            "x-bench-words": str(self.words),
            "x-bench-recalls": str(self.recalls),
            "x-bench-page": str(self.page),
            "x-bench-calls": str(int(self.calls)),
            "x-bench-think": str(self.think_ms),
            "x-bench-delay": str(self.delay_ms),
        }

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Wanted:
        """The inverse of `headers`."""
        numbers = (headers[f"x-bench-{key}"] for key in ("words", "recalls", "page", "calls", "think", "delay"))
        words, recalls, page, calls, think, delay = map(int, numbers)
        return cls(headers["x-bench-name"], words, recalls, page, bool(calls), think, delay)

    def said(self, number: int) -> str:
        """The text of one round."""
        return prose(f"{self.name} {number}", self.words // (self.recalls + 1))

    def heard(self) -> list[str]:
        """The texts that the client must find."""
        return [self.said(number) for number in range(self.recalls + 1)]

    def round(self, number: int, pages: Sequence[str]) -> list[dict[str, Any]]:
        """The blocks of one round; `pages` are the ids in the order of their handles."""
        content: list[dict[str, Any]] = [{"type": "text", "text": self.said(number)}]
        if number < self.recalls:
            content.append({"type": "tool_use", "name": NAME, "input": {"page": pages[self.page + number]}})
        elif self.calls:
            content.append({"type": "tool_use", "name": "Bash", "input": {"command": self.name}})
        return content

    @property
    def seconds(self) -> float:
        """How long the provider takes to say it, if it does nothing but wait before its events."""
        pages = ["0" * 24] * (self.page + self.recalls)
        rounds = [build("", "", self.round(n, pages), {"output_tokens": 0}, {}) for n in range(self.recalls + 1)]
        return self.delay_ms / 1000 * sum(1 for message in rounds for _ in events(message))


def speak(request: Request) -> Reply:
    """The reply to one request, to be registered with the provider as SCRIPT."""
    wanted = Wanted.of(request.headers)
    messages = request.body["messages"]
    pages = list(dict.fromkeys(_HANDLE.findall(json.dumps(messages))))
    number = _recalled(messages)
    if number and messages[-1]["content"][-1]["content"] != page(request.label, wanted.page + number - 1):
        return {"error": {"status": 500, "message": "that is not the page that was asked for"}}
    content = wanted.round(number, pages)
    return {"content": content, "think_ms": wanted.think_ms, "delay_ms": wanted.delay_ms}


def _recalled(messages: list[dict[str, Any]]) -> int:
    """How many recalls were answered since the client's last word."""
    count = 0
    for message in messages[-2::-2]:
        content = message["content"]
        if isinstance(content, str) or not any(block.get("name") == NAME for block in content):
            break
        count += 1
    return count
