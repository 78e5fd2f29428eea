"""A reply as generateContent sends it: one response, or the same response in pieces, as events or as a JSON array.

Scripts are the same as for Messages: `text` becomes a part with text, `thinking` the same marked as thought,
`tool_use` a function call. Calls are never cut: each stands whole in one chunk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tests.upstream.message import pieces
from tests.upstream.prompt import canonical

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
FINISH = {
    "end_turn": "STOP",
    "stop_sequence": "STOP",
    "tool_use": "STOP",
    "max_tokens": "MAX_TOKENS",
    "refusal": "SAFETY",
}
OVERLOADED = "The model is overloaded. Please try again later."

Part = dict[str, Any]


def error(status: int, text: str, kind: str = "") -> dict[str, Any]:
    """The payload of an error answer."""
    return {"error": {"code": status, "message": text, "status": kind or STATUS.get(status, "UNKNOWN")}}


def spoken(content: list[dict[str, Any]], seed: bytes, *, ids: bool) -> list[Part]:
    """The parts of scripted blocks. ValueError for a block that this API has no word for.

    With `ids` calls have one: the script's, else one that is the same for the same `seed`.
    """
    parts: list[Part] = []
    for at, block in enumerate(content):
        match block.get("type"):
            case "text":
                parts.append({"text": block["text"]})
            case "thinking":
                parts.append({"text": block["thinking"], "thought": True})
            case "tool_use":
                digest = hashlib.blake2b(seed + str(at).encode(), digest_size=6).hexdigest()
                named = {"id": block.get("id", digest)} if ids else {}
                parts.append({"functionCall": {**named, "name": block["name"], "args": block["input"]}})
            case other:
                raise ValueError(f"`{other}` blocks do not exist in Gemini")
    return parts


def build(identity: str, model: str, parts: list[Part], usage: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    """The response. Without a scripted stop reason it finishes with STOP, calls or not."""
    asked = reply.get("stop_reason") or "end_turn"
    return _response(identity, model, parts, usage, FINISH.get(asked, asked))


def _response(
    identity: str, model: str, parts: list[Part], usage: dict[str, Any], finish: str | None
) -> dict[str, Any]:
    content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    ending = {"finishReason": finish} if finish else {}
    return {
        "candidates": [{"content": content, **ending, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": model,
        "responseId": identity,
    }


def _text(count: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": count}]


def counts(prompt: int, cached: int, candidates: int, thoughts: int) -> dict[str, Any]:
    """`usageMetadata` of a text prompt; what was cached is part of it. Counts of zero are left out."""
    usage: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": candidates}
    usage |= {"totalTokenCount": prompt + candidates + thoughts, "cachedContentTokenCount": cached}
    usage |= {"thoughtsTokenCount": thoughts, "promptTokensDetails": _text(prompt)}
    if cached:
        usage["cacheTokensDetails"] = _text(cached)
    return {name: value for name, value in usage.items() if value}


def _cut(parts: list[Part]) -> Iterator[Part]:
    """The parts in pieces. A text's signature comes behind it, in a part with an empty text."""
    for part in parts:
        if "text" not in part:
            yield part
            continue
        bare = {name: value for name, value in part.items() if name != "thoughtSignature"}
        for piece in pieces(part["text"]):
            yield {**bare, "text": piece}
        if "thoughtSignature" in part:
            yield {"text": "", "thoughtSignature": part["thoughtSignature"]}


def _grown(final: dict[str, Any], sent: list[Part], parts: list[Part]) -> dict[str, Any]:
    """The usage when only the pieces in `sent` are out: each kind of token in proportion to its bytes."""

    def share(name: str, thought: bool) -> int:
        out, of = (sum(len(canonical(p)) for p in each if bool(p.get("thought")) is thought) for each in (sent, parts))
        return int(final.get(name, 0) * out / of) if of else 0

    cached = final.get("cachedContentTokenCount", 0)
    candidates, thoughts = share("candidatesTokenCount", False), share("thoughtsTokenCount", True)
    return counts(final["promptTokenCount"], cached, candidates, thoughts)


def chunks(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The responses of a stream, at least one: the last says how it finished and has the whole usage."""
    candidate = response["candidates"][0]
    identity, model, final = response["responseId"], response["modelVersion"], response["usageMetadata"]
    parts = list(_cut(candidate["content"].get("parts", [])))
    for at, part in enumerate(parts[:-1], 1):
        yield _response(identity, model, [part], _grown(final, parts[:at], parts), None)
    yield _response(identity, model, parts[-1:], final, candidate["finishReason"])


def _encode(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + _encode(data) + b"\r\n\r\n"


def events(response: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of a stream with `alt=sse`."""
    yield from map(_event, chunks(response))


def array(response: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of a stream without: one JSON array, an element at a time."""
    opening = b"["
    every = [_encode(chunk) for chunk in chunks(response)]
    for at, chunk in enumerate(every, 1):
        yield opening + chunk + (b"\n]\n" if at == len(every) else b"\n")
        opening = b",\r\n"


FAILURE = _event(error(503, OVERLOADED))


def array_failure(*, first: bool) -> bytes:
    """The element that ends an array which fails in its middle, or at once."""
    return (b"[" if first else b",\r\n") + _encode(error(503, OVERLOADED)) + b"\n]\n"
