"""The harness: a proxy comes up, dies, comes back, and says why when it cannot."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Mitmdump, NotReady


class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def echo() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def get(port: int, target: str, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", target, headers={"host": host})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_killed_proxy_comes_back_on_its_port(echo: int) -> None:
    with Mitmdump(addon=None, target=f"http://127.0.0.1:{echo}") as proxy:
        first, port = proxy.pid, proxy.port
        assert get(port, "/a", "x") == (200, b"/a")
        proxy.kill()
        with pytest.raises(OSError, match="refused"):
            get(port, "/a", "x")
        proxy.restart()
        assert proxy.pid != first
        assert get(port, "/b", "x") == (200, b"/b")
        assert proxy.ca_file.is_file()
        folder = proxy.folder
    assert not folder.exists()


def test_a_provider_name_leads_to_loopback_and_other_names_nowhere(echo: int) -> None:
    with Mitmdump(addon=None, redirect_to=f"127.0.0.1:{echo}") as proxy:
        assert get(proxy.port, "http://api.anthropic.com/v1/x", "api.anthropic.com") == (200, b"/v1/x")
        assert get(proxy.port, "http://example.com/", "example.com")[0] == 502


def test_a_proxy_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('the reason')\n")
    with pytest.raises(NotReady, match="the reason") as caught, Mitmdump(addon=None, scripts=[broken]):
        pass
    assert caught.value.status
