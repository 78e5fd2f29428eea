"""The mitmproxy hooks: fetch, call, assign. What is sent is decided in `mmu`, what is kept in `storage`.

Fail open, loudly: whatever goes wrong here, the client's own bytes go out, a reason is counted, and the flow's comment
says so. The new body is built first and assigned last, because mitmproxy forwards whatever a failing hook has mutated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any
from weakref import WeakValueDictionary

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import OptionsError

from addon import options, vocabulary
from addon.keeper import Keeper, Memory, Name, tenant, tenant_key
from addon.mmu.ledger import weigh
from addon.mmu.plan import Plan, plan, poison, rewrite, told, without_new
from addon.mmu.tokens import Counter, calibrate
from addon.mmu.view import Change, Descent, View
from addon.options import Mode, Recall, Settings
from addon.recall import patch
from addon.resend import resend
from addon.watch import flowlist
from addon.watch.metrics import Metrics
from addon.wire import anthropic, clients, rules, sse
from addon.wire.conversation import Conversation
from addon.wire.scan import Malformed
from addon.wire.usage import Usage
from storage.errors import StoreError
from storage.records import Outcome
from storage.tiers import Hierarchy

logger = logging.getLogger(__name__)

SITE = "mitmmu.local"
LARGEST = 32 * 1024 * 1024
"""Bytes of a body above which it is not looked at; the provider's own limit."""
LARGE = 96 * 1024
"""Bytes of a body from which it is read and planned in a thread, unless most of that was done for the last request."""
WARM_SECONDS = 60.0
"""Seconds within which a line's next request brings little that is new to plan."""
STORE_SECONDS = 0.5
"""How long a request waits for each answer of the store before it leaves with the replay only."""
OPEN_SECONDS = 5.0
"""How long the first requests wait for the store to open."""
RECENT_CHARACTERS = 64 * 1024 * 1024
"""Characters of earlier requests kept to read the next ones faster."""


class PassThrough(Exception):
    """The request is forwarded as it came, for this reason."""


class Recent(OrderedDict[str, Conversation]):
    """The last requests, by what `parse` looks them up with; bounded by their size. Usable from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self._lock = threading.Lock()

    def put(self, conversation: Conversation) -> None:
        key = anthropic.key(conversation)
        with self._lock:
            old = self.pop(key, None)
            self.size += len(conversation.text) - (len(old.text) if old is not None else 0)
            self[key] = conversation
            while self.size > RECENT_CHARACTERS and len(self) > 1:
                self.size -= len(self.popitem(last=False)[1].text)


@dataclass(slots=True)
class Call:
    """A managed request under way."""

    name: Name
    conversation: Conversation
    plan: Plan
    original: bytes
    rewritten: bool
    """Whether what was accepted is not the original."""
    stored: bool
    answers: Mapping[str, patch.Answered] = field(default_factory=dict)
    """Recalls that this request could answer, by call id."""
    transformed: bool = False
    """Whether the provider said that it dropped reasoning."""
    usage: Usage | None = None
    notes: list[str] = field(default_factory=list)


class Observer:
    """Sees a streamed response go by, untouched."""

    def __init__(self, call: Call, metrics: Metrics, gzipped: bool) -> None:
        self.call = call
        self.metrics = metrics
        self.reader = sse.Reader()
        self.gunzip = zlib.decompressobj(wbits=31) if gzipped else None

    def __call__(self, data: bytes) -> bytes | Iterable[bytes]:
        # An exception in a stream callable crashes the stream, and b"" would end a chunked response early.
        try:
            for event in self.reader.feed(self.gunzip.decompress(data) if self.gunzip is not None else data):
                _hear(self.call, event)
        except Exception:
            self.metrics.add("mmu_failures_total", place="stream")
            logger.exception("mitmmu: reading the response failed; it passes untouched")
        return data or []


def _hear(call: Call, event: sse.Event) -> None:
    call.usage = anthropic.stream_usage(event.name, event.data, call.usage)
    call.transformed = call.transformed or anthropic.drops_reasoning(event.name, event.data)


class Mitmmu:
    """The addon."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.counter = Counter()
        self.settings: Settings | None = None
        self.keeper: Keeper | Memory | None = None
        self.hierarchy: Hierarchy | None = None
        self.key = b""
        self.factors: dict[str, tuple[float, int]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._sent, self._received = Recent(), Recent()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._background: set[asyncio.Task[None]] = set()

    # -- life cycle

    def load(self, loader: Loader) -> None:
        options.declare(loader)

    def configure(self, updated: set[str]) -> None:
        if self.settings is not None and not updated & options.OPTIONS.keys():
            return
        given = {name: getattr(ctx.options, name) for name in options.OPTIONS}
        settings = options.read(given, ctx.options.deferred)
        if self._opening is not None and self.settings is not None:
            if (settings.home, settings.store) != (self.settings.home, self.settings.store):
                raise OptionsError("mmu_home and mmu_store cannot change while mitmproxy runs")
            if settings.mode is not self.settings.mode:
                raise OptionsError("mmu_mode cannot change while mitmproxy runs: a view must be kept or not kept")
        self.settings = settings

    def running(self) -> None:
        assert self.settings is not None
        if self.settings.mode is Mode.OFF:
            return
        self._decrypt_only_llm_hosts(self.settings)
        self._opening = asyncio.ensure_future(self._open(self.settings))

    async def _open(self, settings: Settings) -> None:
        if settings.mode is Mode.OBSERVE:
            self.key = secrets.token_bytes(32)
            self.keeper = Memory()
        else:
            try:
                self.key = await asyncio.to_thread(tenant_key, settings.home)
                self.hierarchy = await Hierarchy.open(settings.store)
                for model, fact in (await self.hierarchy.facts("calibration")).items():
                    if isinstance(fact, list) and len(fact) == 2:
                        self.factors[model] = float(str(fact[0])), int(str(fact[1]))
            except (OSError, ValueError, StoreError) as error:
                self.metrics.add("mmu_failures_total", place="open")
                logger.error("mitmmu: the store does not open, so everything passes through: %s", error)
                return
            self.keeper = Keeper(self.hierarchy)
        where = "observing only" if settings.mode is Mode.OBSERVE else f"state in {settings.home}"
        logger.info("mitmmu: ready, %s", where)
        self.counter.load(await asyncio.to_thread(vocabulary.load))

    def _decrypt_only_llm_hosts(self, settings: Settings) -> None:
        """Tunnel everything else untouched, unless the user has said which hosts to decrypt."""
        if ctx.options.allow_hosts or ctx.options.ignore_hosts:
            return
        if any(mode.startswith("reverse") for mode in ctx.options.mode):
            return  # it has one destination, and that was chosen by hand
        quoted = "|".join(map(re.escape, [*anthropic.HOSTS, SITE, *settings.hosts]))
        ctx.options.update(allow_hosts=[rf"^({quoted})(:\d+)?$"])

    def done(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        if self._opening is not None:
            await asyncio.wait([self._opening], timeout=OPEN_SECONDS)
        if self._background:
            await asyncio.wait(self._background, timeout=2)
        if self.hierarchy is not None:
            await self.hierarchy.close()

    # -- request

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self._is_llm_call(flow):
            flow.request.stream = False  # a streamed body could not be rewritten

    async def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.host == SITE or flow.request.pretty_host == SITE:
            self._site(flow)
            return
        if not self._is_llm_call(flow):
            return
        self.metrics.add("mmu_requests_total")
        assert self.settings is not None
        now = self._now(flow, self.settings)
        try:
            await self._manage(flow, self.settings, now)
        except PassThrough as reason:
            self._passed(flow, str(reason))
        except asyncio.CancelledError:  # escaping a hook it would leave the flow hanging
            self._passed(flow, "cancelled")
        except Exception:
            self.metrics.add("mmu_failures_total", place="request")
            logger.exception("mitmmu: planning failed; the request passes untouched")
            self._passed(flow, "failure in mitmmu")

    def _is_llm_call(self, flow: http.HTTPFlow) -> bool:
        settings = self.settings
        if settings is None or settings.mode is Mode.OFF or flow.request.method != "POST" or flow.is_replay:
            return False
        path = flow.request.path.partition("?")[0]
        if not path.endswith(anthropic.PATH):
            return False
        host = flow.request.pretty_host.lower()
        named = {host, f"{host}:{flow.request.port}", flow.request.host.lower()}
        if not named.isdisjoint(anthropic.HOSTS):
            return path == anthropic.PATH
        # Gateways may have a path of their own before the API's.
        return flow.client_conn.proxy_mode.type_name == "reverse" or not named.isdisjoint(settings.hosts)

    def _now(self, flow: http.HTTPFlow, settings: Settings) -> float:
        if settings.header_clock:
            stated = flow.request.headers.pop("x-mmu-clock", None)
            try:
                return float(stated) if stated is not None else time.time()
            except ValueError:
                logger.warning("mitmmu: x-mmu-clock is not a number of seconds: %r", stated)
        return time.time()

    async def _manage(self, flow: http.HTTPFlow, settings: Settings, now: float) -> None:
        keeper = await self._keeper()
        body = self._body(flow)
        conversation = await self._parse(body)
        headers = flow.request.headers
        session = clients.session(headers)
        name = Name(
            tenant=tenant(self.key, headers, conversation.options.get("metadata"), session),
            opening=conversation.opening,
            head=conversation.head,
            session=session,
            client=clients.client(headers),
        )
        compacting = clients.compacts(headers)
        lock = self._locks.setdefault(name.tenant + name.opening, asyncio.Lock())
        async with lock:
            call, sent = await self._commit(keeper, name, conversation, settings, now, body, compacting)
        flow.mmu = call  # type: ignore[attr-defined]
        if settings.mode is Mode.OBSERVE:
            call.rewritten, sent = False, body
        self._count(call, len(body), len(sent))
        if settings.mode is Mode.AUTO:
            headers["accept-encoding"] = "identity"  # so that the response can be read as it passes
        if call.rewritten:
            flow.backup()
            headers.pop("content-encoding", None)
            flow.request.content = sent
        flowlist.show(flow, call.plan, call.notes, observing=settings.mode is Mode.OBSERVE)

    async def _keeper(self) -> Keeper | Memory:
        if self.keeper is None and self._opening is not None and not self._opening.done():
            await asyncio.wait([self._opening], timeout=OPEN_SECONDS)
        if self.keeper is None:
            raise PassThrough("store not open")
        return self.keeper

    def _body(self, flow: http.HTTPFlow) -> bytes:
        try:
            body = flow.request.content
        except ValueError:
            raise PassThrough("unknown encoding") from None
        if not body:
            raise PassThrough("no body")
        if len(body) > LARGEST:
            raise PassThrough("too large")
        return body

    async def _parse(self, body: bytes) -> Conversation:
        try:
            if len(body) > LARGE and anthropic.likely_key(body) not in self._received:
                conversation = await asyncio.to_thread(anthropic.parse, body, self._received)
            else:
                conversation = anthropic.parse(body, self._received)
        except Malformed as error:
            logger.info("mitmmu: request not understood, passed through: %s", error)
            raise PassThrough("malformed") from None
        self._received.put(conversation)
        return conversation

    async def _commit(
        self,
        keeper: Keeper | Memory,
        name: Name,
        conversation: Conversation,
        settings: Settings,
        now: float,
        body: bytes,
        compacting: bool,
    ) -> tuple[Call, bytes]:
        """Plan, check and store, again if another writer was first. Returns what is to be sent.

        Whatever the store does, what the provider has seen of the line is replayed as long as anybody here knows it.
        """
        notes: list[str] = []
        answers = await self._answers(name, conversation)
        offer = None
        if settings.recall is not Recall.OFF:
            offer = patch.offered(conversation, name.client, always=settings.recall is Recall.PATCH)

        async def decide(known_by: list[View] | None, *, replay_only: str = "") -> tuple[Plan, bytes]:
            known = keeper.remembered(name) if known_by is None else known_by
            fresh, size = secrets.token_hex(12), self.counter.quick

            def work() -> tuple[Plan, bytes]:
                draft = plan(
                    conversation,
                    known,
                    now,
                    settings.policy,
                    size,
                    fresh,
                    compacting=compacting,
                    offer=offer,
                    answers={call: answered.text for call, answered in answers.items()},
                )
                return self._checked(conversation, without_new(draft) if replay_only else draft, body, notes)

            warm = any(now - view.last_at < WARM_SECONDS for view in known)
            draft, sent = await asyncio.to_thread(work) if len(body) > LARGE and not warm else work()
            if replay_only and known_by is None and draft.line.how is Descent.JOINED:
                raise PassThrough("store unreadable")  # its view is there, but nobody here has seen it
            if replay_only:
                notes.append(f"{replay_only}: replay only")
                self.metrics.add("mmu_replay_only_total", reason=replay_only)
                keeper.sent_unstored(name, draft)
            return draft, sent

        for _ in range(3):
            known = await self._known(keeper, name)
            if known is None:
                draft, sent = await decide(None, replay_only="store unreadable")
                break
            draft, sent = await decide(known)
            outcome = await keeper.commit(name, draft, STORE_SECONDS)
            self.metrics.add("mmu_store_outcomes_total", outcome=outcome.value)
            if outcome is Outcome.STORED:
                return Call(name, conversation, draft, body, sent != body, True, answers, notes=notes), sent
            notes.clear()
            if outcome is not Outcome.STALE:
                # Another proxy may have moved the line meanwhile, so the replay is taken from a fresh look at it.
                again = await self._known(keeper, name)
                draft, sent = await decide(again, replay_only=f"store {outcome.value}")
                break
        else:
            draft, sent = await decide(await self._known(keeper, name), replay_only="line contended")
        return Call(name, conversation, draft, body, sent != body, False, answers, notes=notes), sent

    async def _answers(self, name: Name, conversation: Conversation) -> dict[str, patch.Answered]:
        """Answers to the recalls whose refusals this request brings, by call id."""
        asks = patch.asks(conversation)
        if not asks or self.hierarchy is None:
            return {}
        texts: dict[str, str | None] = {}
        try:
            async with asyncio.timeout(STORE_SECONDS):
                for page in {page for ask in asks.values() for page in ask.pages}:
                    found = await self.hierarchy.page(name.tenant, page)
                    texts[page] = None if found is None else found.decode("utf-8")
        except (StoreError, TimeoutError) as error:
            logger.error("mitmmu: a page that was asked for cannot be read: %s", error or "no answer in time")
            return {call: patch.unavailable(ask) for call, ask in asks.items()}
        return await asyncio.to_thread(lambda: {call: patch.answered(ask, texts) for call, ask in asks.items()})

    async def _known(self, keeper: Keeper | Memory, name: Name) -> list[View] | None:
        """The lines known of a request; None when the store does not say in time."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await keeper.known(name)
        except (StoreError, TimeoutError) as error:
            logger.warning("mitmmu: the store cannot be read: %s", error or "no answer in time")
            return None

    def _checked(self, conversation: Conversation, draft: Plan, body: bytes, notes: list[str]) -> tuple[Plan, bytes]:
        """The rewritten body, if it breaks no rule; else without what is new; else the original."""
        for candidate in (draft, without_new(draft)):
            if not candidate.splices:
                return candidate, body
            sent = rewrite(conversation, candidate.table, candidate.splices)
            try:
                parsed = anthropic.parse(sent, self._sent)
                pardoned = {
                    e.block.call
                    for e in candidate.table.entries
                    if (s := candidate.splices.get(e.anchor)) is not None and s.pardons
                }
                broken = rules.broken(conversation, parsed, pardoned)
            except Malformed as error:
                broken = [str(error)]
            if not broken:
                self._sent.put(parsed)
                return candidate, sent
            self.metrics.add("mmu_broken_rules_total")
            notes.append(f"held back: {broken[0]}")
            logger.error("mitmmu: a rewrite would have broken a rule and was held back: %s", "; ".join(broken))
        bare = without_new(draft)
        return replace(bare, splices={}), body

    def _count(self, call: Call, received: int, sent: int) -> None:
        draft, add = call.plan, self.metrics.add
        add("mmu_managed_total")
        add("mmu_client_bytes_total", received)
        add("mmu_sent_bytes_total", sent)
        add("mmu_lines_total", how=draft.line.how.value)
        for metric, change in (
            ("mmu_folds_total", Change.FOLD),
            ("mmu_evictions_total", Change.EVICT),
            ("mmu_served_total", Change.SERVE),
            ("mmu_dropped_reasoning_total", Change.DROP),
        ):
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

    def _passed(self, flow: http.HTTPFlow, reason: str) -> None:
        self.metrics.add("mmu_passed_through_total", reason=reason)
        flow.comment = f"mmu: passed through ({reason})"
        logger.info(flow.comment)

    # -- response

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        call: Call | None = getattr(flow, "mmu", None)
        if call is None or flow.response is None:
            return
        if flow.response.headers.get("content-type", "").startswith("text/event-stream"):
            encoding = flow.response.headers.get("content-encoding", "identity")
            if encoding in ("identity", "gzip"):
                flow.response.stream = Observer(call, self.metrics, encoding == "gzip")
            else:
                flow.response.stream = True
                self.metrics.add("mmu_failures_total", place="stream encoding")

    async def response(self, flow: http.HTTPFlow) -> None:
        call: Call | None = getattr(flow, "mmu", None)
        if call is None or flow.response is None:
            return
        del flow.mmu  # type: ignore[attr-defined]
        try:
            if call.rewritten and flow.response.status_code >= 400:
                await self._recover(flow, call)
            if call.usage is None and flow.response.status_code == 200 and flow.response.raw_content:
                call.usage = _plain_usage(flow.response)
            if call.usage is not None:
                self._learn(flow, call, call.usage)
        except asyncio.CancelledError:
            self.metrics.add("mmu_failures_total", place="cancelled response")
        except Exception:
            self.metrics.add("mmu_failures_total", place="response")
            logger.exception("mitmmu: handling the response failed; it passes untouched")

    async def _recover(self, flow: http.HTTPFlow, call: Call) -> None:
        """A refusal that our rewrite may have caused: try what the provider has seen before, or the client's own.

        Where nothing was replayed the original is tried. Where something was, the replay without what is new comes
        first: with bound reasoning the original is refused for certain, as it is not what that reasoning was made for.
        """
        assert flow.response is not None
        if not isinstance(self.keeper, Keeper):
            return
        refusal = flow.response.get_text(strict=False) or ""
        if not anthropic.rewrite_may_have_caused(flow.response.status_code, refusal):
            return
        draft = call.plan
        tries: list[tuple[str, bytes]] = [("original", call.original)]
        if draft.new and draft.replay:
            tries.insert(0, ("replay", rewrite(call.conversation, draft.table, draft.replay)))
        for what, body in tries:
            answer = await resend(flow, body)
            if answer is None:
                break
            if answer.status_code < 400:
                self.metrics.add("mmu_resent_total", result=f"{what} accepted")
                logger.error("mitmmu: the provider refused a rewrite and took the %s: %s", what, refusal[:500])
                flowlist.note(flow, f"refused, {what} sent")
                flow.response = answer
                new = [s.anchor for s in draft.new]
                await self._poison(self.keeper, call, new if what == "replay" or not draft.replay else [], refusal)
                call.plan = without_new(draft)
                call.rewritten = what == "replay"
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    for event in sse.Reader().feed(answer.content or b""):
                        _hear(call, event)
                return
            flow.response = answer
        self.metrics.add("mmu_resent_total", result="refused")
        flowlist.note(flow, "refused, and so was the original")
        last = flow.response.get_text(strict=False) or ""
        if draft.new and anthropic.refusal_text(last) != anthropic.refusal_text(refusal):
            # Refused for different reasons: what was new is at fault for the first of them.
            await self._poison(self.keeper, call, [s.anchor for s in draft.new], refusal)

    async def _poison(self, keeper: Keeper, call: Call, anchors: list[str], refusal: str) -> None:
        """Take splices back for good; without any named, all of them: that line is left alone from then on."""
        if not call.stored:
            return
        state: dict[str, Any] = {} if anchors else {"hands_off": refusal[:200]}
        if anthropic.says_bound(refusal):
            state["bound"] = True
        for _ in range(3):
            known = await self._known(keeper, call.name) or []
            view = next((v for v in known if v.id == call.plan.view.id), call.plan.view)
            bad = [a for a in anchors or call.plan.splices if a in view.splices]
            back = poison(view, bad, call.plan.table.requests)
            outcome = await keeper.put_back(call.name, view, back, STORE_SECONDS, state)
            self.metrics.add("mmu_store_outcomes_total", outcome=outcome.value)
            if outcome is Outcome.STORED:
                self.metrics.add("mmu_poisoned_total", len(back))
                return
        self.metrics.add("mmu_failures_total", place="poison")

    def _learn(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        """What the provider reports: counts for people, and the real time to live for the next plan."""
        for price, tokens in (
            ("fresh", usage.fresh),
            ("read", usage.read),
            ("written", usage.written),
            ("written_hour", usage.written_hour),
        ):
            self.metrics.add("mmu_input_tokens_total", tokens, price=price)
        self.metrics.add("mmu_output_tokens_total", usage.output)
        news = told(call.plan.view, usage)
        if call.transformed:
            self.metrics.add("mmu_transformed_total")
            if call.rewritten:
                news["bound"] = True
        if self.keeper is not None:
            self.keeper.heard(call.plan.view, news)
        task = asyncio.ensure_future(self._weigh(flow, call, usage))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _weigh(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        """Count tokens off the request's path, tell people what was saved, and calibrate the counter."""
        observing = isinstance(self.keeper, Memory)
        splices = call.plan.splices if call.rewritten or observing else {}
        weight = await asyncio.to_thread(weigh, call.conversation, call.plan.table, splices, self.counter)
        model = call.conversation.model
        factor, seen = self.factors.get(model, (1.0, 0))
        if weight.exact:
            factor = calibrate(factor, seen, weight.sent + (weight.saved if observing else 0), usage.prompt)
            self.factors[model] = factor, seen + 1
            if self.hierarchy is not None:
                self.hierarchy.learn("calibration", model, [round(factor, 4), seen + 1])
        saved = round(weight.saved * factor)
        if observing:
            self.metrics.add("mmu_could_save_tokens_total", saved)
            flowlist.weigh(flow, sent=usage.prompt - saved, saved=saved)
        else:
            self.metrics.add("mmu_saved_tokens_total", saved)
            flowlist.weigh(flow, sent=usage.prompt, saved=saved)
        logger.info(flow.comment)

    # -- the site

    def _site(self, flow: http.HTTPFlow) -> None:
        path = flow.request.path.partition("?")[0]
        peer = flow.client_conn.peername
        if peer is None or not ip_address(peer[0].partition("%")[0]).is_loopback:
            flow.response = http.Response.make(403, "Only this machine may look here.\n")
        elif path == "/healthz":
            off = self.settings is None or self.settings.mode is Mode.OFF
            state = "off" if off else "ok" if self.keeper is not None else "store not open"
            flow.response = http.Response.make(503 if state == "store not open" else 200, f"{state}\n")
        elif path == "/metrics":
            stats = self.hierarchy.stats() if self.hierarchy is not None else {}
            text = self.metrics.text({f"mmu_store_{name}": float(value) for name, value in stats.items()})
            flow.response = http.Response.make(200, text, {"content-type": "text/plain; version=0.0.4"})
        else:
            flow.response = http.Response.make(404, "There are /healthz and /metrics here.\n")


def _plain_usage(response: http.Response) -> Usage | None:
    """Usage of a response that was not streamed."""
    try:
        payload = json.loads(response.content or b"")
    except ValueError:
        return None
    report = payload.get("usage") if isinstance(payload, dict) else None
    return anthropic.usage(report) if isinstance(report, dict) else None
