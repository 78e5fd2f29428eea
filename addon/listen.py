"""Hears what a response reports, streamed or whole, while it passes untouched."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterable
from typing import Any, Protocol

from addon.call import Call, Passed
from addon.watch.metrics import Metrics
from addon.wire import eventstream, sse
from addon.wire.apis import clearing, relaying
from addon.wire.reply import Reply, Speech

logger = logging.getLogger(__name__)

SSE = "text/event-stream"
READABLE = ("identity", "gzip")
"""Content encodings of a stream that can be read as it passes."""


class Observer:
    """Sees a streamed response go by, untouched."""

    def __init__(self, call: Call | Passed, metrics: Metrics, reader: Reader, *, gzipped: bool) -> None:
        self.call = call
        self.metrics = metrics
        self.reader = reader
        way = None if isinstance(call, Passed) or not call.offered else relaying(call.api)
        self.speech = None if way is None else way.reply.listen()
        """What the model says, put together where it may call the recall tool."""
        self.gunzip = zlib.decompressobj(wbits=31) if gzipped else None

    def __call__(self, data: bytes) -> bytes | Iterable[bytes]:
        # An exception in a stream callable crashes the stream, and b"" would end a chunked response early.
        try:
            for event in self.reader.feed(self.gunzip.decompress(data) if self.gunzip is not None else data):
                _hear(self.call, event)
                if self.speech is not None:
                    self.speech.take(event)
        except Exception:
            self.metrics.add("mmu_failures_total", place="stream")
            logger.exception("mitmmu: reading the response failed; it passes untouched")
        return data or []


class Copy:
    """Passes on, untouched, a response that comes in pieces but is not one of events, and hears it when it is whole."""

    def __init__(self, call: Call | Passed, metrics: Metrics, *, gzipped: bool, limit: int = 1 << 24) -> None:
        self.call = call
        self.metrics = metrics
        self.gunzip = zlib.decompressobj(wbits=31) if gzipped else None
        self.held: bytearray | None = bytearray()
        """What has come; None once that was more than `limit` bytes, for then it is not heard."""
        self.limit = limit

    def __call__(self, data: bytes) -> bytes | Iterable[bytes]:
        try:
            if self.held is not None:
                self.held += self.gunzip.decompress(data) if self.gunzip is not None else data
                if len(self.held) > self.limit:
                    self.held = None
                elif not data:
                    self.call.usage = self.call.api.whole_usage(_loaded(bytes(self.held)))
        except Exception:
            self.metrics.add("mmu_failures_total", place="stream")
            logger.exception("mitmmu: reading the response failed; it passes untouched")
        return data or []


def _hear(call: Call | Passed, event: sse.Event) -> None:
    call.usage = call.api.stream_usage(event.name, event.data, call.usage)
    call.transformed = call.transformed or call.api.drops_reasoning(event.name, event.data)
    if isinstance(call, Call):
        hear_cleared(call, event)


def hear_cleared(call: Call, event: sse.Event) -> None:
    """What an event says of the results that the provider was asked to clear."""
    if call.cleared and '"context_management"' in event.data:
        _told_cleared(call, _loaded(event.data))


def _told_cleared(call: Call, payload: Any) -> None:
    way = clearing(call.api)
    if way is not None and (told := way.told(payload)) is not None:
        call.told_cleared = told


class Reader(Protocol):
    """Feed bytes, get the events they complete."""

    def feed(self, piece: bytes) -> Iterable[sse.Event]: ...


def reader(content_type: str) -> Reader | None:
    """What reads a response of this type; None where it is no stream of events."""
    if content_type.startswith(SSE):
        return sse.Reader()
    return eventstream.Reader() if content_type.startswith(eventstream.TYPE) else None


def hear_whole(call: Call | Passed, content_type: str, body: bytes) -> None:
    """A response that did not pass as a stream."""
    if (stream := reader(content_type)) is not None:
        for event in stream.feed(body):
            _hear(call, event)
        return
    payload = _loaded(body)
    call.usage = call.api.whole_usage(payload)
    if not isinstance(call, Passed) and call.cleared:
        _told_cleared(call, payload)


def said(reply: Reply, content_type: str, body: bytes) -> Speech | None:
    """What the model says in a response that did not pass as a stream; None when it is no message."""
    if (stream := reader(content_type)) is not None:
        speech = reply.listen()
        for event in stream.feed(body):
            speech.take(event)
        return speech
    payload = _loaded(body)
    return reply.whole(payload) if isinstance(payload, dict) else None


def _loaded(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
