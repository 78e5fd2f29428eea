"""The lab's tables and plots: for a terminal, for a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.lab.figure import Dot, figure
from benchmarks.lab.frontier import Point
from benchmarks.lab.outcome import Summary
from benchmarks.lab.policies import CLAIRVOYANT, FREE, NONE, ONE, WHOLE

BILL = "bill with faults charged, % of the untouched one"
LEFT_IN = "bytes of results that stay, % of what the client sends"


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; the first column stands to the left, the others to the right."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [_aligned(row, widths) for row in (self.head, *self.rows)]
        return "\n".join([self.title, *lines, ""])

    def markdown(self) -> str:
        """For a document."""
        lines = [self.head, ("---", *["---:"] * (len(self.head) - 1)), *self.rows]
        return f"**{self.title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    (first, wide), *rest = zip(row, widths, strict=True)
    return "  ".join([f"{first:<{wide}}", *(f"{cell:>{width}}" for cell, width in rest)])


def bills(tariff: str, rows: Sequence[Summary]) -> Table:
    """The policies over one group of sessions."""
    one = rows[0]
    title = f"{tariff}, {one.group}: {one.sessions} sessions, {one.requests} requests, ${one.untouched:.2f}"
    head = (
        "policy", "bill, $", "saved", "charged", "re-reads free", "worst", "faults", "per request",
        "per eviction-request", "per page", "evicted", "of clairvoyant", "of whole",
    )  # fmt: skip
    return Table(title, head, [_bill(row) for row in rows])


def _bill(row: Summary) -> tuple[str, ...]:
    return (
        row.policy,
        f"{row.bill:.3f}",
        *(_share(share, 1) for share in (row.saved, row.saved_charged, row.saved_but_rereads, row.worst)),
        str(row.fault_count),
        f"{row.faults_per_request:.4f}",
        _share(row.per_eviction_request, 4),
        _share(row.per_page, 2),
        str(row.evicted),
        _share(row.share, 0),
        _share(row.share_whole, 0),
    )


def points(found: Sequence[Point]) -> Table:
    """The rules on skeletons."""
    head = (
        "rule", "age", "bytes kept out", "evicted", "faults", "per request", "per eviction-request", "per page",
    )  # fmt: skip
    rows = [
        (
            point.rule,
            str(point.age),
            _share(point.kept_out / point.offered if point.offered else None, 1),
            str(point.evicted),
            str(point.faults),
            f"{point.faults / point.requests:.4f}" if point.requests else "-",
            _share(point.faults / point.evicted_in_requests if point.evicted_in_requests else None, 4),
            _share(point.faults / point.evicted if point.evicted else None, 2),
        )
        for point in found
    ]
    return Table(f"skeletons, {found[0].requests} requests", head, rows)


def _share(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{round(value, digits + 2) + 0.0:.{digits}%}"


def bills_figure(title: str, rows: Iterable[Summary]) -> str:
    """Bill against faults, every policy a point."""
    curves: dict[str, list[Dot]] = {}
    levels: dict[str, float] = {}
    for row in rows:
        bill = 100 * (1 - row.saved_charged)
        if row.policy in (CLAIRVOYANT, WHOLE, FREE):
            levels[row.policy] = bill
        elif row.curve not in (CLAIRVOYANT, FREE, NONE):
            curve = f"{row.policy} alone" if row.curve == ONE else row.curve
            curves.setdefault(curve, []).append(Dot(row.policy, row.faults_per_request, bill))
    return figure(title, BILL, curves, levels)


def points_figure(found: Sequence[Point]) -> str:
    """Bytes that stay against faults, every rule a curve."""
    curves: dict[str, list[Dot]] = {}
    for point in found:
        if point.requests and point.offered:
            stay = 100 * (1 - point.kept_out / point.offered)
            curves.setdefault(point.rule, []).append(Dot(str(point.age), point.faults / point.requests, stay))
    return figure("Room against faults, by age in requests", LEFT_IN, curves, {})
