"""Error answers of OpenAI's APIs and of the servers that speak them: what may be due to a rewrite."""

from __future__ import annotations

import json
import re

# The words of a refusal that a shorter request cannot have caused.
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|too (?:long|large)|exceeds? (?:the )?(?:context|token|limit)",
    re.IGNORECASE,
)


def rewrite_may_have_caused(status: int, body: str, *, longer: bool = False) -> bool:
    """Whether an error answer could be due to what we changed, so that the original is worth one try.

    `longer` says that what was sent is longer than the original.
    """
    return (status in (400, 422) and _TOO_LONG.search(body) is None) or (longer and status in (400, 413))


def refusal_text(body: str) -> str:
    """The message of an error answer, without what differs between two equal refusals."""
    try:
        error = json.loads(body)["error"]
        message = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError):
        return body
    return message if isinstance(message, str) else body


def says_bound(refusal: str) -> bool:
    """Whether a refusal says that signed reasoning is bound to what stands before it: Anthropic's words, passed on."""
    return "bound to a different conversation" in refusal


def failure(body: bytes = b"", status: int = 0) -> str:
    """The JSON of an error: the provider's own, where its answer was one; else that it broke off."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not told.get("error"):
        kind = "server_error" if status in (0, 503, 529) else "api_error"
        error = {"message": f"The answer broke off ({status or 'cut'}).", "type": kind, "param": None, "code": None}
        told = {"error": error}
    return json.dumps(told, separators=(",", ":"))
