"""A recorded session, however it was recorded: its requests, and the messages that stood in them.

An agent sends its whole transcript with every request, so n requests hold n²/2 messages. They are kept once: a *line*
is a transcript that only grew, and a request is how much of it stood there. Where the client compacted, rewound or
edited, a new line begins; what it has in common with the old one is the same turns.

Tokens are counted as mitmmu counts them elsewhere: reasoning, images and documents weigh nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import zstandard

from addon.mmu.ledger import OPAQUE
from addon.mmu.tokens import Counter
from addon.wire.api import Api
from addon.wire.clients import Purpose
from addon.wire.conversation import Block, Conversation, Kind, Message
from addon.wire.usage import Usage

DAMAGE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
"""What reading a file, packed or not, may end in."""


@dataclass(slots=True)
class Turn:
    """One message, and the tokens of each of its blocks."""

    message: Message
    tokens: list[int]
    parts: list[str] = field(default_factory=list)
    """Of a transcript: the JSON of each block or item, as a body spells it."""

    @property
    def weight(self) -> int:
        return sum(self.tokens)


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the messages, in tokens."""

    digest: bytes = b""
    instructions: int = 0
    tools: tuple[tuple[str, int], ...] = ()
    """Name and tokens of each declared tool."""

    @property
    def weight(self) -> int:
        return self.instructions + sum(tokens for _, tokens in self.tools)


@dataclass(frozen=True, slots=True)
class Sent:
    """A whole body, as it was sent."""

    api: Api
    packed: bytes
    """With zstd, behind the body of the line's request before."""
    path: str = ""
    """Where it went, query included."""
    url: str = ""
    """The same with its host, without its query; "" where that was not recorded."""
    purpose: Purpose = Purpose.MAIN
    project: str = ""
    """The folder that the client works in; "" where it does not say."""


@dataclass(slots=True)
class Request:
    at: float | None
    """When it was asked, epoch seconds; None where that was not recorded."""
    turns: int
    """How many turns of the line stood in it."""
    head: Head
    model: str = ""
    usage: Usage | None = None
    """What the provider reported."""
    order: int = 0
    """Which of the session's requests it was, where lines are interleaved."""
    sent: Sent | None = None


@dataclass(slots=True)
class Line:
    """A transcript that only grew, and the requests made with it, in order."""

    turns: list[Turn] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    name: str
    client: str
    lines: list[Line] = field(default_factory=list)
    declared: bool = False
    """Whether the tools' definitions were recorded."""
    sub: bool = False
    """Whether another agent has begun it; of whole requests each tells that itself."""
    answered: set[str] = field(default_factory=set)
    """Names of tools called in answers that no later request holds."""

    @property
    def requests(self) -> int:
        return sum(len(line.requests) for line in self.lines)

    def in_order(self) -> list[tuple[Line, Request]]:
        """All requests as they were made, each with its line."""
        made = [(line, request) for line in self.lines for request in line.requests]
        return sorted(made, key=lambda each: each[1].order)


def pack(body: bytes, before: bytes) -> bytes:
    """Most of a body stood in the request before, so that is the dictionary."""
    known = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    window = max(10, min(27, (len(body) + len(before)).bit_length()))
    how = zstandard.ZstdCompressionParameters.from_level(3, window_log=window, enable_ldm=True)
    return zstandard.ZstdCompressor(dict_data=known, compression_params=how).compress(body)


def unpack(packed: bytes, before: bytes) -> bytes:
    """The inverse of `pack`."""
    known = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(dict_data=known, max_window_size=1 << 27).decompress(packed)


def _tokens(text: str, message: Message, block: Block, counter: Counter) -> int:
    if block.kind in (Kind.TEXT, Kind.RESULT):
        return counter.count(block.text, block.digest)
    raw = text[message.start + block.start : message.start + block.end]
    if block.kind is Kind.REASONING or (block.kind is Kind.OTHER and len(raw) > OPAQUE):
        return 0
    return counter.count(raw, block.digest)


def counted(text: str, message: Message, counter: Counter) -> Turn:
    """A message of a request with that text."""
    return Turn(message, [_tokens(text, message, block, counter) for block in message.blocks])


def turns(api: Api, body: dict[str, Any], counter: Counter) -> list[Turn]:
    """The messages of a body that a transcript's line was put into. Raises Malformed."""
    conversation = api.parse(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    return [counted(conversation.text, message, counter) for message in conversation.messages]


RECENT = 32
"""Requests that are kept to read the next ones faster."""


class Readings:
    """Reads requests, with the help of those that were read before."""

    def __init__(self) -> None:
        self._recent: dict[str, Conversation] = {}

    def read(self, api: Api, body: bytes, path: str = "") -> Conversation:
        """Malformed where the request is not understood."""
        conversation = api.parse(body, self._recent, path)
        key = api.key(conversation)
        self._recent.pop(key, None)
        self._recent[key] = conversation
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        return conversation


def parts(of: Iterable[Any]) -> list[str]:
    """The JSON of blocks or items; a lone surrogate is a question mark, as in the body they were counted in."""
    dumped = (json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in of)
    return [text.encode("utf-8", "replace").decode("utf-8") for text in dumped]


def transcript(line: Line) -> Conversation:
    """The messages of a line, for what reads page tables."""
    return Conversation("", "", [turn.message for turn in line.turns], [], [])
