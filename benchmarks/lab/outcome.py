"""What came of one policy on one session, and of one policy on many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.lab.policies import CLAIRVOYANT, WHOLE
from benchmarks.traces import Json


@dataclass(slots=True)
class Outcome:
    """Bills in dollars. `faults`, and `charges` for them, by the sign that the need showed in. `evicted` counts results
    once, `evicted_in_requests` in every request that they are missing from."""

    session: str
    policy: str
    curve: str
    ttl: str
    """The lifetime that its client asked for, "5m" or "1h"."""
    requests: int
    untouched: float
    bill: float
    charges: dict[str, float] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    evicted: int = 0
    evicted_in_requests: int = 0
    blind: int = 0
    """Tools that were called while no more than a stub of them arrived; charged, but no reference faults."""
    refused: int = 0
    """Rules of the provider that what was sent broke."""

    @property
    def charge(self) -> float:
        """What the faults add at most."""
        return sum(self.charges.values())

    @property
    def saved(self) -> float:
        """Share of the bill, faults not charged."""
        return 1 - self.bill / self.untouched if self.untouched else 0.0

    @property
    def saved_charged(self) -> float:
        """Share of the bill, faults charged."""
        return 1 - (self.bill + self.charge) / self.untouched if self.untouched else 0.0

    def as_json(self) -> dict[str, Json]:
        return asdict(self) | {"charge": self.charge, "saved": self.saved, "saved_charged": self.saved_charged}


@dataclass(frozen=True, slots=True)
class Summary:
    """One policy over several sessions. Shares are of the whole bill. `best` and `best_whole` are the dollars that the
    clairvoyant saves of the same sessions, and where results arrive whole; None where it was not asked."""

    policy: str
    curve: str
    group: str
    sessions: int
    requests: int
    untouched: float
    bill: float
    charge: float
    charge_rereads: float
    """The part of `charge` that is for files the agent reads again by itself."""
    worst: float
    worst_session: str
    faults: dict[str, int]
    evicted: int
    evicted_in_requests: int
    blind: int
    refused: int
    best: float | None
    best_whole: float | None

    @property
    def saved(self) -> float:
        return 1 - self.bill / self.untouched if self.untouched else 0.0

    @property
    def saved_charged(self) -> float:
        return 1 - (self.bill + self.charge) / self.untouched if self.untouched else 0.0

    @property
    def saved_but_rereads(self) -> float:
        """With faults charged but those."""
        paid = self.bill + self.charge - self.charge_rereads
        return 1 - paid / self.untouched if self.untouched else 0.0

    @property
    def fault_count(self) -> int:
        return sum(self.faults.values())

    @property
    def faults_per_request(self) -> float:
        return self.fault_count / self.requests if self.requests else 0.0

    @property
    def per_eviction_request(self) -> float | None:
        """Faults over evicted results, each counted in every request that it is missing from."""
        return self.fault_count / self.evicted_in_requests if self.evicted_in_requests else None

    @property
    def per_page(self) -> float | None:
        """Faults over evicted results, each counted once."""
        return self.fault_count / self.evicted if self.evicted else None

    @property
    def share(self) -> float | None:
        """Of the clairvoyant's saving, faults charged."""
        return (self.untouched - self.bill - self.charge) / self.best if self.best else None

    @property
    def share_whole(self) -> float | None:
        """Of what it saves where results arrive whole."""
        return (self.untouched - self.bill - self.charge) / self.best_whole if self.best_whole else None

    def as_json(self) -> dict[str, Json]:
        names = (
            "policy", "curve", "group", "sessions", "requests", "untouched", "bill", "charge", "charge_rereads",
            "saved", "saved_charged", "saved_but_rereads", "worst", "worst_session", "faults", "faults_per_request",
            "per_eviction_request", "per_page", "evicted", "evicted_in_requests", "share", "share_whole", "blind",
            "refused",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def summaries(group: str, outcomes: Sequence[Outcome]) -> list[Summary]:
    """Every policy over the sessions of a group, in the order in which the policies came."""
    by_policy: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_policy.setdefault(outcome.policy, []).append(outcome)
    best, best_whole = (_saved(by_policy.get(name)) for name in (CLAIRVOYANT, WHOLE))
    return [_summary(group, found, best, best_whole) for found in by_policy.values()]


def _saved(outcomes: Sequence[Outcome] | None) -> float | None:
    return sum(o.untouched - o.bill - o.charge for o in outcomes) if outcomes else None


def _summary(group: str, outcomes: Sequence[Outcome], best: float | None, best_whole: float | None) -> Summary:
    worst = min(outcomes, key=lambda outcome: outcome.saved_charged)
    faults: Counter[str] = sum((Counter(outcome.faults) for outcome in outcomes), Counter())
    return Summary(
        policy=worst.policy,
        curve=worst.curve,
        group=group,
        sessions=len(outcomes),
        requests=sum(outcome.requests for outcome in outcomes),
        untouched=sum(outcome.untouched for outcome in outcomes),
        bill=sum(outcome.bill for outcome in outcomes),
        charge=sum(outcome.charge for outcome in outcomes),
        charge_rereads=sum(outcome.charges.get("reread", 0.0) for outcome in outcomes),
        worst=worst.saved_charged,
        worst_session=worst.session,
        faults=dict(sorted(faults.items())),
        evicted=sum(outcome.evicted for outcome in outcomes),
        evicted_in_requests=sum(outcome.evicted_in_requests for outcome in outcomes),
        blind=sum(outcome.blind for outcome in outcomes),
        refused=sum(outcome.refused for outcome in outcomes),
        best=best,
        best_whole=best_whole,
    )
