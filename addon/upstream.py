"""One more exchange with the provider, through mitmproxy's own core.

Everything that holds for the client's request holds for it: upstream proxies, TLS options, the flow list, where it
shows as a flow of its own that names its parent. The answer comes in pieces, as it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.flow import Flow
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layers, server
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.layers.http._base import HttpConnection, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook, HttpResponseHook

logger = logging.getLogger(__name__)

PARENT = "mmu_parent"
"""Key in a flow's metadata: the id of the flow that it carries on. Such flows are not managed."""


class Lost(Exception):
    """The exchange ended before its answer did. The text says why."""


class _Asker(HttpConnection):
    """The place of the client: it asks once, and passes on what comes back."""

    def __init__(self, flow: http.HTTPFlow, context: Context, heard: asyncio.Queue[Any]) -> None:
        super().__init__(context, context.client)
        self.flow = flow
        self.heard = heard

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        if isinstance(event, events.Start):
            request = self.flow.request
            request.timestamp_start = request.timestamp_end = time.time()
            yield ReceiveHttp(RequestHeaders(1, request, end_stream=False, replay_flow=self.flow))
            yield ReceiveHttp(RequestData(1, request.raw_content or b""))
            yield ReceiveHttp(RequestEndOfMessage(1))
        elif isinstance(event, ResponseHeaders):
            self.heard.put_nowait(event.response)
        elif isinstance(event, ResponseData):
            self.heard.put_nowait(event.data)
        elif isinstance(event, ResponseEndOfMessage):
            self.heard.put_nowait(None)
        elif isinstance(event, ResponseProtocolError):
            self.heard.put_nowait(Lost(event.message))


class _Handler(server.ConnectionHandler):
    """Runs the core for one flow."""

    def __init__(self, flow: http.HTTPFlow, options: Options, heard: asyncio.Queue[Any]) -> None:
        client = flow.client_conn
        context = Context(client, options)
        context.server = flow.server_conn
        super().__init__(context)
        self.heard = heard
        mode = HTTPMode.upstream if context.server.via is not None else HTTPMode.transparent
        self.layer = layers.HttpLayer(context, mode)
        self.layer.connections[client] = _Asker(flow, context.fork(), heard)

    async def handle_hook(self, hook: commands.StartHook) -> None:
        (data,) = hook.args()
        await ctx.master.addons.handle_lifecycle(hook)
        if isinstance(data, Flow):
            await data.wait_for_resume()
        if isinstance(hook, HttpErrorHook):
            self.heard.put_nowait(Lost(data.error.msg if data.error is not None else "no answer"))
        if isinstance(hook, HttpResponseHook | HttpErrorHook):
            # From outside: the connection's own task is what is running this.
            asyncio.get_running_loop().call_soon(self.close)

    async def handle_connection(self, connection: Connection) -> None:
        try:
            await super().handle_connection(connection)
        finally:
            # Cancelled while it waits for its turn, or twice, mitmproxy leaves the socket open.
            transport = self.transports.pop(connection, None)
            if transport is not None and transport.writer is not None:
                transport.writer.close()

    def close(self) -> None:
        """Cut the connection to the provider, and with it the exchange."""
        for transport in list(self.transports.values()):
            if transport.handler is not None:
                transport.handler.cancel("mitmmu is done with it")

    def log(
        self,
        message: str,
        level: int = logging.INFO,
        exc_info: Any = None,
    ) -> None:
        logger.log(logging.DEBUG if level <= logging.INFO else level, "[again] %s", message, exc_info=exc_info)


class Upstream:
    """An exchange with the provider, begun by `start`. With `async with`, leaving cuts it off unless it has ended.

    `parent` is the client's flow, `body` what is sent in place of its body, `why` what the flow list says of it.
    """

    def __init__(self, parent: http.HTTPFlow, body: bytes, why: str) -> None:
        client = parent.client_conn.copy()
        client.state = ConnectionState.OPEN
        to = Server(address=(parent.request.host, parent.request.port), via=parent.server_conn.via)
        if parent.request.scheme == "https":
            to.tls = True
            to.sni = parent.server_conn.sni or parent.request.pretty_host
        flow = self.flow = http.HTTPFlow(client, to)
        flow.request = parent.request.copy()
        flow.request.stream = False
        for name in ("content-encoding", "idempotency-key"):  # the key would have it answered as the first request was
            flow.request.headers.pop(name, None)
        flow.request.content = body
        flow.is_replay = "request"
        flow.metadata[PARENT] = parent.id
        flow.comment = f"mmu: {why} {parent.id[:8]}"
        flow.marked = ":repeat:"
        self._heard: asyncio.Queue[http.Response | bytes | Lost | None] = asyncio.Queue()
        self._handler = _Handler(flow, ctx.options, self._heard)
        self.ended = False
        self.response: http.Response | None = None

    async def start(self) -> None:
        """Connect and ask. Returns at once."""
        await self._handler.server_event(events.Start())

    async def __aenter__(self) -> Upstream:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it. What is waiting for its next piece is told that it is lost."""
        if not self.ended:
            self._heard.put_nowait(Lost("cut off"))
        self._handler.close()

    async def next(self, seconds: float) -> bytes | None:
        """The next piece of the answer's body, b"" for its head, None at its end.

        TimeoutError when nothing came in time (ask again), Lost when nothing will.
        """
        if self.ended:
            return None
        async with asyncio.timeout(seconds):
            got = await self._heard.get()
        if isinstance(got, bytes):
            return got
        if isinstance(got, Lost):
            self.ended = True
            raise got
        if got is None:
            self.ended = True
            return None
        self.response = got
        return b""

    async def pieces(self, seconds: float) -> AsyncIterator[bytes]:
        """All pieces of the body; `seconds` is how long any one of them may take."""
        while (piece := await self.next(seconds)) is not None:
            yield piece

    async def whole(self, idle: float, total: float) -> http.Response:
        """The answer with its body, decoded. Raises Lost, or TimeoutError when it takes too long."""
        async with asyncio.timeout(total):
            body = b"".join([piece async for piece in self.pieces(idle)])
        if self.response is None:
            raise Lost("no answer")
        answer = self.response.copy()
        answer.stream = False
        answer.raw_content = body
        with contextlib.suppress(ValueError):  # an encoding that is not known is the client's to read
            answer.decode()
        return answer
