"""Health and counts at a port of their own."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from addon.watch import listener


async def asked(request: bytes) -> bytes:
    def pages(path: str) -> tuple[int, str]:
        return (200, "größer\n") if path == "/metrics" else (404, "not here\n")

    server = await listener.listen("127.0.0.1", 0, pages)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(request)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    return answer


@pytest.mark.parametrize("target", [b"/metrics", b"/metrics?x=1"])
async def test_a_page(target: bytes) -> None:
    answer = await asked(b"GET " + target + b" HTTP/1.1\r\nhost: any\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith("\r\n\r\ngrößer\n".encode())
    assert b"content-length: 9\r\n" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /pages HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET http://mitmmu.local/metrics HTTP/1.1\r\n\r\n", b"404"),
        (b"\x16\x03\x01 hello \r\n\r\n", b"400"),
    ],
)
async def test_what_is_not_served(request_: bytes, status: bytes) -> None:
    assert (await asked(request_)).split()[1] == status


@pytest.mark.parametrize("request_", [b"", b"GET /metrics", b"GET /" + b"x" * 100_000])
async def test_what_is_no_request_gets_no_answer(request_: bytes) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await asked(request_) == b""
