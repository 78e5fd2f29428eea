"""What mitmmu has no business with, or does not understand, arrives byte for byte as it was sent."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tests.agent.request import Client
from tests.agent.session import build
from tests.agent.transport import spell
from tests.e2e.world import HOST, MESSAGES, World, texts, world
from tests.harness import Mitmdump, NotReady


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as found:
        yield found


def valid(**more: object) -> bytes:
    body = {"model": "claude-opus-5", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}
    return spell(body | more)


SYSTEM = valid(messages=[{"role": "user", "content": [{"type": "text", "text": "hello", "more": {"deep": [1, None]}}]}])
ODD = {
    "empty": b"",
    "not json": b"hello, is anybody there?",
    "a list": b'[{"role": "user"}]',
    "cut short": valid()[:-2],
    "two documents": valid() + valid(),
    "duplicate keys": b'{"model":"claude-opus-5","model":"claude-opus-5",' + valid()[1:],
    "lone surrogate": valid().replace(b"hello", rb"hello \ud800 there"),
    "raw surrogate bytes": valid().replace(b"hello", b"\xed\xa0\x80"),
    "not utf-8": valid().replace(b"hello", b"\xff\xfe"),
    "utf-16": valid().decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + valid(),
    "NaN": valid().replace(b"16", b"NaN"),
    "Infinity": valid().replace(b"16", b"-Infinity"),
    "huge number": valid().replace(b"16", b"1" * 5000),
    "deep": valid().replace(b'"hello"', b"[" * 5000 + b"]" * 5000),
    "control character": valid().replace(b"hello", b"hel\x01lo"),
    "unknown fields": valid(wonder={"a": [1, 2.50, 1e3]}, **{"": ""}),
    "unknown block field": SYSTEM,
    "wrong types": valid(messages={"role": "user"}, tools="none", system=7),
    "null messages": valid(messages=None),
    "spaces": b" \n\t" + json.dumps(json.loads(valid()), indent=4).encode() + b"\r\n ",
    "escapes": valid().replace(b"hello", rb"\u0068\u00e9llo \/ \ud83d\ude00"),
    "nul": b"\x00" * 100,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_bodies(there: World, name: str) -> None:
    before = len(there.up.log)
    there.post(ODD[name])
    assert [record.body for record in there.up.log[before:]] == [ODD[name]]


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "wonder"])
def test_encoded_bodies(there: World, encoding: str) -> None:
    sent = {"gzip": gzip.compress(valid()), "zstd": zstandard.compress(valid()), "wonder": valid()}[encoding]
    there.post(sent, {"content-encoding": encoding})
    assert there.up.log[-1].body == sent
    assert there.up.log[-1].headers["content-encoding"] == encoding


def test_a_body_of_32_megabytes(there: World) -> None:
    sent = valid(messages=[{"role": "user", "content": "x y " * (8 << 20)}])
    there.post(sent)
    assert there.up.log[-1].body == sent


def test_a_results_shape_that_is_wrong(there: World) -> None:
    result = {
        "type": "tool_result",
        "tool_use_id": "nobody",
        "content": [{"type": "text"}, {"type": "text", "text": 3}],
    }
    sent = valid(messages=[{"role": "user", "content": [result, "loose", 4, None]}, "loose", {"content": []}])
    there.post(sent)
    assert there.up.log[-1].body == sent


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/complete"),
        ("PUT", MESSAGES),
        ("POST", "/v1/messages/"),
    ],
)
def test_other_paths(there: World, method: str, path: str) -> None:
    sent = valid(max_tokens=17) + b" "
    there.post(sent, path=path, method=method)
    assert (there.up.log[-1].path, there.up.log[-1].body) == (path, sent)


def test_another_host_keeps_its_own_certificate(there: World) -> None:
    """A host that is no provider's is tunnelled, not decrypted: its certificate is the one that gets here."""
    tls = ssl.create_default_context(cafile=str(there.up.ca_file))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": there.proxy.url}), urllib.request.HTTPSHandler(context=tls)
    )
    with opener.open(f"{there.up.url}/_/totals", timeout=10) as answer:
        assert answer.status == 200


def test_credentials_are_not_in_the_log_or_the_state(there: World) -> None:
    there.post(valid(), {"x-api-key": "sk-very-secret-value"})
    assert "very-secret" not in there.proxy.log_text()
    for path in there.proxy.folder.rglob("*"):
        if path.is_file():
            assert b"very-secret" not in path.read_bytes(), path.name


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_modes_that_change_nothing(tmp_path: Path, mode: str) -> None:
    session = build(1, 30)
    with world(tmp_path, mmu_mode=mode) as there:
        agent = there.agent(session)
        played = list(agent.play())
        assert [e.answer.sent for e in played] == [record.body for record in there.seen(agent.label)]
        assert len(texts(played)) == 30
        assert there.up.invalid == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("mmu_mode", "sometimes"), ("mmu_policy", "fifo:x:y"), ("mmu_clock", "sundial"), ("mmu_nonsense", "x")],
)
def test_a_bad_option_ends_the_proxy_at_once(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(NotReady, match=name) as caught, Mitmdump({name: value}, folder=tmp_path):
        pass
    assert caught.value.status


def test_the_body_a_client_builds_is_what_a_provider_accepts(there: World) -> None:
    """The unchanged first request of the agent goes through as it is, and is answered."""
    body = Client("single", stream=False).body([{"role": "user", "content": "hello"}], 1)
    status, answer = there.post(spell(body), {"host": HOST})
    assert (status, json.loads(answer)["type"]) == (200, "message")
    assert there.up.log[-1].body == spell(body)


@pytest.mark.parametrize(("hosts", "managed"), [("127.0.0.1", 1), ("gateway.example.com", 0)])
def test_a_host_is_managed_when_the_user_names_it(tmp_path: Path, hosts: str, managed: int) -> None:
    body = json.dumps({"model": "claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
    with world(tmp_path, billed=bool(managed), mmu_hosts=hosts) as there:
        roots = there.proxy.ca_file if managed else there.up.ca_file
        tls = ssl.create_default_context(cafile=str(roots))
        connection = http.client.HTTPSConnection("127.0.0.1", there.proxy.port, timeout=20, context=tls)
        connection.set_tunnel("127.0.0.1", there.up.port)
        connection.request("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01", "x-api-key": "k"})
        assert connection.getresponse().status == 200
        connection.close()
        assert there.proxy.metrics().get("mmu_managed_total", 0) == managed
