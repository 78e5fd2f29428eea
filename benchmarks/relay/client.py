"""A client on HTTP/1.1 and TLS through a proxy, that notes when what arrives."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h11

from benchmarks.relay.conversation import Conversation
from benchmarks.relay.model import Wanted
from tests.agent.transport import assemble, events

HOST = "api.anthropic.com"
_HEADERS = {"host": HOST, "x-api-key": "test-key", "anthropic-version": "2023-06-01", "user-agent": "bench/1"}
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and the certificate to trust behind it."""

    port: int
    ca: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. Times in seconds on the machine's monotonic clock."""

    status: int
    body: bytes
    asked: float
    provider_began: float
    """When the provider sent its first byte; 0.0 where it did not say."""
    first_byte: float
    first_words: float
    done: float

    def content(self) -> list[dict[str, Any]]:
        """The message's blocks. Raises Refused, or EOFError when it is cut."""
        content: list[dict[str, Any]] = assemble(events(iter(self.body.split(b"\n"))))["content"]
        return content


class Broken(Exception):
    """A response that does not come to its end, or is not the one that was scripted."""


class Client:
    """`async with Client(proxy) as client:` one connection, kept open, one request at a time."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._tls = ssl.create_default_context(cafile=str(proxy.ca))

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._proxy.port)
        self._writer.write(f"CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise Broken(head.decode("latin-1"))
        await self._writer.start_tls(self._tls, server_hostname=HOST)
        self._http = h11.Connection(h11.CLIENT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def ask(self, conversation: Conversation, wanted: Wanted) -> Answer:
        """One request of a conversation. Raises Broken."""
        headers = {"content-type": "application/json", **conversation.headers(), **wanted.headers()}
        return await self.send("POST", "/v1/messages", conversation.body(), headers)

    async def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request, and its whole answer. Raises Broken."""
        given = {**_HEADERS, **(headers or {}), "content-length": str(len(body))}
        http = self._http
        asked = time.monotonic()
        self._writer.write(
            http.send(h11.Request(method=method, target=path, headers=list(given.items())))
            + http.send(h11.Data(data=body))
            + http.send(h11.EndOfMessage())
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._hear(asked)
        except (h11.ProtocolError, OSError, TimeoutError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from None

    async def _hear(self, asked: float) -> Answer:
        status, began, first, words = 0, 0.0, 0.0, 0.0
        parts: list[bytes] = []
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    data = await self._reader.read(65536)
                    first = first or time.monotonic()
                    self._http.receive_data(data)
                case h11.Response():
                    status = event.status_code
                    began = float(dict(event.headers).get(b"x-upstream-sent", b"0"))
                case h11.Data():
                    parts.append(bytes(event.data))
                    if not words and b"content_block_delta" in event.data:
                        words = time.monotonic()
                case h11.EndOfMessage():
                    self._http.start_next_cycle()
                    return Answer(status, b"".join(parts), asked, began, first, words, time.monotonic())
                case _:
                    raise Broken(f"unexpected {event!r}")


async def offer(client: Client, conversation: Conversation) -> None:
    """Bring a conversation to where its old results are evicted and, with recall on, the model has the tool."""
    for number in range(2):
        answer = await client.ask(conversation, Wanted(f"{conversation.name}, opening {number}", 100))
        conversation.heard(answer.content())
        if number == 0:
            conversation.pause()


def check(answer: Answer, wanted: Wanted) -> list[dict[str, Any]]:
    """The blocks of an answer. Raises Broken when its words are not those that were scripted."""
    try:
        content = answer.content()
    except Exception as error:
        raise Broken(f"{wanted.name}: {type(error).__name__}: {error}") from error
    heard = [block["text"] for block in content if block["type"] == "text"]
    calls = [block["name"] for block in content if block["type"] == "tool_use"]
    if heard != wanted.heard() or calls != ["Bash"] * wanted.calls:
        raise Broken(f"{wanted.name}: {len(heard)} texts, calls {calls}, {len(answer.body)} bytes")
    return content
