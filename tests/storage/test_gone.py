"""What is deleted leaves the Redis and the memory of every proxy that hears of it as well."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from addon import cli
from storage.news_redis import Channel
from tests.harness.redis_server import Server, need

from .make import batch, change, conversation, opened, page, url
from .test_redis import asking, store, until, warm


@pytest.fixture
def redis() -> Iterator[Server]:
    """A server that the test may end."""
    need()
    with Server() as running:
        yield running


@pytest.fixture
def mitmmu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path) -> Any:
    """Runs a command on the store of the test beside its proxies: status, and what it said."""

    def running(name: str, redis: str, *words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mitmmu", name, "--store", url(place), "--redis", redis, *words])
        status = 0
        try:
            cli.main()
        except SystemExit as error:
            status = int(error.code or 0)
        said = capsys.readouterr()
        return status, said.out + said.err

    return running


async def keys_of(redis: Server) -> set[str]:
    async with asking(redis) as client:
        return {key.decode() for key in await client.keys("*")}


@pytest.mark.parametrize("what", [["forget", "--conversation", "c1"], ["forget", "--all"], ["gc"]])
async def test_what_is_deleted_leaves_redis_and_the_other_proxies(
    redis: Server, place: Path, mitmmu: Any, what: list[str]
) -> None:
    name, *words = [*what, "--yes"] if what[0] == "forget" else what
    secret, other = page(b"secret"), page(b"other")
    async with store(place, redis) as one, store(place, redis) as two:
        await until(lambda: one.stats()["news_listening"] == two.stats()["news_listening"] == 1)
        now = time.time()
        await one.commit(batch(conversation("c1", last_at=now), pages=[secret]), 5)
        await one.commit(batch(conversation("c2", head="h2", session="s2", last_at=now), pages=[other]), 5)
        if name == "gc":
            change(place, f"UPDATE holds SET until = 1 WHERE page = '{secret.id}'")
            change(place, "UPDATE conversations SET last_at = 1 WHERE id = 'c1'")
        for each in (one, two):
            for kept in (secret, other):
                assert await each.page("t", kept.id) == kept.text
            assert len(await each.conversations("t", "h", "s")) == 1
        await one._warm.flush()  # type: ignore[attr-defined]
        assert len([key for key in await keys_of(redis) if key.endswith(":page")]) == 2
        status, said = await asyncio.to_thread(mitmmu, name, redis.url, *words)
        assert (status, "Redis" in said) == (0, False), said
        gone = [secret, other] if "--all" in words else [secret]
        left = await keys_of(redis)
        assert [key for key in left for each in gone if each.id in key] == []
        assert bool([key for key in left if other.id in key]) == (other not in gone)
        for each in (one, two):
            await until(lambda each=each: (secret.tenant, secret.id) not in each._warm._front._pages)  # type: ignore[misc]
            assert await each.page("t", secret.id) is None
            assert await each.conversations("t", "h", "s") == ()
            assert (await each.page("t", other.id) is None) == (other in gone)


async def test_a_proxys_own_step_takes_pages_out_of_redis(redis: Server, place: Path) -> None:
    async with store(place, redis) as one, store(place, redis) as two:
        await until(lambda: one.stats()["news_listening"] == two.stats()["news_listening"] == 1)
        await one.commit(batch(conversation(last_at=0.0), pages=[page()]), 5)
        assert await two.page("t", page().id) == page().text
        await one.tidy(1)
        assert change(place, "UPDATE holds SET until = 1") == 1
        assert await keys_of(redis)
        await one.tidy(1)
        assert await keys_of(redis) == set()
        await until(lambda: two.stats()["warm_pages"] == 0)
        assert await two.page("t", page().id) is None


async def test_a_redis_that_is_away_is_said_and_deletes_all_the_same(redis: Server, place: Path, mitmmu: Any) -> None:
    async with opened(place) as made:
        await made.commit(batch(pages=[page()]), 5)
    text = f"redis://mmu:hush@127.0.0.1:{redis.port}/0"
    redis.kill()
    status, said = await asyncio.to_thread(mitmmu, "forget", text, "--all", "--yes")
    assert (status, "Redis could not be reached" in said, "hush" in said) == (0, True, False)
    async with opened(place) as made:
        assert await made.page("t", page().id) is None
    status, said = await asyncio.to_thread(mitmmu, "gc", "http://mmu:hush@x")
    assert (status, "--redis" in said, "hush" in said) == (2, True, False)


async def test_more_pages_than_one_message_or_pipeline_holds(redis: Server) -> None:
    async with warm(redis) as ours, warm(redis) as theirs:
        texts = {f"p{n}": b"%d" % n for n in range(1200)}
        for start in range(0, 1200, 100):
            await ours.put("t", {id: texts[id] for id in list(texts)[start : start + 100]})
        await theirs.put("t", {"p1": b"1", "p1199": b"1199"})
        told, heard = Channel(ours._link), Channel(theirs._link)
        heard.hear(lambda _: None, lambda: None, theirs.forget)
        await until(lambda: heard.stats()["news_listening"] == 1)
        gone = frozenset(("t", id) for id in texts)
        told.tell(frozenset(), gone)
        assert await told.told()
        assert await ours.delete(gone)
        assert await keys_of(redis) == set()
        await until(lambda: heard.stats()["news_heard"] == 3)
        assert theirs.stats()["warm_pages"] == 0
        told.tell(frozenset(), None)
        await until(lambda: heard.stats()["news_heard"] == 4)
        await heard.close()
