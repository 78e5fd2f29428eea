"""What a generateContent request puts before the model, piece by piece, for the cache by prefix (chat_cache.py).

The vendor does not publish the order; instructions come first here, then tools, then contents. Nor in which steps it
keeps: those of Chat are assumed.
"""

from __future__ import annotations

from typing import Any

from tests.upstream.prompt import canonical


def _head(body: dict[str, Any]) -> list[bytes]:
    system = [canonical(body["systemInstruction"]["parts"])] if "systemInstruction" in body else []
    return [*system, *map(canonical, body.get("tools", []))]


def prompt(body: dict[str, Any]) -> list[bytes]:
    """The pieces of a levelled request that is valid."""
    return [*_head(body), *map(canonical, body["contents"])]


def head(body: dict[str, Any], upto: str | int, ratio: float) -> int:
    """How many bytes of the prompt a number of tokens are, or what comes before the contents, whichever part of it
    `upto` names: the instructions cannot be warm without the tools behind them."""
    if isinstance(upto, int):
        return min(int(upto * ratio), sum(map(len, prompt(body))))
    return sum(map(len, _head(body)))
