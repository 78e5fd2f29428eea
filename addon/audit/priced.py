"""What recorded requests cost: the prices that the proxy goes by, of the day on which each was made. Offline."""

from __future__ import annotations

from datetime import UTC, date, datetime

from addon.audit.recorded import Request
from addon.mmu.price import Listed, Override, Rates, rates


class Prices:
    """Prices by request. `own` go before the table `listed`; `today` counts where the day was not recorded."""

    def __init__(self, own: tuple[Override, ...], listed: Listed | None, today: date) -> None:
        self._own, self._listed, self._today = own, listed, today
        self._known: dict[tuple[str, str, date], Rates] = {}

    def __call__(self, request: Request) -> Rates:
        """What a request's model cost. Not `known` where nobody lists it."""
        day = self._today if request.at is None else datetime.fromtimestamp(request.at, UTC).date()
        key = request.model, request.sent.url if request.sent is not None else "", day
        if key not in self._known:
            self._known[key] = rates(*key, self._own, self._listed)
        return self._known[key]
