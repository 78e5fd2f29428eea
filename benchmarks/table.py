"""The replay's table: one line a session, readable in a terminal of 150 columns."""

from __future__ import annotations

from benchmarks.measure import Row

HEAD = (
    f"{'session':<24} {'reqs':>5} {'tokens without':>14} {'with':>11} {'saved':>6} "
    f"{'bill without':>12} {'with':>8} {'saved':>6} {'charged':>7} "
    f"{'prefix kept':>11} {'epochs':>6} {'folds':>5} {'evict':>5} {'faults':>6} {'quote':>5}"
)


def line(row: Row) -> str:
    """One row under HEAD. `charged` is the saving after quote faults; `faults` is "-" where nobody counted them."""
    fewer = 1 - row.managed.tokens / row.plain.tokens if row.plain.tokens else 0.0
    name = row.name.replace("claude-code", "claude")
    return (
        f"{name:<24} {row.requests:>5} {row.plain.tokens:>14,} {row.managed.tokens:>11,} {fewer:>6.1%} "
        f"{row.plain.dollars:>12.3f} {row.managed.dollars:>8.3f} {row.saved:>6.1%} {row.saved_charged:>7.1%} "
        f"{row.plain.prefix_kept:>5.1%}/{row.managed.prefix_kept:<5.1%} {row.epochs:>6} {row.folds:>5} "
        f"{row.evictions:>5} {'-' if row.faults is None else row.faults:>6} {row.quote_faults:>5}"
    )
