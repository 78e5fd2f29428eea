"""What the flow list says of a request: one line in its comment."""

from __future__ import annotations

from mitmproxy import http

from addon.mmu.plan import Plan
from addon.mmu.view import Change

_WORDS = {
    Change.STUB: "tools shortened",
    Change.FOLD: "folded",
    Change.EXCERPT: "shown in part",
    Change.SERVE: "served",
    Change.ANSWER: "recalled",
    Change.RELAY: "exchange put back",
    Change.COLLAPSE: "span collapsed",
    Change.DROP: "reasoning removed",
    Change.CLEAR: "left to the provider to clear",
    Change.EVICT: "evicted",
}


def show(flow: http.HTTPFlow, plan: Plan, notes: list[str], *, observing: bool) -> None:
    """Say what happened to a request: `mmu: 3 folded, 12 evicted (cold), 1 fault; 24 splices`."""
    done = [f"{count} {word}" for change, word in _WORDS.items() if (count := plan.count(change))]
    if plan.epoch is not None and done:
        done[-1] += f" ({plan.epoch.occasion.value})"
    if plan.faults:
        done.append(f"{len(plan.faults)} fault{'s' * (len(plan.faults) > 1)}")
    line = ", ".join(done) or "nothing new"
    if plan.splices:
        line += f"; {len(plan.splices)} splice{'s' * (len(plan.splices) > 1)} in all"
    if plan.view.state.get("hands_off"):
        line += "; left alone since a refusal"
    for text in notes:
        line += f"; {text}"
    flow.comment = f"mmu{' observes' if observing else ''}: {line}"


def note(flow: http.HTTPFlow, text: str) -> None:
    """Add a remark to what is said already."""
    flow.comment = f"{flow.comment}; {text}" if flow.comment else f"mmu: {text}"


def weigh(flow: http.HTTPFlow, *, sent: int, saved: int) -> None:
    """Put the weight in front: `mmu: 81.2k -> 54.3k tokens, 3 folded, ...`."""
    before, _, rest = flow.comment.partition(": ")
    weight = f"{_k(sent + saved)} -> {_k(sent)} tokens" if saved else f"{_k(sent)} tokens"
    flow.comment = f"{before}: {weight}, {rest}"


def cost(flow: http.HTTPFlow, *, billed: float, untouched: float, known: bool) -> None:
    """Say what it cost: `saved $0.0123 of $0.0456`, the latter being what it would have cost. `known`: whether what
    was saved is."""
    saved = round(untouched - billed, 4)
    if not known or not saved:
        note(flow, f"${billed:.4f}")
    elif saved > 0:
        note(flow, f"saved ${saved:.4f} of ${untouched:.4f}")
    else:
        note(flow, f"${-saved:.4f} more than ${untouched:.4f}")


def _k(tokens: int) -> str:
    return f"{tokens / 1000:.1f}k" if tokens >= 1000 else str(tokens)
