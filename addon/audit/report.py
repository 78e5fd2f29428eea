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


def _short(tokens: int) -> str:
    for unit, name in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if tokens >= unit:
            return f"{tokens / unit:.1f}{name}"
    return str(tokens)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
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


def _waste(total: Figures) -> list[tuple[str, str, str, str]]:
    def row(what: str, tokens: int, remark: str = "") -> tuple[str, str, str, str]:
        return what, _short(tokens), _share(tokens, total.sent), remark

    unknown = "tools are not in these recordings"
    partly = f"known for {_share(total.sent_declared, total.sent)} of what was sent"
    rows = [
        row("system, tools and opening, sent again", total.static),
        ("definitions of tools never called", "?", "?", unknown)
        if not total.sent_declared
        else row("definitions of tools never called", total.unused, partly),
        row("result lines seen before, same file or command", total.repeated_same),
        row("result lines seen before, elsewhere", total.repeated_elsewhere),
    ]
    rows += [
        row(f"results more than {age} requests after their last use", tokens) for age, tokens in total.stale.items()
    ]
    for idle, tokens in total.cold_tokens.items():
        what = f"sent again after more than {_idle(idle)} idle"
        rows.append(row(what, tokens, f"{total.cold[idle]} times") if total.timed else (what, "?", "?", "no times"))
    return rows


def table(total: Figures, sessions: int, rows: Sequence[Row], skipped: Mapping[str, int]) -> str:
    """The report, for a terminal. `rows` are the sessions to show."""
    amplified = f"each token {total.amplification:.1f} times" if total.unique else ""
    reported = f"by the provider's count, of {total.reported_requests} requests, with what is not recorded"
    facts = [
        ("sessions", str(sessions), ""),
        ("requests", str(total.requests), ""),
        ("tokens sent", _short(total.sent), amplified),
        ("tokens, each once", _short(total.unique), ""),
        ("tokens reported", _short(total.reported), reported) if total.reported else ("tokens reported", "-", ""),
    ]
    out = _aligned(facts, left=(0, 2))
    out += ["", *_aligned([("of the tokens sent", "tokens", "share", ""), *_waste(total)], left=(0, 3))]
    out += ["These overlap: they do not add up."]
    if rows:
        head = ("requests", "sent", "times", "static", "unused", "repeated", ">16 old", "idle", "session")
        out += ["", "Largest sessions, shares of what each sent:", *_aligned([head, *map(_line, rows)], left=(8,))]
    if skipped:
        out += ["", "Skipped: " + ", ".join(f"{count} {what}" for what, count in sorted(skipped.items())) + "."]
    return "\n".join(out) + "\n"


def _line(row: Row) -> tuple[str, ...]:
    figures = row.figures
    name = row.name if len(row.name) <= WIDE else "…" + row.name[1 - WIDE :]
    return (
        str(figures.requests),
        _short(figures.sent),
        f"{figures.amplification:.1f}",
        _share(figures.static, figures.sent),
        _share(figures.unused, figures.sent_declared),
        _share(figures.repeated_same + figures.repeated_elsewhere, figures.sent),
        _share(figures.stale[16], figures.sent),
        _share(figures.cold_tokens[300], figures.sent) if figures.timed else "-",
        f"{row.client} {name}",
    )


def report(total: Figures, rows: Sequence[Row], skipped: Mapping[str, int]) -> dict[str, Any]:
    """The same for programs: all figures, in tokens."""
    return {
        "total": _figures(total),
        "sessions": [{"name": row.name, "client": row.client, **_figures(row.figures)} for row in rows],
        "skipped": dict(skipped),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    said = asdict(figures) | {"amplification": round(figures.amplification, 2)}
    if not figures.priced:
        del said["dollars"], said["priced"]
    return said
