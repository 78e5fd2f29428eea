"""A recorded session made ready for many runs: what does not depend on the policy is worked out once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.inprocess import answer_tokens
from benchmarks.lab.demand import Demand, demands
from benchmarks.lab.lay import Laid, lay
from benchmarks.lab.tariff import Account, Tariff
from benchmarks.rebuild import Session, Turn
from tests.upstream.cache import Split
from tests.upstream.prompt import Position, prompt


@dataclass(frozen=True, slots=True)
class Recording:
    """`bodies` are the requests as a client of the tariff's provider sends them, `laid` their blocks, `outputs` the
    tokens of the answers, `warm` the blocks of the other session that warmed the head (None where none did), and
    `untouched` how the requests are billed as they are."""

    session: Session
    tariff: Tariff
    turns: tuple[Turn, ...]
    bodies: tuple[dict[str, Any], ...]
    laid: tuple[Laid, ...]
    warm: tuple[list[Position] | None, ...]
    outputs: tuple[int, ...]
    demands: dict[int, list[Demand]]
    untouched: tuple[Split, ...]

    @property
    def ttl(self) -> str:
        """The lifetime that most requests ask for: "5m" or "1h"."""
        return Counter(turn.ttl for turn in self.turns).most_common(1)[0][0]

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self.tariff.model or self.session.model

    def account(self) -> Account:
        """A new account with the provider."""
        return Account(self.tariff, self.session.model, self.session.ratio.bytes_per_token)

    def dollars(self, splits: Sequence[Split]) -> float:
        """What the session costs if its requests are billed like this."""
        prices = self.tariff.prices(self.session.model)
        return sum(prices.bill(split, output) for split, output in zip(splits, self.outputs, strict=True))

    def first(self, requests: int) -> Recording:
        """The session as it would be had it ended after so many requests."""
        return replace(
            self,
            turns=self.turns[:requests],
            bodies=self.bodies[:requests],
            laid=self.laid[:requests],
            warm=self.warm[:requests],
            outputs=self.outputs[:requests],
            untouched=self.untouched[:requests],
        )


def record(session: Session, tariff: Tariff) -> Recording:
    """The session under a tariff, and its bill without any policy."""
    bodies = tuple(tariff.body(session.body(turn)) for turn in session.turns)
    laid: list[Laid] = []
    for body in bodies:
        laid.append(lay(body, laid[-1] if laid else None))
    warm = tuple(prompt(tariff.body(priming(session, turn))) if turn.warm else None for turn in session.turns)
    outputs = tuple(answer_tokens(session, turn) for turn in session.turns)
    made = Recording(session, tariff, session.turns, bodies, tuple(laid), warm, outputs, demands(session), ())
    return replace(made, untouched=bill(made, [one.line for one in laid]))


def priming(session: Session, turn: Turn) -> dict[str, Any]:
    """The request of another session that warmed the head."""
    return {"system": [], **session.priming(turn)}


def bill(recording: Recording, lines: Sequence[list[Position]], everywhere: bool = False) -> tuple[Split, ...]:
    """The requests billed as if they had been sent like `lines`, to an account of their own.

    `everywhere`: with a cache mark on every block, not only the client's.
    """
    account = recording.account()
    splits: list[Split] = []
    for turn, warm, line in zip(recording.turns, recording.warm, lines, strict=True):
        if warm is not None:
            account.serve(warm, turn.at)
        splits.append(account.serve(line, turn.at, range(len(line)) if everywhere else ()))
    return tuple(splits)
