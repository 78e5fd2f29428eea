"""The mitmproxy hooks: fetch, call, assign. What is sent is decided in `mmu`, what is kept in `storage`.

Fail open, loudly: whatever goes wrong here, the client's own bytes go out, a reason is counted, and the flow's comment
says so. The new body is built first and assigned last, because mitmproxy forwards whatever a failing hook has mutated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
from addon.mmu.view import Change, View
from addon.options import Mode, Settings
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
LARGE = 256 * 1024
"""Bytes of a body from which it is read in a thread."""
COMMIT_SECONDS = 0.5
"""How long a request waits for the store before it leaves with the replay only."""
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
    stored: bool
    usage: Usage | None = None
    notes: list[str] = field(default_factory=list)


class Observer:
    """Sees a streamed response go by, untouched."""

    def __init__(self, call: Call, metrics: Metrics) -> None:
        self.call = call
        self.metrics = metrics
        self.reader = sse.Reader()

    def __call__(self, data: bytes) -> bytes | Iterable[bytes]:
        # An exception in a stream callable crashes the stream, and b"" would end a chunked response early.
        try:
            for event in self.reader.feed(data):
                self.call.usage = anthropic.stream_usage(event.name, event.data, self.call.usage)
        except Exception:
            self.metrics.add("mmu_failures_total", place="stream")
            logger.exception("mitmmu: reading the response failed; it passes untouched")
        return data or []


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
        if any(not mode.startswith(("regular", "upstream")) for mode in ctx.options.mode):
            return
        hosts = [*anthropic.HOSTS, SITE, *settings.hosts]
        quoted = "|".join(host.replace(".", r"\.").replace("[", r"\[").replace("]", r"\]") for host in hosts)
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
        if flow.request.path.partition("?")[0] != anthropic.PATH:
            return False
        host = flow.request.pretty_host.lower()
        named = {host, f"{host}:{flow.request.port}", flow.request.host.lower()}
        reverse = flow.client_conn.proxy_mode.type_name == "reverse"
        return reverse or not named.isdisjoint(anthropic.HOSTS) or not named.isdisjoint(settings.hosts)

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
        name = Name(
            tenant=tenant(self.key, headers, conversation.options.get("metadata")),
            head=conversation.head,
            session=clients.session(headers),
            client=clients.client(headers),
        )
        compacting = clients.compacts(headers)
        lock = self._locks.setdefault(name.tenant + name.head, asyncio.Lock())
        async with lock:
            call, sent = await self._commit(keeper, name, conversation, settings, now, body, compacting)
        flow.mmu = call  # type: ignore[attr-defined]
        self._count(call, len(body), len(sent))
        headers["accept-encoding"] = "identity"  # so that the response can be read as it passes
        if call.rewritten and settings.mode is Mode.AUTO:
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
            if len(body) > LARGE:
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
        """Plan, check and store, again if another writer was first. Returns what is to be sent."""
        notes: list[str] = []
        for _ in range(3):
            try:
                known = await keeper.known(name)
            except StoreError as error:
                logger.warning("mitmmu: the store cannot be read: %s", error)
                raise PassThrough("store unreadable") from None
            fresh = secrets.token_hex(12)

            def decide(known: list[View] = known, fresh: str = fresh) -> tuple[Plan, bytes]:
                size = self.counter.quick
                draft = plan(conversation, known, now, settings.policy, size, fresh, compacting=compacting)
                return self._checked(conversation, draft, body, notes)

            draft, sent = await asyncio.to_thread(decide) if len(body) > LARGE else decide()
            outcome = await keeper.commit(name, draft, COMMIT_SECONDS)
            self.metrics.add("mmu_store_outcomes_total", outcome=outcome.value)
            if outcome is Outcome.STALE:
                notes.clear()
                continue
            if outcome is not Outcome.STORED:
                notes.append(f"store {outcome.value}: replay only")
                draft, sent = self._checked(conversation, without_new(draft), body, notes)
                keeper.sent_unstored(draft)
            call = Call(name, conversation, draft, body, sent != body, outcome is Outcome.STORED, notes=notes)
            return call, sent
        raise PassThrough("line contended")

    def _checked(self, conversation: Conversation, draft: Plan, body: bytes, notes: list[str]) -> tuple[Plan, bytes]:
        """The rewritten body, if it breaks no rule; else without what is new; else the original."""
        for candidate in (draft, without_new(draft)):
            if not candidate.splices:
                return candidate, body
            sent = rewrite(conversation, candidate.table, candidate.splices)
            try:
                parsed = anthropic.parse(sent, self._sent)
                broken = rules.broken(conversation, parsed)
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
        if draft.faults:
            add("mmu_faults_total", len(draft.faults), kind="implicit")
        if draft.epoch is not None:
            add("mmu_epochs_total", occasion=draft.epoch.occasion.value)
        if draft.odd:
            add("mmu_odd_spellings_total", draft.odd)
        if call.rewritten:
            add("mmu_rewritten_total")

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
            flow.response.stream = Observer(call, self.metrics)

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
        """A refusal that our rewrite may have caused: send the client's own request once, and learn from the answer."""
        assert flow.response is not None
        assert self.settings is not None
        if self.settings.mode is not Mode.AUTO or not isinstance(self.keeper, Keeper):
            return
        refusal = flow.response.get_text(strict=False) or ""
        if not anthropic.rewrite_may_have_caused(flow.response.status_code, refusal):
            return
        answer = await resend(flow, call.original)
        if answer is None or answer.status_code >= 400:
            # The client's own request fares no better: its own refusal is what it gets.
            self.metrics.add("mmu_resent_total", result="failed")
            flowlist.note(flow, "refused, and so was the original")
            if answer is not None:
                flow.response = answer
            return
        self.metrics.add("mmu_resent_total", result="accepted")
        logger.error("mitmmu: the provider refused a rewrite and took the original: %s", refusal[:500])
        flow.response = answer
        if call.stored:
            await self._poison(self.keeper, call, refusal)
        flowlist.note(flow, "refused, original sent")
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            for event in sse.Reader().feed(answer.content or b""):
                call.usage = anthropic.stream_usage(event.name, event.data, call.usage)

    async def _poison(self, keeper: Keeper, call: Call, refusal: str) -> None:
        """Take back what was new; or, if nothing was, everything: that line is left alone from then on."""
        new = [s.anchor for s in call.plan.new]
        anchors = new or list(call.plan.splices)
        state: dict[str, Any] = {} if new else {"hands_off": refusal[:200]}
        if anthropic.says_bound(refusal):
            state["bound"] = True
        for _ in range(3):
            view = next((v for v in await keeper.known(call.name) if v.id == call.plan.view.id), call.plan.view)
            back = poison(view, anchors, call.plan.table.requests)
            outcome = await keeper.put_back(call.name, view, back, COMMIT_SECONDS, state)
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
        view: View = call.plan.view
        news = told(view, read=usage.read, written=usage.written, written_hour=usage.written_hour)
        if news and isinstance(view.state, dict):
            view.state.update(news)
        task = asyncio.ensure_future(self._weigh(flow, call, usage))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _weigh(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        """Count tokens off the request's path, tell people what was saved, and calibrate the counter."""
        splices = call.plan.splices if call.rewritten else {}
        weight = await asyncio.to_thread(weigh, call.conversation, call.plan.table, splices, self.counter)
        model = call.conversation.model
        factor, seen = self.factors.get(model, (1.0, 0))
        if weight.exact:
            factor = calibrate(factor, seen, weight.sent, usage.prompt)
            self.factors[model] = factor, seen + 1
            if self.hierarchy is not None:
                self.hierarchy.learn("calibration", model, [round(factor, 4), seen + 1])
        saved = round(weight.saved * factor)
        self.metrics.add("mmu_saved_tokens_total", saved)
        flowlist.weigh(flow, sent=usage.prompt, saved=saved)
        logger.info(flow.comment)

    # -- the site

    def _site(self, flow: http.HTTPFlow) -> None:
        path = flow.request.path.partition("?")[0]
        if path == "/healthz":
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
