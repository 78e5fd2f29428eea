"""How the client spells a transcript: the Messages request of a coding agent, quirks included.

The quirks matter to whoever stands in between: the first system block changes in every request, the cache breakpoint
sits on the last content block of the last message and moves on with it, and a message's content is a list of blocks
while the breakpoint is there and a plain string again afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .prose import sentences
from .schemas import tools
from .workspace import ROOT

type Message = dict[str, Any]

SUMMARISE = (
    "Write a summary of this conversation from which the work can go on: what was asked, which files were read or "
    "changed, what is still open. Answer with the text inside <summary> tags and call no tools."
)


@dataclass(frozen=True, slots=True)
class Client:
    """What one installed client always sends. `ttl`: "" for the provider's default of five minutes, or "1h".
    `environment`: where the work folder is named, in the last system block or in a message of its own."""

    session: str
    model: str = "claude-opus-5"
    ttl: str = ""
    thinking: bool = False
    stream: bool = True
    environment: str = "system"
    tools: list[dict[str, Any]] = field(default_factory=tools)

    def headers(self, request_class: str) -> dict[str, str]:
        return {
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
            "user-agent": "claude-cli/2.1.330 (external, cli)",
            "x-app": "cli",
            "x-claude-code-session-id": self.session,
            "x-claude-code-request-class": request_class,
        }

    def body(self, transcript: Sequence[Message], number: int) -> dict[str, Any]:
        """The request for a transcript; `number` counts the session's requests and only moves the billing block."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(transcript),
            "system": self._system(number),
            "tools": self.tools,
            "metadata": {"user_id": json.dumps({"device_id": "d" * 16, "session_id": self.session})},
            "max_tokens": 32000,
        }
        if self.thinking:
            body["thinking"] = {"type": "adaptive"}
        if self.stream:
            body["stream"] = True
        return body

    def _mark(self) -> dict[str, str]:
        return {"type": "ephemeral", "ttl": self.ttl} if self.ttl else {"type": "ephemeral"}

    def _system(self, number: int) -> list[dict[str, Any]]:
        changing = hashlib.sha256(f"{self.session}/{number}".encode()).hexdigest()
        version = f"cc_version=2.1.330.{changing[5:8]}; cc_entrypoint=cli; cch={changing[:5]};"
        blocks: list[dict[str, Any]] = [
            {"type": "text", "text": f"x-anthropic-billing-header: {version}"},
            {"type": "text", "text": "You are a coding agent at work in a terminal."},
            {"type": "text", "text": sentences("system", 7000), "cache_control": self._mark()},
        ]
        if self.environment == "system":
            text = f"{sentences('session', 1500)}\n\n{self._where()}"
            blocks.append({"type": "text", "text": text, "cache_control": self._mark()})
        return blocks

    def _where(self) -> str:
        return f"# Environment\nPrimary working directory: {ROOT}\nIs a git repository: true\nPlatform: linux"

    def _messages(self, transcript: Sequence[Message]) -> list[Message]:
        out = [dict(message) for message in transcript]
        if self.environment == "message":
            out.insert(1, {"role": "system", "content": self._where()})
        content = out[-1]["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        out[-1]["content"] = [*blocks[:-1], {**blocks[-1], "cache_control": self._mark()}]
        return out
