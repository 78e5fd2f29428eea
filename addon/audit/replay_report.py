"""What is said of a replay: a table for people, an object for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from addon.audit.replayed import HINDSIGHT, UNTOUCHED, Outcome, Sums
from addon.audit.report import aligned, dollars, ended, share, short

ACTIONS = ("folds", "excerpts", "evictions", "stubs", "faults")
"""Of an arm, by their names in its sums."""


@dataclass(frozen=True, slots=True)
class Row:
    """One session."""

    name: str
    client: str
    declared: bool
    """Whether system prompt and tools were recorded."""
    outcome: Outcome

    @property
    def title(self) -> str:
        return f"{self.client} {ended(self.name)}"


def _saved(outcome: Outcome, arm: str) -> float:
    """Share of the bill; of the tokens where nothing has a price."""
    before, after = outcome.arms[UNTOUCHED], outcome.arms[arm]
    if before.dollars:
        return 1 - after.dollars / before.dollars
    return 1 - after.tokens / before.tokens if before.tokens else 0.0


def _arm(outcome: Outcome, name: str, remark: str) -> tuple[str, ...]:
    sums, before = outcome.arms[name], outcome.arms[UNTOUCHED]
    return (
        name if name != "auto" else "mitmmu",
        short(sums.tokens),
        share(before.tokens - sums.tokens, before.tokens) if sums is not before else "",
        dollars(sums.dollars),
        share(before.dollars - sums.dollars, before.dollars) if sums is not before else "",
        remark,
    )


def _actions(sums: Sums) -> str:
    return ", ".join(f"{getattr(sums, name)} {name}" for name in ACTIONS)


def table(
    total: Outcome, rows: Sequence[Row], policy: str, fifo: str, top: int, skipped: Mapping[str, int]
) -> str:
    """The report, for a terminal. `policy` and `fifo` are the arms to show beside untouched and hindsight; the `top`
    largest sessions are listed."""
    arms = [
        (UNTOUCHED, ""),
        (policy, _actions(total.arms[policy])),
        *([(fifo, "the published age rule: " + _actions(total.arms[fifo]))] if fifo != policy else []),
        (HINDSIGHT, "every result gone after its last use, tools never called not there, at no cost"),
    ]
    head = (f"{len(rows)} sessions, {total.requests} requests", "tokens", "saved", "dollars", "saved", "")
    out = aligned([head, *(_arm(total, name, remark) for name, remark in arms)], left=(0, 5))
    out += ["", *_doubts(total, rows, total.arms[policy])]
    worst = min(rows, key=lambda row: (row.outcome.saved(policy), _saved(row.outcome, policy)))
    out.append(f"Worst session: {_loss(worst.outcome, policy)}, {worst.title}.")
    if top:
        ordered = sorted(rows, key=lambda row: (-row.outcome.arms[UNTOUCHED].dollars, -row.outcome.requests))
        shown = ("requests", "tokens", "untouched", "with", "saved", fifo, HINDSIGHT, *ACTIONS, "session")
        out += ["", "Largest sessions, dollars:"]
        out += aligned([shown, *(_line(row, policy, fifo) for row in ordered[:top])], left=(len(shown) - 1,))
    if skipped:
        out += ["", "Skipped: " + ", ".join(f"{count} {what}" for what, count in sorted(skipped.items())) + "."]
    return "\n".join(out) + "\n"


def _loss(outcome: Outcome, policy: str) -> str:
    saved = outcome.saved(policy)
    return f"{dollars(abs(saved))} {'saved' if saved >= 0 else 'lost'} ({_percent(_saved(outcome, policy))})"


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _doubts(total: Outcome, rows: Sequence[Row], sums: Sums) -> list[str]:
    """What the figures rest on."""
    out: list[str] = []
    if total.reported:
        ratio = f", {total.simulated / total.recorded:.2f} times that" if total.recorded else ""
        out.append(
            f"The provider reported {dollars(total.recorded)} for {total.reported} of these requests; the simulated "
            f"cache makes it {dollars(total.simulated)}{ratio}."
        )
    else:
        out.append("No usage was recorded: weights are ours, and the cache is as the requests asked for it.")
    if bare := sum(not row.declared for row in rows):
        out.append(
            f"{bare} of the sessions are transcripts, without system prompt and tools: stubs and excerpts, which need "
            "tools, are not in their figures."
        )
    if sums.blind:
        out.append(
            f"{sums.blind} tools were called while a stub stood for them; had the model asked for the definition "
            "first, each would have cost a request more."
        )
    if total.unpriced:
        out.append(f"{total.unpriced} requests are of models without a known price: they are in the tokens alone.")
    if total.untimed:
        out.append(f"{total.untimed} requests have no time: their cache never expires.")
    return out


def _line(row: Row, policy: str, fifo: str) -> tuple[str, ...]:
    outcome = row.outcome
    sums = outcome.arms[policy]
    return (
        str(outcome.requests),
        short(outcome.arms[UNTOUCHED].tokens),
        dollars(outcome.arms[UNTOUCHED].dollars),
        dollars(sums.dollars),
        *(_percent(_saved(outcome, arm)) for arm in (policy, fifo, HINDSIGHT)),
        *(str(getattr(sums, name)) for name in ACTIONS),
        row.title,
    )


def report(total: Outcome, rows: Sequence[Row], policy: str, skipped: Mapping[str, int]) -> dict[str, Any]:
    """The same for programs: all figures, in tokens and dollars."""
    return {
        "policy": policy,
        "total": _figures(total),
        "sessions": [
            {"name": row.name, "client": row.client, "declared": row.declared, **_figures(row.outcome)} for row in rows
        ],
        "skipped": dict(skipped),
    }


def _figures(outcome: Outcome) -> dict[str, Any]:
    said = asdict(outcome)
    for name, sums in said["arms"].items():
        sums["saved"] = round(_saved(outcome, name), 6)
    return said
