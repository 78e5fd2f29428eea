"""Claude Code's transcripts, `~/.claude/projects/*/*.jsonl`: one message, or one block of an answer, a line.

Blocks of one answer share the message's id; results of calls made side by side may stand between them. What was asked
is not recorded, so it is rebuilt: an answer was asked for with all that stood before it, back to the last compaction.
System prompt, tools and most reminders are not in the file.

Sub-agents are sessions of their own, in a file of their own, as side chains of the same file, or inside of `progress`
lines. A resumed session may begin with a copy of another: answers whose ids are known from there were paid for there.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from addon.audit.recorded import Head, Line, Request, Session, Turn, parts, turns
from addon.mmu.tokens import Counter
from addon.wire import anthropic
from addon.wire.conversation import Kind
from addon.wire.scan import Malformed

CLIENT = "claude-code"
KINDS = {
    "agent-name", "ai-title", "assistant", "attachment", "custom-title", "file-history-snapshot", "last-prompt", "mode",
    "permission-mode", "pr-link", "progress", "queue-operation", "summary", "system", "tag", "user",
}  # fmt: skip
"""Types of lines met in the field."""

CLEARED = "[Old tool result content cleared]"
"""What stands in place of a result that the client has cleared."""


def is_line(entry: dict[str, Any]) -> bool:
    """Whether a line of JSON is from such a file."""
    return entry.get("type") in KINDS and "payload" not in entry


def seconds(stamp: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time; None for anything else."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return None


def spoken(role: str, content: Any, counter: Counter) -> list[Turn]:
    """A message of a transcript. Raises Malformed."""
    found = turns(anthropic, {"messages": [{"role": role, "content": content}]}, counter)
    found[0].parts = parts([{"type": "text", "text": content}] if isinstance(content, str) else content)
    return found


class _Chain:
    """The transcript of one agent, as far as it has been read."""

    def __init__(self, name: str, *, sub: bool) -> None:
        self.session = Session(name, CLIENT, [Line()], sub=sub)
        self.at: float | None = None
        self.spoken: dict[str, tuple[Turn, Request | None]] = {}
        self.places: dict[str, int] = {}
        """For each line's id, how many turns stood there behind it."""

    @property
    def line(self) -> Line:
        return self.session.lines[-1]

    def begin(self, kept: list[Turn]) -> None:
        """From here on, only these turns of the line are sent."""
        self.session.lines.append(Line(kept))
        self.places = {name: at for name, at in self.places.items() if at <= len(kept)}

    def rewinds(self, entry: dict[str, Any]) -> None:
        """The user may have gone back: what they say then follows an earlier line than the last answer."""
        place = self.places.get(str(entry.get("parentUuid")))
        if place is not None and any(turn.message.role == "assistant" for turn in self.line.turns[place:]):
            self.begin(self.line.turns[:place])

    def clears(self, calls: Iterable[Any], counter: Counter) -> None:
        """The client no longer sends the results of these calls."""
        gone = set(calls)
        kept: list[Turn] = []
        for turn in self.line.turns:
            if any(b.kind is Kind.RESULT and b.call in gone for b in turn.message.blocks):
                content = [
                    {"type": "tool_result", "tool_use_id": b.call, "content": CLEARED if b.call in gone else b.text}
                    for b in turn.message.blocks
                    if b.kind is Kind.RESULT
                ]
                [turn] = spoken("user", content, counter)
            kept.append(turn)
        self.begin(kept)


class Reader:
    """Reads such files, one after the other; `skipped` counts what was not understood."""

    def __init__(self, counter: Counter, skipped: Tally[str]) -> None:
        self._counter, self._skipped = counter, skipped
        self._paid: set[str] = set()

    def read(self, entries: Iterable[dict[str, Any]], name: str) -> list[Session]:
        """The sessions of one file, `name` without its folder."""
        chains: dict[str, _Chain] = {}
        side: dict[str, str] = {}
        for entry in entries:
            inner = entry.get("data")
            agent = str(entry.get("agentId") or "") if entry.get("isSidechain") else ""
            if entry.get("type") == "progress":
                if not isinstance(inner, dict) or not isinstance(inner.get("message"), dict):
                    continue
                agent, entry = str(inner.get("agentId") or "agent"), inner["message"]
            elif entry.get("isSidechain") and not agent:
                # Without a name, a side chain goes by the line that it began with.
                own = str(entry.get("uuid"))
                agent = side[own] = side.get(str(entry.get("parentUuid")), own)
            titled = name if name.endswith(agent) else f"{name}/{agent}"
            chain = chains.setdefault(agent, _Chain(titled, sub=bool(agent)))
            try:
                self._take(chain, entry)
            except (Malformed, AttributeError, TypeError, KeyError):
                self._skipped["lines not understood"] += 1
        return [chain.session for chain in chains.values() if chain.session.requests]

    def _take(self, chain: _Chain, entry: dict[str, Any]) -> None:
        kind, message = entry.get("type"), entry.get("message")
        if kind == "system":
            if entry.get("subtype") == "compact_boundary":
                chain.begin([])
            elif entry.get("subtype") == "microcompact_boundary":
                chain.clears(entry["microcompactMetadata"].get("compactedToolIds", ()), self._counter)
        elif kind == "user" and message is not None:
            if entry.get("isCompactSummary") and chain.line.turns:
                chain.begin([])
            content = message["content"]
            spoken = isinstance(content, str) or not any(part.get("type") == "tool_result" for part in content)
            if spoken and not entry.get("isMeta"):
                chain.rewinds(entry)
            chain.line.turns += self._turns("user", content)
            chain.at = seconds(entry.get("timestamp")) or chain.at
        elif kind == "assistant" and message is not None:
            if entry.get("isApiErrorMessage") or message.get("model") == "<synthetic>":
                return
            self._answer(chain, entry, message)
        chain.places[str(entry.get("uuid"))] = len(chain.line.turns)

    def _answer(self, chain: _Chain, entry: dict[str, Any], message: dict[str, Any]) -> None:
        identity = str(message.get("id") or entry.get("uuid"))
        said = self._turns("assistant", message["content"])[0]
        turn, request = chain.spoken.get(identity, (None, None))
        if turn is not None:
            turn.message = replace(turn.message, blocks=[*turn.message.blocks, *said.message.blocks])
            turn.tokens += said.tokens
            turn.parts += said.parts
        else:
            if identity not in self._paid:
                self._paid.add(identity)
                request = Request(chain.at, len(chain.line.turns), Head(), str(message.get("model", "")))
                chain.line.requests.append(request)
            chain.line.turns.append(said)
            chain.spoken[identity] = said, request
        if request is not None:
            request.usage = anthropic.whole_usage(message) or request.usage
        chain.at = seconds(entry.get("timestamp")) or chain.at

    def _turns(self, role: str, content: Any) -> list[Turn]:
        return spoken(role, content, self._counter)
