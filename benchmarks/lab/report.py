"""The lab's tables: for a terminal, for a document, and as figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.lab.outcome import Summary

COLUMNS = (
    "policy", "bill, $", "saved", "charged", "worst", "faults", "per request", "per eviction-request", "per page",
    "evicted", "of clairvoyant",
)  # fmt: skip
WIDTHS = (20, 9, 7, 7, 7, 6, 11, 20, 8, 7, 14)


def cells(row: Summary) -> tuple[str, ...]:
    """One row under COLUMNS."""
    return (
        row.policy,
        f"{row.bill:.3f}",
        f"{row.saved:.1%}",
        f"{row.saved_charged:.1%}",
        f"{row.worst:.1%}",
        str(row.fault_count),
        f"{row.faults_per_request:.4f}",
        "-" if row.per_eviction_request is None else f"{row.per_eviction_request:.4%}",
        "-" if row.per_page is None else f"{row.per_page:.2%}",
        str(row.evicted),
        "-" if row.share is None else f"{row.share:.0%}",
    )


def text(title: str, rows: Sequence[Summary]) -> str:
    """A table for a terminal."""
    lines = [title, _aligned(COLUMNS), *(_aligned(cells(row)) for row in rows)]
    return "\n".join(lines) + "\n"


def markdown(title: str, rows: Iterable[Summary]) -> str:
    """A table for a document."""
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *(cells(row) for row in rows)]
    return f"**{title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _aligned(row: Sequence[str]) -> str:
    first, *rest = zip(row, WIDTHS, strict=True)
    return " ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in rest)])
