"""The mitmproxy hooks: fetch, call, assign. What is sent is decided in `mmu`, what is kept in `storage`.

Fail open, loudly: whatever goes wrong here, the client's own bytes go out, a reason is counted, and the flow's comment
says so. The new body is built first and assigned last, because mitmproxy forwards whatever a failing hook has mutated.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import OptionsError
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addon import carry_on, options, upgrade
from addon.account import Accounts
from addon.call import Call, Passed, PassThrough
from addon.keepalive import Keepalive
from addon.keeper import Keeper, Memory, tenant_key
from addon.keyfile import site_token, store_keys
from addon.learning import learn
from addon.listen import READABLE, SSE, Copy, Observer, hear_whole, reader, said
from addon.mmu.page import NAME
from addon.mmu.tokens import Counter
from addon.options import Mode, Recall, Settings, Sockets
from addon.pager import Pager
from addon.recall import relay_whole
from addon.recall.relay import Relay
from addon.recall.relay_stream import RelayStream
from addon.recover import recover
from addon.tidying import tidy
from addon.upstream import PARENT
from addon.watch import flowlist, listener, site
from addon.watch.metrics import Metrics
from addon.wire import apis
from addon.wire.api import Api
from addon.wire.reply import Relaying
from addon.wire.usage import Usage
from storage.crypt import Keys
from storage.errors import KeyMissing, SchemaTooNew, StoreError
from storage.tiers import Beside, Hierarchy

logger = logging.getLogger(__name__)

LARGEST = 32 * 1024 * 1024
"""Bytes of a body above which it is not looked at; the provider's own limit."""
SIGNED = "AWS4-HMAC-SHA256"
"""How the credential of a request begins that is signed with its body (AWS Signature Version 4)."""
STATED = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
MODEL = re.compile(r"/models?/([^/:?]+)")
"""Where a path names it."""
OPEN_SECONDS = 5.0
"""How long the first requests wait for the store to open."""
REOPEN_SECONDS = 5.0
"""How long until a store that did not open is tried again."""


def _beside(settings: Settings, keys: Keys) -> Beside | None:
    if settings.redis is None:
        return None
    # an extra: it need not be installed, and a script that is loaded beside us may lie next to a redis.py of its own
    try:
        from storage.on_redis import beside
    except ImportError as error:
        logger.error("mitmmu: the Python client of Redis cannot be loaded, so there is no mmu_redis: %s", error)
        return None
    return beside(settings.redis, settings.redis_seconds, keys=keys)


class Mitmmu:
    """The addon."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.settings: Settings | None = None
        self.hierarchy: Hierarchy | None = None
        self.pager: Pager | None = None
        self.accounts: Accounts | None = None
        self.keepalive: Keepalive | None = None
        self.site_token = ""
        self.watching: asyncio.Task[asyncio.Server | None] | None = None
        self.opening: asyncio.Task[None] | None = None
        self.reopening: asyncio.Task[None] | None = None
        self.tidying: asyncio.Task[None] | None = None
        self.can_relay = carry_on.trusted()

    # -- life cycle

    def load(self, loader: Loader) -> None:
        options.declare(loader)

    def configure(self, updated: set[str]) -> None:
        if self.settings is not None and not updated & options.OPTIONS.keys():
            return
        given = {name: getattr(ctx.options, name) for name in options.OPTIONS}
        settings = options.read(given, ctx.options.deferred)
        if self.opening is not None and self.settings is not None:
            before = self.settings
            if (settings.home, settings.store, settings.key_file) != (before.home, before.store, before.key_file):
                raise OptionsError("mmu_home, mmu_store and mmu_key_file cannot change while mitmproxy runs")
            if (settings.redis, settings.redis_seconds) != (self.settings.redis, self.settings.redis_seconds):
                raise OptionsError("mmu_redis and mmu_redis_ttl cannot change while mitmproxy runs")
            if settings.mode is not self.settings.mode:
                raise OptionsError("mmu_mode cannot change while mitmproxy runs: a view must be kept or not kept")
        self.settings = settings
        if self.accounts is not None:
            self.accounts.use(settings.prices)

    def running(self) -> None:
        assert self.settings is not None
        if self.settings.watch is not None:
            self.watching = asyncio.ensure_future(self._listen(*self.settings.watch))
        if self.settings.mode is Mode.OFF:
            return
        self._decrypt_only_llm_hosts(self.settings)
        self.opening = asyncio.ensure_future(self._open(self.settings))

    async def _open(self, settings: Settings) -> None:
        keeper: Keeper | Memory = Memory()
        key, counter = secrets.token_bytes(32), Counter()
        try:
            if settings.mode is not Mode.OBSERVE:
                key = await asyncio.to_thread(tenant_key, settings.home)
                self.site_token = await asyncio.to_thread(site_token, settings.home)
                keys = Keys(await asyncio.to_thread(store_keys, settings.key_file, os.environ))
                beside = _beside(settings, keys)
                self.hierarchy = await Hierarchy.open(settings.store, beside=beside, keys=keys)
                keeper = Keeper(self.hierarchy)
            accounts = Accounts(self.metrics, counter, keeper)
            accounts.use(settings.prices)
            await accounts.load()
            pager = Pager(keeper, key, self.metrics, counter)
            await pager.heads.load()
        except (OSError, ValueError, StoreError) as error:
            self.metrics.add("mmu_failures_total", place="open")
            logger.error("mitmmu: the store does not open, so everything passes through: %s", error)
            if isinstance(error, StoreError) and not isinstance(error, SchemaTooNew | KeyMissing):
                self.reopening = asyncio.ensure_future(self._reopen(settings))
            return
        except Exception:
            self.metrics.add("mmu_failures_total", place="open")
            logger.exception("mitmmu: the store does not open, so everything passes through")
            return
        self.accounts, self.pager = accounts, pager
        if settings.mode is Mode.AUTO:
            self.keepalive = Keepalive(accounts, self.pager, keeper, self.metrics)
            if not settings.header_clock:
                self.keepalive.start()
        if not self.can_relay and settings.recall in (Recall.AUTO, Recall.RELAY):
            self.metrics.add("mmu_failures_total", place="relay not possible")
            logger.warning("mitmmu: this mitmproxy is not known, so recalls go by patch or not at all")
        if self.hierarchy is not None and not settings.header_clock:
            self.tidying = asyncio.ensure_future(tidy(self.hierarchy, lambda: self.settings or settings, self.metrics))
        where = "observing only" if settings.mode is Mode.OBSERVE else f"state in {settings.home}"
        logger.info("mitmmu: ready, %s", where)
        await accounts.prices()

    async def _reopen(self, settings: Settings) -> None:
        """A server may come up later than its clients. Nothing waits for that."""
        await asyncio.sleep(REOPEN_SECONDS)
        half, self.hierarchy = self.hierarchy, None
        if half is not None:
            await half.close()
        await self._open(settings)

    def _decrypt_only_llm_hosts(self, settings: Settings) -> None:
        """Tunnel everything else untouched, unless the user has said which hosts to decrypt."""
        if ctx.options.allow_hosts or ctx.options.ignore_hosts:
            return
        if any(mode.startswith("reverse") for mode in ctx.options.mode):
            return  # it has one destination, and that was chosen by hand
        quoted = "|".join([*apis.HOSTS, *map(re.escape, (site.HOST, *settings.hosts))])
        ctx.options.update(allow_hosts=[rf"^({quoted})(:\d+)?$"])

    def done(self) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        if self.reopening is not None:
            self.reopening.cancel()
        if self.opening is not None:
            await asyncio.wait([self.opening], timeout=OPEN_SECONDS)
        if self.keepalive is not None:
            self.keepalive.stop()
        if self.tidying is not None:
            self.tidying.cancel()
        if self.pager is not None:
            await self.pager.behind.end(2)
        if self.hierarchy is not None:
            await self.hierarchy.close()

    # -- the site

    def http_connect(self, flow: http.HTTPFlow) -> None:
        if flow.request.host.lower() == site.HOST:
            flow.response = http.Response.make(200)  # else a tunnel is only granted once its far end is reached

    def server_connect(self, data: ServerConnectionHookData) -> None:
        if data.server.address is not None and data.server.address[0].lower() == site.HOST:
            data.server.error = f"{site.HOST} is inside this proxy"  # before anybody looks for the name outside

    def _inside(self) -> site.Inside:
        off = self.settings is None or self.settings.mode is Mode.OFF
        state = "off" if off else "ok" if self.pager is not None else "store not open"
        home = self.settings.home if self.settings is not None else Path()
        return site.Inside(state, self.metrics, self.hierarchy, self.site_token, home)

    async def _show_site(self, flow: http.HTTPFlow, visit: site.Visit) -> None:
        try:
            await site.answer(flow, visit, self._inside())
        except Exception:
            self.metrics.add("mmu_failures_total", place="site")
            logger.exception("mitmmu: a request for the site could not be answered")

    async def _listen(self, host: str, port: int) -> asyncio.Server | None:
        try:
            return await listener.listen(host, port, lambda path: site.told(path, self._inside()))
        except OSError as error:
            self.metrics.add("mmu_failures_total", place="watch")
            logger.error("mitmmu: nothing is served at mmu_watch=%s:%d: %s", host, port, error)
            return None

    # -- request

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self._api(flow) is not None or site.visit(flow) is not None:
            flow.request.stream = False  # a streamed body could not be rewritten, nor kept from going on

    async def request(self, flow: http.HTTPFlow) -> None:
        visit = site.visit(flow)
        if visit is not None:
            await self._show_site(flow, visit)
            return
        if upgrade.asked_for(flow):
            self._upgrade(flow)
            return
        api = self._api(flow)
        if api is None:
            return
        self.metrics.add("mmu_requests_total")
        assert self.settings is not None
        now = self._now(flow, self.settings)
        try:
            await self._manage(flow, api, self.settings, now)
        except PassThrough as passing:
            self._passed(flow, str(passing))
            self._watch(flow, api, now, passing.project)
        except asyncio.CancelledError:  # escaping a hook it would leave the flow hanging
            self._passed(flow, "cancelled")
        except Exception:
            self.metrics.add("mmu_failures_total", place="request")
            logger.exception("mitmmu: planning failed; the request passes untouched")
            self._passed(flow, "failure in mitmmu")
            self._watch(flow, api, now, "")

    def _api(self, flow: http.HTTPFlow) -> Api | None:
        """The API that a flow speaks, None for one that is not an LLM call."""
        return self._spoken(flow) if flow.request.method == "POST" and not flow.is_replay else None

    def _spoken(self, flow: http.HTTPFlow) -> Api | None:
        """The API by whose path a flow goes."""
        settings = self.settings
        if settings is None or settings.mode is Mode.OFF:
            return None
        path = flow.request.path.partition("?")[0]
        host = flow.request.pretty_host.lower()
        named = {host, f"{host}:{flow.request.port}", flow.request.host.lower()}
        trusted = flow.client_conn.proxy_mode.type_name == "reverse" or not named.isdisjoint(settings.hosts)
        return apis.spoken(path, named, trusted=trusted)

    def _upgrade(self, flow: http.HTTPFlow) -> None:
        assert self.settings is not None
        keeps = self.settings.mode is Mode.OBSERVE or self.settings.sockets is Sockets.OBSERVE
        if not keeps and self._spoken(flow) is not None:
            upgrade.refuse(flow, self.metrics)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        api = self._spoken(flow)
        if api is not None:
            try:
                upgrade.heard(flow, api, self.metrics)
            except Exception:
                self.metrics.add("mmu_failures_total", place="socket")
                logger.exception("mitmmu: a message could not be read; it passes untouched")

    def _now(self, flow: http.HTTPFlow, settings: Settings) -> float:
        if settings.header_clock:
            stated = flow.request.headers.pop("x-mmu-clock", None)
            try:
                return float(stated) if stated is not None else time.time()
            except ValueError:
                logger.warning("mitmmu: x-mmu-clock is not a number of seconds: %r", stated)
        return time.time()

    async def _manage(self, flow: http.HTTPFlow, api: Api, settings: Settings, now: float) -> None:
        if self.pager is None and self.opening is not None:
            await asyncio.wait([self.opening], timeout=OPEN_SECONDS)
        if self.pager is None or self.accounts is None:
            raise PassThrough("store not open")
        body = self._body(flow)
        headers = flow.request.headers
        if headers.get("authorization", "").startswith(SIGNED):
            raise PassThrough("signed")
        day = datetime.fromtimestamp(now, UTC).date()
        call, sent = await self.pager.handle(
            api,
            body,
            headers,
            now,
            settings,
            path=flow.request.path,
            host=flow.request.pretty_host.lower(),
            can_relay=self.can_relay,
            price=partial(self.accounts.known_rates, flow.request.pretty_host, flow.request.path, day=day),
        )
        flow.mmu = call  # type: ignore[attr-defined]
        observing = settings.mode is Mode.OBSERVE
        if observing:
            call.rewritten, call.offered, call.relays, sent = False, False, False, body
        self.accounts.sent(call, len(body), len(sent))
        if self.keepalive is not None and settings.keepalive:
            self.keepalive.asked(call, headers)
            if settings.header_clock:
                self.pager.behind.add(self.keepalive.check(now))
        if not observing:
            headers["accept-encoding"] = "identity"  # so that the response can be read as it passes
        if call.rewritten:
            flow.backup()
            headers.pop("content-encoding", None)
            if call.cleared and (way := apis.clearing(api)) is not None:
                call.betas = headers.get(way.HEADER)
                headers[way.HEADER] = way.asked(call.betas)
            flow.request.content = sent
        flowlist.show(flow, call.plan, call.notes, observing=observing)

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

    def _passed(self, flow: http.HTTPFlow, reason: str) -> None:
        self.metrics.add("mmu_passed_through_total", reason=reason)
        flow.comment = f"mmu: passed through ({reason})"
        logger.info(flow.comment)

    def _watch(self, flow: http.HTTPFlow, api: Api, now: float, project: str) -> None:
        """See to it that what is passed through is on the books."""
        if self.pager is not None:
            day, path = datetime.fromtimestamp(now, UTC).date(), flow.request.path
            tenant = self.pager.tenant(flow.request.headers, path)
            flow.mmu = Passed(api, tenant, project, _model(flow), day)  # type: ignore[attr-defined]

    # -- response

    def next_layer(self, layer: NextLayer) -> None:
        if self.can_relay:
            # Addons are asked before mitmproxy's own, whose decision is needed here.
            ctx.master.addons.get("nextlayer").next_layer(layer)
            carry_on.install(layer)

    async def mmu_stream(self, stream: carry_on.Continued) -> None:
        await stream.more()

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None:
            return
        kind = flow.response.headers.get("content-type", "")
        events = reader(kind)
        call: Call | Passed | None = getattr(flow, "mmu", None)
        if call is None or isinstance(call, Passed) or PARENT in flow.metadata:
            # Not to be held back until it has ended, whatever it is.
            flow.response.stream = flow.response.stream or events is not None
            encoding = flow.response.headers.get("content-encoding", "identity")
            if isinstance(call, Passed) and events is not None and encoding in READABLE:
                flow.response.stream = Observer(call, self.metrics, events, gzipped=encoding == "gzip")
            return
        fine = flow.response.status_code == 200
        if events is not None or (fine and call.conversation.options.get("unframed")):
            encoding = flow.response.headers.get("content-encoding", "identity")
            way = apis.relaying(call.api)
            plain = fine and encoding == "identity" and kind.startswith(SSE)
            if call.relays and way is not None and plain:
                flow.response.headers.pop("content-length", None)
                stream = RelayStream(flow, call, self._relay(flow, call, way), self.metrics)
                flow.response.stream = stream
                setattr(flow, carry_on.CANCEL, stream.cancel)
            elif encoding not in READABLE:
                flow.response.stream = True
                self.metrics.add("mmu_failures_total", place="stream encoding")
            elif events is not None:
                flow.response.stream = Observer(call, self.metrics, events, gzipped=encoding == "gzip")
            else:
                flow.response.stream = Copy(call, self.metrics, gzipped=encoding == "gzip")

    async def response(self, flow: http.HTTPFlow) -> None:
        call: Call | Passed | None = getattr(flow, "mmu", None)
        if call is None or flow.response is None or self.pager is None:
            return
        del flow.mmu  # type: ignore[attr-defined]
        if isinstance(call, Passed):
            self._bill(flow, call)
            return
        self._learn(call)
        try:
            if call.rewritten and flow.response.status_code >= 400:
                await recover(flow, call, self.pager)
            relayed = isinstance(flow.response.stream, RelayStream)
            way = apis.relaying(call.api)
            if call.offered and way is not None and not relayed and flow.response.status_code == 200:
                await self._recalls(flow, call, way)
            if call.usage is None and flow.response.status_code == 200 and flow.response.raw_content:
                hear_whole(call, flow.response.headers.get("content-type", ""), flow.response.content or b"")
            if call.usage is not None:
                self._book(flow, call, call.usage)
            elif flow.response.status_code == 200 and self.accounts is not None:
                self.accounts.unheard(call)
                if call.api.reports_usage(call.conversation):
                    self.metrics.add("mmu_failures_total", place="no usage reported")
        except asyncio.CancelledError:
            self.metrics.add("mmu_failures_total", place="cancelled response")
        except Exception:
            self.metrics.add("mmu_failures_total", place="response")
            logger.exception("mitmmu: handling the response failed; it passes untouched")

    async def _recalls(self, flow: http.HTTPFlow, call: Call, way: Relaying) -> None:
        """Answer the recalls in a whole response. One that reaches the client, to be patched, is kept as the model made
        it."""
        assert flow.response is not None
        kind, body = flow.response.headers.get("content-type", ""), flow.response.content or b""
        if call.relays and body and reader(kind) is None:
            await relay_whole.carry_on(flow, call, self._relay(flow, call, way), self.metrics)
            return
        observed = flow.response.stream
        speech = observed.speech if isinstance(observed, Observer) else said(way.reply, kind, body)
        if speech is not None and any(each.name == NAME for each in speech.calls):
            await self._relay(flow, call, way).remember(speech)

    def _relay(self, flow: http.HTTPFlow, call: Call, way: Relaying) -> Relay:
        assert self.pager is not None
        return Relay(call, way, flow.request.content or b"", self.pager, self.metrics)

    def error(self, flow: http.HTTPFlow) -> None:
        call: Call | Passed | None = getattr(flow, "mmu", None)
        if call is None:
            return
        del flow.mmu  # type: ignore[attr-defined]
        if isinstance(call, Passed):
            self._bill(flow, call)
            return
        self._learn(call)
        if call.usage is not None:
            self._book(flow, call, call.usage)  # cut short, but what was heard was billed

    def _bill(self, flow: http.HTTPFlow, passed: Passed) -> None:
        """Book what was passed through, in full or as far as it came."""
        assert self.accounts is not None
        assert self.pager is not None
        accounts, response = self.accounts, flow.response

        async def book() -> None:
            try:
                if passed.usage is None and response is not None and response.status_code == 200:
                    if response.raw_content:
                        hear_whole(passed, response.headers.get("content-type", ""), response.content or b"")
                    if passed.usage is None:
                        accounts.unknown(passed)
                if passed.usage is not None:
                    await accounts.passed(flow, passed, passed.usage)
            except Exception:
                self.metrics.add("mmu_failures_total", place="books")
                logger.exception("mitmmu: what a response reported could not be booked")

        self.pager.behind.add(book())

    def _learn(self, call: Call) -> None:
        assert self.pager is not None
        keeper = self.pager.keeper

        async def add() -> None:
            try:
                await learn(keeper, call)
            except Exception:
                self.metrics.add("mmu_failures_total", place="learn")
                logger.exception("mitmmu: what a request shows could not be learned")

        self.pager.behind.add(add(), call.name.key)

    def _book(self, flow: http.HTTPFlow, call: Call, usage: Usage) -> None:
        assert self.accounts is not None
        assert self.pager is not None
        accounts, pager = self.accounts, self.pager

        async def book() -> None:
            try:
                pager.marks_brought(call, usage)
                pager.read(call, usage)
                pager.cleared_otherwise(call)
                await accounts.heard(flow, call, usage)
                if self.keepalive is not None and self.settings is not None and self.settings.keepalive:
                    self.keepalive.answered(flow, call, usage)
            except Exception:
                self.metrics.add("mmu_failures_total", place="books")
                logger.exception("mitmmu: what a response reported could not be booked")
            logger.info(flow.comment)

        pager.behind.add(book(), call.name.key)
        pager.behind.add(self._refresh(pager))

    async def _refresh(self, pager: Pager) -> None:
        """Look at what other processes know."""
        try:
            await pager.heads.refresh()
        except StoreError as error:
            self.metrics.add("mmu_failures_total", place="heads")
            logger.info("mitmmu: what other processes know of heads cannot be read: %s", error)


def _model(flow: http.HTTPFlow) -> str:
    """The model of a request that is not read further: the first that its body names, or else its path."""
    named = STATED.search(flow.request.get_content(strict=False) or b"")
    if named:
        return named[1].decode("utf-8", "replace")
    called = MODEL.search(flow.request.path)
    return called[1] if called else ""
