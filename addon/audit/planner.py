"""mitmmu as a recorded session would have met it: the proxy's planner, called as the proxy calls it, with a memory in
place of the store. Of a rewrite that would break a rule of the API the old one goes out, as there.

It is told what the proxy would have known by then: prices, what earlier sessions have shown (`addon.audit.elsewhere`),
what of the head is in the cache, and what its ledger says the conversation has saved. The ledger gets the simulated
reports, and nothing else of the simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from addon.audit.elsewhere import Elsewhere, Kind
from addon.audit.rebuilt import Asked
from addon.audit.recorded import Readings
from addon.mmu.books import Books
from addon.mmu.evict import Policy
from addon.mmu.habits import observed
from addon.mmu.ledger import STATE, Weight, remembered, standing, weigh
from addon.mmu.outlook import CREDIT, UNKNOWN, Outlook, Warmth, credit
from addon.mmu.plan import Plan, before_drops, plan, rewrite, told, without_new
from addon.mmu.price import Rates
from addon.mmu.tokens import Counter
from addon.mmu.view import View
from addon.options import Recall
from addon.recall.offer import chosen, offered
from addon.wire import rules
from addon.wire.apis import relaying
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation
from addon.wire.scan import Malformed
from addon.wire.usage import Usage

BESIDE = (Purpose.COMPACTION, Purpose.AUXILIARY)
"""What only repeats a conversation: nothing is taken out of it, and nothing learned from it."""


@dataclass(frozen=True, slots=True)
class Now:
    """The time of a request, and what is so then."""

    at: float
    """Epoch seconds."""
    rates: Rates
    head: int = 0
    """Tokens, in ours, that stand before what is in the body."""
    shared: int = 0
    """Tokens, in the provider's, of the client's own head that are in the cache."""


class Planner:
    """mitmmu for one session."""

    def __init__(self, policy: Policy, counter: Counter, client: str, elsewhere: Elsewhere) -> None:
        self._policy, self._counter, self._client, self._elsewhere = policy, counter, client, elsewhere
        self._ahead = policy.name != "fifo"
        """Whether it acts on what it expects."""
        self._lines: dict[str, View] = {}
        self._sent = Readings()
        self._books = Books()

    def forward(self, asked: Asked, now: Now) -> tuple[Conversation, Plan | None]:
        """What leaves for the provider, and the plan; None for what the proxy lets pass."""
        conversation = asked.conversation
        begun = any(message.role == "assistant" for message in conversation.messages)
        if asked.purpose is Purpose.AUXILIARY and not begun:
            return conversation, None
        made, sent = self._checked(asked, self._planned(asked, now))
        self._lines[made.view.id] = made.view
        return sent, made

    def _kind(self, asked: Asked) -> Kind:
        return Kind(self._client, asked.purpose is Purpose.SUBAGENT, asked.project)

    def _outlook(self, asked: Asked, now: Now) -> Outlook:
        if not self._ahead:
            return UNKNOWN
        changed = self._elsewhere.head(asked.conversation, now.at)
        return Outlook(
            now.rates if now.rates.known else None,
            self._elsewhere.learned(self._kind(asked), now.at),
            Warmth(now.shared, changed.anchors if changed is not None else frozenset()),
        )

    def _planned(self, asked: Asked, now: Now) -> Plan:
        """All that the planner needs to know."""
        restores = relaying(asked.api) is not None
        way = chosen(Recall.AUTO, self._client, can_relay=restores, restores=restores)
        return plan(
            asked.conversation,
            list(self._lines.values()),
            now.at,
            self._policy,
            self._counter.quick,
            f"line-{len(self._lines)}",
            compacting=asked.purpose in BESIDE,
            offer=offered(asked.api, asked.conversation, way),
            outlook=self._outlook(asked, now),
        )

    def _checked(self, asked: Asked, draft: Plan) -> tuple[Plan, Conversation]:
        conversation = asked.conversation
        for candidate in (draft, without_new(draft), *before_drops(draft)):
            if not candidate.splices:
                return candidate, conversation
            body = rewrite(conversation, candidate.table, candidate.splices)
            try:
                sent = self._sent.read(asked.api, body, conversation.path)
            except Malformed:
                continue
            if not rules.broken(conversation, sent, frozenset(), asked.api.RULES):
                return candidate, sent
        return replace(without_new(draft), splices={}), conversation

    def answered(self, asked: Asked, made: Plan, usage: Usage, now: Now) -> None:
        """Learn from what the response reports, and book it."""
        view = self._lines[made.view.id]
        news = told(view, usage)
        if self._ahead:
            conversation = asked.conversation
            weight = weigh(conversation, made.table, made.splices, self._counter, seen=made.line.seen)
            here = standing(conversation, made, made.splices)
            weight = _behind(weight, now.head)
            entry, _ = self._books.enter(conversation.model, weight, usage, (), now.rates, here)
            news[STATE] = remembered(conversation, made.line, usage, (), entry)
            news[CREDIT] = credit(view) + (entry.untouched - entry.billed if entry.known else 0.0)
            if asked.purpose not in BESIDE:
                self._elsewhere.learn(self._kind(asked), observed(conversation, made.table, made.line), now.at)
        self._lines[view.id] = replace(view, state={**view.state, **news})


def _behind(weight: Weight, head: int) -> Weight:
    """A weight, where so much stands before everything that was weighed."""
    return replace(
        weight,
        sent=weight.sent + head,
        seen=weight.seen + head if weight.seen else 0,
        parts=tuple(replace(part, at=part.at + head) for part in weight.parts),
    )
