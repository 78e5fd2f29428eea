"""An agent without any library: it sends exactly what a client would, and the test says what the model answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.e2e.world import World
from tests.upstream import Record

TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("Bash", "Read")]
HANDLE = re.compile(r"\[mmu page ([a-z0-9-]+): ")
REFUSAL = "<tool_use_error>Error: No such tool available: mmu_recall</tool_use_error>"


NONE: Mapping[str, str] = {}

type Send = Callable[[dict[str, Any], dict[str, str]], list[dict[str, Any]]]
"""Sends a body with headers; returns the blocks of the answer."""


class Model:
    """One conversation. `send` is how it leaves; without one it is a plain post."""

    def __init__(
        self,
        there: World,
        model: str,
        *,
        thinking: bool = False,
        headers: Mapping[str, str] = NONE,
        send: Send | None = None,
    ) -> None:
        self.there, self.model, self.thinking, self.headers = there, model, thinking, headers
        self.send = send or self._post
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
        self.now = 1_000_000.0
        self.extra: dict[str, Any] = {}
        """More members of the request."""
        self.reply: dict[str, Any] = {}
        self.then: list[dict[str, Any]] = []
        """What the model answers next, request by request; the last one again when there are no more."""
        there.up.script("recall", lambda _: self._next())

    def ask(self, *content: dict[str, Any], idle: float = 5.0) -> list[dict[str, Any]]:
        """One request, answered with these blocks. Returns the blocks."""
        self.reply = {"content": [*self.thought(), *content]}
        return self.request(idle)

    def _next(self) -> dict[str, Any]:
        if self.then:
            self.reply = self.then.pop(0)
        return self.reply

    def thought(self) -> list[dict[str, Any]]:
        return [{"type": "thinking", "thinking": f"hm {len(self.messages)}"}] if self.thinking else []

    def request(self, idle: float = 5.0) -> list[dict[str, Any]]:
        """Sends the transcript and takes the answer into it."""
        self.now += idle
        messages = json.loads(json.dumps(self.messages))
        if isinstance(messages[-1]["content"], str):
            messages[-1]["content"] = [{"type": "text", "text": messages[-1]["content"]}]
        messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        body = {"model": self.model, "max_tokens": 1000, "tools": TOOLS, "messages": messages, **self.extra}
        clock = str(self.now)
        headers = {"x-upstream-script": "recall", "x-upstream-session": "m", "x-upstream-clock": clock, **self.headers}
        said = self.send(body, {**headers, "x-mmu-clock": clock})
        self.messages.append({"role": "assistant", "content": said})
        return said

    def _post(self, body: dict[str, Any], headers: dict[str, str]) -> list[dict[str, Any]]:
        status, answer = self.there.post(json.dumps(body).encode(), headers)
        assert status == 200, answer
        said: list[dict[str, Any]] = json.loads(answer)["content"]
        return said

    def call(self, tool: str, arguments: dict[str, Any], result: str, idle: float = 5.0, **more: Any) -> None:
        """The model calls one tool, and the client answers."""
        said = self.ask({"type": "tool_use", "name": tool, "input": arguments}, idle=idle)
        answered = {"type": "tool_result", "tool_use_id": said[-1]["id"], "content": result, **more}
        self.messages.append({"role": "user", "content": [answered]})

    def recall(self, **arguments: Any) -> None:
        self.call("mmu_recall", arguments, REFUSAL, is_error=True)

    def human(self, idle: float) -> None:
        self.ask({"type": "text", "text": "Done."})
        self.messages.append({"role": "user", "content": "go on"})
        self.now += idle

    def seen(self) -> list[Record]:
        return self.there.seen("m")

    def last(self) -> Any:
        return json.loads(self.seen()[-1].body)

    def result(self, message: int) -> Any:
        return self.last()["messages"][message]["content"][-1]


def output(n: int) -> str:
    return "\n".join(f"row {k} of output {n}, in full" for k in range(80))


def evicted(model: Model, first: int = 0) -> str:
    """Let outputs be evicted; the id of the first one's page."""
    for n in range(first, first + 8):
        model.call("Bash", {"command": f"make {n}"}, output(n))
    model.human(4000)
    model.ask({"type": "text", "text": "I see handles."})
    model.messages.append({"role": "user", "content": "so?"})
    found = HANDLE.match(model.result(2)["content"])
    assert found, "nothing was evicted"
    return found[1]
