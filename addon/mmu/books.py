"""Bookkeeping over many requests: what the provider's tokens are to ours, by model and page, and each request's entry.

Nothing here does I/O; what was learned can be handed in at the start (`learned`) and comes out as it changes, so that
it outlives the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from addon.mmu.ledger import Entry, Part, Scale, Standing, Weight, bill, measured
from addon.mmu.price import Rates
from addon.mmu.tokens import calibrate
from addon.wire.usage import Usage

PAGES = 8192
"""Pages whose weight is kept in mind; of others the model's pages in general speak."""


@dataclass(slots=True)
class Books:
    """What has been measured so far."""

    factors: dict[str, tuple[float, int]] = field(default_factory=dict)
    """By model, the provider's tokens over ours for whole requests, and on how many it rests."""
    scales: dict[str, Scale] = field(default_factory=dict)
    """By model, the same for what tools give."""
    pages: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)
    """The same by model and page."""

    def factor(self, model: str) -> float | None:
        """The provider's tokens over ours, None while nothing has been measured."""
        found = self.factors.get(model)
        return None if found is None else found[0]

    def enter(
        self,
        model: str,
        weight: Weight,
        usage: Usage,
        more: Sequence[Usage],
        rates: Rates,
        here: Standing,
    ) -> tuple[Entry, int]:
        """Learn from a request what there is to learn, and bill it: its entry, and the tokens its splices saved."""
        factor = self._calibrated(model, weight, weight.sent, usage)
        scale = self._measured(model, weight, measured(weight, usage, here)).factor(factor)

        def of(part: Part) -> float:
            known = (self.pages.get((model, page)) for page in part.pages)
            return next((factor for factor in known if factor is not None), scale)

        entry = bill(weight, usage, more, rates, here, of)
        return entry, round(sum(part.saved * of(part) for part in weight.parts))

    def watch(
        self, model: str, weight: Weight, usage: Usage, more: Sequence[Usage], rates: Rates
    ) -> tuple[Entry, int]:
        """The same for a request that left as it came, though its splices were planned."""
        factor = self._calibrated(model, weight, weight.sent + weight.saved, usage)
        scale = self._measured(model, weight, None).factor(factor)
        entry = bill(Weight(weight.sent, weight.exact), usage, more, rates)
        return entry, round(sum(part.saved * scale for part in weight.parts))

    def _calibrated(self, model: str, weight: Weight, counted: int, usage: Usage) -> float:
        factor, seen = self.factors.get(model, (1.0, 0))
        if weight.exact:
            factor = calibrate(factor, seen, counted, usage.prompt)
            self.factors[model] = factor, seen + 1
        return factor

    def _measured(self, model: str, weight: Weight, found: tuple[int, int] | None) -> Scale:
        scale = self.scales.get(model, Scale())
        if found is not None:
            self.scales[model] = scale = scale.and_then(found)
            for page in weight.arrived:
                self.pages[model, page] = found[0] / found[1]
                self.pages.move_to_end((model, page))
            while len(self.pages) > PAGES:
                self.pages.popitem(last=False)
        return scale
