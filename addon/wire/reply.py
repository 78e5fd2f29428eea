"""What relay asks of an API: to hear the model, to show several of its answers as one, and to put them back.

Each API that can do so has two modules, `..._reply` (the response) and `..._expand` (the request), with the names of
`Reply` and `Expand`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from addon.wire import sse
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange, Round
from addon.wire.usage import Usage


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of the client's tools, or of the hidden one."""

    id: str
    """Unique in its answer; the API's own where it has one."""
    name: str
    arguments: Any


class Speech(Protocol):
    """One answer of the model."""

    @property
    def id(self) -> str: ...

    @property
    def closed(self) -> bool:
        """Whether it has ended."""

    @property
    def failed(self) -> bool:
        """Whether it ended with an error of the provider's."""

    @property
    def intact(self) -> bool:
        """Whether all of it was understood, so that it can be sent back as it was received."""

    @property
    def transformed(self) -> bool:
        """Whether the provider said that it dropped reasoning."""

    @property
    def usage(self) -> Usage | None: ...

    @property
    def waits(self) -> bool:
        """Whether it ended to have its calls answered, and not because of a limit."""

    @property
    def calls(self) -> list[Call]:
        """Calls that the client, or we, must answer."""

    def take(self, event: sse.Event) -> None:
        """Take in an event of a stream."""

    def round(
        self, results: Mapping[str, str], *, without: Collection[str] = (), behind: Collection[str] = ()
    ) -> Round:
        """What was said, to be sent back, with the results of the hidden calls by id. Calls in `without` are left out,
        those in `behind` stand behind everything else.

        ValueError when a call's input is not whole, or when no request could hold what was said.
        """


class Joiner(Protocol):
    """The client's side of a stream that shows several answers as one. None of its methods raises."""

    @property
    def speech(self) -> Speech:
        """What the model says in the round under way."""

    @property
    def blind(self) -> bool:
        """An event grew beyond all bounds; from then on everything passes as it comes."""

    @property
    def rounds(self) -> int:
        """How many rounds are behind."""

    @property
    def hides(self) -> bool:
        """Whether a call of this round is being hidden."""

    def feed(self, data: bytes) -> bytes:
        """What the client gets of a piece of the stream."""

    def rest(self) -> bytes:
        """What the stream ended with, if that was no whole event. Not asked for twice."""

    def proceed(self) -> None:
        """The round was answered; what is fed from now on is what the model says next."""

    def leak(self) -> bytes:
        """Show what was hidden of this round after all."""

    def fail(self, body: bytes, status: int) -> bytes:
        """An error answer of the provider as what ends the stream that the client is reading; as for `failure`."""

    def finish(self) -> bytes:
        """The closing events, that were held back."""


class Reply(Protocol):
    """The response of an API."""

    @property
    def PING(self) -> bytes:
        """What keeps a client waiting and tells it nothing."""

    @property
    def OVERLOADED(self) -> int:
        """The status that says so."""

    def listen(self) -> Speech:
        """For the events of a stream."""

    def whole(self, message: Mapping[str, Any]) -> Speech:
        """From an answer that was not streamed."""

    def joiner(self, hidden: str) -> Joiner:
        """`hidden` is the tool whose calls the client is not shown."""

    def joined(self, messages: Sequence[Mapping[str, Any]], hidden: str, *, leaks: bool = False) -> dict[str, Any]:
        """Whole answers as one, without the hidden calls. If it `leaks`, those of the last stand behind all else."""

    def failure(self, body: bytes = b"", status: int = 0) -> str:
        """The JSON of an error: the provider's own, where its answer was one; else that it broke off."""


class Expand(Protocol):
    """The request of an API."""

    def expand(
        self, conversation: Conversation, exchanges: Mapping[int, Sequence[tuple[str, Exchange]]]
    ) -> tuple[str, list[str]]:
        """The request's text with exchanges put back, and the names of those that were.

        `exchanges` gives, by message index, the named ones that may belong there; the first that fits is taken.
        """

    def says_much(self, exchange: Exchange) -> bool:
        """Whether the shown part can hardly be another message's."""

    def result(self, call: Call, text: str) -> str:
        """The JSON of what answers a call."""

    def carried_on(self, sent: Conversation, rounds: Sequence[Round], *, room: int) -> bytes:
        """The request that was sent, with rounds and their results behind it: what asks the model to go on.

        `room` says how many cache marks more there may be.
        """


@dataclass(frozen=True, slots=True)
class Relaying:
    """Both."""

    reply: Reply
    expand: Expand
    fitted: Callable[[Conversation, Round], Round] = lambda _, round_: round_
    """A round as it is to stand behind a request that was sent. What is left out of it stays out."""
