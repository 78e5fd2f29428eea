"""The provider on a socket: HTTP/1.1 with keep-alive, streams in chunks, TLS on request, loopback unless told."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.upstream import tls
from tests.upstream.answer import Answer
from tests.upstream.control import Unknown, control
from tests.upstream.log import HIDDEN, Record, Totals
from tests.upstream.provider import Provider
from tests.upstream.script import Script

LIMIT = 48_000_000
GATE_SECONDS = 60.0
CREDENTIALS = ("x-api-key", "authorization", "x-goog-api-key")


class BadBody(Exception):
    """A body that cannot be read to its end; the connection is of no use afterwards."""


class Cut(Exception):
    """The scripted end of a connection in the middle of an answer."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "upstream"
    timeout = 300

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """The log is kept as records, not printed."""

    def _serve(self) -> None:
        try:
            raw = self._read_body()
            if urlsplit(self.path).path.startswith("/_/"):
                self._control(raw)
            else:
                self._answer(raw)
        except BadBody as error:
            self.close_connection = True
            self._json(413, {"type": "error", "error": {"type": "request_too_large", "message": str(error)}})
        except Cut:
            self._hang_up()
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = self.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LIMIT:
            raise BadBody(f"content-length {length}")
        raw = self.rfile.read(int(length))
        if len(raw) < int(length):
            raise ConnectionError("whoever sent it is gone")
        return raw

    def _read_chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while True:
            try:
                size = int(self.rfile.readline(100).split(b";")[0], 16)
            except ValueError:
                raise BadBody("malformed chunk") from None
            total += size
            if total > LIMIT:
                raise BadBody("chunked body too large")
            parts.append(self.rfile.read(size))
            line = self.rfile.readline(1000)
            if size == 0:
                while line not in {b"\r\n", b"\n", b""}:
                    line = self.rfile.readline(1000)
                return b"".join(parts)

    def _decoded(self, raw: bytes) -> bytes:
        encoding = self.headers.get("content-encoding", "").lower()
        try:
            if encoding == "gzip":
                return gzip.decompress(raw)
            if encoding == "deflate":
                return zlib.decompress(raw)
        except (OSError, EOFError, zlib.error):
            return raw
        return raw

    def _answer(self, raw: bytes) -> None:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        shown = {name: value for name, value in headers.items() if name not in HIDDEN}
        asked = dict(parse_qsl(urlsplit(self.path).query))
        authorized = any(map(headers.get, CREDENTIALS)) or bool(asked.get("key"))
        answer = self.server.provider.handle(self.command, self.path, shown, raw, self._decoded(raw), authorized)
        if answer.reply.get("think_ms"):
            time.sleep(answer.reply["think_ms"] / 1000)
        if answer.status == 200 and answer.stream:
            self._stream(answer)
        else:
            self._json(answer.status, answer.payload, {answer.id_header: answer.request_id, **answer.headers}, answer)

    def _control(self, raw: bytes) -> None:
        parts = urlsplit(self.path)
        try:
            body = json.loads(raw) if raw else {}
            self._json(200, control(self.server.provider, self.command, parts.path, dict(parse_qsl(parts.query)), body))
        except (ValueError, LookupError) as error:
            self._json(400, {"error": str(error)})
        except Unknown as error:
            self._json(404, {"error": f"unknown: {error}"})

    def _json(
        self, status: int, payload: dict[str, Any], headers: dict[str, str] | None = None, answer: Answer | None = None
    ) -> None:
        data = json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if "gzip" in self.headers.get("accept-encoding", ""):
            data = gzip.compress(data, compresslevel=1, mtime=0)
            self.send_header("content-encoding", "gzip")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        reply = answer.reply if answer else {}
        if "stall" in reply:
            self._stall(reply["stall"])
        if "cut_after_events" in reply:
            self.wfile.write(data[: len(data) // 2])
            raise Cut
        self.wfile.write(data)
        self._told(answer)

    def _stream(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("content-type", answer.stream_type)
        self.send_header("cache-control", "no-cache")
        self.send_header(answer.id_header, answer.request_id)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("x-upstream-sent", f"{time.monotonic():.7f}")
        self.end_headers()
        reply = answer.reply
        stall = reply.get("stall", {})
        for sent, event in enumerate(answer.events(answer.payload)):
            if sent == reply.get("cut_after_events"):
                raise Cut
            if sent == reply.get("fail_after_events"):
                self._chunk(answer.failure)
                self.wfile.write(b"0\r\n\r\n")
                return
            if stall and sent == stall.get("after_events", 0):
                self._stall(stall)
            if reply.get("delay_ms"):
                time.sleep(reply["delay_ms"] / 1000)
            self._chunk(event)
        self.wfile.write(b"0\r\n\r\n")
        self._told(answer)

    def _told(self, answer: Answer | None) -> None:
        """All of it was sent; after a stall there may be nobody left who reads it."""
        if answer is not None and answer.record is not None:
            answer.record.whole = "stall" not in answer.reply

    def _stall(self, stall: dict[str, Any]) -> None:
        if "gate" in stall:
            opened = self.server.provider.gate(stall["gate"]).wait(GATE_SECONDS)
            if not opened:
                raise Cut
        time.sleep(stall.get("ms", 0) / 1000)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    """Accepts; the TLS handshake is made in the connection's own thread so that a slow one holds up nobody."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], provider: Provider) -> None:
        self.provider = provider
        self.context: ssl.SSLContext | None = None
        self.open: set[socket.socket] = set()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # HTTPServer would ask the resolver for a name of this host
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            if self.context is not None:
                request = self.context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            return
        self.open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.open.discard(request)
            with contextlib.suppress(OSError):
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours; anything else is printed as usual."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError | ssl.SSLError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Upstream:
    """The fake provider running in threads of this process.

    `with Upstream() as up:` then `up.url`, `up.log`, `up.script(...)`. Port 0 takes a free one. With `tls` the address
    is https and `up.ca_file` is the certificate to trust.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        allow_prefill: bool = False,
        keep_bodies: int | None = None,
    ) -> None:
        self.provider = Provider(allow_prefill=allow_prefill, keep_bodies=keep_bodies)
        self.host = host
        self.tls = tls
        self._asked_port = port
        self._folder: Path | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Upstream:
        self._server = Server((self.host, self._asked_port), self.provider)
        if self.tls:
            self._folder = Path(tempfile.mkdtemp(prefix="upstream-"))
            self._server.context = tls.server_context(tls.write_certificate(self._folder))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="upstream", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        for gate in self.provider.gates.values():
            gate.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join(5)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def port(self) -> int:
        assert self._server is not None, "not running: use it in a with statement"
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """PEM file that holds the certificate (and its key; it lives as long as the server)."""
        assert self._folder is not None, "only with tls=True, while running"
        return self._folder / "upstream.pem"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        assert self._server is not None, "not running: use it in a with statement"
        return len(self._server.open)

    @property
    def log(self) -> list[Record]:
        """All requests so far, oldest first, control calls excluded."""
        return self.provider.log

    @property
    def invalid(self) -> int:
        return self.provider.invalid

    def script(self, name: str, replies: Script) -> None:
        """See Provider.script."""
        self.provider.script(name, replies)

    def totals(self, label: str | None = None) -> Totals:
        return self.provider.totals(label)

    def warm(
        self, account: str, upto: str | int = "system", body: dict[str, Any] | None = None, *, lifetime: float = 300.0
    ) -> None:
        """See Provider.warm."""
        self.provider.warm(account, upto, body, lifetime=lifetime)

    def gate(self, name: str) -> threading.Event:
        return self.provider.gate(name)

    def set_clock(self, now: float | None) -> None:
        """Epoch seconds for requests without `x-upstream-clock`; None for real time."""
        self.provider.clock = now

    def reset(self) -> None:
        self.provider.reset()
