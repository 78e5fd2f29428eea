"""A client that wants a WebSocket is told to go on with requests; where it may have one, it is only listened to."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Message, RejectConnection, Request, TextMessage

from tests.e2e.world import world
from tests.harness import Mitmdump
from tests.upstream.tls import write_certificate

HOST, PATH = "api.openai.com", "/v1/responses"
ASK = json.dumps({"type": "response.create", "input": []})
USAGE = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 7}
DONE = json.dumps({"type": "response.completed", "response": {"usage": USAGE}})
ANSWERS = [json.dumps({"type": "response.created", "response": {}}), DONE]


def events(wire: socket.socket, speaks: WSConnection) -> Iterator[Event]:
    while True:
        yield from speaks.events()
        data = wire.recv(65536)
        if not data:
            return
        speaks.receive_data(data)


def answer(wire: socket.socket) -> None:
    speaks = WSConnection(ConnectionType.SERVER)
    for event in events(wire, speaks):
        if isinstance(event, Request):
            wire.sendall(speaks.send(AcceptConnection()))
        elif isinstance(event, TextMessage):
            assert event.data == ASK
            wire.sendall(b"".join(speaks.send(Message(data=each)) for each in ANSWERS))
        elif isinstance(event, CloseConnection):
            wire.sendall(speaks.send(event.response()))
            return


@contextmanager
def provider(folder: Path) -> Iterator[int]:
    """A server that answers one WebSocket; its port."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(write_certificate(folder))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            raw, _ = listener.accept()
            with tls.wrap_socket(raw, server_side=True) as wire:
                answer(wire)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def opened(proxy: Mitmdump) -> Iterator[socket.socket]:
    """A TLS connection to the provider's name through the proxy."""
    raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    raw.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got:
        got += raw.recv(1)
    assert b" 200 " in got.partition(b"\r\n")[0]
    context = ssl.create_default_context(cafile=str(proxy.ca_file))
    with closing(context.wrap_socket(raw, server_hostname=HOST)) as wire:
        yield wire


def test_an_upgrade_is_refused_at_once_and_never_reaches_the_provider(tmp_path: Path) -> None:
    with world(tmp_path) as there, opened(there.proxy) as wire:
        speaks = WSConnection(ConnectionType.CLIENT)
        wire.sendall(speaks.send(Request(host=HOST, target=PATH)))
        refused = next(events(wire, speaks))
        assert isinstance(refused, RejectConnection)
        assert refused.status_code == 426
        assert not there.up.log
        assert there.proxy.metrics()['mmu_sockets_total{what="refused"}'] == 1


def test_a_socket_elsewhere_is_no_business_of_ours(tmp_path: Path) -> None:
    with world(tmp_path) as there, opened(there.proxy) as wire:
        speaks = WSConnection(ConnectionType.CLIENT)
        wire.sendall(speaks.send(Request(host=HOST, target="/v1/realtime")))
        refused = next(events(wire, speaks))
        assert isinstance(refused, RejectConnection)
        assert refused.status_code in (404, 405)  # the provider's own word
        assert len(there.up.log) == 1


@pytest.mark.parametrize("options", [{"mmu_websocket": "observe"}, {"mmu_mode": "observe"}], ids=str)
def test_a_socket_that_is_kept_is_only_listened_to(tmp_path: Path, options: dict[str, str]) -> None:
    with provider(tmp_path) as port:
        proxy = Mitmdump(options, redirect_to=f"127.0.0.1:{port}", folder=tmp_path / "proxy")
        with proxy, opened(proxy) as wire:
            speaks = WSConnection(ConnectionType.CLIENT)
            wire.sendall(speaks.send(Request(host=HOST, target=PATH)))
            got: list[str] = []
            for event in events(wire, speaks):
                if isinstance(event, AcceptConnection):
                    wire.sendall(speaks.send(Message(data=ASK)))
                elif isinstance(event, TextMessage):
                    got.append(event.data)
                    if len(got) == len(ANSWERS):
                        wire.sendall(speaks.send(CloseConnection(code=1000)))
                elif isinstance(event, CloseConnection):
                    break
            assert got == ANSWERS
            metrics = proxy.metrics()
            assert metrics['mmu_sockets_total{what="answer observed"}'] == 1
            assert metrics['mmu_input_tokens_total{price="read"}'] == 60
            assert metrics["mmu_input_tokens_total"] == 100
