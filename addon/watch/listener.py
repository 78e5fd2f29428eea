"""Health and counts at a port of their own, for whoever watches from outside: `/metrics` and `/healthz`, no more.

The pages on `mitmmu.local` are asked through the proxy, from this machine. Prometheus asks no proxy, is often
elsewhere, and where several processes share one port it must reach each of them. Nothing here has to be hidden.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECONDS = 5.0
"""For a request to arrive."""
LONGEST = 8192

type Answer = tuple[int, str]
type Pages = Callable[[str], Answer]
"""Status and text for a path."""

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


async def listen(host: str, port: int, pages: Pages) -> asyncio.Server:
    """Serve until closed. OSError where the port is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, text = _answer(head, pages)
                body = text.encode()
                kind = "text/plain; version=0.0.4; charset=utf-8"
                fields = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close"
                writer.write(f"HTTP/1.1 {status} {_REASONS[status]}\r\n{fields}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError):
            pass  # whoever that was, it asked for nothing
        finally:
            writer.close()

    return await asyncio.start_server(serve, host, port, limit=LONGEST)


def _answer(head: bytes, pages: Pages) -> Answer:
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return 400, "This is HTTP.\n"
    if words[0] != "GET":
        return 405, "Only GET.\n"
    return pages(words[1].partition("?")[0])
