"""Recordings as the programs write them, made here. Every ¤ is one token, and nothing else weighs anything."""

from __future__ import annotations

import json
from collections import Counter as Tally
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from addon.audit.recorded import Session
from addon.audit.sources import Sources, files
from addon.audit.waste import Figures, measure
from addon.mmu.tokens import Counter

Json = dict[str, Any]


def counter() -> Counter:
    return Counter(lambda text: text.count("¤"))


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def write(path: Path, lines: list[Json]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def read(*paths: Path) -> tuple[list[Session], Tally[str]]:
    skipped: Tally[str] = Tally()
    return list(Sources(counter(), skipped).sessions(files(paths))), skipped


def keeping(*paths: Path) -> list[Session]:
    """The sessions, with what a replay needs of them."""
    return list(Sources(counter(), Tally(), keep=True).sessions(files(paths)))


def near(amount: float) -> Any:
    return pytest.approx(amount)


def measured(session: Session) -> Figures:
    return measure(session, counter())


class Claude:
    """A transcript of Claude Code, line by line; every line a second after the one before it."""

    def __init__(self, prefix: str = "a", **common: Any) -> None:
        self.lines: list[Json] = [{"type": "file-history-snapshot", "messageId": "f", "snapshot": {}}]
        self.common = {"sessionId": "s", "isSidechain": False, "cwd": "/w", **common}
        self.prefix = prefix
        self.at = 1_000_000.0
        self.last: str | None = None

    def line(self, kind: str, **more: Any) -> str:
        self.at += 1
        name = f"{self.prefix}-{len(self.lines)}"
        base = {"type": kind, "uuid": name, "parentUuid": self.last, "timestamp": stamp(self.at)}
        self.lines.append({**base, **self.common, **more})
        self.last = name
        return name

    def user(self, content: Any, **more: Any) -> str:
        return self.line("user", message={"role": "user", "content": content}, **more)

    def says(self, identity: str, *blocks: Json, prompt: int = 0, usage: Json | None = None, **more: Any) -> str:
        if prompt:
            usage = {"input_tokens": 1, "cache_read_input_tokens": prompt - 1, "output_tokens": 1}
        message = {"id": identity, "role": "assistant", "model": "claude-opus-4-5", "content": list(blocks)}
        return self.line("assistant", message={**message, "usage": usage}, **more)

    def result(self, call: str, text: str, **more: Any) -> str:
        return self.user([{"type": "tool_result", "tool_use_id": call, "content": text}], **more)


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def call(identity: str, name: str, **arguments: Any) -> Json:
    return {"type": "tool_use", "id": identity, "name": name, "input": arguments}
