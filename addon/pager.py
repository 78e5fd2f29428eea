"""The life of a request between the hooks: read it, plan it, check it, make it durable. Knows nothing of mitmproxy."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

from addon.behind import Behind
from addon.call import Call, PassThrough
from addon.keeper import Keeper, Memory, Name, tenant
from addon.learning import learned
from addon.mmu.breakpoints import PURSE, REFUSED, Extent, Heads, earned, extent, head_name
from addon.mmu.clear import UNCLEARABLE, cleared
from addon.mmu.outlook import Outlook
from addon.mmu.plan import Offer, Plan, before_drops, plan, poison, rewrite, without_new
from addon.mmu.price import Rates
from addon.mmu.tokens import Counter
from addon.mmu.view import Change, Descent, Splice, View, acknowledged, left, nearest, page_table, pages_of
from addon.options import Mode, Recall, Settings
from addon.recall import patch, spans
from addon.recall.answer import Ask
from addon.recall.offer import chosen, offered
from addon.recall.replay import expanded, hidden, taken_back
from addon.warmth import Heads as Warm
from addon.watch.metrics import Metrics
from addon.wire import clients, rules
from addon.wire.api import Api
from addon.wire.apis import APIS, clearing, marking, relaying
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation
from addon.wire.scan import Malformed, splice
from addon.wire.usage import Usage
from storage.errors import StoreError
from storage.records import Outcome

logger = logging.getLogger(__name__)

LARGE = 96 * 1024
"""Bytes of a body from which it is read and planned in a thread, unless most of that was done for the last request."""
LOOSE = 64
"""Lines whose hidden exchanges are kept in mind while the store does not take them."""
WARM_SECONDS = 60.0
"""Seconds within which a line's next request brings little that is new to plan."""
STORE_SECONDS = 0.5
"""How long a request waits for each answer of the store before it leaves with the replay only."""
PATIENCE_SECONDS = 10.0
"""How long it waits for it where it would be refused as the client has it."""
RECENT_CHARACTERS = 16 * 1024 * 1024
"""Characters of earlier requests kept of each kind to read the next ones faster."""


class Recent(OrderedDict[str, Conversation]):
    """The last requests, by what `parse` looks them up with; bounded by their size. Usable from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self._lock = threading.Lock()

    def put(self, key: str, conversation: Conversation) -> None:
        with self._lock:
            old = self.pop(key, None)
            self.size += len(conversation.text) - (len(old.text) if old is not None else 0)
            self[key] = conversation
            while self.size > RECENT_CHARACTERS and len(self) > 1:
                self.size -= len(self.popitem(last=False)[1].text)


class Readings:
    """Reads requests of one API, and remembers them, as its clients send them and as they leave."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.received, self.expanded, self.sent = Recent(), Recent(), Recent()

    def read(self, body: bytes, among: Recent, path: str) -> Conversation:
        """Read a request with the help of those `among` which it belongs; it is one of them from then on. Malformed."""
        conversation = self.api.parse(body, among, path)
        among.put(self.api.key(conversation), conversation)
        return conversation

    def knows(self, body: bytes) -> bool:
        """Whether most of a request was probably read for an earlier one."""
        return self.api.likely_key(body) in self.received


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the planner gets it."""

    api: Api
    name: Name
    conversation: Conversation
    """As it is planned: with the hidden exchanges that belong to it."""
    body: bytes
    """Its text in bytes."""
    client: Conversation
    """As the client sent it."""
    original: bytes
    relayed: Mapping[str, Splice]
    """The hidden exchanges in it, by anchor."""
    now: float
    settings: Settings
    compacting: bool
    offer: Offer | None
    outlook: Outlook
    """What is known of conversations like it."""
    clears: bool
    """Whether the provider can be asked to clear old results."""


class Pager:
    """Turns a client's body into the one that is sent. One for all conversations; each is planned one at a time."""

    def __init__(self, keeper: Keeper | Memory, key: bytes, metrics: Metrics, counter: Counter) -> None:
        self.keeper = keeper
        self.metrics = metrics
        self.counter = counter
        self._key = key
        self._readings: dict[str, Readings] = {}
        self._loose: OrderedDict[str, dict[str, Splice]] = OrderedDict()
        """Hidden exchanges that the store did not take when they were made, by line."""
        self._heads = Heads()
        self.heads = Warm(keeper)
        self.behind = Behind()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def handle(
        self,
        api: Api,
        body: bytes,
        headers: Mapping[str, str],
        now: float,
        settings: Settings,
        *,
        path: str = "",
        host: str = "",
        can_relay: bool = False,
        price: Callable[[str], Rates | None] = lambda model: None,
    ) -> tuple[Call, bytes]:
        """What becomes of a request to a path of a host, and the body to send. Raises PassThrough, or anything that a
        bug may raise.

        `can_relay` says that its response can be carried on when the provider has ended it; `price` gives what a model
        costs there.
        """
        conversation = await self._parse(api, body, path)
        told = clients.told(headers, conversation)
        begun = any(message.role == "assistant" for message in conversation.messages)
        if told.purpose is Purpose.AUXILIARY and not begun:
            raise PassThrough("auxiliary", told.project)
        # The same words in another API are another line.
        spelled = "" if api is APIS[0] else f"{api.NAME}:"
        name = Name(
            tenant=tenant(self._key, headers, conversation.options.get("metadata"), told.secret, path),
            opening=spelled + conversation.opening,
            head=spelled + conversation.head,
            session=told.session and spelled + told.session,
            project=told.project,
            client=told.client,
            sub=told.purpose is Purpose.SUBAGENT,
        )
        restores = relaying(api) is not None
        way = chosen(settings.recall, name.client, can_relay=can_relay and restores, restores=restores)
        lock = self._locks.setdefault(name.key, asyncio.Lock())
        async with lock:
            if not await self.behind.caught_up(name.key, STORE_SECONDS):
                self.metrics.add("mmu_books_behind_total")
            experience = await learned(self.keeper, name, STORE_SECONDS, self.metrics)
            # What stands beside a conversation repeats it: it is sent as the provider knows it, and no more is done.
            compacting = told.purpose in (Purpose.COMPACTION, Purpose.AUXILIARY)
            offer = offered(api, conversation, way)
            rates = price(conversation.model)
            outlook = Outlook(rates, experience, self.heads.warmth(name.tenant, conversation, now))
            way_to_clear = clearing(api)
            clears = way_to_clear is not None and way_to_clear.available(host, conversation)
            request = Request(
                api, name, conversation, body, conversation, body, {}, now, settings, compacting, offer, outlook, clears
            )
            return await self._commit(request, relays=way is Recall.RELAY)

    def tenant(self, headers: Mapping[str, str], path: str) -> str:
        """Who pays for a request that is not read."""
        return tenant(self._key, headers, None, "", path)

    def _of(self, api: Api) -> Readings:
        return self._readings.setdefault(api.NAME, Readings(api))

    async def _parse(self, api: Api, body: bytes, path: str) -> Conversation:
        readings = self._of(api)
        try:
            if len(body) > LARGE and not readings.knows(body):
                return await asyncio.to_thread(readings.read, body, readings.received, path)
            return readings.read(body, readings.received, path)
        except Malformed as error:
            logger.info("mitmmu: request not understood, passed through: %s", error)
            raise PassThrough(error.reason) from None

    async def _commit(self, request: Request, *, relays: bool) -> tuple[Call, bytes]:
        """Plan, check and store, again if another writer was first. Returns what is to be sent.

        Whatever the store does, what the provider has seen of the line is replayed as long as anybody here knows it.
        """
        notes: list[str] = []
        name = request.name
        answers: Mapping[str, patch.Answered] | None = None
        for _ in range(3):
            known = await self._known(name)
            if known is None and self._must_know(request):
                known = await self._known_at_last(name)
            if known is None:
                request, draft, sent = await self._replay(request, None, "store unreadable", notes)
                break
            request = await self._with_hidden(request, known)
            answers = await self._answers(request, known)
            request, draft, sent = await self._draft(request, known, notes, answers)
            outcome = await self.keeper.commit(name, draft, STORE_SECONDS)
            self.metrics.add("mmu_store_outcomes_total", outcome=outcome.value)
            if outcome is Outcome.STORED:
                self._stored(draft)
                break
            notes.clear()
            if outcome is not Outcome.STALE:
                # Another proxy may have moved the line meanwhile, so the replay is taken from a fresh look at it.
                known = await self._known(name)
                request, draft, sent = await self._replay(request, known, f"store {outcome.value}", notes)
                answers = None
                break
        else:
            request, draft, sent = await self._replay(request, await self._known(name), "line contended", notes)
            answers = None
        call = self._call(request, draft, sent, notes, answers, relays=relays)
        if request.settings.mode is not Mode.OBSERVE:
            call.head_warm = self.heads.sent(name.tenant, request.client, call.plan, request.now)
            sent = self._cleared(request, call, sent)
        return call, await self._marked(request, call, sent)

    def _stored(self, draft: Plan) -> None:
        """Forget the hidden exchanges that the line has now."""
        loose = self._loose.get(draft.view.id, {})
        for anchor in loose.keys() & draft.view.splices.keys():
            del loose[anchor]
        if not loose:
            self._loose.pop(draft.view.id, None)

    def _call(
        self,
        request: Request,
        draft: Plan,
        sent: bytes,
        notes: list[str],
        answers: Mapping[str, patch.Answered] | None,
        *,
        relays: bool,
    ) -> Call:
        """The call; `answers` is None where the store did not take the plan."""
        offered = any(splice.change is Change.TOOL for splice in draft.splices.values())
        return Call(
            request.api,
            request.name,
            request.conversation,
            draft,
            request.original,
            rewritten=sent != request.original,
            stored=answers is not None,
            answers=answers or {},
            client=request.client,
            offered=offered,
            beside=request.compacting,
            relays=relays and offered,
            notes=notes,
        )

    async def _with_hidden(self, request: Request, known: list[View]) -> Request:
        """The request with the exchanges that the client was not shown, and with the summaries that stand in it; as it
        came where that would not be sound."""
        loose = [made for line, made in self._loose.items() if any(view.id == line for view in known)]

        def reread(text: str) -> Conversation:
            return self._reread(request, text)

        def work() -> Request:
            splices = [*(view.splices for view in known), *loose]
            as_it_came = replace(request, conversation=request.client, body=request.original, relayed={})
            found = expanded(relaying(request.api), request.client, splices)
            conversation = reread(found.text) if found.splices else request.client
            if found.splices and (back := taken_back(conversation, found.splices, known)):
                found = expanded(relaying(request.api), request.client, splices, back)
                conversation = reread(found.text) if found.splices else request.client
            conversation, summed = spans.put_in(request.api, conversation, known, reread)
            if not found.splices and not summed:
                return as_it_came
            if broken := rules.worsened(request.client, conversation, request.api.RULES):
                self.metrics.add("mmu_broken_rules_total")
                logger.error("mitmmu: what the client was not shown could not be put back: %s", "; ".join(broken))
                return as_it_came
            relayed = {**found.splices, **summed}
            return replace(request, conversation=conversation, body=conversation.text.encode(), relayed=relayed)

        try:
            return await asyncio.to_thread(work) if len(request.original) > LARGE else work()
        except Malformed as error:
            self.metrics.add("mmu_failures_total", place="put back")
            logger.error("mitmmu: what the client was not shown could not be put back: %s", error)
            return replace(request, conversation=request.client, body=request.original, relayed={})

    async def _draft(
        self,
        request: Request,
        known: list[View],
        notes: list[str],
        answers: Mapping[str, patch.Answered] = MappingProxyType({}),
        *,
        replay_only: bool = False,
    ) -> tuple[Request, Plan, bytes]:
        """The request as it was planned, the plan, checked, and the body it gives."""
        fresh = secrets.token_hex(12)

        def made(request: Request, lines: list[View] | None = None) -> Plan:
            return plan(
                request.conversation,
                known if lines is None else lines,
                request.now,
                request.settings.policy,
                self.counter.quick,
                fresh,
                compacting=request.compacting,
                offer=request.offer,
                answers={call: answered.text for call, answered in answers.items()},
                relayed=request.relayed,
                collapsed=lines is not None,
                clears=request.clears,
                outlook=request.outlook,
            )

        def work() -> tuple[Request, Plan, bytes]:
            draft = made(request)
            if draft.collapse is not None and not replay_only:
                taken = spans.collapse(request.api, request.conversation, draft.collapse)
                summed = self._collapsed(request, taken, known)
                if summed is not None:
                    # It goes on the same line, which its messages do not show any more.
                    after = made(summed, lines=[draft.line.parent] if draft.line.parent is not None else known)
                    after.pages.append(taken.page)
                    after.before = request.conversation, without_new(draft)
                    checked, sent = self._checked(summed, after, notes)
                    if taken.splice in checked.new:
                        return summed, checked, sent
            return request, *self._checked(request, without_new(draft) if replay_only else draft, notes)

        warm = any(request.now - view.last_at < WARM_SECONDS for view in known)
        return await asyncio.to_thread(work) if len(request.body) > LARGE and not warm else work()

    def _collapsed(self, request: Request, taken: spans.Collapsed, known: list[View]) -> Request | None:
        """The request with a new summary in it; None where that would not be sound, or was refused before."""
        refused = (view.splices.get(taken.splice.anchor) for view in known)
        if any(splice is not None and splice.change is Change.ORIGINAL for splice in refused):
            return None
        conversation = self._reread(request, taken.text)
        if rules.worsened(request.conversation, conversation, request.api.RULES):
            return None
        relayed = {**request.relayed, taken.splice.anchor: taken.splice}
        return replace(request, conversation=conversation, body=conversation.text.encode(), relayed=relayed)

    async def _replay(
        self, request: Request, known: list[View] | None, reason: str, notes: list[str]
    ) -> tuple[Request, Plan, bytes]:
        """What the provider has seen already, and nothing new. `known` is None when only this process can say."""
        lines = self.keeper.remembered(request.name) if known is None else known
        request = await self._with_hidden(request, lines)
        request, draft, sent = await self._draft(request, lines, notes, replay_only=True)
        if known is None and draft.line.how is Descent.JOINED:
            raise PassThrough("store unreadable")  # its view is there, but nobody here has seen it
        notes.append(f"{reason}: replay only")
        self.metrics.add("mmu_replay_only_total", reason=reason)
        self.keeper.sent_unstored(request.name, draft)
        return request, draft, sent

    def _reread(self, request: Request, text: str) -> Conversation:
        readings = self._of(request.api)
        return readings.read(text.encode("utf-8"), readings.expanded, request.client.path)

    def sent(self, call: Call, body: bytes) -> Conversation:
        """A request as it left, read again. Malformed never happens to one that was checked."""
        readings = self._of(call.api)
        return readings.read(body, readings.sent, call.conversation.path)

    async def _answers(self, request: Request, known: list[View]) -> dict[str, patch.Answered]:
        """Answers to the recalls whose refusals this request brings, by call id."""
        asks = patch.asks(request.conversation, hidden(request.relayed.values(), request.conversation))
        if not asks:
            return {}
        splices = {anchor: splice for view in known for anchor, splice in view.splices.items()}
        return await self.answers(request.name, request.conversation, splices, asks)

    async def answers(
        self,
        name: Name,
        conversation: Conversation,
        splices: Mapping[str, Splice],
        asks: Mapping[str, Ask],
        standing: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, patch.Answered]:
        """What recalls get, by call id. `splices` are those of the conversation: only pages that left it are looked up,
        as an id that was learned elsewhere opens nothing. `standing` says which pages stand in it in full."""
        if not isinstance(self.keeper, Keeper):
            return {}
        own = pages_of(splices)
        if any(ask.named for ask in asks.values()):
            table = page_table(conversation)
            asks = {call: ask.resolved(left(table, splices, ask.named)) for call, ask in asks.items()}
        texts: dict[str, str | None] = {}
        try:
            async with asyncio.timeout(STORE_SECONDS):
                for page in {page for ask in asks.values() for page in ask.pages if page in own}:
                    found = await self.keeper.hierarchy.page(name.tenant, page)
                    texts[page] = None if found is None else found.decode("utf-8")
        except (StoreError, TimeoutError) as error:
            logger.error("mitmmu: a page that was asked for cannot be read: %s", error or "no answer in time")
            return {call: patch.unavailable(ask) for call, ask in asks.items()}

        def work() -> dict[str, patch.Answered]:
            return {
                call: patch.answered(ask, texts, standing, acknowledged(conversation, ask.wishes) if ask.wishes else "")
                for call, ask in asks.items()
            }

        return await asyncio.to_thread(work)

    async def keep(self, call: Call, anchor: str, text: str | None) -> bool:
        """Make a hidden exchange durable, or (None) take it back. Where the store fails it is kept in mind for the
        line's next request, and that is all: False."""
        change = Change.ORIGINAL if text is None else Change.RELAY
        splice = Splice(anchor, 0, change, "", text, request=call.plan.table.requests)
        if isinstance(self.keeper, Keeper):
            for _ in range(3):
                known = await self._known(call.name)
                if known is None:
                    break
                view = next((v for v in known if v.id == call.plan.view.id), None)
                if view is None:
                    break
                # What the provider keeps of the line is as young as the last request that carried it on.
                sent_at = call.plan.view.last_at + time.monotonic() - call.began
                view = replace(view, last_at=max(view.last_at, sent_at))
                held = view.splices.get(anchor)
                splice = replace(splice, generation=0 if held is None else held.generation + 1)
                outcome = await self.keeper.put_back(call.name, view, [splice], STORE_SECONDS, {})
                self.metrics.add("mmu_store_outcomes_total", outcome=outcome.value)
                if outcome is Outcome.STORED:
                    return True
                if outcome is not Outcome.STALE:
                    break
        self._loose.setdefault(call.plan.view.id, {})[anchor] = replace(splice, generation=splice.generation + 1)
        while len(self._loose) > LOOSE:
            self._loose.popitem(last=False)
        self.metrics.add("mmu_failures_total", place="relay not stored")
        return False

    async def _known(self, name: Name) -> list[View] | None:
        """The lines known of a request; None when the store does not say in time."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self.keeper.known(name)
        except (StoreError, TimeoutError) as error:
            logger.warning("mitmmu: the store cannot be read: %s", error or "no answer in time")
            return None

    def _must_know(self, request: Request) -> bool:
        """Whether what was sent before decides if the provider takes a request, and nobody here has seen it."""
        conversation = request.client
        sealed = any(block.signed for message in conversation.messages for block in message.blocks)
        return conversation.bound and sealed and not nearest(conversation, self.keeper.remembered(request.name))[0]

    async def _known_at_last(self, name: Name) -> list[View] | None:
        """The lines known of a request that would be refused without: for that, an agent waits some seconds."""
        self.metrics.add("mmu_waits_for_store_total")
        for _ in range(round(PATIENCE_SECONDS / STORE_SECONDS)):
            await asyncio.sleep(STORE_SECONDS)
            if (known := await self._known(name)) is not None:
                return known
        return None

    def _checked(self, request: Request, draft: Plan, notes: list[str]) -> tuple[Plan, bytes]:
        """The rewritten body, if it breaks no rule; else without what is new; else as it was before reasoning was
        dropped; else the original."""
        conversation, readings = request.conversation, self._of(request.api)
        for candidate in (draft, without_new(draft), *before_drops(draft)):
            if not candidate.splices:
                return candidate, request.body
            sent = rewrite(conversation, candidate.table, candidate.splices)
            try:
                parsed = readings.read(sent, readings.sent, conversation.path)
                pardoned = {
                    e.block.call
                    for e in candidate.table.entries
                    if (s := candidate.splices.get(e.anchor)) is not None and s.pardons
                }
                broken = rules.broken(conversation, parsed, pardoned, request.api.RULES)
            except Malformed as error:
                broken = [str(error)]
            if not broken:
                return candidate, sent
            self.metrics.add("mmu_broken_rules_total")
            notes.append(f"held back: {broken[0]}")
            logger.error("mitmmu: a rewrite would have broken a rule and was held back: %s", "; ".join(broken))
        bare = without_new(draft)
        return replace(bare, splices={}), request.original

    def _cleared(self, request: Request, call: Call, sent: bytes) -> bytes:
        """The request with the word that has the provider clear what is to be cleared, if anything is."""
        way, draft = clearing(request.api), call.plan
        if way is None or not request.clears or draft.view.state.get(UNCLEARABLE):
            return sent
        many = cleared(request.conversation, draft.table, draft.splices)
        if not many:
            return sent
        readings = self._of(request.api)
        try:
            before = readings.read(sent, readings.sent, request.client.path)
            many = min(many, way.tool_uses(before) - 1)  # it is a client that has gone back to the last of them
            edits = way.place(before, many)
            made = splice(before.text, edits).encode("utf-8")
            after = readings.read(made, readings.sent, request.client.path)
            broken = rules.broken(before, after, rules=request.api.RULES)
        except Exception:
            self.metrics.add("mmu_failures_total", place="clearing")
            logger.exception("mitmmu: the provider could not be asked to clear anything")
            return sent
        if not edits:
            return sent
        if broken or before.digests != after.digests:
            self.metrics.add("mmu_broken_rules_total")
            logger.error("mitmmu: what asks the provider to clear would have broken a rule: %s", "; ".join(broken))
            return sent
        call.cleared, call.uncleared, call.rewritten = many, sent, True
        call.notes.append(f"{many} tool result{'s' * (many > 1)} cleared by the provider")
        return made

    async def _marked(self, request: Request, call: Call, sent: bytes) -> bytes:
        """The request with cache marks, where the client has set none and they pay; else as it is."""
        way, settings, now = marking(request.api), request.settings, request.now
        asks = settings.policy.marks and settings.policy.name != "fifo" and settings.mode is not Mode.OBSERVE
        if way is None or not asks or not way.unasked(request.client):
            return sent
        line = call.plan.line
        head = self._heads.of((request.name.tenant, head_name(request.client)))
        much = extent(request.client, line, head, now, way.LIFETIME)
        head.at = now
        if much is Extent.NONE:
            return sent

        def work() -> tuple[int, bytes]:
            readings = self._of(request.api)
            before = readings.read(sent, readings.sent, request.client.path)
            edits = way.place(before, line.seen, tail=much is Extent.ALL)
            made = splice(before.text, edits).encode("utf-8")
            after = readings.read(made, readings.sent, request.client.path)
            marks = way.count(edits)
            broken = rules.broken(before, after, rules=request.api.RULES, marks=marks)
            if before.digests != after.digests:
                broken.append("a mark changed what it marks")
            if not broken:
                return marks, made
            self.metrics.add("mmu_broken_rules_total")
            logger.error("mitmmu: cache marks would have broken a rule and were left out: %s", "; ".join(broken))
            return 0, sent

        try:
            marks, made = await asyncio.to_thread(work) if len(sent) > LARGE else work()
        except Exception:
            self.metrics.add("mmu_failures_total", place="marks")
            logger.exception("mitmmu: cache marks could not be set")
            return sent
        if marks:
            call.marked, call.unmarked, call.head, call.rewritten = much, sent, head, True
            call.notes.append(f"{marks} cache mark{'s' * (marks > 1)} set")
            # From now on its cache is warm for a while, whatever the line knew before.
            purse = call.plan.view.state.get(PURSE, 0.0)
            self.keeper.heard(call.name, call.plan.view, {"ttl": way.LIFETIME, PURSE: purse})
        return made

    def read(self, call: Call, usage: Usage) -> None:
        """Learn from a report what of a head was warm."""
        self.heads.heard(call.name.tenant, call.client or call.conversation, call.plan, usage, call.head_warm)

    def marks_brought(self, call: Call, usage: Usage) -> None:
        """Learn from a report what the marks of a request have brought."""
        gain = round(earned(usage, call.conversation.model), 1)
        if call.marked is Extent.HEAD and call.head is not None:
            call.head.purse += gain
        elif call.marked is Extent.ALL:
            self.keeper.heard(call.name, call.plan.view, {PURSE: call.plan.view.state.get(PURSE, 0.0) + gain})

    def unclear(self, call: Call, why: str) -> None:
        """Have nothing more cleared on a line: the provider would not, or did otherwise."""
        self.metrics.add("mmu_failures_total", place="clearing")
        self.keeper.heard(call.name, call.plan.view, {UNCLEARABLE: why[:200]})

    def cleared_otherwise(self, call: Call) -> None:
        """See whether a response says that more or less was cleared than was meant."""
        if call.told_cleared is not None and call.told_cleared != call.cleared:
            logger.error("mitmmu: the provider cleared %d tool results, not %d", call.told_cleared, call.cleared)
            self.unclear(call, f"cleared {call.told_cleared}, not {call.cleared}")

    def unmark(self, call: Call, refusal: str) -> None:
        """Set no more marks on a line: the provider took the request without them only."""
        self.keeper.heard(call.name, call.plan.view, {REFUSED: refusal[:200]})
        if call.head is not None:
            call.head.purse = float("-inf")

    async def poison(self, call: Call, anchors: Sequence[str], refusal: str) -> None:
        """Take new splices back for good; without any named, all there are: that line is left alone from then on."""
        if not call.stored or not isinstance(self.keeper, Keeper):
            return
        state: dict[str, Any] = {} if anchors else {"hands_off": refusal[:200]}
        if call.api.says_bound(refusal):
            state["bound"] = True
        for _ in range(3):
            known = await self._known(call.name) or []
            view = next((v for v in known if v.id == call.plan.view.id), call.plan.view)
            standing = {a for a, s in view.splices.items() if s.change is not Change.ORIGINAL}
            bad = [a for a in anchors if a in standing] if anchors else sorted(standing)
            back, more = poison(view, bad, call.plan.table.requests, call.plan.replay if anchors else {})
            outcome = await self.keeper.put_back(call.name, view, back, STORE_SECONDS, {**state, **more})
            self.metrics.add("mmu_store_outcomes_total", outcome=outcome.value)
            if outcome is Outcome.STORED:
                self.metrics.add("mmu_poisoned_total", len(back))
                return
        self.metrics.add("mmu_failures_total", place="poison")
