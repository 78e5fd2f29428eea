"""The records that cross the border of the store. It keeps them and compares them, and reads nothing into them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

type JSON = bool | int | float | str | list[JSON] | dict[str, JSON] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Immutable content. `text` is the exact UTF-8; `id` is the caller's content hash, ASCII, unique per tenant."""

    tenant: str
    id: str
    text: bytes
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Splice:
    """One recorded difference between transcript and view, at an anchor.

    A later generation replaces an earlier one at the same anchor; `text` None means that the original stands again.
    `page` is "" when no page is involved, `request` the number of the request that first carried the splice, `spelling`
    the caller's name for how the original was written down.
    """

    anchor: str
    generation: int
    kind: str
    page: str
    text: str | None
    needs: tuple[str, ...]
    request: int
    spelling: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is kept of a conversation beside its splices. Not to be changed once handed over, `state` included.

    `head` is the hash of the first user message, `session` the client's own session key or "", `requests` the count
    of requests so far, `digests` 8 bytes for each message of the last transcript, `last_at` epoch seconds.
    """

    id: str
    tenant: str
    head: str
    session: str
    project: str
    client: str
    requests: int
    digests: bytes
    last_at: float
    state: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Stored:
    """A conversation with all its splices, ordered by request, anchor and generation."""

    conversation: Conversation
    splices: tuple[Splice, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request adds, stored whole or not at all.

    `expected` is the count of requests the caller has seen stored (0: a new conversation). `conversation.requests`
    must be greater, because it is what tells two writers apart; ValueError if it is not.
    """

    conversation: Conversation
    expected: int
    pages: Sequence[Page]
    splices: Sequence[Splice]
    holds: Collection[str] = ()
    """Ids of pages, stored earlier, that the conversation leads to beside these and those that its splices name."""

    def __post_init__(self) -> None:
        if self.expected < 0 or self.conversation.requests <= self.expected:
            raise ValueError(f"a batch must move requests forward: {self.expected} -> {self.conversation.requests}")
        if any(page.tenant != self.conversation.tenant for page in self.pages):
            raise ValueError("a page belongs to the tenant of its conversation")


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that a search found, `size` in bytes, `created_at` epoch seconds, and a few lines that hold its words."""

    id: str
    kind: str
    label: str
    size: int
    created_at: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Booking:
    """What is added to the ledger. `day` is YYYY-MM-DD; `sums` hold an amount for each of schema.COUNTS and DOLLARS."""

    day: str
    conversation: str
    tenant: str
    project: str
    sums: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """What was learned of a conversation since it was stored, for its `state`."""

    conversation: Conversation
    """As it was then."""
    facts: Mapping[str, JSON]
    """Hold whatever has come since."""
    sums: Mapping[str, JSON]
    """Hold only while no other request has come since."""


class Outcome(Enum):
    """What became of a batch. Only STORED changed anything that a later call can see."""

    STORED = "stored"
    STALE = "stale"
    LATE = "late"
    FAILED = "failed"
