"""What OpenAI's two APIs have in common: what names a request, cache marks, arguments of calls, counts of tokens.

Sources: OpenAI's references of both APIs, "Prompt caching"; OpenRouter, which takes Anthropic's marks in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from addon.wire.anthropic import TTL
from addon.wire.read import WINDOW, hashed
from addon.wire.retention import BREAKPOINT, DAY, RETENTION, kept
from addon.wire.scan import Field
from addon.wire.usage import Usage

_USER = re.compile(r'"role"\s*:\s*"user"')
_USER_BYTES = re.compile(_USER.pattern.encode())


def key(api: str, text: str, start: int) -> str:
    """What follows the first user's role: many conversations share their instructions, which may be long."""
    found = _USER.search(text, start)
    at = found.start() if found else start
    return f"{api}:{text[at : at + WINDOW]}"


def likely_key(api: str, body: bytes, start: int) -> str:
    """The same of a body that was not read."""
    found = _USER_BYTES.search(body, start)
    at = found.start() if found else start
    return f"{api}:{body[at : at + 4 * WINDOW].decode('utf-8', 'ignore')[:WINDOW]}"


MARKS = ("cache_control", "prompt_cache_breakpoint")


def mark(part: Mapping[str, Field]) -> tuple[float, ...]:
    """The seconds that the cache marks of a part ask for. One that is not understood counts as the longest."""
    asked: tuple[float, ...] = ()
    for key, lifetimes, default in (("cache_control", TTL, "5m"), ("prompt_cache_breakpoint", BREAKPOINT, "30m")):
        given = part.get(key, (None,))[0]
        if given is not None:
            ttl = given.get("ttl", default) if isinstance(given, dict) else None
            asked += (lifetimes.get(ttl, DAY) if isinstance(ttl, str) else DAY,)
    return asked


def marks(content: Any) -> tuple[float, ...]:
    """Those of all parts, where the value of a member is a list of them."""
    found = content if isinstance(content, list) else ()
    return tuple(seconds for part, _, _ in found if isinstance(part, dict) for seconds in mark(part))


def digest_members(text: str, members: Mapping[str, Field]) -> bytes:
    """Over everything but cache marks: keys and the raw values, in the client's order."""
    return hashed("".join(f"{key}\0{text[at:to]}\0" for key, (_, at, to) in members.items() if key not in MARKS))


def arguments(given: Any) -> Any:
    """Decoded arguments of a call. What a model has written need not be JSON; the string then stands for itself."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def choice(given: Any) -> Any:
    """`tool_choice` as an object with a type, which some of its values are here and all are elsewhere."""
    return {"type": given} if isinstance(given, str) else given


def time_to_live(model: str, retention: Any, options: Any, asked: Sequence[float]) -> float | None:
    """What is asked for by `prompt_cache_retention`, by `prompt_cache_options` or by marks, or is known of the model.
    Most servers of these APIs cache unasked, so None is no refusal."""
    unasked = RETENTION.get(retention, DAY) if isinstance(retention, str) else kept(model)
    least = options.get("ttl") if isinstance(options, dict) else None
    said = [BREAKPOINT.get(least, DAY)] if isinstance(least, str) else []
    return max([*asked, *said, *([unasked] if unasked is not None else [])], default=None)


def count(source: Any, key: str) -> int:
    """A count in a usage report; missing is 0."""
    got = source.get(key) if isinstance(source, Mapping) else None
    return got if isinstance(got, int) and not isinstance(got, bool) else 0


def usage(prompt: int, cached: int, written: int, output: int) -> Usage:
    """What was read from the cache or written to it is part of the prompt. Nothing says for how long was written."""
    read = min(prompt, cached)
    written = min(prompt - read, written)
    return Usage(fresh=prompt - read - written, read=read, written=written, output=output, untold=True)
