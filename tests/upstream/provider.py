"""The provider without its wires: judges a request, chooses the scripted reply, bills it and remembers it.

One lock around everything that has memory, so that two requests never see half of each other.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.upstream import chat, chat_message, clearing, gemini, message, responses, validity
from tests.upstream.answer import MAX_BODY, Answer, Refused, bytes_per_token, parse
from tests.upstream.binding import Binding
from tests.upstream.cache import Cache, Split, breakpoints
from tests.upstream.gemini_path import is_generate
from tests.upstream.log import Record, Totals, no_usage, query_of, totals
from tests.upstream.models import Model, dollars, model_of
from tests.upstream.openai_api import Provided
from tests.upstream.prompt import Position, canonical, chain, prompt
from tests.upstream.script import ERROR_TYPES, Reply, Request, Script, choose, scripted_error, validate
from tests.upstream.violation import Violation

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"


@dataclass(slots=True)
class Head:
    """A prefix that other sessions keep warm, waiting for the first request of its account."""

    upto: str | int
    body: dict[str, Any] | None
    lifetime: float


def error_payload(status: int, text: str, request_id: str, kind: str = "") -> dict[str, Any]:
    kind = kind or ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}


def _error(record: Record, status: int, text: str, request_id: str, param: str | None = None) -> Answer:
    if is_generate(record.path):
        return gemini.refused(status, text, request_id)
    if record.path not in {chat.PATH, responses.PATH}:
        return Answer(status, request_id, error_payload(status, text, request_id))
    payload = chat_message.error(status, text, request_id, param=param)
    return Answer(status, request_id, payload, id_header="x-request-id")


class Provider:
    """`allow_prefill` lets an assistant message come last; `keep_bodies` is how many request bodies stay in memory,
    newest first (None: all of them)."""

    def __init__(self, *, allow_prefill: bool = False, keep_bodies: int | None = None) -> None:
        self.allow_prefill = allow_prefill
        self.keep_bodies = keep_bodies
        self.lock = threading.RLock()
        self.clock: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything: scripts, log, caches, receipts, warm heads, the clock."""
        with self.lock:
            self.log: list[Record] = []
            self.scripts: dict[str, Script] = {}
            self.gates: dict[str, threading.Event] = {}
            self.caches: dict[str, Cache] = {}
            self.heads: dict[str, list[Head]] = {}
            self.binding = Binding()
            self.openai: dict[str, chat.Chat | responses.Responses] = {
                chat.PATH: chat.Chat(allow_prefill=self.allow_prefill),
                responses.PATH: responses.Responses(allow_prefill=self.allow_prefill),
            }
            self.gemini = gemini.Gemini(allow_prefill=self.allow_prefill)
            self.attempts: dict[tuple[str, str, int], int] = {}
            self.previous: dict[str, tuple[list[bytes], list[int]]] = {}
            self.bodies: deque[Record] = deque()
            self.clock = None

    # what tests and the control endpoints set up and read

    def script(self, name: str, replies: Script) -> None:
        """Register replies under a name: a list, or a callable from Request to reply. ValueError on a bad reply."""
        if not callable(replies):
            replies = [validate(reply) for reply in replies]
        with self.lock:
            self.scripts[name] = replies

    def gate(self, name: str) -> threading.Event:
        """The event that a reply with `{"stall": {"gate": name}}` waits for."""
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    def warm(
        self, account: str, upto: str | int = "system", body: dict[str, Any] | None = None, *, lifetime: float = 300.0
    ) -> None:
        """Let the head of a prompt be in the account's cache when its first request comes, as if other sessions had
        just used it. `upto` is "tools", "system" or a number of tokens; `body` is the request whose head it is
        (default: whatever request comes first); `lifetime` in seconds, `math.inf` for a head that never cools."""
        if isinstance(upto, str) and upto not in {"tools", "system"}:
            raise ValueError('upto is "tools", "system" or a number of tokens')
        with self.lock:
            self.heads.setdefault(account, []).append(Head(upto, body, lifetime))

    def totals(self, label: str | None = None) -> Totals:
        """Sums of one label, or of all."""
        with self.lock:
            return totals(record for record in self.log if label is None or record.label == label)

    @property
    def invalid(self) -> int:
        """How many requests were answered 400 for breaking a rule."""
        with self.lock:
            return sum(record.violation is not None for record in self.log)

    # one request

    def now(self, headers: Mapping[str, str]) -> float:
        asked = headers.get("x-upstream-clock")
        if asked:
            try:
                return float(asked)
            except ValueError:
                raise Refused(400, "x-upstream-clock: epoch seconds expected") from None
        return self.clock if self.clock is not None else time.time()

    def handle(
        self, method: str, path: str, headers: Mapping[str, str], raw: bytes, body: bytes, authorized: bool = True
    ) -> Answer:
        """Answer one request. `headers` are lower-case and without credentials (`authorized` says whether there were
        any), `raw` is the body as received, `body` as decoded."""
        with self.lock:
            record = Record(
                n=len(self.log),
                label=headers.get("x-upstream-session", ""),
                path=path.partition("?")[0],
                time=0.0,
                status=200,
                headers=dict(headers),
                size=len(raw),
                query=query_of(path),
            )
            self.log.append(record)
            self._keep(record, raw)
            request_id = f"req_{record.n:08d}"
            try:
                record.time = self.now(headers)
                answer = self._route(method, record, headers, body, request_id, authorized)
            except Violation as broken:
                record.violation = str(broken)
                answer = _error(record, 400, str(broken), request_id, broken.path)
            except Refused as refused:
                if refused.status == 400:
                    record.violation = str(refused)
                answer = _error(record, refused.status, str(refused), request_id)
            record.status = answer.status
            return replace(answer, record=record)

    def _keep(self, record: Record, raw: bytes) -> None:
        record.kept = raw
        self.bodies.append(record)
        while self.keep_bodies is not None and len(self.bodies) > self.keep_bodies:
            self.bodies.popleft().kept = None

    def _route(
        self, method: str, record: Record, headers: Mapping[str, str], body: bytes, request_id: str, authorized: bool
    ) -> Answer:
        if record.path not in {MESSAGES, COUNT, *self.openai} and not is_generate(record.path):
            raise Refused(404, "Not Found")
        if record.path == responses.PATH and headers.get("upgrade", "").lower() == "websocket":
            raise Refused(426, "WebSocket is not spoken here")
        if method != "POST":
            raise Refused(405, "Method Not Allowed")
        if not authorized:
            raise Refused(401, "x-api-key header is required")
        if record.path in self.openai:
            provided = Provided(self._reply, self._prefix_kept, lambda account: self.heads.pop(account, []))
            return self.openai[record.path].answer(record, headers, body, request_id, provided)
        if is_generate(record.path):
            heads = lambda account: self.heads.pop(account, [])
            return self.gemini.answer(record, headers, body, request_id, self._reply, self._prefix_kept, heads)
        if not headers.get("anthropic-version"):
            raise Refused(400, "anthropic-version: header is required")
        if len(body) > MAX_BODY:
            raise Refused(413, "Request exceeds the maximum size")
        parsed = parse(body)
        betas = frozenset(part.strip() for part in headers.get("anthropic-beta", "").split(",") if part.strip())
        counting = record.path == COUNT
        validity.check(parsed, betas, counting=counting, allow_prefill=self.allow_prefill)
        record.model = parsed["model"]
        ratio = bytes_per_token(headers)
        line = prompt(parsed)
        # what is billed and cached is what the model is shown; what reasoning is bound to is what was sent
        shown, applied = clearing.edited(parsed, lambda body: sum(here.tokens(ratio) for here in prompt(body)))
        seen = prompt(shown)
        record.cleared = sum(edit["cleared_tool_uses"] for edit in applied)
        tokens = [here.tokens(ratio) for here in seen]
        if counting:
            return Answer(200, request_id, {"input_tokens": sum(tokens)})
        return self._message(record, headers, parsed, line, seen, tokens, ratio, request_id, applied)

    def _message(
        self,
        record: Record,
        headers: Mapping[str, str],
        body: dict[str, Any],
        line: list[Position],
        seen: list[Position],
        tokens: list[int],
        ratio: float,
        request_id: str,
        applied: list[dict[str, Any]],
    ) -> Answer:
        record.stream = bool(body.get("stream"))
        record.turn = sum(part["role"] == "assistant" for part in body["messages"])
        digests, sizes = [here.digest for here in line], [here.size for here in line]
        record.prefix_kept = self._prefix_kept(record.label, digests, sizes)
        model = model_of(body["model"])
        bound = {"force": True, "off": False}.get(headers.get("x-upstream-bound", ""), model.bound)
        record.dropped = self._check_binding(body, line, record.label, bound)
        reply = self._reply(record, headers, body)
        if "error" in reply:
            status, text, kind, extra = scripted_error(reply)
            return Answer(status, request_id, error_payload(status, text, request_id, kind), extra)
        if "fail_after_events" in reply and not record.stream:
            return Answer(529, request_id, error_payload(529, "Overloaded", request_id))
        content = self._identified(reply["content"], line)
        content = self.binding.mint(body, line, content, record.label)
        split = self._serve_cache(record, headers, body, seen, tokens, ratio, model)
        output = reply.get("output_tokens", sum(math.ceil(len(canonical(part)) / ratio) for part in content))
        if body["max_tokens"] == 0:
            content, output = [], 0
        record.usage = _usage(split, output)
        record.dollars = dollars(
            model,
            fresh=split.fresh,
            write_5m=split.write_5m,
            write_1h=split.write_1h,
            read=split.read,
            output=output,
        )
        record.content = content
        sent = message.build(f"msg_{record.n:08d}", body["model"], content, record.usage, reply)
        if record.dropped:
            reason = {"type": "thinking_dropped", "reason": "prefix_binding_mismatch"}
            sent["input_transformations"] = [{**reason, "path": path} for path in record.dropped]
        if body.get("context_management") is not None:
            sent["context_management"] = {"applied_edits": applied}
        return Answer(200, request_id, sent, reply=reply, stream=record.stream)

    def _reply(self, record: Record, headers: Mapping[str, str], body: dict[str, Any]) -> Reply:
        name = headers.get("x-upstream-script", "")
        turn = record.turn
        if "x-upstream-turn" in headers:
            try:
                turn = int(headers["x-upstream-turn"])
            except ValueError:
                raise Refused(400, "x-upstream-turn: a number expected") from None
        key = (record.label, name, turn)
        attempt = self.attempts.get(key, 0)
        self.attempts[key] = attempt + 1
        script = self.scripts.get(name) if name else None
        try:
            return choose(script, name, Request(body, headers, turn, record.label, attempt))
        except ValueError as error:
            raise Refused(500, f"script {name!r}, turn {turn}: {error}") from None

    def _check_binding(self, body: dict[str, Any], line: list[Position], label: str, bound: bool) -> list[str]:
        thinking = body.get("thinking") or {}
        faults = self.binding.check(body, line, label, bound, manual=thinking.get("type") == "enabled")
        behavior = (thinking.get("block_binding") or {}).get("prefix_mismatch_behavior")
        for fault in faults:
            if behavior != "drop_block" or not fault.droppable:
                raise Violation(fault.path, fault.message, labelled=False)
        return [fault.path for fault in faults]

    def _identified(self, content: list[dict[str, Any]], line: list[Position]) -> list[dict[str, Any]]:
        """Scripted tool calls without an id get one that is the same for the same prompt."""
        named = []
        for at, block in enumerate(content):
            if block.get("type") == "tool_use" and "id" not in block:
                seed = (chain(line)[-1] if line else b"") + str(at).encode()
                kept = {key: value for key, value in block.items() if key != "type"}
                block = {"type": "tool_use", "id": f"toolu_{hashlib.blake2b(seed, digest_size=10).hexdigest()}", **kept}
            named.append(block)
        return named

    def _serve_cache(
        self,
        record: Record,
        headers: Mapping[str, str],
        body: dict[str, Any],
        line: list[Position],
        tokens: list[int],
        ratio: float,
        model: Model,
    ) -> Split:
        account = headers.get("x-upstream-account", record.label)
        cache = self.caches.setdefault(account, Cache())
        for head in self.heads.pop(account, []):
            _warm(cache, head, head.body or body, body["model"], ratio, record.time)
        control = body.get("cache_control")
        automatic = None if control is None else control.get("ttl", "5m")
        return cache.serve(_links(line, body), tokens, breakpoints(line, automatic), record.time, model.minimum)

    def _prefix_kept(self, label: str, digests: list[bytes], sizes: list[int]) -> float | None:
        before = self.previous.get(label)
        self.previous[label] = (digests, sizes)
        if before is None or not sum(before[1]):
            return None
        same = 0
        for digest, size, current in zip(*before, digests, strict=False):
            if digest != current:
                break
            same += size
        return same / sum(before[1])


def _links(line: list[Position], body: dict[str, Any]) -> list[bytes]:
    """Cache keys: the model and its speed count everywhere, how it thinks and is steered only in the messages."""
    everywhere = canonical([body["model"], body.get("speed")])
    thinking = body.get("thinking") or {}
    steer = {key: value for key, value in thinking.items() if key not in {"block_binding", "display"}}
    effort = (body.get("output_config") or {}).get("effort")
    messages = canonical([body["model"], body.get("speed"), steer, body.get("tool_choice"), effort])
    return chain(line, {"tools": everywhere, "system": everywhere, "messages": messages})


def _warm(cache: Cache, head: Head, body: dict[str, Any], model: str, ratio: float, now: float) -> None:
    line = prompt(body)
    links = _links(line, {**body, "model": model})
    last = -1
    total = 0
    for at, here in enumerate(line):
        total += here.tokens(ratio)
        if isinstance(head.upto, int):
            inside = total <= head.upto
        else:
            inside = here.part == "tools" or (here.part == "system" and head.upto == "system")
        if not inside:
            break
        last = at
    if last >= 0:
        cache.put(links[last], now, head.lifetime)


def _usage(split: Split, output: int) -> dict[str, Any]:
    usage = no_usage()
    usage["input_tokens"] = split.fresh
    usage["cache_read_input_tokens"] = split.read
    usage["cache_creation_input_tokens"] = split.write_5m + split.write_1h
    usage["cache_creation"]["ephemeral_5m_input_tokens"] = split.write_5m
    usage["cache_creation"]["ephemeral_1h_input_tokens"] = split.write_1h
    usage["output_tokens"] = output
    return usage
