"""Server-sent events (WHATWG HTML, section 9.2), out of whatever pieces the network brings.

The reader is for listening beside a stream whose bytes pass untouched: it holds back nothing, as the caller forwards
each piece before or after feeding it. An event that grows over `limit` bytes is dropped and the reader picks up at the
next one. The splitter is for changing a stream: it gives the bytes of each event, and all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(r"\r\n|\n|\r")  # not str.splitlines, which also breaks at U+2028 and others that JSON leaves bare


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: str


class Splitter:
    """Feed bytes, get the bytes of each event they complete, blank line included. What is not complete is in `rest`."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        # A blank line may be split over two pieces, so the search starts a little before the seam.
        at = max(0, len(self.rest) - 3)
        held, start = self.rest + piece, 0
        # Set at every step: the caller may stop in the middle and take the rest as it is.
        while found := _BLANK.search(held, at):
            raw, start = held[start : found.end()], found.end()
            at, self.rest = start, held[start:]
            yield raw
        self.rest = held[start:]


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
            elif (event := read(raw)) is not None:
                yield event
        self._held = held[start:]
        if len(self._held) > self._limit:
            self._held = self._held[-3:]
            self._dropping = True


def read(raw: bytes) -> Event | None:
    """The event in its bytes; None for one without data, which nobody is told of."""
    name = ""
    data: list[str] = []
    for line in _LINE.split(raw.decode("utf-8", "replace")):
        field, _, rest = line.partition(":")
        rest = rest.removeprefix(" ")
        if field == "event":
            name = rest
        elif field == "data":
            data.append(rest)
    return Event(name, "\n".join(data)) if data else None
