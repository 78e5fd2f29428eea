"""The shared warm tier and the news on a real server."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from redis.asyncio import Redis

from storage import news_redis, redis_link
from storage.breaker import State
from storage.crypt import NONE, Keys
from storage.news_redis import Channel
from storage.on_redis import beside
from storage.records import Outcome
from storage.redis_link import BUDGET, Link
from storage.redis_url import parse
from storage.tiers import Hierarchy
from storage.warm import Process
from storage.warm_redis import DAY, LARGEST, Shared
from tests.harness.redis_server import Server, need
from tests.upstream.tls import write_certificate

from .make import batch, conversation, page, splice, url

# on a machine that does other things too, what takes a budget may take this much more
SLACK = 0.1
# and where time is not what is tried, a call may take this long
AMPLE = 2.0

# as docs/redis.md has them
ACL = (
    "resetkeys ~mmu* resetchannels &mmu:* -@all +@connection +get +set +hset +hmget +unlink +expire +time +evalsha "
    "+eval +publish +subscribe"
)
ACL_CLUSTER = "+cluster|slots +command"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    need()
    with Server() as server:
        yield server


@pytest.fixture
async def server(shared_server: Server) -> Server:
    async with asking(shared_server) as redis:
        await redis.flushall()
        await redis.config_set("maxmemory", "0")
        await redis.script_flush()
    return shared_server


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that the test may end."""
    need()
    with Server() as server:
        yield server


@asynccontextmanager
async def asking(server: Server) -> AsyncIterator[Any]:
    client = Redis(port=server.port, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def warm(
    text: str | Server, budget: int = 1_000_000, seconds: int = DAY, within: float = AMPLE, keys: Keys = NONE
) -> AsyncIterator[Shared]:
    link = Link(parse(text if isinstance(text, str) else text.url), within)
    await link.start()
    made = Shared(link, Process(budget), seconds, keys)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def store(folder: Path, server: Server) -> AsyncIterator[Hierarchy]:
    made = await Hierarchy.open(url(folder), beside=beside(parse(server.url), budget=AMPLE))
    try:
        yield made
    finally:
        await made.close()


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come true"
        await asyncio.sleep(0.01)


async def took(what: Awaitable[object]) -> float:
    began = time.monotonic()
    await what
    return time.monotonic() - began


PAGES = {"a": b"some text, " * 1000, "b": "Grüße \U0001f600\n".encode(), "c": b"", "d": os.urandom(5000)}


async def test_pages_of_one_process_are_there_for_another(server: Server) -> None:
    async with warm(server) as ours, warm(server) as theirs:
        await ours.put("t", PAGES)
        assert {id: await theirs.get("t", id) for id in PAGES} == PAGES
        assert await theirs.get("u", "a") is None
        stats = theirs.stats()
        assert (stats["redis_hits"], stats["redis_misses"], stats["redis_breaker"]) == (4, 1, 0)
        assert {id: await theirs.get("t", id) for id in PAGES} == PAGES
        assert theirs.stats()["redis_hits"] == 4, "what is in the process was asked for once more"
        assert theirs.stats()["warm_hits"] == 4
    async with asking(server) as redis:
        assert await redis.strlen("mmu{1:t:a}:page") < 500


async def test_several_pages_are_put_in_one_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with warm(server) as ours:
        calls = 0
        call = Link.call

        async def counted(self: Link, ask: Any) -> Any:
            nonlocal calls
            calls += 1
            return await call(self, ask)

        monkeypatch.setattr(Link, "call", counted)
        await ours.put("t", {f"p{number}": b"text" * number for number in range(50)})
        assert calls == 1
    async with asking(server) as redis:
        assert len(await redis.keys("*:page")) == 50


async def test_no_tenant_and_id_together_look_like_another_two(server: Server) -> None:
    async with warm(server) as ours, warm(server) as theirs:
        await ours.put("a:b", {"c": b"x"})
        assert await theirs.get("a", "b:c") is None


async def test_a_namespace_is_a_place_of_its_own(server: Server) -> None:
    async with warm(server.url + "?namespace=ours") as ours, warm(server.url + "?namespace=theirs") as theirs:
        await ours.put("t", {"a": b"x"})
        assert await theirs.get("t", "a") is None


async def test_a_page_goes_in_its_time_and_every_access_renews_it(server: Server) -> None:
    async with warm(server, seconds=100) as ours, asking(server) as redis:
        await ours.put("t", {"a": b"x"})
        assert 95 < await redis.ttl("mmu{1:t:a}:page") <= 100
        await redis.expire("mmu{1:t:a}:page", 5)
        async with warm(server, seconds=100) as theirs:
            assert await theirs.get("t", "a") == b"x"
        assert 95 < await redis.ttl("mmu{1:t:a}:page") <= 100
        assert await redis.ttl("mmu{1:t:a}:use") > 7 * DAY
        await redis.expire("mmu{1:t:a}:page", 5)
        assert await ours.get("t", "a") == b"x", "it is in the process"
        await ours.flush()
        assert 95 < await redis.ttl("mmu{1:t:a}:page") <= 100
        await redis.pexpire("mmu{1:t:a}:page", 20)
        async with warm(server) as late:
            await asyncio.sleep(0.05)
            assert await late.get("t", "a") is None


async def test_accesses_of_two_processes_at_once_are_all_counted(server: Server) -> None:
    """Each process holds nothing itself, so that every get is one of the server's."""
    async with warm(server, budget=0) as ours, warm(server, budget=0) as theirs, asking(server) as redis:
        await ours.put("t", {"a": b"x"})
        for _ in range(20):
            got = await asyncio.gather(*(each.get("t", "a") for each in (ours, theirs) * 5))
            assert got == [b"x"] * 10
        assert float(await redis.hget("mmu{1:t:a}:use", "count")) == pytest.approx(200, abs=0.1)
        assert ours.stats()["redis_errors"] == theirs.stats()["redis_errors"] == 0


async def test_a_count_decays_and_outlives_its_page(server: Server) -> None:
    async with warm(server, budget=0) as ours, asking(server) as redis:
        now, _ = await redis.time()
        await redis.hset("mmu{1:t:a}:use", mapping={"count": "8", "at": str(now - 3 * DAY)})
        assert await ours.get("t", "a") is None
        assert float(await redis.hget("mmu{1:t:a}:use", "count")) == pytest.approx(5, abs=0.01)


async def test_accesses_in_the_process_are_counted_behind(server: Server) -> None:
    async with warm(server) as ours, asking(server) as redis:
        await ours.put("t", {"a": b"x"})
        for _ in range(3):
            await ours.get("t", "a")
        assert await redis.hget("mmu{1:t:a}:use", "count") is None
        await ours.flush()
        assert float(await redis.hget("mmu{1:t:a}:use", "count")) == pytest.approx(3, abs=0.01)
        await ours.get("t", "a")
    async with asking(server) as redis:
        assert float(await redis.hget("mmu{1:t:a}:use", "count")) == pytest.approx(4, abs=0.01), "closing counts them"


async def test_a_count_decides_what_stays_in_the_process(server: Server) -> None:
    async with warm(server, budget=3 * (100 + Process.OVERHEAD)) as ours, asking(server) as redis:
        now, _ = await redis.time()
        await ours.put("t", {id: id.encode() * 100 for id in "abcde"})
        await redis.hset("mmu{1:t:a}:use", mapping={"count": "9", "at": str(now)})
        await ours.get("t", "a")
        await ours.put("t", {id: id.encode() * 100 for id in "fghij"})
        assert await ours._front.get("t", "a") == b"a" * 100


async def damaged(kind: str, redis: Any) -> None:
    key = "mmu{1:t:a}:page"
    held = await redis.get(key)
    other = await redis.get("mmu{1:t:b}:page")
    changed = {
        "cut off": held[:-1],
        "nearly nothing": held[:5],
        "a byte of the text": held[:-3] + bytes([held[-3] ^ 1]) + held[-2:],
        "a byte of the digest": held[:12] + bytes([held[12] ^ 1]) + held[13:],
        "a later version": b"\x09" + held[1:],
        "another page's": other,
        "larger than it says": held[:2] + (1 << 40).to_bytes(8, "big") + held[10:],
    }
    await redis.set(key, changed[kind])


@pytest.mark.parametrize(
    "kind",
    [
        "cut off", "nearly nothing", "a byte of the text", "a byte of the digest", "a later version", "another page's",
        "larger than it says",
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", [b"some text, " * 100, bytes(range(200))])
async def test_what_is_damaged_is_a_miss_and_healed(server: Server, tmp_path: Path, kind: str, text: bytes) -> None:
    one, two = page(text), page(text + b"more")
    async with store(tmp_path, server) as ours:
        await ours.commit(batch(pages=[one, two]), 5)
        async with asking(server) as redis, store(tmp_path, server) as theirs:
            for key, kept in (("a", one), ("b", two)):
                await redis.copy(f"mmu{{1:t:{kept.id}}}:page", f"mmu{{1:t:{key}}}:page")
            await damaged(kind, redis)
            await redis.copy("mmu{1:t:a}:page", f"mmu{{1:t:{one.id}}}:page", replace=True)
            assert await theirs.page("t", one.id) == text
            assert theirs.stats()["redis_damaged"] == 1
            assert theirs.stats()["redis_breaker"] == 0
        async with store(tmp_path, server) as later:
            assert await later.page("t", one.id) == text
            assert later.stats()["redis_hits"] == 1, "it was not put there anew"


async def test_with_a_key_no_page_lies_there_in_plain_text(server: Server) -> None:
    text, keys = b"a line that nobody else may read " * 9, Keys([b"k" * 32])
    async with warm(server, budget=0, keys=keys) as ours, asking(server) as redis:
        await ours.put("t", {"a": text})
        held = await redis.get("mmu{1:t:a}:page")
        assert b"nobody else" not in held
        assert not any(unpacks(held[at:]) for at in range(60))
        assert await ours.get("t", "a") == text
        for other in (NONE, Keys([b"o" * 32])):
            async with warm(server, budget=0, keys=other) as theirs:
                assert await theirs.get("t", "a") is None
                assert theirs.stats()["redis_damaged"] == 1
        # sealed for its place, it opens nowhere else; and what is not sealed is not taken
        await redis.copy("mmu{1:t:a}:page", "mmu{1:t:b}:page")
        assert await ours.get("t", "b") is None
        async with warm(server, budget=0) as plain:
            await plain.put("t", {"c": text})
        assert await ours.get("t", "c") is None


def unpacks(data: bytes) -> bool:
    try:
        return bool(zstandard.ZstdDecompressor().decompress(data))
    except zstandard.ZstdError:
        return False


async def test_what_is_of_another_type_is_a_miss(server: Server) -> None:
    async with warm(server) as ours, asking(server) as redis:
        await redis.lpush("mmu{1:t:a}:page", "x")
        assert await ours.get("t", "a") is None
        assert ours.stats()["redis_errors"] == 1


async def test_a_page_too_large_for_the_budget_stays_in_the_process(server: Server) -> None:
    async with warm(server, budget=8 * LARGEST) as ours, asking(server) as redis:
        huge = os.urandom(2 * LARGEST)
        await ours.put("t", {"huge": huge, "a": b"x"})
        assert await redis.keys("*:page") == [b"mmu{1:t:a}:page"]
        assert await ours.get("t", "huge") == huge


async def test_a_slow_server_costs_the_budget_and_then_nothing(server: Server) -> None:
    async with warm(server) as theirs, warm(server, budget=0, within=BUDGET) as ours, asking(server) as redis:
        await theirs.put("t", {"a": b"x"})
        assert await ours.get("t", "a") == b"x"
        await redis.client_pause(1500)
        waits = [await took(ours.get("t", "a")) for _ in range(3)]
        assert all(BUDGET * 0.9 < wait < BUDGET + SLACK for wait in waits)
        assert ours.stats()["redis_late"] == 3
        assert ours.stats()["redis_breaker"] == 2
        waits = [await took(ours.get("t", "a")) for _ in range(50)]
        assert max(waits) < BUDGET / 2
        assert ours.stats()["redis_skipped"] == 50
        # from here on a probe goes out, and hangs: still nobody waits for it
        await until(lambda: ours.stats()["redis_breaker"] == 1)
        assert await took(ours.get("t", "a")) < BUDGET / 2
        await until(lambda: ours.stats()["redis_breaker"] == 0)
        assert await ours.get("t", "a") == b"x"


async def test_calls_that_were_given_up_leave_no_answer_to_another(server: Server) -> None:
    pages = {f"p{number}": b"text of %d" % number for number in range(30)}
    async with warm(server, budget=0, within=BUDGET) as ours, asking(server) as redis:
        await ours.put("t", pages)
        given_up = 0
        for _ in range(4):
            await until(lambda: ours._link.up)
            await redis.client_pause(40)
            asked = [asyncio.ensure_future(ours.get("t", id)) for id in pages]
            await asyncio.sleep(0.01)
            for each in asked[::3]:
                given_up += each.cancel()
            got = await asyncio.gather(*asked, return_exceptions=True)
            for text, wanted in zip(got, pages.values(), strict=True):
                assert text is None or text == wanted or isinstance(text, asyncio.CancelledError)
            for id, wanted in pages.items():
                assert await ours.get("t", id) in (None, wanted)
        assert given_up == 40
        assert ours.stats()["redis_damaged"] == 0


async def test_a_loop_that_was_held_up_takes_an_answer_that_is_there(server: Server) -> None:
    async with warm(server, budget=0, within=BUDGET) as ours:
        await ours.put("t", {"a": b"x"})
        asked = asyncio.ensure_future(ours.get("t", "a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(3 * BUDGET)  # noqa: ASYNC251 - that is what is tried
        assert await asked == b"x"
        assert ours.stats()["redis_late"] == 0


async def test_killed_and_back_again(own: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one, two = page(b"one" * 100), page(b"two" * 100)
    async with store(tmp_path, own) as ours:
        await until(lambda: ours.stats()["news_listening"] == 1)
        await ours.commit(batch(pages=[one]), 5)
        own.kill()
        ours._warm._front = Process(0)  # type: ignore[attr-defined]
        for _ in range(5):
            assert await ours.page("t", one.id) == one.text
        assert ours.stats()["redis_breaker"] != 0
        assert await ours.commit(batch(conversation(requests=2), pages=[two]), 5) is Outcome.STORED
        waits = [await took(ours._warm.get("t", one.id)) for _ in range(20)]
        assert max(waits) < BUDGET / 2
        own.start()
        await until(lambda: ours.stats()["redis_breaker"] == 0)
        await until(lambda: ours.stats()["news_listening"] == 1)
        assert await ours.page("t", two.id) == two.text
        hits = ours.stats()["redis_hits"]
        assert await ours.page("t", two.id) == two.text
        assert ours.stats()["redis_hits"] == hits + 1, "it does not fill again"
    said = [record.getMessage() for record in caplog.records if "Redis at" in record.getMessage()]
    assert len(said) == 2
    assert "is not used for now, which loses nothing" in said[0]
    assert "is back" in said[1]


async def test_a_server_that_comes_later_is_used_from_then_on(own: Server, tmp_path: Path) -> None:
    own.kill()
    one = page()
    async with store(tmp_path, own) as ours:
        assert await ours.commit(batch(pages=[one]), 5) is Outcome.STORED
        assert ours.stats()["redis_breaker"] != 0
        own.start()
        await until(lambda: ours.stats()["redis_breaker"] == 0)
        assert await ours.commit(batch(conversation(requests=2), pages=[page(b"two")]), 5) is Outcome.STORED
    async with asking(own) as redis:
        assert len(await redis.keys("*:page")) == 1


async def test_a_server_that_takes_connections_and_says_nothing_holds_up_neither_start_nor_end(tmp_path: Path) -> None:
    door = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    target = parse(f"redis://127.0.0.1:{door.sockets[0].getsockname()[1]}")
    began = time.monotonic()
    ours = await Hierarchy.open(url(tmp_path), beside=beside(target))
    assert time.monotonic() - began < 2
    assert await ours.commit(batch(), 5) is Outcome.STORED
    assert await took(ours.close()) < 3
    door.close()


@pytest.mark.parametrize("login", [":hush-wrong", "mmu:hush-wrong", ""])
async def test_a_wrong_password_is_said_once_and_it_goes_on(
    login: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need()
    with Server(requirepass="hush-right") as server:
        target = parse(f"redis://{login}{'@' if login else ''}127.0.0.1:{server.port}")
        made = await Hierarchy.open(url(tmp_path), beside=beside(target))
        one = page()
        assert await made.commit(batch(pages=[one]), 5) is Outcome.STORED
        assert await made.page("t", one.id) == one.text
        await asyncio.sleep(0.7)  # the second probe goes out after half a second
        assert made.stats()["redis_breaker"] != 0
        await made.close()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "refuses the user or the password in mmu_redis" in said[0]
    assert "hush" not in caplog.text


async def test_a_user_of_the_acl_with_no_more_than_it_needs(own: Server, tmp_path: Path) -> None:
    async with asking(own) as redis:
        await redis.execute_command("ACL", "SETUSER", "mmu", "on", ">p@ss:w/rd", *ACL.split())
    target = parse(f"redis://mmu:p%40ss%3Aw%2Frd@127.0.0.1:{own.port}")
    one = page()
    made = await Hierarchy.open(url(tmp_path), beside=beside(target, budget=AMPLE))
    other = await Hierarchy.open(url(tmp_path), beside=beside(target, budget=AMPLE))
    await until(lambda: other.stats()["news_listening"] == 1)
    await made.commit(batch(pages=[one]), 5)
    assert await other.page("t", one.id) == one.text
    await until(lambda: other.stats()["news_heard"] == 1)
    assert other.stats()["redis_hits"] == 1
    assert other.stats()["redis_errors"] == made.stats()["redis_errors"] == 0
    await made.close()
    await other.close()


async def test_what_a_user_may_not_do_is_said_without_the_page(own: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with asking(own) as redis:
        await redis.execute_command("ACL", "SETUSER", "mmu", "on", ">hush", *ACL.split(), "-set")
    async with warm(f"redis://mmu:hush@127.0.0.1:{own.port}", budget=0) as ours:
        for _ in range(5):
            await ours.put("t", {"a": b"the secret of the page"})
        assert ours.stats()["redis_errors"] == 5
        assert ours.stats()["redis_breaker"] == 0
    assert len(caplog.records) == 1
    assert "or what they may do" in caplog.text
    assert "secret" not in caplog.text
    assert "hush" not in caplog.text


async def test_a_full_server_that_evicts_is_a_cache(server: Server) -> None:
    async with warm(server, budget=0) as ours, asking(server) as redis:
        used = int((await redis.info("memory"))["used_memory"])
        await redis.config_set("maxmemory-policy", "allkeys-lfu")
        await redis.config_set("maxmemory", str(used + 1_000_000))
        texts = {f"p{number}": os.urandom(20_000) for number in range(150)}
        for id, text in texts.items():
            await ours.put("t", {id: text})
        got = [await ours.get("t", id) for id in texts]
        held = [text for text in got if text is not None]
        assert 5 < len(held) < 100
        assert set(held) <= set(texts.values())
        stats = ours.stats()
        assert stats["redis_errors"] == stats["redis_refused"] == stats["redis_damaged"] == stats["redis_breaker"] == 0


async def test_a_full_server_that_takes_nothing_more_still_gives(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with warm(server, budget=0) as ours, asking(server) as redis:
        await ours.put("t", {"a": b"x"})
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "1")
        for _ in range(10):
            await ours.put("t", {"secret": os.urandom(10_000)})
        assert ours.stats()["redis_refused"] == 10
        assert ours.stats()["redis_breaker"] == 0
    assert caplog.text == ""


async def test_a_socket(own: Server) -> None:
    async with warm(f"unix://{own.socket}?db=3") as ours, warm(f"unix://{own.socket}?db=3") as theirs:
        await ours.put("t", {"a": b"x"})
        assert await theirs.get("t", "a") == b"x"
    async with asking(own) as redis:
        assert await redis.dbsize() == 0, "it is not in the database that was named"


@asynccontextmanager
async def behind_tls(server: Server, pem: Path) -> AsyncIterator[int]:
    """The port of a door to the server that speaks TLS, as many builds of it do not."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    door = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    yield door.sockets[0].getsockname()[1]
    door.close()


async def test_tls_and_a_certificate_that_is_not_trusted(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pem = write_certificate(tmp_path)
    async with behind_tls(server, pem) as port:
        async with warm(f"rediss://127.0.0.1:{port}?ssl_ca_certs={pem}") as ours:
            await ours.put("t", {"a": b"x"})
            assert ours.stats()["redis_errors"] == ours.stats()["redis_breaker"] == 0
        assert caplog.text == ""
        async with warm(f"rediss://127.0.0.1:{port}") as theirs:
            assert theirs.stats()["redis_breaker"] != 0
            assert await theirs.get("t", "a") is None
    assert "certificate verify failed" in caplog.text
    async with asking(server) as redis:
        assert await redis.exists("mmu{1:t:a}:page")


async def test_a_cluster() -> None:
    need()
    with Server(cluster_enabled="yes") as server:
        async with asking(server) as redis:
            await redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            info: Any = b""
            while b"cluster_state:ok" not in info:
                await asyncio.sleep(0.02)
                info = await redis.eval("return redis.call('CLUSTER', 'INFO')", 0)
            await redis.execute_command("ACL", "SETUSER", "mmu", "on", ">secret", *ACL.split(), *ACL_CLUSTER.split())
        text = f"redis+cluster://mmu:secret@127.0.0.1:{server.port}"
        async with warm(text) as ours, warm(text) as theirs:
            pages = {f"p{number}": b"text%d" % number for number in range(30)}
            await ours.put("t", pages)
            assert {id: await theirs.get("t", id) for id in pages} == pages
            assert theirs.stats()["redis_hits"] == 30
            assert await theirs.delete(frozenset(("t", id) for id in pages))
            ours.forget(None)
            assert {await ours.get("t", id) for id in pages} == {None}
            told, heard = Channel(ours._link), Channel(theirs._link)
            changes: list[Any] = []
            heard.hear(changes.append, lambda: None, lambda _: None)
            await until(lambda: heard.stats()["news_listening"] == 1)
            told.tell(frozenset({("t", "head", "h")}))
            await until(lambda: bool(changes))
            assert changes == [frozenset({("t", "head", "h")})]
            await heard.close()


async def test_a_sentinel_names_the_server(own: Server) -> None:
    with Server(sentinel=True) as watching:
        async with asking(watching) as sentinel:
            await sentinel.execute_command("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", own.port, 1)
        text = f"redis+sentinel://127.0.0.1:{watching.port}/mymaster"
        async with warm(text) as ours:
            await ours.put("t", {"a": b"x"})
            assert ours.stats()["redis_errors"] == 0
    async with asking(own) as redis:
        assert await redis.exists("mmu{1:t:a}:page")


async def seen(store: Hierarchy) -> tuple[int, ...]:
    return tuple(one.conversation.requests for one in await store.conversations("t", "h", "s"))


async def test_a_commit_elsewhere_is_seen_here(server: Server, tmp_path: Path) -> None:
    async with store(tmp_path, server) as ours, store(tmp_path, server) as theirs:
        for each in (ours, theirs):
            await until(lambda each=each: each.stats()["news_listening"] == 1)  # type: ignore[misc]
        await ours.commit(batch(splices=[splice("a", 1)]), 5)
        assert await seen(ours) == await seen(theirs) == (1,)
        misses = ours.stats()["cache_misses"]
        assert await seen(ours) == (1,)
        assert ours.stats()["cache_misses"] == misses, "its own commits are news to it"
        assert await theirs.commit(batch(conversation(requests=2)), 5) is Outcome.STORED
        await until(lambda: ours.stats()["news_heard"] == 1)
        assert await seen(ours) == (2,)
        assert await ours.commit(batch(conversation(requests=3)), 5) is Outcome.STORED
        assert ours.stats()["stale"] == 0


async def test_without_news_it_is_seen_after_a_stale_batch(own: Server, tmp_path: Path) -> None:
    async with store(tmp_path, own) as ours, store(tmp_path, own) as theirs:
        await until(lambda: theirs.stats()["news_listening"] == 1)
        await ours.commit(batch(), 5)
        await seen(ours)
        own.kill()
        assert await theirs.commit(batch(conversation(requests=2)), 5) is Outcome.STORED
        assert await seen(ours) == (1,)
        assert await ours.commit(batch(conversation(requests=2)), 5) is Outcome.STALE
        assert await seen(ours) == (2,)
        # what was written while nothing could be heard is looked up again once it can be
        assert await theirs.commit(batch(conversation(requests=3)), 5) is Outcome.STORED
        own.start()
        await until(lambda: ours.stats()["news_listening"] == 1)
        assert await seen(ours) == (3,)


async def test_what_could_not_be_told_is_made_good_with_the_next(server: Server, tmp_path: Path) -> None:
    async with store(tmp_path, server) as ours, store(tmp_path, server) as theirs:
        for each in (ours, theirs):
            await until(lambda each=each: each.stats()["news_listening"] == 1)  # type: ignore[misc]
        await ours.commit(batch(), 5)
        await seen(ours)
        breaker = theirs._warm._link._breaker  # type: ignore[attr-defined]
        breaker.state = State.OPEN
        assert await theirs.commit(batch(conversation(requests=2)), 5) is Outcome.STORED
        breaker.state = State.CLOSED
        await asyncio.sleep(0.05)
        assert await seen(ours) == (1,)
        assert await theirs.commit(batch(conversation("c2", head="h2", session="s2")), 5) is Outcome.STORED
        await until(lambda: theirs.stats()["news_told"] == 1)
        await asyncio.sleep(0.05)
        assert await seen(ours) == (2,)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b'{"from": "x"}', b'{"from": "x", "keys": []}', b'{"from": "x", "keys": [["t"]]}', b"\xff"],
)
async def test_news_that_cannot_be_read_may_be_of_anything(server: Server, tmp_path: Path, text: bytes) -> None:
    async with store(tmp_path, server) as ours, asking(server) as redis:
        await until(lambda: ours.stats()["news_listening"] == 1)
        await ours.commit(batch(), 5)
        await seen(ours)
        assert ours.stats()["cache_conversations"] == 1
        await redis.publish("mmu:written", text)
        await until(lambda: ours.stats()["cache_conversations"] == 0)


async def test_a_channel_that_has_fallen_silent_is_opened_anew(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "PATIENCE", 0.5)
    monkeypatch.setattr(news_redis, "SHORTEST", 0.05)
    link = Link(parse(own.url))
    await link.start()
    heard = Channel(link, quiet=0.1)
    lost = 0

    def count() -> None:
        nonlocal lost
        lost += 1

    heard.hear(lambda _: None, count, lambda _: None)
    await until(lambda: lost == 1)
    await asyncio.sleep(0.5)
    assert lost == 1, "silence alone is no loss"
    async with asking(own) as redis:
        await redis.client_pause(600)
    await until(lambda: lost == 2)
    await heard.close()
    await link.close()
