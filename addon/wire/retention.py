"""How long providers that cache by themselves keep a prompt, by what the request and the model's name tell.

Taken too short, a warm cache is given up for nothing; taken too long, a chance to evict for free goes by. So where a
provider gives a range, its longest counts. What is not known here is None: what the responses report decides then.
Sources, as of November 2026: OpenAI, "Prompt caching" and the reference of `prompt_cache_retention` (in memory: gone
within an hour; extended: 24 hours, the default of the models that offer it) and of `prompt_cache_options` (from GPT-5.6
on: at least half an hour); DeepSeek, "Context caching" (hours to days); Google, "Context caching" (Gemini 2.5 and newer
cache unasked, for "a short amount of time" and no more is said, so the default of caches that are asked for counts: an
hour).
"""

from __future__ import annotations

import re

HOUR, DAY = 3600.0, 86400.0

RETENTION = {"in_memory": HOUR, "24h": DAY}
BREAKPOINT = {"30m": HOUR, "12h": DAY}
"""`prompt_cache_breakpoint.ttl` is the least that is promised, and entries may live on for longer."""

_DAY = re.compile(r"gpt-(?:4\.1|5(?:\.[1-5])?)(?:[-:@]|$)|deepseek")
_HOUR = re.compile(
    r"gpt-(?!oss)|chatgpt-|codex-|o[134](?:[-:@]|$)"
    r"|gemini-(?:2\.[5-9]|[3-9]|[1-9]\d|(?:pro|flash|flash-lite)-latest)"
)


def kept(model: str) -> float | None:
    """Seconds for which the provider of a model keeps a prompt after its last use, unasked; None where not known."""
    name = model.rsplit("/", 1)[-1].lower()
    return DAY if _DAY.match(name) else HOUR if _HOUR.match(name) else None
