"""Chat Completions from request to answer: judged, replied to from the script, billed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from tests.upstream import chat_message, chat_validity
from tests.upstream.answer import MAX_BODY, Answer, Refused, bytes_per_token, parse
from tests.upstream.chat_cache import Cache, Split, head, prompt
from tests.upstream.chat_models import DAY, MINUTES, Model, dollars, model_of
from tests.upstream.log import Record, no_usage
from tests.upstream.prompt import canonical
from tests.upstream.script import ERROR_TYPES, Reply

PATH = "/v1/chat/completions"
RETENTION = {"24h": DAY, "in_memory": MINUTES}


class Warm(Protocol):
    """A prefix that other sessions keep warm."""

    upto: str | int
    body: dict[str, Any] | None
    lifetime: float


class Chat:
    """The state of this API; the provider's lock is held in every call. `allow_prefill` as for the provider."""

    def __init__(self, *, allow_prefill: bool) -> None:
        self.allow_prefill = allow_prefill
        self.caches: dict[str, Cache] = {}

    def answer(
        self,
        record: Record,
        headers: Mapping[str, str],
        raw: bytes,
        request_id: str,
        reply_to: Callable[[Record, Mapping[str, str], dict[str, Any]], Reply],
        prefix_kept: Callable[[str, list[bytes], list[int]], float | None],
        heads: Callable[[str], Sequence[Warm]],
    ) -> Answer:
        """Answer one request. Raises Violation or Refused. `reply_to` plays the script, `prefix_kept` compares with the
        label's last prompt, `heads` gives what is to be warm for an account."""
        if len(raw) > MAX_BODY:
            raise Refused(413, "Request exceeds the maximum size")
        body = parse(raw)
        chat_validity.check(body, allow_prefill=self.allow_prefill)
        ratio = bytes_per_token(headers)
        record.model = body["model"]
        record.stream = bool(body.get("stream"))
        record.turn = sum(part["role"] == "assistant" for part in body["messages"])
        line = prompt(body)
        digests = [hashlib.blake2b(piece, digest_size=16).digest() for piece in line]
        record.prefix_kept = prefix_kept(record.label, digests, list(map(len, line)))
        answer = partial(Answer, request_id=request_id, id_header="x-request-id")
        reply = reply_to(record, headers, body)
        if "error" in reply:
            fault = reply["error"]
            status = fault["status"]
            text = fault.get("message", ERROR_TYPES.get(status, "error"))
            extra = {name.lower(): str(value) for name, value in fault.get("headers", {}).items()}
            payload = chat_message.error(status, text, request_id, fault.get("type", ""))
            return answer(status, payload=payload, headers=extra)
        if "fail_after_events" in reply and not record.stream:
            return answer(503, payload=chat_message.error(503, "The server is overloaded", request_id))
        try:
            message = chat_message.spoken(reply["content"], b"".join(digests))
        except ValueError as error:
            raise Refused(500, f"script, turn {record.turn}: {error}") from None
        model = model_of(body["model"])
        split = self._serve(record, headers, body, b"".join(line), ratio, model, heads)
        thought = math.ceil(len(message.get("reasoning_content", "").encode()) / ratio)
        shown = {key: message[key] for key in ("content", "tool_calls") if message.get(key)}
        output = reply.get("output_tokens", thought + math.ceil(len(canonical(shown)) / ratio))
        usage = _book(record, split, output, thought, model)
        record.content = reply["content"]
        sent = chat_message.build(f"chatcmpl-{record.n:08d}", record.time, body["model"], message, usage, reply)
        wanted = bool((body.get("stream_options") or {}).get("include_usage"))
        return answer(
            200,
            payload=sent,
            reply=reply,
            stream=record.stream,
            events=partial(chat_message.stream, include_usage=wanted),
            failure=chat_message.FAILURE,
        )

    def _serve(
        self,
        record: Record,
        headers: Mapping[str, str],
        body: dict[str, Any],
        text: bytes,
        ratio: float,
        model: Model,
        heads: Callable[[str], Sequence[Warm]],
    ) -> Split:
        account = headers.get("x-upstream-account", record.label)
        cache = self.caches.setdefault(account, Cache())
        name = body["model"]
        for warm in heads(account):
            other = warm.body or body
            start = b"".join(prompt(other))[: head(other, warm.upto, ratio)]
            cache.put(name, start, ratio, record.time, warm.lifetime)
        lifetime = RETENTION.get(body.get("prompt_cache_retention") or "", model.lifetime)
        return cache.serve(name, text, ratio, record.time, lifetime)


def _book(record: Record, split: Split, output: int, thought: int, model: Model) -> dict[str, Any]:
    """Write the bill into the record, in the log's own words, and give the API's. Writes that cost no more than any
    input are not reported."""
    written = split.written if model.write != model.input else 0
    fresh = split.total - split.read - written
    record.usage = no_usage() | {
        "input_tokens": fresh,
        "cache_read_input_tokens": split.read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
    }
    record.dollars = dollars(model, fresh=fresh, written=written, read=split.read, output=output)
    details = {"cached_tokens": split.read, "audio_tokens": 0}
    if model.write != model.input:
        details["cache_write_tokens"] = written
    spent = {"reasoning_tokens": min(thought, output), "audio_tokens": 0}
    spent |= {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    return {
        "prompt_tokens": split.total,
        "completion_tokens": output,
        "total_tokens": split.total + output,
        "prompt_tokens_details": details,
        "completion_tokens_details": spent,
    }
