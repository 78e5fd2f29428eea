"""The two arms of a replay side by side, summed up per session.

The *plain* arm sends what the client sent, the *managed* arm what mitmmu made of it; both are billed by a provider of
their own whose cache saw nothing of the other. Everything here is read off the requests that arrived and their bills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.compare import Body, Tally, difference
from benchmarks.quotes import QuoteFaults, Rates
from benchmarks.rebuild import Session, Turn
from benchmarks.traces import Json
from tests.upstream.models import dollars, model_of

TOLERANCE = 0.005


@dataclass(frozen=True, slots=True)
class Served:
    """One request as a provider billed it: tokens by tariff, dollars, share (0..1) of the last prompt kept."""

    body: Body
    fresh: int
    read: int
    written: int
    written_hour: int
    output: int
    dollars: float
    prefix_kept: float | None

    @property
    def tokens(self) -> int:
        """The whole prompt."""
        return self.fresh + self.read + self.written + self.written_hour


@dataclass(slots=True)
class Arm:
    """Sums over the requests of one arm; `kept` is the sum of the shares of `kept_of` requests."""

    tokens: int = 0
    dollars: float = 0.0
    kept: float = 0.0
    kept_of: int = 0

    def add(self, served: Served) -> None:
        self.tokens += served.tokens
        self.dollars += served.dollars
        if served.prefix_kept is not None:
            self.kept += served.prefix_kept
            self.kept_of += 1

    @property
    def prefix_kept(self) -> float:
        """Mean share of the last prompt that the next one begins with."""
        return self.kept / self.kept_of if self.kept_of else 1.0


@dataclass(slots=True)
class Row:
    """One session, or the sum of several. Bills in dollars; `charge` is what the quote faults would have added.

    `recorded_dollars`: what the provider's own usage figures come to at the same prices, with the replay's answers
    (recorded answer tokens are unreliable). How near the plain arm comes to it tells how good the replay is.
    """

    name: str
    requests: int = 0
    recorded_tokens: int = 0
    recorded_dollars: float = 0.0
    repairs: int = 0
    plain: Arm = field(default_factory=Arm)
    managed: Arm = field(default_factory=Arm)
    epochs: int = 0
    folds: int = 0
    evictions: int = 0
    back: int = 0
    stubs: int = 0
    faults: int | None = None
    quote_faults: int = 0
    charge: float = 0.0
    untouched: float = 0.0
    """What mitmmu's own ledger says the plain arm comes to, where it was kept."""
    violations: list[str] = field(default_factory=list)

    @property
    def saved(self) -> float:
        """Share of the bill saved, quote faults not charged."""
        return 1 - self.managed.dollars / self.plain.dollars if self.plain.dollars else 0.0

    @property
    def saved_charged(self) -> float:
        """Share of the bill saved when every quote fault is charged."""
        return 1 - (self.managed.dollars + self.charge) / self.plain.dollars if self.plain.dollars else 0.0

    def as_json(self) -> dict[str, Json]:
        shown = asdict(self)
        for arm, sums in (("plain", self.plain), ("managed", self.managed)):
            shown[arm] = {"tokens": sums.tokens, "dollars": sums.dollars, "prefix_kept": sums.prefix_kept}
        return shown | {"saved": self.saved, "saved_charged": self.saved_charged}


class Measurement:
    """Follows one session through both arms."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.row = Row(session.name, repairs=session.repairs.total())
        self.tally = Tally()
        self.quotes = QuoteFaults(session.ratio.bytes_per_token)
        self.segment = 0

    def add(self, turn: Turn, plain: Served, managed: Served) -> None:
        """Counts one request that both arms have served."""
        if turn.segment != self.segment:
            self.segment = turn.segment
            self.quotes.restart()
        row = self.row
        row.requests += 1
        row.recorded_tokens += turn.usage.total if turn.usage else 0
        row.recorded_dollars += self._recorded(turn, plain.output)
        row.plain.add(plain)
        row.managed.add(managed)
        if (managed.prefix_kept or 0) < (plain.prefix_kept or 0) - 0.0005:
            row.epochs += 1
        found = difference(plain.body, managed.body)
        self.tally.add(found)
        self.quotes.add(self.session.reply(turn), managed.body, found.changes, managed.tokens, self._rates(turn))
        self.quotes.call(self.session.reply(turn), plain.body, managed.body, managed.tokens, self._rates(turn))
        row.folds, row.evictions, row.back = self.tally.folds, self.tally.evictions, self.tally.back
        row.stubs = self.tally.stubs
        row.quote_faults, row.charge = self.quotes.count, self.quotes.dollars

    def _recorded(self, turn: Turn, output: int) -> float:
        used = turn.usage
        if used is None:
            return 0.0
        return dollars(
            model_of(self.session.model),
            fresh=used.uncached,
            read=used.cache_read,
            write_5m=used.write_5m,
            write_1h=used.write_1h,
            output=output,
        )

    def _rates(self, turn: Turn) -> Rates:
        model = model_of(self.session.model)
        write = model.write_1h if turn.ttl == "1h" else model.write_5m
        return Rates(read=model.read / 1e6, write=write / 1e6, output=model.output / 1e6)


def total(rows: Sequence[Row]) -> Row:
    """All rows as one."""
    known = [row.faults for row in rows if row.faults is not None]
    whole = Row("total", faults=sum(known) if known else None)
    for row in rows:
        for name in (
            "requests",
            "recorded_tokens",
            "recorded_dollars",
            "repairs",
            "epochs",
            "folds",
            "evictions",
            "back",
            "stubs",
            "quote_faults",
            "charge",
            "untouched",
        ):  # fmt: skip
            setattr(whole, name, getattr(whole, name) + getattr(row, name))
        for mine, theirs in ((whole.plain, row.plain), (whole.managed, row.managed)):
            mine.tokens += theirs.tokens
            mine.dollars += theirs.dollars
            mine.kept += theirs.kept
            mine.kept_of += theirs.kept_of
        whole.violations += row.violations
    return whole


def failures(rows: Sequence[Row]) -> list[str]:
    """What breaks the promise that nothing gets dearer, one sentence each. Quote faults are charged."""
    found = [
        f"{row.name}: {-row.saved_charged:.2%} dearer"
        for row in rows
        if row.managed.dollars + row.charge > row.plain.dollars * (1 + TOLERANCE)
    ]
    if total(rows).saved_charged <= 0:
        found.append("the sum of all sessions is not smaller")
    return found + [f"{row.name}: {text}" for row in rows for text in row.violations]
