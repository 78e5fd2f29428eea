"""What the client's side of a stream has in common in every API: events out of pieces, or the stream as it comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from addon.wire import sse

LARGEST_EVENT = 32 * 1024 * 1024
"""Bytes of one event above which the stream is given up on."""


class _Heard(Protocol):
    intact: bool


class Joining[S: _Heard](ABC):
    """The base of every `Joiner`. `hidden` is the tool whose calls the client is not shown, `listen` makes a Speech."""

    def __init__(self, hidden: str, listen: Callable[[], S]) -> None:
        self.speech = listen()
        """What the model says in the round under way."""
        self.blind = False
        """An event grew beyond all bounds; from then on everything passes as it comes."""
        self._hidden = hidden
        self._listen = listen
        self._splitter = sse.Splitter()

    @abstractmethod
    def _pass(self, raw: bytes) -> bytes:
        """What the client gets of an event."""

    def feed(self, data: bytes) -> bytes:
        """What the client gets of a piece of the stream."""
        if self.blind:
            return data
        out: list[bytes] = []
        for raw in self._splitter.feed(data):
            try:
                out.append(self._pass(raw))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self.speech.intact = False
                out.append(raw)
        if len(self._splitter.rest) > LARGEST_EVENT:
            self.blind, self.speech.intact = True, False
            out.append(self.rest())
        return b"".join(out)

    def rest(self) -> bytes:
        """What the stream ended with, if that was no whole event. Not asked for twice."""
        left, self._splitter = self._splitter.rest, sse.Splitter()
        return left

    def _listen_anew(self) -> None:
        """The next round begins."""
        self.speech, self._splitter = self._listen(), sse.Splitter()
