"""Server-sent events, read beside the stream while its bytes pass through untouched.

The reader is fed whatever pieces the network brings and yields whole events (WHATWG HTML, section 9.2). It holds back
nothing: the caller forwards each piece before or after feeding it. An event that grows over `limit` bytes is dropped
and the reader picks up at the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: str


class Reader:
    """Feed bytes, get the events they complete."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self._held = b""
        self._limit = limit
        self._dropping = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        # A blank line may be split over two pieces, so the search starts a little before the seam.
        at = max(0, len(self._held) - 3)
        held = self._held + piece
        start = 0
        while found := _BLANK.search(held, at):
            raw, start = held[start : found.start()], found.end()
            at = start
            if self._dropping:
                self._dropping = False
            elif (event := _event(raw)) is not None:
                yield event
        self._held = held[start:]
        if len(self._held) > self._limit:
            self._held = self._held[-3:]
            self._dropping = True


def _event(raw: bytes) -> Event | None:
    name = ""
    data: list[str] = []
    for line in raw.decode("utf-8", "replace").splitlines():
        field, _, rest = line.partition(":")
        rest = rest.removeprefix(" ")
        if field == "event":
            name = rest
        elif field == "data":
            data.append(rest)
    return Event(name, "\n".join(data)) if data else None
