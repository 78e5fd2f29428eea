"""AWS event streams: what the events say, in whatever pieces they come."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.wire.eventstream import Reader
from addon.wire.sse import Event

USAGE = {"type": "message_start", "message": {"usage": {"input_tokens": 9}}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "grüße"}}


def header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()


def frame(payload: bytes) -> bytes:
    """A message as the service sends it."""
    headers = header(":event-type", "chunk") + header(":content-type", "application/json")
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return message + struct.pack(">I", crc32(message))


def chunk(event: dict[str, Any]) -> bytes:
    return frame(json.dumps({"bytes": b64encode(json.dumps(event).encode()).decode(), "p": "abcd"}).encode())


@given(st.lists(st.integers(1, 40), max_size=60))
def test_events_come_out_of_any_pieces(sizes: list[int]) -> None:
    stream = chunk(USAGE) + frame(b'{"message":"throttled"}') + frame(b"") + chunk(DELTA)
    reader, found, at = Reader(), list[Event](), 0
    for size in [*sizes, len(stream)]:
        found += reader.feed(stream[at : at + size])
        at += size
    assert found == [Event(str(each["type"]), json.dumps(each)) for each in (USAGE, DELTA)]


@pytest.mark.parametrize("odd", [b"data: {}\n\n" * 4, b"\xff" * 16, bytes(16)])
def test_what_is_no_event_stream_is_said_to_be_none(odd: bytes) -> None:
    with pytest.raises(ValueError, match="no event stream"):
        list(Reader().feed(odd))
