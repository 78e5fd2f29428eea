"""How a request leaves: one method, and the implementation that needs nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant message as the client got it, and the exact bytes the client sent for it."""

    content: list[dict[str, Any]]
    stop_reason: str
    usage: dict[str, Any]
    sent: bytes


class Refused(Exception):
    """An answer other than 200. `status` is its code, the text its body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class Transport(Protocol):
    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        """Sends one Messages request; streamed when the body says so. Raises Refused, OSError when nobody answers."""


def spell(body: Mapping[str, Any]) -> bytes:
    """JSON as the JavaScript clients write it."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


class Plain:
    """http.client, straight to `url` or through an HTTP proxy (`proxy`: its URL), trusting `ca` for TLS.

    Keeps its connection; a connection that died between two requests is opened anew, once."""

    def __init__(self, url: str, *, proxy: str = "", ca: Path | None = None, key: str = "test-key") -> None:
        parts = urlsplit(url)
        self.scheme, self.host = parts.scheme, parts.hostname or ""
        self.port = parts.port or (443 if self.scheme == "https" else 80)
        self.proxy, self.key = urlsplit(proxy), key
        self.tls = ssl.create_default_context(cafile=str(ca)) if ca else ssl.create_default_context()
        self._open: http.client.HTTPConnection | None = None

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        sent = spell(body)
        response = self._post("/v1/messages?beta=true", sent, headers)
        if response.status != 200:
            raise Refused(response.status, response.read().decode("utf-8", "replace"))
        message = assemble(events(response)) if body.get("stream") else json.load(response)
        if body.get("stream"):
            response.read()
        return Answer(message["content"], message["stop_reason"], message["usage"], sent)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _post(self, path: str, sent: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        fresh = self._open is None
        for attempt in (0, 1):
            connection = self._open = self._open or self._connect()
            try:
                connection.request("POST", self._target(path), sent, self._headers(headers))
                return connection.getresponse()
            except (OSError, http.client.HTTPException):
                self.close()
                if fresh or attempt:
                    raise
        raise AssertionError("unreachable")

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {"content-type": "application/json", "x-api-key": self.key, **headers}

    def _target(self, path: str) -> str:
        through = self.proxy.hostname and self.scheme == "http"
        return f"http://{self.host}:{self.port}{path}" if through else path

    def _connect(self) -> http.client.HTTPConnection:
        host, port = (self.proxy.hostname or self.host), (self.proxy.port or self.port)
        if self.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=60)
        connection = http.client.HTTPSConnection(host, port, timeout=60, context=self.tls)
        if self.proxy.hostname:
            connection.set_tunnel(self.host, self.port)
        return connection


def events(lines: Iterator[bytes] | http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The data of each event of a stream, one dict per event."""
    for line in lines:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def assemble(stream: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Puts a streamed message together. Raises Refused on an error event, EOFError when the stream is cut."""
    message: dict[str, Any] = {}
    parts: dict[int, list[str]] = {}
    for event in stream:
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            message["content"].append(event["content_block"])
            parts[event["index"]] = []
        elif kind == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                parts[event["index"]].append(delta["partial_json"])
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] = block.get(name, "") + delta[name]
        elif kind == "content_block_stop" and parts[event["index"]]:
            message["content"][event["index"]]["input"] = json.loads("".join(parts[event["index"]]) or "{}")
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
        elif kind == "message_stop":
            return message
        elif kind == "error":
            raise Refused(int(event["error"].get("status", 529)), json.dumps(event["error"]))
    raise EOFError("the stream ended before message_stop")
