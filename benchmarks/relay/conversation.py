"""A client's side of one conversation: enough tool results to evict, a long pause, and one request after another."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.filler import prose

MODEL = "claude-opus-4-8"
PAGES = 7
"""Results that are evicted, and so can be recalled."""
_RESULTS = PAGES + 1
_TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("Bash", "Read")]
_MARK = {"cache_control": {"type": "ephemeral"}}


class Conversation:
    """What the client sends, request after request. `name` makes it unlike any other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": f"Begin with {name}."}]
        self._now = 1_000_000.0
        for number in range(_RESULTS):
            self._say({"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": {"command": f"{number}"}})
            self.answer(f"toolu_{number}", page(name, number))
        self.heard([{"type": "text", "text": "Done."}])

    def heard(self, content: list[dict[str, Any]]) -> None:
        """Take in an answer, and have the human say something."""
        self._say(*content)
        self.messages.append({"role": "user", "content": f"Go on, {len(self.messages)}."})

    def called(self, content: list[dict[str, Any]], result: str) -> None:
        """Take in an answer that ends in a call, and answer it."""
        self._say(*content)
        self.answer(content[-1]["id"], result)

    def answer(self, call: str, result: str) -> None:
        content = [{"type": "tool_result", "tool_use_id": call, "content": result}]
        self.messages.append({"role": "user", "content": content})

    def pause(self) -> None:
        """Be away until the provider's cache is cold."""
        self._now += 4000

    def body(self) -> bytes:
        """The next request."""
        *earlier, last = self.messages
        content = last["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        marked = {**last, "content": [*blocks[:-1], {**blocks[-1], **_MARK}]}
        body = {"model": MODEL, "max_tokens": 8000, "tools": _TOOLS, "messages": [*earlier, marked], "stream": True}
        return json.dumps(body, separators=(",", ":")).encode()

    def headers(self) -> dict[str, str]:
        """Of the next request: whose it is, and the time."""
        self._now += 5
        clock = str(self._now)
        return {"x-upstream-session": self.name, "x-upstream-clock": clock, "x-mmu-clock": clock}

    def _say(self, *content: dict[str, Any]) -> None:
        self.messages.append({"role": "assistant", "content": list(content)})


def page(name: str, number: int) -> str:
    """The text of a result."""
    return prose(f"{name}, result {number}", 3000)
