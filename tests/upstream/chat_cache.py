"""The prompt cache of one account as Chat Completions has it: unasked, by prefix, in steps.

A prompt of 1,024 tokens or more is kept in steps of 128 tokens. The next one reads the longest prefix that is kept, if
that is 1,024 tokens or more. What is used lives on from the moment the request began.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from tests.upstream.prompt import as_blocks, canonical

STEP = 128
MINIMUM = 1024
MARKS = ("cache_control", "prompt_cache_breakpoint")
INSTRUCTIONS = ("system", "developer")


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """Without marks and null fields, and its own fields in one order."""
    return {key: value[key] for key in sorted(value) if key not in MARKS and value[key] is not None}


def _message(message: dict[str, Any]) -> bytes:
    level = plain(message)
    if "content" in level:
        level["content"] = [plain(part) for part in as_blocks(level["content"])]
    return canonical(level)


def prompt(body: dict[str, Any]) -> list[bytes]:
    """What a valid request puts before the model, piece by piece: tools, the shape of the answer, messages."""
    tools = [canonical(plain(tool)) for tool in body.get("tools") or []]
    shape = [canonical(body["response_format"])] if body.get("response_format") else []
    return [*tools, *shape, *map(_message, body["messages"])]


def start(body: dict[str, Any], upto: str | int, ratio: float) -> bytes:
    """The prompt's text up to the end of "tools", of "system" or of a number of tokens."""
    line = prompt(body)
    if isinstance(upto, int):
        return b"".join(line)[: int(upto * ratio)]
    first = len(body.get("tools") or []) + bool(body.get("response_format"))
    if upto == "system":
        first += next((n for n, m in enumerate(body["messages"]) if m["role"] not in INSTRUCTIONS), 0)
    return b"".join(line[:first])


@dataclass(frozen=True, slots=True)
class Split:
    """How many tokens a prompt has, was read of it, and has been written; what is left is neither."""

    total: int
    read: int
    written: int


class Cache:
    """Not locked: the server serves one request at a time here."""

    def __init__(self) -> None:
        self.expires: dict[bytes, float] = {}

    def put(self, model: str, text: bytes, ratio: float, now: float, lifetime: float) -> None:
        """Keep a prefix."""
        for link in _links(model, text, ratio):
            self.expires[link] = now + lifetime

    def serve(self, model: str, text: bytes, ratio: float, now: float, lifetime: float) -> Split:
        """Bill one prompt and remember it. `ratio` is bytes per token, `now` and `lifetime` are seconds."""
        total = math.ceil(len(text) / ratio)
        links = _links(model, text, ratio)
        hit = next((n for n, link in enumerate(links) if self.expires.get(link, 0.0) <= now), len(links))
        read = hit * STEP if hit * STEP >= MINIMUM else 0
        for at, link in enumerate(links):
            # What lives longer, as another request asked for it, goes on doing so.
            self.expires[link] = max(now + lifetime, self.expires.get(link, 0.0) if at < hit else 0.0)
        return Split(total, read, len(links) * STEP - read)


def _links(model: str, text: bytes, ratio: float) -> list[bytes]:
    """For every step the digest of the whole prompt up to its end; none for a prompt that is too short."""
    steps = math.ceil(len(text) / ratio) // STEP
    if steps * STEP < MINIMUM:
        return []
    state = hashlib.blake2b(json.dumps(model).encode(), digest_size=16)
    links: list[bytes] = []
    at = 0
    for step in range(1, steps + 1):
        end = round(step * STEP * ratio)
        state.update(text[at:end])
        links.append(state.digest())
        at = end
    return links
