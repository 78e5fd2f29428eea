"""Chat Completions from request to answer: judged, replied to from the script, billed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.upstream import chat_message, chat_validity
from tests.upstream.answer import Answer, Refused, bytes_per_token
from tests.upstream.chat_cache import Split, prompt, start
from tests.upstream.chat_models import Model, model_of
from tests.upstream.log import Record
from tests.upstream.openai_api import ID_HEADER, Caches, Provided, book, failure, opened
from tests.upstream.prompt import canonical

PATH = "/v1/chat/completions"


class Chat:
    """The state of this API; the provider's lock is held in every call. `allow_prefill` as for the provider."""

    def __init__(self, *, allow_prefill: bool) -> None:
        self.allow_prefill = allow_prefill
        self.caches = Caches(start)

    def answer(
        self, record: Record, headers: Mapping[str, str], raw: bytes, request_id: str, provided: Provided
    ) -> Answer:
        """Answer one request. Raises Violation or Refused."""
        body = opened(raw)
        chat_validity.check(body, allow_prefill=self.allow_prefill)
        ratio = bytes_per_token(headers)
        record.model = body["model"]
        record.stream = bool(body.get("stream"))
        record.turn = sum(part["role"] == "assistant" for part in body["messages"])
        line = prompt(body)
        digests = [hashlib.blake2b(piece, digest_size=16).digest() for piece in line]
        record.prefix_kept = provided.prefix_kept(record.label, digests, list(map(len, line)))
        reply = provided.reply_to(record, headers, body)
        failed = failure(reply, record, request_id)
        if failed:
            return failed
        try:
            message = chat_message.spoken(reply["content"], b"".join(digests))
        except ValueError as error:
            raise Refused(500, f"script, turn {record.turn}: {error}") from None
        model = model_of(body["model"])
        split = self.caches.serve(record, headers, body, b"".join(line), ratio, provided, model)
        thought = math.ceil(len(message.get("reasoning_content", "").encode()) / ratio)
        shown = {key: message[key] for key in ("content", "tool_calls") if message.get(key)}
        output = reply.get("output_tokens", thought + math.ceil(len(canonical(shown)) / ratio))
        usage = _usage(split, book(record, split, output, model), output, thought, model)
        record.content = reply["content"]
        sent = chat_message.build(f"chatcmpl-{record.n:08d}", record.time, body["model"], message, usage, reply)
        wanted = bool((body.get("stream_options") or {}).get("include_usage"))
        return Answer(
            200,
            request_id,
            sent,
            reply=reply,
            stream=record.stream,
            events=partial(chat_message.stream, include_usage=wanted),
            failure=chat_message.FAILURE,
            id_header=ID_HEADER,
        )


def _usage(split: Split, written: int, output: int, thought: int, model: Model) -> dict[str, Any]:
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
