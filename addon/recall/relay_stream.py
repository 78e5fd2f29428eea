"""Relay in a streamed response: what the client gets, piece by piece."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from mitmproxy import http

from addon.call import Call
from addon.carry_on import Continued
from addon.listen import hear_cleared
from addon.mmu.page import NAME
from addon.recall.relay import MENDABLE, Ends, GoesOn, Next, Relay
from addon.upstream import Lost, Upstream
from addon.watch.metrics import Metrics
from addon.wire import sse

logger = logging.getLogger(__name__)

PING_SECONDS = 8.0
"""Silence of the provider after which the client is sent a ping, so that it goes on waiting."""
IDLE_SECONDS = 300.0
"""Silence of the provider after which no more is expected of it: our pings hide it from the client's own patience."""


class RelayStream(Continued):
    """The stream of one response."""

    def __init__(self, flow: http.HTTPFlow, call: Call, relay: Relay, metrics: Metrics) -> None:
        self.joiner = relay.way.reply.joiner(NAME)
        self.relay = relay
        self._flow = flow
        self._call = call
        self._metrics = metrics
        self._out: list[bytes] = []
        self._upstream: Upstream | None = None
        self._asked = False
        """The provider was asked to go on and has not begun to answer."""
        self._silent = 0.0
        self._noted: set[int] = set()
        self._reader = sse.Reader()

    def __call__(self, data: bytes) -> bytes | Iterable[bytes]:
        self._metrics.add("mmu_failures_total", place="stream cannot go on")
        return data or []

    def feed(self, data: bytes) -> bytes:
        if self._call.cleared:
            for event in self._reader.feed(data):
                hear_cleared(self._call, event)
        return self.joiner.feed(data)

    def end(self) -> bytes:
        if self.joiner.hides:
            self.pending = True
            return b""
        self._note_usage()
        return self.joiner.rest()

    def take(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    def cancel(self) -> None:
        """The client is gone: let go of the provider."""
        self.cancelled, self.pending = True, False
        self._note_usage()
        if self._upstream is not None:
            self._metrics.add("mmu_relays_total", result="client gone")
            self._upstream.close()

    async def more(self) -> None:
        try:
            await (self._listen() if self._upstream is not None else self._decide())
        except asyncio.CancelledError:
            self.cancel()
        except Exception:
            self._metrics.add("mmu_failures_total", place="relay")
            logger.exception("mitmmu: carrying a response on failed")
            self._fail(b"", 0)

    async def _decide(self) -> None:
        speech = self.joiner.speech
        self._note_usage()
        if speech.failed:  # the client has been sent the provider's own error
            self.pending = False
            self._metrics.add("mmu_relays_total", result="failed")
            return
        await self._do(await self.relay.after(speech))

    async def _do(self, what: Next) -> None:
        if self.cancelled:
            return
        match what:
            case GoesOn(body):
                self._metrics.add("mmu_continuations_total")
                self._upstream = Upstream(self._flow, body, "carries on")
                self._asked, self._silent = True, 0.0
                await self._upstream.start()
            case Ends(leak):
                if leak:
                    self._out.append(self.joiner.leak())
                self._out.append(self.joiner.finish())
                self.pending = False

    async def _listen(self) -> None:
        upstream = self._upstream
        assert upstream is not None
        try:
            piece = await upstream.next(PING_SECONDS)
        except TimeoutError:
            self._silent += PING_SECONDS
            if self._silent >= IDLE_SECONDS:
                self._fail(b"", 0)
            else:
                self._out.append(self.relay.way.reply.PING)
            return
        except Lost as why:
            if self.cancelled:
                return  # it was let go of
            logger.warning("mitmmu: a response could not be carried on: %s", why)
            self._fail(b"", 0)
            return
        self._silent = 0.0
        if self._asked:
            self._asked = False
            status = upstream.response.status_code if upstream.response is not None else 0
            if status != 200:
                await self._refused(upstream, status)
                return
            self.joiner.proceed()
        if piece is not None:
            self._out.append(self.joiner.feed(piece))
        if piece is not None and not self.joiner.blind:
            return
        upstream.close()
        self._upstream = None
        if not self.joiner.speech.closed and not self.joiner.speech.failed:
            self._fail(b"", 0)

    async def _refused(self, upstream: Upstream, status: int) -> None:
        answer = await upstream.whole(IDLE_SECONDS, IDLE_SECONDS)
        self._upstream = None
        logger.warning("mitmmu: a request to carry on was answered %d", status)
        if status in MENDABLE:
            await self._do(await self.relay.refused(self.joiner.speech, status))
        else:
            self._fail(answer.content or b"", status)

    def _fail(self, body: bytes, status: int) -> None:
        """End the client's stream with an error of the API's own kind."""
        self._metrics.add("mmu_relays_total", result="failed")
        self._note_usage()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
        self.pending = False
        if not self.cancelled:
            self._out.append(self.joiner.fail(body, status))

    def _note_usage(self) -> None:
        """The first round is the client's own request; what the others cost is booked beside it, each once."""
        speech = self.joiner.speech
        if self.joiner.rounds in self._noted:
            return
        self._noted.add(self.joiner.rounds)
        if not self.joiner.rounds:
            self._call.usage = speech.usage
            self._call.transformed = self._call.transformed or speech.transformed
        elif speech.usage is not None:
            self._call.more.append(speech.usage)
