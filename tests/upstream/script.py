"""Scripted replies: which answer a request gets.

A script is a list of replies; reply n answers a request that already holds n assistant messages, so a repeated request
gets the same answer. Errors come first for a number of attempts, then what stands under "then"; a broken stream is
broken for the first `times` attempts, then whole. The README lists all fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
REPLY_FIELDS = frozenset(
    {
        "content", "stop_reason", "stop_sequence", "output_tokens", "error", "then",
        "cut_after_events", "fail_after_events", "times", "think_ms", "delay_ms", "stall",
    }
)  # fmt: skip
ERROR_FIELDS = frozenset({"status", "type", "message", "headers", "times"})
STALL_FIELDS = frozenset({"after_events", "ms", "gate"})

Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What a callable script sees: the parsed body, lower-case headers, the turn (assistant messages in the request),
    the label, and how often this turn of this label was asked before (0 at first)."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    turn: int
    label: str
    attempt: int


Script = Sequence[Reply] | Callable[[Request], Reply]

BREAKS = ("cut_after_events", "fail_after_events")

DEFAULT: Reply = {"content": [{"type": "text", "text": "Understood."}]}


def validate(reply: Any) -> Reply:
    """The reply itself; ValueError when it has a field that means nothing or lacks an answer."""
    if not isinstance(reply, dict):
        raise ValueError(f"a reply is an object, not {type(reply).__name__}")
    for name, value, known in (
        ("reply", reply, REPLY_FIELDS),
        ("error", reply.get("error", {}), ERROR_FIELDS),
        ("stall", reply.get("stall", {}), STALL_FIELDS),
    ):
        unknown = set(value) - known
        if unknown:
            raise ValueError(f"unknown in {name}: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    if "error" not in reply and not isinstance(reply.get("content"), list):
        raise ValueError("a reply needs `content` (a list of blocks) or `error`")
    if "error" in reply and not isinstance(reply["error"].get("status"), int):
        raise ValueError("an error needs a numeric `status`")
    if "then" in reply:
        validate(reply["then"])
    return reply


def scripted_error(reply: Reply) -> tuple[int, str, str, dict[str, str]]:
    """Status, message, type (or "") and headers of a scripted error."""
    error = reply["error"]
    status = error["status"]
    extra = {name.lower(): str(value) for name, value in error.get("headers", {}).items()}
    return status, error.get("message", ERROR_TYPES.get(status, "error")), error.get("type", ""), extra


def missing(what: str) -> Reply:
    return {"error": {"status": 404, "type": "not_found_error", "message": f"script: {what}"}}


def settle(reply: Reply, attempt: int) -> Reply:
    """Follow error -> then for the given attempt (0 first). `times` defaults to 1 with a `then`, to always without."""
    while "error" in reply:
        times = reply["error"].get("times", 1 if "then" in reply else None)
        if times is None or attempt < times:
            return reply
        if "then" not in reply:
            return DEFAULT
        attempt -= times
        reply = reply["then"]
    if attempt >= reply.get("times", math.inf):
        return {key: value for key, value in reply.items() if key not in BREAKS}
    return reply


def choose(script: Script | None, name: str, request: Request) -> Reply:
    """The reply to one request. An unknown script or a turn beyond its end is answered 404, loudly."""
    if script is None:
        return missing(f"no script named {name!r}") if name else DEFAULT
    if callable(script):
        return settle(validate(script(request)), request.attempt)
    if request.turn >= len(script):
        return missing(f"{name!r} has {len(script)} replies, none for turn {request.turn}")
    return settle(script[request.turn], request.attempt)
