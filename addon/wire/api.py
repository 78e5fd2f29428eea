"""What the rest of mitmmu asks of an API: each is a module of this folder that has these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from addon.wire.conversation import Conversation
from addon.wire.rules import Rule
from addon.wire.scan import Edit
from addon.wire.usage import Usage


class Api(Protocol):
    """One way to spell a conversation. Pure."""

    @property
    def NAME(self) -> str: ...

    @property
    def HOSTS(self) -> tuple[tuple[str, str], ...]:
        """Hosts of known providers, each with the path of the call; both are regular expressions."""

    @property
    def RULES(self) -> tuple[Rule, ...]:
        """What makes a request valid."""

    def is_call(self, path: str) -> bool:
        """Whether a path, without its query, is this API's on a host that is not known here."""

    def parse(self, body: bytes, recent: Mapping[str, Conversation] = ..., path: str = "") -> Conversation:
        """Read a request to a path. `recent` holds earlier ones by `key`. Malformed on any doubt."""

    def key(self, conversation: Conversation) -> str: ...

    def likely_key(self, body: bytes) -> str:
        """What `key` will probably be, without reading the body."""

    def answer(self, text: str) -> str:
        """The JSON of a message of the model's."""

    def tool(self, name: str, description: str, schema: Mapping[str, Any]) -> str:
        """The JSON of a tool's definition."""

    def reports_usage(self, conversation: Conversation) -> bool:
        """Whether the response to a request must say what it cost."""

    def whole_usage(self, payload: Any) -> Usage | None:
        """What a whole response, decoded, says that it cost."""

    def stream_usage(self, event: str, data: str, before: Usage | None) -> Usage | None:
        """What a stream has reported up to this event."""

    def drops_reasoning(self, event: str, data: str) -> bool:
        """Whether an event of a stream reports that reasoning was dropped because its prefix had changed."""

    def rewrite_may_have_caused(self, status: int, body: str, *, longer: bool = False) -> bool:
        """Whether an error answer could be due to what was changed. `longer`: more was sent than came."""

    def refusal_text(self, body: str) -> str:
        """The message of an error answer, without what differs between two equal refusals."""

    def says_bound(self, refusal: str) -> bool:
        """Whether a refusal says that reasoning is bound to what stands before it."""


class Marking(Protocol):
    """Where a provider caches nothing unasked: how to ask. Pure."""

    @property
    def LIFETIME(self) -> float:
        """Seconds for which what is marked is cached."""

    def unasked(self, conversation: Conversation) -> bool:
        """Whether the client leaves it to others to ask."""

    def place(self, conversation: Conversation, seen: int = ..., *, tail: bool = ...) -> list[Edit]:
        """The edits that set the marks: one at the head, and with `tail` behind what was `seen` and at the end."""

    def count(self, edits: list[Edit]) -> int:
        """How many marks these are."""


class Clearing(Protocol):
    """How a provider is asked to show a placeholder for old results by itself. Pure."""

    @property
    def HEADER(self) -> str:
        """The header that must come with it."""

    def available(self, host: str, conversation: Conversation) -> bool:
        """Whether it may be asked for: there, and on top of what the client asks for."""

    def tool_uses(self, conversation: Conversation) -> int:
        """How many a request has, as the provider counts them."""

    def place(self, conversation: Conversation, cleared: int) -> list[Edit]:
        """The edits that have the results of the first tool uses cleared; none where that cannot be asked for."""

    def again(self, conversation: Conversation, cleared: int) -> list[Edit]:
        """The edits by which a request that asks for it, and has grown since, asks for the same."""

    def asked(self, betas: str | None) -> str:
        """What the header must say, where the client says this."""

    def told(self, payload: Any) -> int | None:
        """How many tool uses a response, or an event of one, says were cleared; None where it says nothing."""

    def refuses(self, refusal: str) -> bool:
        """Whether a refusal names what was asked for."""


@dataclass(frozen=True, slots=True)
class Again:
    """A request that keeps a cache warm: where it goes, its body, and the tokens of output that it may cost."""

    path: str
    text: str
    output: int


class Refreshing(Protocol):
    """How a request is sent once more for the sake of the cache alone. Pure."""

    def again(self, conversation: Conversation) -> Again | None:
        """A request, as it was sent, as a refresh; None where it cannot serve as one."""
