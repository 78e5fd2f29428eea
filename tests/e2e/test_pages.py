"""Pages by hand, through a real proxy: on the host inside it, with TLS or without, and under a path of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.records import Batch, Conversation, Outcome, Page
from storage.tiers import Hierarchy
from tests.e2e.model import Model, evicted, output
from tests.e2e.world import World, world
from tests.harness import Mitmdump

SITE = "mitmmu.local"
ID, UNKNOWN = "ab" * 12, "cd" * 12
TEXT = "\n".join(f"step {n} fine, naïvely" if n != 30 else "step 30 ERROR: disk on fire" for n in range(60))


async def fill(home: Path) -> None:
    """A store as a proxy leaves it behind."""
    store = await Hierarchy.open(f"sqlite:///{home / 'mmu.db'}")
    record = Conversation("c", "a tenant", "h", "", "", "", 1, b"", 0.0, {})
    batch = Batch(record, 0, [Page("a tenant", ID, TEXT.encode(), "result", "Bash make all")], [])
    assert await store.commit(batch, 20) is Outcome.STORED
    await store.close()


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a proxy's site one way."""

    proxy: Mitmdump
    way: str

    def get(
        self, path: str, *, host: str = SITE, token: str | None = None, **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers. `token`: the right one when None, "" for none."""
        if token is None:
            token = (self.proxy.home / "site.token").read_text("ascii")
        if token:
            headers["authorization"] = f"Bearer {token}"
        connection = self._connection()
        target, name = path, host
        if self.way == "http":
            target = f"http://{SITE}{path}"
        elif self.way != "https":
            target = f"/_mmu{path}"
            name = host if host != SITE else f"127.0.0.1:{connection.port}"
        try:
            connection.request("GET", target, headers={"host": name, **headers})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.way == "https":
            tls = ssl.create_default_context(cafile=str(self.proxy.ca_file))
            made = http.client.HTTPSConnection("127.0.0.1", self.proxy.site_port, timeout=20, context=tls)
            made.set_tunnel(SITE, 443)
            return made
        port = self.proxy.port if self.way == "reverse" else self.proxy.site_port
        return http.client.HTTPConnection("127.0.0.1", port, timeout=20)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A reverse proxy, which has a regular listener beside."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "proxy" / "home").mkdir(parents=True)
    asyncio.run(fill(folder / "proxy" / "home"))
    with world(folder, "reverse") as found:
        yield found


@pytest.fixture(params=["http", "https", "direct", "reverse"])
def asker(request: pytest.FixtureRequest, there: World) -> Asker:
    return Asker(there.proxy, request.param)


def test_a_page_is_exact(there: World, asker: Asker) -> None:
    status, body, headers = asker.get(f"/pages/{ID}")
    assert (status, body) == (200, TEXT.encode())
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert there.up.log == []


def test_parts_of_a_page_and_json(asker: Asker) -> None:
    assert asker.get(f"/pages/{ID}?lines=2-3")[1].decode() == "2\tstep 1 fine, naïvely\n3\tstep 2 fine, naïvely"
    assert b"31\tstep 30 ERROR: disk on fire" in asker.get(f"/pages/{ID}?grep=ERR.R")[1]
    status, body, _ = asker.get(f"/pages/{ID}", accept="application/json")
    assert (status, json.loads(body)["text"]) == (200, TEXT)
    status, body, _ = asker.get(f"/pages/{UNKNOWN}?format=json")
    assert status == 404
    assert UNKNOWN in json.loads(body)["error"]
    status, body, _ = asker.get("/pages?q=disk%20FIRE&format=json")
    assert [(hit["page"], hit["lines"]) for hit in json.loads(body)["pages"]] == [(ID, ["step 30 ERROR: disk on fire"])]


def test_the_token_is_asked_for_and_private(there: World, asker: Asker) -> None:
    file = there.proxy.home / "site.token"
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text("ascii")
    for path, given in ((f"/pages/{ID}", ""), ("/pages?q=disk", "x" * 43), (f"/pages/{ID}?token=x", "")):
        status, body, _ = asker.get(path, token=given)
        assert status == 401
        assert str(file).encode() in body
        assert b"step" not in body
    assert asker.get(f"/pages/{ID}?token={token}", token="")[0] == 200
    assert asker.get("/healthz", token="")[:2] == (200, b"ok\n")
    assert b"mmu_requests_total" in asker.get("/metrics", token="")[1]


# asked as a server under another's name, it is that other server that is meant, and nothing leads there
@pytest.mark.parametrize(("way", "expected"), [("http", 403), ("https", 403), ("direct", 502)])
def test_another_name_is_refused(there: World, way: str, expected: int) -> None:
    status, body, _ = Asker(there.proxy, way).get(f"/pages/{ID}", host="evil.example")
    assert status == expected
    assert b"step" not in body


def test_what_is_not_the_sites_goes_on(there: World) -> None:
    before = len(there.up.log)
    assert there.post(b"{}", path="/_mmux/healthz")[0] == 404
    assert there.post(b"{}", path="/_mmu/v1/messages")[0] == 404
    assert [record.path for record in there.up.log[before:]] == ["/_mmux/healthz"]


def test_a_page_that_left_a_conversation_can_be_read_by_hand(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        page = evicted(Model(there, "claude-opus-4-8"))
        assert Asker(there.proxy, "https").get(f"/pages/{page}")[1].decode() == output(0)
        hits = json.loads(Asker(there.proxy, "http").get("/pages?q=output+3&format=json")[1])["pages"]
        assert "Bash make 3" in [hit["label"] for hit in hits]


def test_without_a_store_the_pages_say_so(tmp_path: Path) -> None:
    proxy = Mitmdump(folder=tmp_path)
    proxy.home.mkdir()
    (proxy.home / "mmu.db").write_bytes(b"this is no database" * 1000)
    try:
        proxy.start(healthy=False)
        for way in ("http", "https"):
            status, body, _ = Asker(proxy, way).get(f"/pages/{ID}", token="")
            assert (status, b"No store is open" in body) == (503, True)
    finally:
        proxy.stop()
