"""Streamed responses that may go on after the provider has ended its own.

mitmproxy ends the client's response when the provider's ends. Here its stream layer is given one more step: at the end
of the provider's message it asks the response's `Continued` stream for more, as long as that has more to come, and
waits for each piece without holding up anything but this one stream. First bytes take the way they always took.

This rests on three methods of mitmproxy that are nobody's interface. `trusted` compares their source with the release
this was written for (12.2.3); with any other nothing is replaced, and no response goes on.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import CommandGenerator, Layer, NextLayer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import RequestProtocolError, ResponseData, ResponseEndOfMessage

KNOWN = frozenset({"86d10b62f3df3eb7dee48108"})
"""Digests of the three methods, as `trusted` makes them."""


CANCEL = "mmu_cancel"
"""Attribute of a flow: what to call when its client is gone before it has been answered."""


class Continued(ABC):
    """What `flow.response.stream` must be for a response to go on. None of its methods may raise."""

    pending = False
    """Whether more is to come although the provider has ended its message."""
    cancelled = False
    """Whether the client is gone."""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """What the client gets of a piece of the provider's stream."""

    @abstractmethod
    def end(self) -> bytes:
        """The provider's message has ended; what the client gets now."""

    @abstractmethod
    async def more(self) -> None:
        """Wait until there is something to take, or nothing is pending any more."""

    @abstractmethod
    def take(self) -> bytes:
        """What has come since, for the client."""

    @abstractmethod
    def __call__(self, data: bytes) -> bytes | Iterable[bytes]:
        """What mitmproxy calls where the response cannot go on: pass the piece as it is, and [] for b""."""


@dataclass
class MmuStreamHook(commands.StartHook):
    """Awaited in the addon as `mmu_stream`, until there is something to `take`. No flow: that would be broadcast."""

    stream: Continued


class _Stream(HttpStream):
    def handle_event(self, event: events.Event) -> CommandGenerator[None]:
        # Noticed here, because while a hook is awaited mitmproxy keeps the stream's events for later.
        if isinstance(event, RequestProtocolError):
            cancel: Callable[[], None] | None = getattr(getattr(self, "flow", None), CANCEL, None)
            if cancel is not None:
                cancel()
        yield from super().handle_event(event)

    def _continued(self) -> Continued | None:
        stream = self.flow.response.stream if self.flow.response is not None else None
        return stream if isinstance(stream, Continued) else None

    def _to_client(self, data: bytes) -> CommandGenerator[None]:
        if data:
            if self.context.options.store_streamed_bodies:
                self.response_body_buf += data
            yield SendHttp(ResponseData(self.stream_id, data), self.context.client)

    def state_stream_response_body(self, event: events.Event) -> CommandGenerator[None]:
        stream = self._continued()
        if stream is None or not isinstance(event, ResponseData | ResponseEndOfMessage):
            yield from super().state_stream_response_body(event)
            return
        if isinstance(event, ResponseData):
            yield from self._to_client(stream.feed(event.data))
            return
        yield from self._to_client(stream.end())
        while stream.pending:
            yield MmuStreamHook(stream)
            if (yield from self.check_killed(True)) or stream.cancelled:
                return  # what mitmproxy has kept for later says what happened
            yield from self._to_client(stream.take())
        assert self.flow.response is not None
        if self.context.options.store_streamed_bodies:
            self.flow.response.data.content = bytes(self.response_body_buf)
            self.response_body_buf.clear()
        yield from self.send_response(already_streamed=True)



class _Layer(HttpLayer):
    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        context = self.context.fork()
        self.streams[stream_id] = _Stream(context, stream_id)
        yield from self.event_to_child(self.streams[stream_id], events.Start())


def install(next_layer: NextLayer) -> None:
    """Let the streams of the layer that was just chosen go on. Call it when mitmproxy has decided on the layer."""
    layer: Layer | None = next_layer.layer
    for _ in range(10):
        if layer is None:
            return
        if type(layer) is HttpLayer:
            layer.__class__ = _Layer
        layer = getattr(layer, "child_layer", None)


def digest(sources: Iterable[str]) -> str:
    """Of methods' sources, white space at line ends aside."""
    text = "\n".join(line.rstrip() for source in sources for line in source.splitlines())
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def trusted() -> bool:
    """Whether this mitmproxy is one whose streams are known to go on well."""
    methods = (HttpStream.state_stream_response_body, HttpStream.send_response, HttpLayer.make_stream)
    try:
        return digest(map(inspect.getsource, methods)) in KNOWN
    except (OSError, TypeError):  # no sources here
        return False
