"""The agent itself: keeps its transcript, asks, runs the tools it is told to run, and asks again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .request import SUMMARISE, Client, Message
from .session import Session
from .tools import execute
from .transport import Answer, Transport
from .workspace import Workspace

START = 1_780_000_000.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """Request `number` (from 1), the session's own time `at` (epoch seconds) it left, its bytes, and the answer."""

    number: int
    at: float
    answer: Answer


class Agent:
    """One client at work. `label`: under which the fake provider adds up its bills."""

    def __init__(self, session: Session, client: Client, space: Workspace, transport: Transport, label: str) -> None:
        self.session, self.client, self.space, self.transport, self.label = session, client, space, transport, label
        self.transcript: list[Message] = []
        self.clock = START
        self.number = 0
        self._prompts: list[int] = []

    def play(self) -> Iterator[Exchange]:
        """Plays the session to its end, one exchange at a time. Raises what the transport raises, and RuntimeError
        when the model answers something else than its script says."""
        for prompt in self.session.prompts:
            self.clock += prompt.idle
            summary = ""
            if prompt.before == "rewind":
                del self.transcript[self._prompts.pop() :]
            elif prompt.before == "compact":
                yield (exchange := self._compact())
                summary = self._words(exchange.answer)
                self.transcript, self._prompts = [], []
            self._prompts.append(len(self.transcript))
            self._ask(prompt.text, summary)
            while True:
                done = sum(message["role"] == "assistant" for message in self.transcript)
                exchange = self._send(self.transcript, prompt.script, "main")
                self._compare(exchange.answer, self.session.scripts[prompt.script][done])
                self.transcript.append({"role": "assistant", "content": exchange.answer.content})
                calls = [block for block in exchange.answer.content if block["type"] == "tool_use"]
                if calls:
                    self.transcript.append({"role": "user", "content": [self._run(call) for call in calls]})
                    self.clock += self.session.pauses[prompt.script][done]
                yield exchange
                if not calls:
                    break

    def _ask(self, text: str, summary: str) -> None:
        if summary:
            before = {"type": "text", "text": f"This continues an earlier conversation, in short:\n{summary}"}
            self.transcript.append({"role": "user", "content": [before, {"type": "text", "text": text}]})
        else:
            self.transcript.append({"role": "user", "content": text})

    def _compact(self) -> Exchange:
        asked = [*self.transcript, {"role": "user", "content": SUMMARISE}]
        return self._send(asked, f"{self.session.name}/summary", "compaction")

    def _send(self, transcript: list[Message], script: str, request_class: str) -> Exchange:
        self.number += 1
        self.clock += 6.0
        clock = f"{self.clock:.1f}"
        headers = self.client.headers(request_class) | {
            "x-mmu-clock": clock,
            "x-upstream-clock": clock,
            "x-upstream-script": script,
            "x-upstream-session": self.label,
        }
        answer = self.transport.send(self.client.body(transcript, self.number), headers)
        return Exchange(self.number, self.clock, answer)

    def _run(self, call: dict[str, Any]) -> dict[str, Any]:
        text, is_error = execute(self.space, call["name"], call["input"])
        # listings come back as blocks, the rest as plain strings: real clients do both
        content: Any = [{"type": "text", "text": text}] if call["name"] == "Glob" else text
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": content}
        return result | ({"is_error": True} if is_error else {})

    def _words(self, answer: Answer) -> str:
        return "".join(block["text"] for block in answer.content if block["type"] == "text")

    def _compare(self, answer: Answer, reply: dict[str, Any]) -> None:
        got = [block for block in answer.content if block["type"] != "thinking"]
        meant = [block for block in reply["content"] if block["type"] != "thinking"]
        if got != meant:
            raise RuntimeError(f"request {self.number}: the client got {got}, the model said {meant}")
