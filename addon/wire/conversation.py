"""A conversation as every API has it: tools and instructions at the head, then messages made of blocks.

Nothing here is any vendor's. A block knows where it stands in the original text, so that it can be replaced there, and
what it hashes to, so that it is found again in the next request. Hashes cover meaning, not spelling: what clients move
about between requests (cache marks, a string where a list of one text was) does not enter them.

Spans are offsets into the decoded text of the body; a block's are relative to its message, so that a message that did
not change between two requests is the same value in both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any


def text_digest(text: str) -> bytes:
    """16 bytes over a text: what its block hashes to and its page is named by. UnicodeEncodeError: a lone surrogate."""
    return blake2b(text.encode("utf-8"), digest_size=16).digest()


class Kind(StrEnum):
    """What a block is to the memory manager."""

    TEXT = "text"
    CALL = "call"
    """The model calls a tool of the client's."""
    RESULT = "result"
    """One text of a tool's answer. An answer of several parts is several blocks with the same call id."""
    REASONING = "reasoning"
    OTHER = "other"
    """Anything else: images, documents, calls the provider answers itself, kinds not known here. Never touched."""


class Act(StrEnum):
    """What a tool call does, as far as memory is concerned."""

    READ = "read"
    """Shows a file, or lines of it."""
    EDIT = "edit"
    """Changes a file."""
    RUN = "run"
    """Anything else that answers with text: commands, searches, listings, web pages."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a tool call is about. Two results are copies of the same thing when their calls have the same subject."""

    act: Act
    name: str
    """The path of a file; otherwise the tool with its arguments."""
    label: str
    """For people and models: tool and main argument, one line."""
    run: str = ""
    """Where a shell shows the file: the tool, a blank and the command. "" where a tool made for it does."""


@dataclass(slots=True)
class Block:
    """One content part of a message. Treated as immutable."""

    kind: Kind
    start: int
    end: int
    digest: bytes
    """16 bytes over what the block says; for TEXT and RESULT over its text alone."""
    text: str = ""
    literal: tuple[int, int] | None = None
    """Span of the JSON string that holds the text, quotes included; None when there is no text."""
    call: str = ""
    """Call id of a CALL or RESULT."""
    part: int = 0
    """Which text of its answer a RESULT is."""
    name: str = ""
    """Tool name of a CALL, and of what answers it where the API says so; the API's own word for an OTHER."""
    about: Subject | None = None
    """What a CALL is about."""
    arguments: Any = None
    """Decoded arguments of a CALL."""
    custom: bool = False
    """A CALL whose arguments are free text, or part of the answer to one, where the API tells such answers apart."""
    error: bool = False
    """A RESULT that reports a failure."""
    flag: tuple[int, int] | None = None
    """Span of what says whether it does."""
    verdicts: tuple[str, str] = ("true", "false")
    """What stands there where it does, and where it does not."""
    signed: bool = False
    """REASONING that the provider may refuse when what stands before it changes."""
    stays: bool = False
    """REASONING that cannot be removed: the provider wants it with what follows."""


@dataclass(slots=True)
class Message:
    """One message, at text[start:end]. Treated as immutable."""

    role: str
    start: int
    end: int
    blocks: list[Block]
    digest: bytes
    """8 bytes over role and blocks."""
    marks: tuple[float, ...] = ()
    """The seconds that each cache mark in the message asks for."""


@dataclass(slots=True)
class Tool:
    """One declared tool, at text[start:end]."""

    name: str
    start: int
    end: int


@dataclass(slots=True)
class Conversation:
    """One request, parsed. Treated as immutable."""

    model: str
    text: str
    """The body, decoded."""
    messages: list[Message]
    tools: list[Tool]
    instructions: list[Block]
    """System blocks at the head (spans absolute)."""
    digests: bytes = b""
    """The messages' digests, 8 bytes each."""
    stream: bool = False
    ttl: float | None = None
    """Seconds the client asked the provider to cache the messages for; None when it asked for no caching."""
    forgotten: int = 0
    """How many first messages the provider no longer shows the model: it has compacted them."""
    clears: bool = False
    """The client has the provider clear old results or compact by itself, so what is sent may not be what is shown."""
    compacts: bool = False
    """It asks for a summary of the conversation."""
    bound: bool = False
    """The model refuses signed reasoning whose prefix changed."""
    breakpoints: int = 0
    """How many cache marks the request carries."""
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where the top-level members' values stand."""
    path: str = ""
    """Where it was sent, query included; some APIs name the model there."""
    options: dict[str, Any] = field(default_factory=dict)
    """Other top-level members that matter to a decision or a rule. `unframed`: the response is one JSON array, in
    pieces."""
    as_read: list[Message] = field(default_factory=list)
    """The messages as they stand there, where some told less than `messages` do: what a later request may share."""

    @property
    def opening(self) -> str:
        """Names what stands before the model's first answer, in hex: stable over restarts, resumes and new headers."""
        return self._name(self._first_answer)

    @property
    def head(self) -> str:
        """Names the start of the conversation up to the first answer: prompts are used again, answers come but once."""
        return self._name(self._first_answer + 1)

    @property
    def _first_answer(self) -> int:
        return next((n for n, m in enumerate(self.messages) if m.role == "assistant"), len(self.messages))

    def _name(self, messages: int) -> str:
        return blake2b(self.digests[: 8 * messages], digest_size=12).hexdigest()
