"""Memory pressure: how much of a line's work is spent on asking again for what was evicted, and what follows.

The kernel's PSI answers what counts of faults cannot: for how much of the time did somebody wait? Here time is
requests, and dollars. A *fault* makes a request that would not have been made had the page stayed, and what that
request costs is what the fault costs. The share of requests that brought faults, and of what all requests cost, is
taken over a short and a long window: sums that halve every 8 and every 64 requests, so that a few numbers are their
whole memory. The greater of both shares is the pressure. The short window sees at once that something is wrong, the
long one that it is no accident, and only both together that it is over.

The answer is one factor for ages and sizes: at 2 a page stays twice as long and must free twice as much. It has the
asymmetry of TCP's congestion control. One eviction too many costs a request, one too few only rent. So the factor
doubles at a fault above the set point, once per request with a fault and not once per request above it, as TCP halves
once per loss: it is the fault that brings news. Any fault is above the set point in the short window, so it is the
long one that must be, too, and by requests: prompts grow, and by what it costs every late fault would be. The factor
falls by a small constant with every calm request.

Between the set point and half of it the factor stays. Without that hysteresis it would fall as soon as it has helped,
and the same pages would leave and come back for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SET_POINT = 0.02
"""The share that may be spent on faults."""

HIGHEST = 8.0
"""The greatest factor."""

FALL = 1 / 32
"""What a calm request takes off the factor."""

WINDOWS = {"short": 8, "long": 64}
"""Half-lives in requests."""

CALM: Mapping[str, Any] = {"short": [0.0, 0.0, 0.0], "long": [0.0, 0.0, 0.0], "scale": 1.0}
"""No request so far. Of each window: the share of requests that brought faults; what these and what all cost."""


def step(state: Mapping[str, Any], faults: int, cost: float) -> dict[str, Any]:
    """The state after a request that brought so many faults. `cost` is the request's, in dollars or in proportion."""
    brought = float(faults > 0)
    out: dict[str, Any] = {}
    for name, half_life in WINDOWS.items():
        keeps = 0.5 ** (1 / half_life)
        requests, spent, mean = state[name]
        pairs = (requests, brought), (spent, brought * cost), (mean or cost, cost)
        out[name] = [round(now + (was - now) * keeps, 6) for was, now in pairs]
    shares = [share(out, name) for name in WINDOWS]
    factor = scale(state)
    if faults and out["long"][0] > SET_POINT:
        factor = min(HIGHEST, 2 * factor)
    elif max(shares) < SET_POINT / 2:
        factor = max(1.0, factor - FALL)
    return out | {"scale": factor}


def share(state: Mapping[str, Any], window: str) -> float:
    """The pressure in a window, 0 to 1."""
    requests, spent, mean = state[window]
    return float(max(requests, spent / mean if mean else 0.0))


def scale(state: Mapping[str, Any]) -> float:
    """What ages and sizes are multiplied by, 1 to 8."""
    return float(state["scale"])
