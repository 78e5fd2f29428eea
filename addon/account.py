"""What a response's figures are used for: counts for people, the real time to live, and a calibrated token count."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mitmproxy import http

from addon.call import Call
from addon.keeper import Keeper, Memory
from addon.mmu.ledger import Weight, weigh
from addon.mmu.plan import told
from addon.mmu.tokens import Counter, calibrate
from addon.mmu.view import Change
from addon.watch import flowlist
from addon.watch.metrics import Metrics
from addon.wire.usage import Usage

_COUNTED = (
    ("mmu_folds_total", Change.FOLD),
    ("mmu_evictions_total", Change.EVICT),
    ("mmu_served_total", Change.SERVE),
    ("mmu_dropped_reasoning_total", Change.DROP),
    ("mmu_collapses_total", Change.COLLAPSE),
)


class Accounts:
    """Keeps the books. `counter` is shared with the planner: what is counted here serves its next decision."""

    def __init__(self, metrics: Metrics, counter: Counter, keeper: Keeper | Memory) -> None:
        self.metrics = metrics
        self.counter = counter
        self.keeper = keeper
        self._factors: dict[str, tuple[float, int]] = {}

    async def load(self) -> None:
        """Fetch the calibration learned so far. Raises StoreError."""
        if isinstance(self.keeper, Keeper):
            for model, fact in (await self.keeper.hierarchy.facts("calibration")).items():
                if isinstance(fact, list) and len(fact) == 2:
                    self._factors[model] = float(str(fact[0])), int(str(fact[1]))

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
        self.keeper.heard(call.plan.view, news)
        await self._weigh(flow, call, usage)

    async def _weigh(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        """Count tokens off the request's path, tell people what was saved, and calibrate the counter."""
        observing = isinstance(self.keeper, Memory)
        splices = call.plan.splices if call.rewritten or observing else {}

        def work() -> Weight:
            weight = weigh(call.conversation, call.plan.table, splices, self.counter)
            if call.client is None or call.client is call.conversation:
                return weight
            return replace(weight, saved=weigh(call.client, call.plan.table, {}, self.counter).sent - weight.sent)

        weight = await asyncio.to_thread(work)
        model = call.conversation.model
        factor, seen = self._factors.get(model, (1.0, 0))
        if weight.exact:
            factor = calibrate(factor, seen, weight.sent + (weight.saved if observing else 0), usage.prompt)
            self._factors[model] = factor, seen + 1
            if isinstance(self.keeper, Keeper):
                self.keeper.hierarchy.learn("calibration", model, [round(factor, 4), seen + 1])
        saved = round(weight.saved * factor)
        if observing:
            self.metrics.add("mmu_could_save_tokens_total", saved)
            flowlist.weigh(flow, sent=usage.prompt - saved, saved=saved)
        else:
            self.metrics.add("mmu_saved_tokens_total", saved)
            flowlist.weigh(flow, sent=usage.prompt, saved=saved)
