"""What is said of the figures: a table for people, an object for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from addon.audit.waste import Figures

WIDE = 60
"""Characters of a session's name that are shown: its end, which tells it from others."""


@dataclass(frozen=True, slots=True)
class Row:
    """One session."""

    name: str
    client: str
    figures: Figures


def ended(name: str) -> str:
    """A session's name, as far as it is shown."""
    return name if len(name) <= WIDE else "…" + name[1 - WIDE :]


def short(tokens: int) -> str:
    """A number of tokens in four digits or less."""
    for unit, name in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if tokens >= unit:
            return f"{tokens / unit:.1f}{name}"
    return str(tokens)


def share(part: float, whole: float) -> str:
    """In per cent, with its sign where it is negative."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def dollars(amount: float) -> str:
    """To the cent, or to its second digit where that is less."""
    return f"${amount:.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Rows of equally many cells, numbers to the right; the columns in `left` begin at their left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n in left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _idle(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"


def _waste(total: Figures) -> list[tuple[str, ...]]:
    def row(what: str, kind: str, tokens: int, remark: str = "") -> tuple[str, ...]:
        cost = dollars(total.wasted[kind]) if total.priced else "-"
        return what, short(tokens), share(tokens, total.sent), cost, remark

    unknown = "tools are not in these recordings"
    partly = f"known for {share(total.sent_declared, total.sent)} of what was sent"
    rows = [
        row("system, tools and opening, sent again", "static", total.static),
        ("definitions of tools never called", "?", "?", "?", unknown)
        if not total.sent_declared
        else row("definitions of tools never called", "unused", total.unused, partly),
        row("result lines seen before, same file or command", "repeated_same", total.repeated_same),
        row("result lines seen before, elsewhere", "repeated_elsewhere", total.repeated_elsewhere),
    ]
    rows += [
        row(f"results more than {age} requests after their last use", f"stale_{age}", tokens)
        for age, tokens in total.stale.items()
    ]
    for idle, tokens in total.cold_tokens.items():
        what = f"sent again after more than {_idle(idle)} idle"
        times = f"{total.cold[idle]} times"
        rows.append(row(what, f"cold_{idle}", tokens, times) if total.timed else (what, "?", "?", "?", "no times"))
    return rows


def _bills(total: Figures) -> list[tuple[str, str, str]]:
    out: list[tuple[str, str, str]] = []
    if total.priced:
        out.append(("dollars", dollars(total.dollars), f"by the usage that {total.priced} requests reported"))
    if total.estimated_requests:
        about = f"an estimate: {total.estimated_requests} requests reported no usage"
        out.append(("dollars, estimated", f"~{dollars(total.estimated)}", about))
    if total.unpriced:
        out.append(("requests without a price", str(total.unpriced), "nobody lists what their models cost"))
    return out


def table(total: Figures, sessions: int, rows: Sequence[Row], skipped: Mapping[str, int]) -> str:
    """The report, for a terminal. `rows` are the sessions to show."""
    amplified = f"each token {total.amplification:.1f} times" if total.unique else ""
    reported = f"by the provider's count, of {total.reported_requests} requests, with what is not recorded"
    facts = [
        ("sessions", str(sessions), ""),
        ("requests", str(total.requests), ""),
        ("tokens sent", short(total.sent), amplified),
        ("tokens, each once", short(total.unique), ""),
        ("tokens reported", short(total.reported), reported) if total.reported else ("tokens reported", "-", ""),
        *_bills(total),
    ]
    out = aligned(facts, left=(0, 2))
    out += ["", *aligned([("of the tokens sent", "tokens", "share", "dollars", ""), *_waste(total)], left=(0, 4))]
    out += ["These overlap: they do not add up. A token's dollars are what one of its request cost on average."]
    if rows:
        head = ("requests", "sent", "times", "static", "unused", "repeated", ">16 old", "idle", "dollars", "session")
        out += ["", "Largest sessions, shares of what each sent:", *aligned([head, *map(_line, rows)], left=(9,))]
    if skipped:
        out += ["", "Skipped: " + ", ".join(f"{count} {what}" for what, count in sorted(skipped.items())) + "."]
    return "\n".join(out) + "\n"


def _line(row: Row) -> tuple[str, ...]:
    figures = row.figures
    guess = "~" if figures.estimated else ""
    return (
        str(figures.requests),
        short(figures.sent),
        f"{figures.amplification:.1f}",
        share(figures.static, figures.sent),
        share(figures.unused, figures.sent_declared),
        share(figures.repeated_same + figures.repeated_elsewhere, figures.sent),
        share(figures.stale[16], figures.sent),
        share(figures.cold_tokens[300], figures.sent) if figures.timed else "-",
        f"{guess}{dollars(figures.dollars + figures.estimated)}",
        f"{row.client} {ended(row.name)}",
    )


def report(total: Figures, rows: Sequence[Row], skipped: Mapping[str, int]) -> dict[str, Any]:
    """The same for programs: all figures, in tokens and dollars."""
    return {
        "total": _figures(total),
        "sessions": [{"name": row.name, "client": row.client, **_figures(row.figures)} for row in rows],
        "skipped": dict(skipped),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return asdict(figures) | {"amplification": round(figures.amplification, 2)}
