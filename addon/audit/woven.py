"""Whole requests, as they came, put together into sessions.

A request belongs to the session its client names, else to the one that begins with the same messages. It continues the
line it holds as a beginning; otherwise a new one starts with what it shares with the nearest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from addon.audit.recorded import Head, Line, Readings, Request, Sent, Session, Turn, counted, pack
from addon.mmu.tokens import Counter
from addon.mmu.view import DIGEST
from addon.wire.api import Api
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation
from addon.wire.read import hashed
from addon.wire.usage import Usage

_DEFERRED = re.compile(r'"defer_loading"\s*:\s*true')


def deferred(tool: str) -> bool:
    """Whether a definition says so (Anthropic): it is not in the prompt before the tool was searched for."""
    return _DEFERRED.search(tool) is not None


@dataclass(slots=True)
class _Thread:
    line: Line
    digests: bytes
    body: bytes = b""
    """Of its last request, where bodies are kept."""


@dataclass(slots=True)
class _Open:
    session: Session
    threads: list[_Thread] = field(default_factory=list)


class Weaver:
    """Give it requests in the order in which they were made. `keep`: with their bodies."""

    def __init__(self, counter: Counter, label: str, *, keep: bool = False) -> None:
        self._counter, self._label, self._keep = counter, label, keep
        self._open: dict[str, _Open] = {}
        self.read = Readings().read

    def add(
        self,
        api: Api,
        conversation: Conversation,
        *,
        named: str = "",
        client: str = "",
        at: float | None = None,
        usage: Usage | None = None,
        answered: frozenset[str] = frozenset(),
        url: str = "",
        purpose: Purpose = Purpose.MAIN,
        project: str = "",
    ) -> None:
        """Take up a request. `named` is the client's name for its session, `answered` the tools the answer calls."""
        key = named or conversation.opening
        found = self._open.get(key)
        if found is None:
            session = Session(f"{self._label}#{named or key[:8]}", client or api.NAME, declared=True)
            found = self._open[key] = _Open(session)
        thread = self._thread(found, conversation)
        for message in conversation.messages[len(thread.line.turns) :]:
            thread.line.turns.append(counted(conversation.text, message, self._counter))
        thread.digests = conversation.digests
        head = self._head(conversation)
        request = Request(at, len(thread.line.turns), head, conversation.model, usage, found.session.requests)
        sent = Sent(api, b"", conversation.path, url, purpose, project)
        if self._keep:
            body = conversation.text.encode("utf-8")
            sent = replace(sent, packed=pack(body, thread.body))
            thread.body = body
        request.sent = sent
        thread.line.requests.append(request)
        found.session.answered |= answered

    def sessions(self) -> list[Session]:
        return [found.session for found in self._open.values()]

    def _thread(self, found: _Open, conversation: Conversation) -> _Thread:
        now = conversation.digests
        for thread in reversed(found.threads):
            if now.startswith(thread.digests):
                return thread
        shared: list[Turn] = []
        for thread in found.threads:
            length = _shared(thread.digests, now)
            if length > len(shared):
                shared = thread.line.turns[:length]
        thread = _Thread(Line(shared), b"")
        found.session.lines.append(thread.line)
        found.threads.append(thread)
        return thread

    def _head(self, conversation: Conversation) -> Head:
        tools: list[tuple[str, int]] = []
        said = "".join(block.text for block in conversation.instructions)
        instructions = sum(self._counter.count(b.text, b.digest) for b in conversation.instructions)
        for tool in conversation.tools:
            text = conversation.text[tool.start : tool.end]
            if not deferred(text):
                tools.append((tool.name, self._counter.count(text)))
                said += text
        return Head(hashed(said), instructions, tuple(tools))


def _shared(one: bytes, other: bytes) -> int:
    """How many messages two requests begin with in common, by their digests."""
    limit = min(len(one), len(other)) // DIGEST
    places = (slice(n * DIGEST, (n + 1) * DIGEST) for n in range(limit))
    return next((n for n, at in enumerate(places) if one[at] != other[at]), limit)


def called(declared: Iterable[str], answer: str) -> frozenset[str]:
    """Which of the declared tools an answer names, whole or in events."""
    names = set(re.findall(r'"name"\s*:\s*"([^"]{1,128})"', answer))
    return frozenset(name for name in declared if name in names)
