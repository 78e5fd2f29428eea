"""The replay's table: one line a session, for a terminal of 150 columns or a document."""

from __future__ import annotations

from collections.abc import Iterable

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


def markdown(rows: Iterable[Row]) -> str:
    """The table for a document. `replay / recorded` is the plain arm's bill over the one the recording reports."""
    head = (
        "session",
        "requests",
        "replay / recorded",
        "tokens saved",
        "bill without, $",
        "bill with, $",
        "saved",
        "saved, quote faults charged",
        "prefix kept without / with",
        "epochs",
        "folds",
        "evictions",
        "faults",
        "quote faults",
    )
    lines = [head, ("---", *["---:"] * (len(head) - 1))]
    for row in rows:
        fewer = 1 - row.managed.tokens / row.plain.tokens if row.plain.tokens else 0.0
        faithful = f"{row.plain.dollars / row.recorded_dollars:.2f}" if row.recorded_dollars else "-"
        lines.append(
            (
                row.name,
                str(row.requests),
                faithful,
                f"{fewer:.1%}",
                f"{row.plain.dollars:.3f}",
                f"{row.managed.dollars:.3f}",
                f"{row.saved:.1%}",
                f"{row.saved_charged:.1%}",
                f"{row.plain.prefix_kept:.1%} / {row.managed.prefix_kept:.1%}",
                *(str(n) for n in (row.epochs, row.folds, row.evictions)),
                "-" if row.faults is None else str(row.faults),
                str(row.quote_faults),
            )
        )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
