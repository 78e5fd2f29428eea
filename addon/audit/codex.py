"""Codex's rollouts, `~/.codex/sessions/**/*.jsonl`: the items of the Responses API, one a line, among events.

What was asked is rebuilt: the model's side said what it did in a row, asked with all that stood before it. A line
`compacted` puts another history in place of it. The instructions are in the first line, the tools are not in the file.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from addon.audit.claude_code import seconds
from addon.audit.recorded import Head, Line, Request, Session, parts, turns
from addon.mmu.tokens import Counter
from addon.wire import responses
from addon.wire.openai_common import count, usage
from addon.wire.read import hashed
from addon.wire.scan import Malformed

CLIENT = "codex"
KINDS = {"compacted", "event_msg", "response_item", "session_meta", "turn_context"}


def is_line(entry: dict[str, Any]) -> bool:
    """Whether a line of JSON is from such a file."""
    return entry.get("type") in KINDS and "payload" in entry


class Reader:
    """Reads such files; `skipped` counts what was not understood."""

    def __init__(self, counter: Counter, skipped: Tally[str]) -> None:
        self._counter, self._skipped = counter, skipped

    def read(self, entries: Iterable[dict[str, Any]], name: str) -> list[Session]:
        """The session of one file, `name` without its folder."""
        rollout = _Rollout(name, self._counter)
        for entry in entries:
            try:
                rollout.take(entry["type"], entry["payload"], seconds(entry.get("timestamp")))
            except (Malformed, AttributeError, TypeError, KeyError):
                self._skipped["lines not understood"] += 1
        return [rollout.session] if rollout.session.requests else []


class _Rollout:
    def __init__(self, name: str, counter: Counter) -> None:
        self.session = Session(name, CLIENT, [Line()])
        self.counter = counter
        self.head = Head()
        self.model = ""
        self.at: float | None = None

    @property
    def line(self) -> Line:
        return self.session.lines[-1]

    def take(self, kind: str, payload: dict[str, Any], at: float | None) -> None:
        if kind == "session_meta":
            given = payload.get("base_instructions") or payload.get("instructions")
            words = given.get("text") if isinstance(given, dict) else given
            if isinstance(words, str):
                self.head = Head(hashed(words), self.counter.count(words))
        elif kind == "turn_context":
            self.model = str(payload.get("model") or self.model)
        elif kind == "response_item":
            self.item(payload, asks=True)
            self.at = at or self.at
        elif kind == "compacted":
            self.compacted(payload)
        elif payload.get("type") == "token_count":
            self.reported(payload)

    def item(self, item: dict[str, Any], *, asks: bool) -> None:
        if item.get("role") in responses.INSTRUCTIONS:
            item = {**item, "role": "user"}  # what stands at the head of a list alone would be instructions
        for turn in turns(responses, {"input": [item]}, self.counter):
            turn.parts = parts([item])
            last = self.line.turns[-1] if self.line.turns else None
            if turn.message.role != "assistant":
                self.line.turns.append(turn)
            elif last is not None and last.message.role == "assistant":
                last.message = replace(last.message, blocks=[*last.message.blocks, *turn.message.blocks])
                last.tokens += turn.tokens
                last.parts += turn.parts
            else:
                if asks:
                    self.line.requests.append(Request(self.at, len(self.line.turns), self.head, self.model))
                self.line.turns.append(turn)

    def compacted(self, payload: dict[str, Any]) -> None:
        """Where the new history is not told, it is what the user said and the summary."""
        history = payload.get("replacement_history")
        kept = [] if history else [turn for turn in self.line.turns if turn.message.role == "user"]
        self.session.lines.append(Line(kept))
        for item in history or [{"type": "message", "role": "user", "content": payload["message"]}]:
            self.item(item, asks=False)

    def reported(self, payload: dict[str, Any]) -> None:
        report = (payload.get("info") or {}).get("last_token_usage")
        if report and self.line.requests:
            self.line.requests[-1].usage = usage(
                count(report, "input_tokens"),
                count(report, "cached_input_tokens"),
                count(report, "cache_write_input_tokens"),
                count(report, "output_tokens"),
            )
