"""What Chat Completions and Responses do alike beyond their wording: one vendor's door, cache and bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.upstream.answer import MAX_BODY, Answer, Refused, parse
from tests.upstream.chat_cache import Cache, Split
from tests.upstream.chat_message import error
from tests.upstream.chat_models import DAY, MINUTES, Model, dollars
from tests.upstream.log import Record, no_usage
from tests.upstream.script import ERROR_TYPES, Reply

ID_HEADER = "x-request-id"
LIFETIMES = {"24h": DAY, "in_memory": MINUTES, "12h": DAY / 2}


class Warm(Protocol):
    """A prefix that other sessions keep warm."""

    upto: str | int
    body: dict[str, Any] | None
    lifetime: float


@dataclass(frozen=True, slots=True)
class Provided:
    """What the provider does for every API: plays the script, compares with the label's last prompt (digests and sizes
    of its pieces), gives what is to be warm for an account."""

    reply_to: Callable[[Record, Mapping[str, str], dict[str, Any]], Reply]
    prefix_kept: Callable[[str, list[bytes], list[int]], float | None]
    heads: Callable[[str], Sequence[Warm]]


def opened(raw: bytes) -> dict[str, Any]:
    """The body. Raises Refused."""
    if len(raw) > MAX_BODY:
        raise Refused(413, "Request exceeds the maximum size")
    return parse(raw)


def failure(reply: Reply, record: Record, request_id: str) -> Answer | None:
    """The error that the script gives in place of an answer."""
    if "error" in reply:
        fault = reply["error"]
        status = fault["status"]
        text = fault.get("message", ERROR_TYPES.get(status, "error"))
        extra = {name.lower(): str(value) for name, value in fault.get("headers", {}).items()}
        payload = error(status, text, request_id, fault.get("type", ""))
        return Answer(status, request_id, payload, headers=extra, id_header=ID_HEADER)
    if "fail_after_events" in reply and not record.stream:
        payload = error(503, "The server is overloaded", request_id)
        return Answer(503, request_id, payload, id_header=ID_HEADER)
    return None


class Caches:
    """The prompt caches of one API's accounts. `start` is the text of a body's prompt up to "tools", "system" or a
    number of tokens."""

    def __init__(self, start: Callable[[dict[str, Any], str | int, float], bytes]) -> None:
        self.start = start
        self.accounts: dict[str, Cache] = {}

    def serve(
        self,
        record: Record,
        headers: Mapping[str, str],
        body: dict[str, Any],
        text: bytes,
        ratio: float,
        provided: Provided,
        model: Model,
    ) -> Split:
        """Bill the prompt `text` of a valid body and remember it."""
        account = headers.get("x-upstream-account", record.label)
        cache = self.accounts.setdefault(account, Cache())
        for warm in provided.heads(account):
            start = self.start(warm.body or body, warm.upto, ratio)
            cache.put(body["model"], start, ratio, record.time, warm.lifetime)
        asked = body.get("prompt_cache_retention") or (body.get("prompt_cache_options") or {}).get("ttl") or ""
        return cache.serve(body["model"], text, ratio, record.time, LIFETIMES.get(asked, model.lifetime))


def book(record: Record, split: Split, output: int, model: Model) -> int:
    """Write the bill into the record, in the log's own words; the tokens written, which are only reported where they
    cost more than any input."""
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
    return written
