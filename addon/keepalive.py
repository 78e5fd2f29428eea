"""Keeps the caches of idle conversations warm while that is likely to pay. What pays is said in `mmu.keepalive`.

What is needed for it (the last request with its headers, credentials among them) is in memory only, and is forgotten
with the first answer that is not what was hoped for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from mitmproxy import http

from addon.account import Accounts
from addon.call import Call
from addon.keeper import Keeper, Memory
from addon.mmu.keepalive import Gaps, Kept, cost, pays
from addon.mmu.ledger import REFRESHED
from addon.mmu.view import Descent
from addon.pager import Pager
from addon.upstream import Lost, Upstream
from addon.watch.metrics import Metrics
from addon.wire import clients
from addon.wire.api import Again
from addon.wire.apis import marking, refreshing
from addon.wire.clients import Purpose
from addon.wire.usage import Usage

logger = logging.getLogger(__name__)

TICK = 5.0
"""Seconds between two looks at what is due."""
LINES = 64
"""Conversations whose last requests are kept in mind."""
WAITING = 4096
"""Conversations that may still come back."""
GONE = 4 * 3600.0
"""Seconds after which nobody is expected back."""
IDLE, TOTAL = 60.0, 120.0
"""Seconds a refresh may take, between two pieces of its answer and in all."""


@dataclass(slots=True)
class Live:
    """A conversation's last request, as it left."""

    flow: http.HTTPFlow
    call: Call
    again: Again
    kept: Kept


class Keepalive:
    """Watches requests and answers go by, and refreshes caches in between."""

    def __init__(self, accounts: Accounts, pager: Pager, keeper: Keeper | Memory, metrics: Metrics) -> None:
        self.accounts, self.pager, self.keeper, self.metrics = accounts, pager, keeper, metrics
        self.gaps = Gaps()
        self._lines: OrderedDict[str, Live] = OrderedDict()
        self._waiting: OrderedDict[str, float] = OrderedDict()
        """When conversations that went on at least once made their last request."""
        self._spent: tuple[date, float] = date.min, 0.0
        self._busy = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at the clock from now on."""
        self._ticking = asyncio.ensure_future(self._tick())

    def stop(self) -> None:
        """Forget everything."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._lines.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self.check(time.time())

    def asked(self, call: Call, headers: Mapping[str, str]) -> None:
        """A client has made a request."""
        line, now = call.plan.line, call.plan.view.last_at
        self._lines.pop(call.plan.view.id, None)
        for id, live in list(self._lines.items()):
            theirs, ours = live.call.name, call.name
            if ours.session and (theirs.tenant, theirs.session) == (ours.tenant, ours.session):
                del self._lines[id]  # the session goes on elsewhere
        if line.how is not Descent.CONTINUED or line.parent is None or not self._comes_back(call, headers):
            return
        self.gaps.came_back(now - line.parent.last_at)
        self._waiting[call.plan.view.id] = now
        self._waiting.move_to_end(call.plan.view.id)
        if len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)

    def _comes_back(self, call: Call, headers: Mapping[str, str]) -> bool:
        """Whether a person may stand behind it. Sub-agents, titles and summaries end and are over."""
        return clients.told(headers, call.client or call.conversation).purpose is Purpose.MAIN

    def answered(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        """A client's request has been answered, and this was reported of it."""
        marks, way = marking(call.api), refreshing(call.api)
        lifetime = marks.LIFETIME if marks is not None and call.marked else call.conversation.ttl
        cached = usage.read + usage.written + usage.written_hour
        if way is None or lifetime is None or not cached or call.plan.line.how is Descent.FIRST:
            return
        again = way.again(self.pager.sent(call, flow.request.content or b""))
        if again is None or not self._comes_back(call, flow.request.headers):
            return
        now = call.plan.view.last_at
        self._lines[call.plan.view.id] = Live(flow, call, again, Kept(cached, usage.fresh, lifetime, now, now))
        if len(self._lines) > LINES:
            self._lines.popitem(last=False)

    async def check(self, now: float) -> None:
        """Refresh what is due and pays, and forget what does not. `now` in epoch seconds."""
        async with self._busy:
            while self._waiting and next(iter(self._waiting.values())) < now - GONE:
                self._waiting.popitem(last=False)
                self.gaps.ended()
            for id, live in list(self._lines.items()):
                if self._lines.get(id) is not live or not live.kept.due(now):
                    continue
                try:
                    goes_on = not live.kept.lost(now) and await self._refresh(live, now)
                except Exception:
                    goes_on = False
                    self.metrics.add("mmu_failures_total", place="keepalive")
                    logger.exception("mitmmu: a cache could not be kept warm")
                if not goes_on and self._lines.get(id) is live:
                    del self._lines[id]

    async def _refresh(self, live: Live, now: float) -> bool:
        """Refresh a cache, if that pays. Whether it may be done again."""
        day = datetime.fromtimestamp(now, UTC).date()
        spent = self._spent[1] if self._spent[0] == day else 0.0
        model = live.call.conversation.model
        rates = await self.accounts.rates(live.flow, model, day)
        if not pays(live.kept, now, self.gaps, rates, live.again.output, spent):
            return False
        # Counted before it is known, for a refresh may be billed of which nothing is heard.
        price = cost(live.kept, rates, live.again.output)
        self._spent = day, spent + price
        try:
            upstream = Upstream(live.flow, live.again.text.encode(), "keeps warm what was cached for")
            upstream.flow.request.path = live.again.path
            async with upstream:
                answer = await upstream.whole(IDLE, TOTAL)
            fine = answer.status_code == 200
            reported = live.call.api.whole_usage(json.loads(answer.content or b"")) if fine else None
        except (Lost, TimeoutError, ValueError) as why:
            logger.warning("mitmmu: a cache was not kept warm: %s", why or "it took too long")
            self.metrics.add("mmu_refreshes_total", result="lost")
            return False
        if reported is None:
            logger.warning("mitmmu: a cache was not kept warm, the provider answered %d", answer.status_code)
            self.metrics.add("mmu_refreshes_total", result="refused")
            return False
        billed = rates.cost(reported)
        self._spent = day, spent + max(price, billed)
        self.accounts.refreshed(live.call, reported, billed, day)
        # The provider has used this prefix now, so it is no moment to change it until that has expired.
        models = live.call.plan.view.state.get("models", {})
        self.keeper.heard(live.call.name, live.call.plan.view, {"models": {**models, model: now}, REFRESHED: now})
        kept = live.kept
        live.kept = replace(kept, warm_from=now, refreshes=kept.refreshes + 1, dollars=kept.dollars + billed)
        warm = reported.read >= kept.cached / 2
        self.metrics.add("mmu_refreshes_total", result="warm" if warm else "cold")
        logger.info("mitmmu: kept %d tokens warm for $%.4f", reported.read, billed)
        return warm
