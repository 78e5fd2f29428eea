"""From a recorded session to the requests its client sent, in Anthropic Messages form.

The recording holds messages, times and usage. Generated around them are what every client sends besides: system prompt,
tool schemas, cache breakpoints, a billing line that changes per request. A recorded gap that a provider would refuse (a
call without its result, an empty text) is closed or dropped, and counted. A session of another API is spelled the same
way and priced as REPLAY_MODEL: what is measured there is how contexts grow, not that provider's tariff.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.filler import prose, schemas
from benchmarks.fit import Ratio, fit
from benchmarks.traces import Block, Event, Json, Trace, Usage

REPLAY_MODEL = "claude-sonnet-4-5-20250929"
CLEARED = "[Old tool result content cleared]"
UNANSWERED = "[Request interrupted by user for tool use]"
# median of the sessions whose own figures give a straight line
USUAL_RATIO = {"claude-code": 2.9, "codex": 4.1}
TOOLS_BYTES = (15_000, 60_000)
SYSTEM_BYTES = (2_000, 30_000)
REMINDER_BYTES = (0, 40_000)
BILLING = "x-anthropic-billing-header: cc_version=2.1.63.5a1; cc_entrypoint=cli; cch="


@dataclass(slots=True)
class Repairs:
    """What had to be changed so that a provider accepts the recording; each is a number of blocks or replies."""

    unanswered_calls: int = 0
    orphan_results: int = 0
    empty_texts: int = 0
    empty_replies: int = 0

    def total(self) -> int:
        return self.unanswered_calls + self.orphan_results + self.empty_texts + self.empty_replies


@dataclass(frozen=True, slots=True)
class Turn:
    """One request and its recorded reply.

    The request sends the first `upto` messages of `segment`; the client had cleared the results named in `cleared`.
    `usage` is what the real provider reported. `warm` names the part of the head that other sessions had cached: "",
    "tools" or "system" (tools and system).
    """

    index: int
    segment: int
    upto: int
    at: float
    ttl: str
    cleared: frozenset[str]
    warm: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Session:
    """A recorded session as requests. `segments` hold messages, user and assistant in turn, without cache marks."""

    name: str
    client: str
    model: str
    sub_agent: bool
    tools: tuple[dict[str, Json], ...]
    system: tuple[str, ...]
    segments: tuple[tuple[dict[str, Json], ...], ...]
    turns: tuple[Turn, ...]
    ratio: Ratio
    repairs: Repairs

    def reply(self, turn: Turn) -> list[Block]:
        """The content of the recorded answer to `turn`."""
        content: list[Block] = self.segments[turn.segment][turn.upto]["content"]
        return content

    def body(self, turn: Turn, history: Sequence[Mapping[str, Json]] | None = None) -> dict[str, Json]:
        """The request body of `turn`; `history` stands in for the segment (a client sends back what it received)."""
        mark = {"type": "ephemeral", "ttl": "1h"} if turn.ttl == "1h" else {"type": "ephemeral"}
        messages = [_sent(m, turn.cleared) for m in (history or self.segments[turn.segment])[: turn.upto]]
        last = messages[-1]
        if isinstance(last["content"], str):
            last["content"] = [{"type": "text", "text": last["content"]}]
        last["content"] = [*last["content"][:-1], {**last["content"][-1], "cache_control": mark}]
        system: list[Block] = [{"type": "text", "text": text} for text in self.system]
        system[-1] = {**system[-1], "cache_control": mark}
        if self.client == "claude-code":
            stamp = hashlib.sha256(f"{self.name}/{turn.index}".encode()).hexdigest()[:5]
            system.insert(0, {"type": "text", "text": f"{BILLING}{stamp};"})
        body: dict[str, Json] = {
            "model": self.model,
            "messages": messages,
            "system": system,
            "tools": list(self.tools),
            "max_tokens": 32000,
            "stream": True,
        }
        if self.client == "claude-code":
            body["metadata"] = {"user_id": json.dumps({"device_id": "replay", "session_id": self.session_id})}
        if any(block.get("type") == "thinking" for m in messages for block in blocks_of(m)):
            body["thinking"] = {"type": "enabled", "budget_tokens": 16000}
        return body

    @property
    def session_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.name))

    def headers(self) -> dict[str, str]:
        """What the client says about itself in every request, besides the content type."""
        headers = {"x-api-key": "replay", "anthropic-version": "2023-06-01"}
        if self.client == "claude-code":
            headers["user-agent"] = "claude-cli/2.1.63 (external, cli)"
            headers["x-claude-code-session-id"] = self.session_id
            headers["x-claude-code-request-class"] = "subagent" if self.sub_agent else "main"
            if self.sub_agent:
                headers["x-claude-code-agent-id"] = self.session_id[:8]
        return headers

    def priming(self, turn: Turn) -> dict[str, Json]:
        """A request of another session that warms what `turn.warm` names and nothing of the conversation."""
        body = self.body(turn)
        mark = body["system"][-1]["cache_control"]
        body["messages"] = [{"role": "user", "content": "hello"}]
        body["stream"] = False
        body["max_tokens"] = 1
        body.pop("thinking", None)
        if turn.warm == "tools":
            body["tools"] = [*body["tools"][:-1], {**body["tools"][-1], "cache_control": mark}]
            del body["system"]
        return body


def encode(value: Json) -> bytes:
    """JSON as JavaScript clients write it: no white space, text not escaped, lone surrogates escaped."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def blocks_of(message: Mapping[str, Json]) -> list[Block]:
    """The content of a message as blocks, also where it is spelled as one string."""
    content: str | list[Block] = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def rebuild(trace: Trace, thinking: bool = False, model: str = "") -> Session:
    """The requests of a recorded session.

    With `thinking`, replies hold generated reasoning of the recorded length, for the server to sign. `model` takes the
    place of the recorded one.
    """
    draft = _Draft(thinking)
    for event in trace.events:
        draft.add(event)
    ratio = fit(draft.points, USUAL_RATIO.get(trace.client, 3.5))
    calls = [
        (block["name"], block["input"])
        for segment in draft.segments
        for message in segment
        for block in blocks_of(message)
        if block["type"] == "tool_use"
    ]
    head = round(ratio.head_tokens * ratio.bytes_per_token)
    recorded_system = sum(len(text.encode()) for text in draft.system)
    tools = schemas(calls, _within((head - recorded_system) * 6 // 10, TOOLS_BYTES))
    tool_bytes = len(encode(tools))
    rest = head - recorded_system - tool_bytes
    system = list(draft.system)
    if not system:
        system = ["You are an agent for software engineering.", prose("system prompt", _within(rest, SYSTEM_BYTES))]
        rest -= len(system[-1])
    reminder = _within(rest, REMINDER_BYTES)
    segments = tuple(tuple(_reminded(segment, reminder)) for segment in draft.segments)
    sizes = (tool_bytes / ratio.bytes_per_token, (tool_bytes + sum(map(len, system))) / ratio.bytes_per_token)
    return Session(
        name=trace.name,
        client=trace.client,
        model=model or (trace.model if trace.model.startswith("claude-") else REPLAY_MODEL),
        sub_agent=trace.sub_agent,
        tools=tuple(tools),
        system=tuple(system),
        segments=segments,
        turns=tuple(draft.turns(sizes)),
        ratio=ratio,
        repairs=draft.repairs,
    )


def _within(value: int, bounds: tuple[int, int]) -> int:
    return max(bounds[0], min(bounds[1], value))


def _reminded(segment: list[dict[str, Json]], size: int) -> list[dict[str, Json]]:
    if not size:
        return segment
    first, *rest = segment
    text = f"<system-reminder>\n{prose('project notes', size)}\n</system-reminder>"
    return [{**first, "content": [{"type": "text", "text": text}, *first["content"]]}, *rest]


def _sent(message: Mapping[str, Json], cleared: frozenset[str]) -> dict[str, Json]:
    content: list[Block] = message["content"]
    if len(content) == 1 and content[0]["type"] == "text" and message["role"] == "user":
        return {"role": "user", "content": content[0]["text"]}
    if cleared and message["role"] == "user":
        content = [{**block, "content": CLEARED} if block.get("tool_use_id") in cleared else block for block in content]
    return {"role": message["role"], "content": content}


@dataclass(slots=True)
class _Point:
    segment: int
    upto: int
    at: float
    cleared: frozenset[str]
    event: Event


@dataclass(slots=True)
class _Draft:
    """The session as it grows event by event."""

    thinking: bool
    segments: list[list[dict[str, Json]]] = field(default_factory=lambda: [[]])
    system: list[str] = field(default_factory=list)
    points: list[tuple[int, int]] = field(default_factory=list)
    repairs: Repairs = field(default_factory=Repairs)
    sent: list[_Point] = field(default_factory=list)
    cleared: frozenset[str] = frozenset()
    results: list[Block] = field(default_factory=list)
    texts: list[Block] = field(default_factory=list)
    arrived: float = 0.0
    open_calls: dict[str, None] = field(default_factory=dict)
    size: int = 0

    def add(self, event: Event) -> None:
        if event.compaction:
            self._restart()
        self.cleared |= frozenset(event.prune)
        if event.role == "assistant":
            self._answer(event)
        else:
            for block in event.blocks:
                self._receive(event, block)
            self.arrived = max(self.arrived, event.at)

    def turns(self, sizes: tuple[float, float]) -> list[Turn]:
        """`sizes` are the tokens of the tools, and of tools and system together."""
        turns: list[Turn] = []
        ttl, before, at = "5m", 0, 0.0
        for index, point in enumerate(self.sent):
            usage = point.event.usage
            if usage and (usage.write_1h or usage.write_5m):
                ttl = "1h" if usage.write_1h else "5m"
            warm = ""
            if usage and (index == 0 or usage.cache_read < before / 2):
                candidates = {"": 0.0, "tools": sizes[0], "system": sizes[1]}
                warm = min(candidates, key=lambda name: abs(candidates[name] - usage.cache_read))
            at = max(at, point.at)
            turns.append(Turn(index, point.segment, point.upto, at, ttl, point.cleared, warm, usage))
            before = usage.total if usage else before
            at = max(at, point.event.at)
        return turns

    def _restart(self) -> None:
        self.segments.append([])
        self.results, self.texts, self.open_calls = [], [], {}
        self.cleared, self.size, self.arrived = frozenset(), 0, 0.0

    def _receive(self, event: Event, block: Block) -> None:
        if block["type"] == "tool_result":
            if block["tool_use_id"] not in self.open_calls:
                self.repairs.orphan_results += 1
                return
            del self.open_calls[block["tool_use_id"]]
            self.results.append(_result(block["tool_use_id"], block.get("text") or "", bool(block.get("is_error"))))
        elif not block["text"].strip():
            self.repairs.empty_texts += 1
        elif event.role == "system" and not self.sent:
            self.system.append(block["text"])
        elif event.role == "system":
            self.texts.append(_text(f"<system-reminder>\n{block['text']}\n</system-reminder>"))
        else:
            self.texts.append(_text(block["text"]))

    def _answer(self, event: Event) -> None:
        for call in self.open_calls:
            self.results.append(_result(call, UNANSWERED, True))
            self.repairs.unanswered_calls += 1
        if not self.results and not self.texts:
            raise ValueError(f"a reply at {event.at} follows no message of the user")
        self._say("user", [*self.results, *self.texts])
        self.results, self.texts = [], []
        self.sent.append(_Point(len(self.segments) - 1, len(self.segments[-1]), self.arrived, self.cleared, event))
        if event.usage and len(self.segments) == 1:
            self.points.append((self.size, event.usage.total))
        self._say("assistant", self._reply(event))
        self.open_calls = {b["id"]: None for b in self.segments[-1][-1]["content"] if b["type"] == "tool_use"}

    def _reply(self, event: Event) -> list[Block]:
        thoughts: list[Block] = []
        spoken: list[Block] = []
        for block in event.blocks:
            if block["type"] == "thinking":
                if self.thinking:
                    text = prose(f"thought {event.at}", max(20, block.get("chars", 0)))
                    thoughts.append({"type": "thinking", "thinking": text, "signature": "unsigned"})
            elif block["type"] == "tool_use":
                given = block["input"] if isinstance(block["input"], dict) else {"input": block["input"]}
                spoken.append({"type": "tool_use", "id": block["id"], "name": block["name"], "input": given})
            elif block["text"].strip():
                spoken.append(_text(block["text"]))
            else:
                self.repairs.empty_texts += 1
        if not spoken:
            self.repairs.empty_replies += 1
            spoken = [_text("(nothing said)")]
        return [*thoughts[:1], *spoken]

    def _say(self, role: str, content: list[Block]) -> None:
        self.segments[-1].append({"role": role, "content": content})
        self.size += sum(len(encode(block)) for block in content)


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _result(call: str, text: str, error: bool) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": call, "content": text}
    if error:
        block["is_error"] = True
    return block
