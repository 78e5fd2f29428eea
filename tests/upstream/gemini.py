"""Gemini's generateContent from request to answer: judged, replied to from the script, billed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.upstream import gemini_message, gemini_path, gemini_validity
from tests.upstream.answer import MAX_BODY, Answer, Refused, bytes_per_token, parse
from tests.upstream.chat_cache import Cache, Split
from tests.upstream.gemini_cache import head, prompt
from tests.upstream.gemini_fields import read
from tests.upstream.gemini_models import LIFETIME, Model, dollars, model_of
from tests.upstream.gemini_signatures import Signatures
from tests.upstream.log import Record, no_usage
from tests.upstream.prompt import canonical
from tests.upstream.script import Reply, scripted_error

if TYPE_CHECKING:
    from tests.upstream.provider import Head

ID_HEADER = "x-request-id"
JSON = "application/json; charset=UTF-8"


def refused(status: int, text: str, request_id: str) -> Answer:
    """An error that is not in the script."""
    return Answer(status, request_id, gemini_message.error(status, text), id_header=ID_HEADER)


class Gemini:
    """The state of this API; the provider's lock is held in every call. `allow_prefill` as for the provider."""

    def __init__(self, *, allow_prefill: bool) -> None:
        self.allow_prefill = allow_prefill
        self.caches: dict[str, Cache] = {}
        self.signatures = Signatures()

    def answer(
        self,
        record: Record,
        headers: Mapping[str, str],
        raw: bytes,
        request_id: str,
        reply_to: Callable[[Record, Mapping[str, str], dict[str, Any]], Reply],
        prefix_kept: Callable[[str, list[bytes], list[int]], float | None],
        heads: Callable[[str], Sequence[Head]],
    ) -> Answer:
        """Answer one request. Raises Violation or Refused. `reply_to` plays the script, `prefix_kept` compares with the
        label's last prompt, `heads` gives what is to be warm for an account."""
        if len(raw) > MAX_BODY:
            raise Refused(413, "Request payload size exceeds the limit")
        where = gemini_path.PATH.fullmatch(record.path)
        assert where is not None, "the provider sends only these paths here"
        record.model = where["model"]
        record.stream = where["method"] == gemini_path.STREAM
        model = model_of(record.model)
        said = parse(raw)
        body = read(said)
        gemini_validity.check(body, model, allow_prefill=self.allow_prefill)
        self.signatures.check(body["contents"], wanted=model.third)
        ratio = bytes_per_token(headers)
        record.turn = sum(content["role"] == "model" for content in body["contents"])
        line = prompt(body)
        digests = [hashlib.blake2b(piece, digest_size=16).digest() for piece in line]
        record.prefix_kept = prefix_kept(record.label, digests, list(map(len, line)))
        answer = partial(Answer, request_id=request_id, id_header=ID_HEADER)
        reply = reply_to(record, headers, said)
        if "error" in reply:
            status, text, kind, extra = scripted_error(reply)
            return answer(status, payload=gemini_message.error(status, text, kind), headers=extra)
        if "fail_after_events" in reply and not record.stream:
            return refused(503, gemini_message.OVERLOADED, request_id)
        seed = b"".join(digests)
        try:
            parts = gemini_message.spoken(reply["content"], seed, ids=model.third)
        except ValueError as error:
            raise Refused(500, f"script, turn {record.turn}: {error}") from None
        split = self._serve(record, headers, body, b"".join(line), ratio, model, heads)
        usage = _book(record, split, parts, reply.get("output_tokens"), ratio, model)
        if model.third:
            parts = self.signatures.mint(parts, seed)
        record.content = reply["content"]
        sent = gemini_message.build(f"resp_{record.n:08d}", record.model, parts, usage, reply)
        form = partial(answer, 200, payload=sent, reply=reply, stream=record.stream)
        if parse_qs(record.query).get("alt") == ["sse"]:
            return form(events=gemini_message.events, failure=gemini_message.FAILURE)
        failure = gemini_message.array_failure(first=reply.get("fail_after_events") == 0)
        return form(events=gemini_message.array, failure=failure, stream_type=JSON)

    def _serve(
        self,
        record: Record,
        headers: Mapping[str, str],
        body: dict[str, Any],
        text: bytes,
        ratio: float,
        model: Model,
        heads: Callable[[str], Sequence[Head]],
    ) -> Split:
        account = headers.get("x-upstream-account", record.label)
        cache = self.caches.setdefault(account, Cache())
        for warm in heads(account):
            other = read(warm.body) if warm.body else body
            start = b"".join(prompt(other))[: head(other, warm.upto, ratio)]
            cache.put(record.model, start, ratio, record.time, warm.lifetime, model.minimum)
        return cache.serve(record.model, text, ratio, record.time, LIFETIME, model.minimum)


def _book(
    record: Record, split: Split, parts: list[dict[str, Any]], scripted: int | None, ratio: float, model: Model
) -> dict[str, Any]:
    """Write the bill into the record, in the log's own words, and give the API's. Writing costs what reading anew does
    and is not reported; thoughts are output."""
    thoughts, shown = (
        sum(math.ceil(len(canonical(part)) / ratio) for part in parts if bool(part.get("thought")) is thought)
        for thought in (True, False)
    )
    output = thoughts + shown if scripted is None else scripted
    thoughts = min(thoughts, output)
    fresh = split.total - split.read
    record.usage = no_usage() | {
        "input_tokens": fresh,
        "cache_read_input_tokens": split.read,
        "output_tokens": output,
    }
    record.dollars = dollars(model, fresh=fresh, read=split.read, output=output)
    return gemini_message.counts(split.total, split.read, output - thoughts, thoughts)
