"""What a response reports is heard, streamed or whole, in either framing, and nothing of it is changed."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from addon.call import Call
from addon.listen import SSE, Observer, hear_whole, reader
from addon.watch.metrics import Metrics
from addon.wire import anthropic, eventstream
from addon.wire.usage import Usage
from tests.wire.test_eventstream import chunk

EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 90}}},
    {"type": "message_delta", "usage": {"output_tokens": 7}},
]
STREAMS = {
    SSE: b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in EVENTS),
    eventstream.TYPE: b"".join(map(chunk, EVENTS)),
}


def call() -> Call:
    made = SimpleNamespace(api=anthropic, usage=None, transformed=False, offered=False)
    return cast(Call, made)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_stream_is_heard_as_it_passes(kind: str, zipped: bool) -> None:
    events = reader(kind)
    assert events is not None
    under_way = call()
    observer = Observer(under_way, Metrics(), events, gzipped=zipped)
    stream = gzip.compress(STREAMS[kind]) if zipped else STREAMS[kind]
    pieces = [stream[at : at + 11] for at in range(0, len(stream), 11)]
    assert [observer(piece) for piece in pieces] == pieces
    assert under_way.usage == Usage(fresh=9, read=90, output=7)


@pytest.mark.parametrize(("kind", "body"), [*STREAMS.items(), ("application/json", b'{"usage":{"input_tokens":9}}')])
def test_a_response_that_was_held_is_heard(kind: str, body: bytes) -> None:
    under_way = call()
    hear_whole(under_way, kind, body)
    assert under_way.usage is not None
    assert under_way.usage.fresh == 9


def test_a_stream_that_cannot_be_read_passes_and_is_counted() -> None:
    metrics, events = Metrics(), reader(eventstream.TYPE)
    assert events is not None
    observer = Observer(call(), metrics, events, gzipped=False)
    assert observer(b"no event stream at all") == b"no event stream at all"
    assert metrics.value("mmu_failures_total", place="stream") == 1
