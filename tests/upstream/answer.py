"""What goes back for one request, whichever API it came by, and how a body is opened."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.upstream import message
from tests.upstream.log import Record
from tests.upstream.script import Reply

BYTES_PER_TOKEN = 3.5
MAX_BODY = 32_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """An error or count as `payload`, or a message to be sent whole or as a stream of `events`; an event each."""

    status: int
    request_id: str
    payload: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    reply: Reply = field(default_factory=dict)
    stream: bool = False
    events: Callable[[dict[str, Any]], Iterator[bytes]] = message.stream
    failure: bytes = message.FAILURE
    """The event that ends a stream which fails in its middle."""
    id_header: str = "request-id"
    stream_type: str = "text/event-stream; charset=utf-8"
    record: Record | None = None
    """Of the request that is answered."""


class Refused(Exception):
    """A request that is turned away before the rule book is opened."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body, else Refused with the provider's wording; NaN and lone surrogates are not JSON."""

    def constant(name: str) -> float:
        raise ValueError(f"unexpected constant {name}")

    escapes_surrogates = b"\\ud" in raw or b"\\uD" in raw

    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=constant)
        if escapes_surrogates:
            json.dumps(body, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refused(400, "Input should be an object")
    return body


def bytes_per_token(headers: Mapping[str, str]) -> float:
    """The size of a token that the request asks for."""
    try:
        ratio = float(headers.get("x-upstream-bytes-per-token") or BYTES_PER_TOKEN)
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < math.inf:
        raise Refused(400, "x-upstream-bytes-per-token: a positive number expected")
    return ratio
