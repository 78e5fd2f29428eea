"""Who is let in at the site's door, and what is taken for the site at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addon.hooks import Mitmmu
from addon.watch import site
from addon.watch.metrics import Metrics


def flow(url: str, host: str, mode: str = "regular", peer: str = "127.0.0.1") -> http.HTTPFlow:
    """A request as the hooks see it, to a proxy that listens on 127.0.0.1:8080."""
    client = Client(
        peername=(peer, 50000), sockname=("127.0.0.1", 8080), proxy_mode=ProxyMode.parse(mode), timestamp_start=0.0
    )
    made = http.HTTPFlow(client, Server(address=None))
    made.request = http.Request.make("GET", url)
    made.request.headers["host"] = host
    return made


async def status(made: http.HTTPFlow) -> int | None:
    """How the site answers; None when the request is not for it."""
    visit = site.visit(made)
    if visit is None:
        return None
    await site.answer(made, visit, site.Inside("ok", Metrics(), None, "token", Path("/home")))
    assert made.response is not None
    return made.response.status_code


@pytest.mark.parametrize(
    ("url", "host", "mode", "expected"),
    [
        ("http://mitmmu.local/healthz", "mitmmu.local", "regular", 200),
        ("http://MITMMU.local/healthz", "Mitmmu.Local:80", "regular", 200),
        ("https://mitmmu.local/metrics?x=1", "mitmmu.local", "regular", 200),
        ("http://mitmmu.local/pages/x", "mitmmu.local", "regular", 503),
        ("http://mitmmu.local/else", "mitmmu.local", "regular", 404),
        ("http://mitmmu.local/pagesx", "mitmmu.local", "regular", 404),
        ("http://10.0.0.1/healthz", "mitmmu.local", "transparent", 200),
        ("http://mitmmu.local/healthz", "evil.example", "regular", 403),
        ("http://mitmmu.local/healthz", "localhost", "regular", 403),
        # asked as a server
        ("http://127.0.0.1:8080/_mmu/healthz", "127.0.0.1:8080", "regular", 200),
        ("http://localhost:8080/_mmu/metrics", "localhost:8080", "regular", 200),
        ("http://localhost:8080/_mmu", "localhost:8080", "regular", 404),
        ("http://127.0.0.1:8080/_mmu/healthz", "evil.example:8080", "regular", 403),
        ("http://evil.example:8080/_mmu/healthz", "evil.example:8080", "regular", None),
        ("http://127.0.0.1:9090/_mmu/healthz", "127.0.0.1:9090", "regular", None),
        ("http://127.0.0.1:8080/healthz", "127.0.0.1:8080", "regular", None),
        # in reverse mode: what mitmproxy writes, what a client may have written if that is kept, and another's
        ("https://api.example/_mmu/healthz", "api.example", "reverse:https://api.example", 200),
        ("https://api.example/_mmu/pages/x?y", "127.0.0.1:8080", "reverse:https://api.example", 503),
        ("https://api.example/_mmu?x", "api.example", "reverse:https://api.example", 404),
        ("https://api.example/_mmu/healthz", "evil.example", "reverse:https://api.example", 403),
        ("https://api.example/_mmux/healthz", "api.example", "reverse:https://api.example", None),
        ("https://api.example/v1/_mmu/healthz", "api.example", "reverse:https://api.example", None),
        ("https://api.example/healthz", "api.example", "reverse:https://api.example", None),
    ],
)
async def test_what_is_for_the_site_and_under_which_names(url: str, host: str, mode: str, expected: int | None) -> None:
    assert await status(flow(url, host, mode)) == expected


@pytest.mark.parametrize(("peer", "expected"), [("192.168.0.9", 403), ("fe80::1%eth0", 403), ("::1", 200)])
async def test_only_this_machine_is_let_in(peer: str, expected: int) -> None:
    assert await status(flow("http://mitmmu.local/healthz", "mitmmu.local", peer=peer)) == expected


async def test_what_fails_inside_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("addon.recall.site.reply", broken)
    made = flow("https://api.example/_mmu/pages/x", "api.example", "reverse:https://api.example")
    addon = Mitmmu()
    await addon.request(made)
    assert made.response is not None
    assert made.response.status_code == 500
    assert addon.metrics.value("mmu_failures_total", place="site") == 1


def test_a_body_for_the_site_is_not_streamed_on() -> None:
    made = flow("https://api.example/_mmu/pages/x", "api.example", "reverse:https://api.example")
    made.request.stream = True
    Mitmmu().requestheaders(made)
    assert made.request.stream is False


@pytest.mark.parametrize(("name", "ours"), [("mitmmu.local", True), ("MITMMU.LOCAL", True), ("api.example", False)])
def test_the_host_is_looked_for_nowhere_else(name: str, ours: bool) -> None:
    connect = flow(f"https://{name}/", name)
    data = ServerConnectionHookData(Server(address=(name, 443)), connect.client_conn)
    Mitmmu().server_connect(data)
    Mitmmu().http_connect(connect)
    assert (data.server.error is not None) is ours
    assert (connect.response is not None) is ours
