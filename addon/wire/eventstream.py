"""AWS event streams (`application/vnd.amazon.eventstream`), as Bedrock wraps the events of a model in.

A message is a prelude (4 bytes its whole length, 4 bytes the length of its headers, 4 bytes a checksum), headers, a
payload and a checksum; numbers are big-endian. Bedrock's payload is JSON whose member `bytes` is the event of the
model's own API in base64. Source: AWS, "Event stream encoding", and the reference of
`InvokeModelWithResponseStream`. Checksums are not compared: the bytes pass untouched, this only listens.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections.abc import Iterator

from addon.wire.sse import Event

TYPE = "application/vnd.amazon.eventstream"
LARGEST = 16 * 1024 * 1024
"""Bytes of a message; AWS allows less."""

_PRELUDE = struct.Struct(">III")
_CHECKSUM = 4


class Reader:
    """Feed bytes, get the events they complete, as `sse.Reader` does. ValueError for what is no event stream."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> Iterator[Event]:
        self._held += piece
        while len(self._held) >= _PRELUDE.size:
            length, headers, _ = _PRELUDE.unpack_from(self._held)
            if not _PRELUDE.size + headers + _CHECKSUM <= length <= LARGEST:
                self._held = b""
                raise ValueError("no event stream")
            if len(self._held) < length:
                return
            payload = self._held[_PRELUDE.size + headers : length - _CHECKSUM]
            self._held = self._held[length:]
            event = _event(payload)
            if event is not None:
                yield event


def _event(payload: bytes) -> Event | None:
    try:
        data = b64decode(json.loads(payload)["bytes"]).decode("utf-8")
        return Event(str(json.loads(data).get("type", "")), data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # an exception of the service's, or of a model that is not known here
