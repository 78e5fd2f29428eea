"""What a response's figures are used for: counts for people, the real time to live, and a calibrated token count."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any

from mitmproxy import http

from addon import vocabulary
from addon.call import Call, Passed
from addon.keeper import Keeper, Memory
from addon.mmu.books import Books
from addon.mmu.ledger import STATE, Action, Entry, Scale, Weight, remembered, standing, weigh
from addon.mmu.outlook import CREDIT, SCALE
from addon.mmu.plan import told
from addon.mmu.price import Listed, Override, Rates, library, rates
from addon.mmu.tokens import Counter
from addon.mmu.view import Change
from addon.watch import flowlist
from addon.watch.metrics import Metrics
from addon.wire.usage import Usage
from storage.records import Booking

logger = logging.getLogger(__name__)

_COUNTED = (
    ("mmu_folds_total", Change.FOLD),
    ("mmu_excerpts_total", Change.EXCERPT),
    ("mmu_stubs_total", Change.STUB),
    ("mmu_evictions_total", Change.EVICT),
    ("mmu_clears_total", Change.CLEAR),
    ("mmu_served_total", Change.SERVE),
    ("mmu_dropped_reasoning_total", Change.DROP),
    ("mmu_collapses_total", Change.COLLAPSE),
)

RATES = 256
"""Models whose prices are kept in mind."""


class Accounts:
    """Keeps the books. `counter` is shared with the planner: what is counted here serves its next decision."""

    def __init__(self, metrics: Metrics, counter: Counter, keeper: Keeper | Memory) -> None:
        self.metrics = metrics
        self.counter = counter
        self.keeper = keeper
        self._own: tuple[Override, ...] = ()
        self._books = Books()
        self._table: asyncio.Future[Listed | None] | None = None
        self._rates: dict[tuple[str, str, date], Rates] = {}

    async def load(self) -> None:
        """Fetch the calibration learned so far. Raises StoreError."""
        if isinstance(self.keeper, Keeper):
            for model, fact in (await self.keeper.hierarchy.facts("calibration")).items():
                if isinstance(fact, list) and len(fact) == 2:
                    self._books.factors[model] = float(str(fact[0])), int(str(fact[1]))
            for model, fact in (await self.keeper.hierarchy.facts("scale")).items():
                if isinstance(fact, list) and len(fact) == 2:
                    self._books.scales[model] = Scale(float(str(fact[0])), float(str(fact[1])))

    def sent(self, call: Call, received: int, sent: int) -> None:
        """Count a request that leaves; sizes of its body as it came and as it goes, in bytes."""
        draft, add = call.plan, self.metrics.add
        add("mmu_managed_total")
        add("mmu_client_bytes_total", received)
        add("mmu_sent_bytes_total", sent)
        add("mmu_lines_total", how=draft.line.how.value)
        for metric, change in _COUNTED:
            if count := draft.count(change):
                add(metric, count)
        for splice in draft.new:
            if splice.change is Change.ANSWER:
                answered = call.answers[draft.table.by_anchor[splice.anchor].block.call]
                add("mmu_recalls_total", result=answered.result)
                if answered.pages:
                    add("mmu_faults_total", answered.pages, kind="explicit")
        if draft.faults:
            add("mmu_faults_total", len(draft.faults), kind="implicit")
        if draft.epoch is not None:
            add("mmu_epochs_total", occasion=draft.epoch.occasion.value)
        if draft.odd:
            add("mmu_odd_spellings_total", draft.odd)
        if call.rewritten:
            add("mmu_rewritten_total")
        if call.cleared:
            add("mmu_cleared_total")
        if call.marked:
            add("mmu_marked_total", extent=call.marked.value)
        if draft.view.state.get("hands_off"):
            add("mmu_passed_through_total", reason="left alone since a refusal")

    async def heard(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        """Book what the provider reported. Counting tokens is done in a thread, off any request's path."""
        for each in (usage, *call.more):
            self.metrics.tokens(each)
        if call.more:
            more = sum(each.prompt for each in call.more)
            flowlist.note(flow, f"carried on {len(call.more)} times, {more:,} tokens more")
        news = told(call.plan.view, usage)
        if call.transformed:
            self.metrics.add("mmu_transformed_total")
            if call.rewritten:
                news["bound"] = True
        self.keeper.heard(call.name, call.plan.view, news)
        self.keeper.heard(call.name, call.plan.view, await self._weigh(flow, call, usage))

    def use(self, own: tuple[Override, ...]) -> None:
        """Let prices of the user's own go before those of the table."""
        self._own = own
        self._rates.clear()

    async def prices(self) -> Listed | None:
        """The table of prices, loaded in a thread when first asked for, behind the counter's vocabulary; None if it
        cannot be. What is booked waits for both: counts of an estimator are no measure."""
        if self._table is None:
            self._table = asyncio.ensure_future(asyncio.to_thread(self._load))
        return await asyncio.shield(self._table)

    def _load(self) -> Listed | None:
        self.counter.load(vocabulary.load())
        try:
            return library()
        except Exception:
            self.metrics.add("mmu_failures_total", place="prices")
            logger.exception("mitmmu: the table of prices does not load, so only those in mmu_prices are known")
            return None

    def known_rates(self, host: str, path: str, model: str, *, day: date) -> Rates | None:
        """What a model costs where it is asked; None before the table is loaded."""
        table = self._table
        if table is None or not table.done() or table.cancelled():
            return None
        found = self._price(host, path, model, day, table.result())
        return found if found.known else None

    def _price(self, host: str, path: str, model: str, day: date, listed: Listed | None) -> Rates:
        url = f"https://{host}{path.partition('?')[0]}"
        key = model, url, day
        if key not in self._rates:
            if len(self._rates) >= RATES:
                self._rates.clear()
            self._rates[key] = rates(model, url, day, self._own, listed)
        return self._rates[key]

    async def rates(self, flow: http.HTTPFlow, model: str, day: date) -> Rates:
        """What a model costs where a flow went."""
        return self._price(flow.request.pretty_host, flow.request.path, model, day, await self.prices())

    def refreshed(self, call: Call, usage: Usage, billed: float, day: date) -> None:
        """Book a request that kept the cache of a call's conversation warm: for now a loss."""
        self.metrics.tokens(usage)
        self.metrics.add("mmu_billed_dollars_total", billed, model=call.conversation.model)
        by = {Action.KEEPALIVE: -billed}
        self._book(call, Entry(billed, 0.0, usage.prompt, 0, by, known=True), requests=0, day=day)

    def unheard(self, call: Call) -> None:
        """Book a request of which nothing was reported."""
        self._book(call, Entry())

    def unknown(self, passed: Passed) -> None:
        """The same of one that was forwarded as it came."""
        self._enter(_booking(passed, Entry()))

    async def passed(self, flow: http.HTTPFlow, passed: Passed, usage: Usage) -> None:
        """Book a request that was forwarded as it came: it cost what it would have cost."""
        price = await self.rates(flow, passed.model, passed.day)
        entry = Entry(prompt=usage.prompt)
        if price.known:
            cost = price.cost(usage)
            entry = Entry(cost, cost, usage.prompt, known=True)
            self.metrics.add("mmu_billed_dollars_total", cost, model=passed.model)
            self.metrics.add("mmu_untouched_dollars_total", cost, model=passed.model)
        self.metrics.tokens(usage)
        self._enter(_booking(passed, entry))

    def _book(self, call: Call, entry: Entry, *, requests: int = 1, day: date | None = None) -> None:
        day = day or _day(call)
        name = call.name
        self._enter(Booking(str(day), call.plan.view.id, name.tenant, name.project, _sums(entry, requests)))

    def _enter(self, booking: Booking) -> None:
        if isinstance(self.keeper, Keeper):
            self.keeper.hierarchy.book(booking)

    def _remember(self, model: str) -> None:
        if not isinstance(self.keeper, Keeper):
            return
        if model in self._books.factors:
            factor, seen = self._books.factors[model]
            self.keeper.hierarchy.learn("calibration", model, [round(factor, 4), seen])
        if (scale := self._books.scales.get(model)) is not None:
            self.keeper.hierarchy.learn("scale", model, [round(scale.theirs), round(scale.ours)])

    async def _weigh(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> dict[str, Any]:
        """Count tokens off the request's path, book what they cost, tell people what was saved, and calibrate the
        counter. What is to be remembered of the line."""
        observing = isinstance(self.keeper, Memory)
        splices = call.plan.splices if call.rewritten or observing else {}
        if not (call.cleared or observing):  # they stand, but were not asked for
            splices = {a: s for a, s in splices.items() if s.change is not Change.CLEAR}
        listed = await self.prices()

        def work() -> Weight:
            seen = call.plan.line.seen
            return weigh(call.conversation, call.plan.table, splices, self.counter, call.client, seen)

        weight = await asyncio.to_thread(work)
        model = call.conversation.model
        price = self._price(flow.request.pretty_host, flow.request.path, model, _day(call), listed)
        if observing:
            entry, saved = self._books.watch(model, weight, usage, call.more, price)
        else:
            here = standing(call.conversation, call.plan, splices, marked=bool(call.marked))
            entry, saved = self._books.enter(model, weight, usage, call.more, price, here)
        self._remember(model)
        if observing:
            self.metrics.add("mmu_could_save_tokens_total", saved)
            flowlist.weigh(flow, sent=usage.prompt - saved, saved=saved)
        else:
            self.metrics.add("mmu_saved_tokens_total", saved)
            flowlist.weigh(flow, sent=usage.prompt, saved=saved)
        if price.known:
            self.metrics.add("mmu_billed_dollars_total", entry.billed, model=model)
            self.metrics.add("mmu_untouched_dollars_total", entry.untouched, model=model)
            flowlist.cost(flow, billed=entry.billed, untouched=entry.untouched, known=entry.known)
        self._book(call, entry)
        credit = call.plan.view.state.get(CREDIT, 0.0) + (entry.untouched - entry.billed if entry.known else 0.0)
        factor = self._books.factor(model)
        scaled = {} if factor is None else {SCALE: round(factor, 2)}
        past = remembered(call.conversation, call.plan.line, usage, call.more, entry)
        return {CREDIT: round(credit, 6), **scaled, STATE: past}


def _booking(passed: Passed, entry: Entry) -> Booking:
    """For what was passed through there is one row a day for each tenant and project."""
    whose = blake2b(f"{passed.tenant} {passed.project}".encode("utf-8", "replace"), digest_size=6).hexdigest()
    return Booking(str(passed.day), f"passed-{whose}", passed.tenant, passed.project, _sums(entry, 1))


def _sums(entry: Entry, requests: int) -> dict[str, float]:
    """An entry as the ledger's table has it."""
    return {
        "requests": requests,
        "unknown": 0 if entry.known else 1,
        "prompt_tokens": entry.prompt,
        "saved_tokens": entry.saved,
        "billed": entry.billed,
        "untouched": entry.untouched,
        **{action.value: entry.by.get(action, 0.0) for action in Action},
    }


def _day(call: Call) -> date:
    """The day of the request, in UTC."""
    return datetime.fromtimestamp(call.plan.view.last_at, UTC).date()
