"""Where plans meet the store: lines are found again whoever asks, and what was sent unstored is not forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from addon import options
from addon.keeper import Keeper, Name, tenant, tenant_key
from addon.keyfile import site_token
from addon.mmu.evict import Policy
from addon.mmu.plan import Plan, plan, poison, rewrite, without_new
from addon.mmu.tokens import Counter
from addon.mmu.view import Change, Descent, Splice, View, pages_of
from addon.pager import Pager
from addon.watch.metrics import Metrics
from addon.wire import anthropic
from storage.records import Outcome
from storage.tiers import Hierarchy

LONG = "\n".join(f"{n}\tline {n} of a file that is read more than once" for n in range(1, 60))
KEY = b"k" * 32


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mmu.db'}"


def messages(reads: int, answer: str = "", prompt: str = "begin") -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    for n in range(reads):
        use = {"type": "tool_use", "id": f"{answer}t{n}", "name": "Read", "input": {"file_path": "a.py"}}
        out.append({"role": "assistant", "content": [use]})
        result = {"type": "tool_result", "tool_use_id": f"{answer}t{n}", "content": LONG}
        out.append({"role": "user", "content": [result]})
    return out


def request(keeper_known: list[View], content: list[dict[str, Any]], now: float = 0.0, line: str = "line") -> Any:
    body = {"model": "claude-opus-4-8", "messages": content, "cache_control": {"type": "ephemeral"}}
    read = anthropic.parse(json.dumps(body).encode())
    return read, plan(read, keeper_known, now, Policy(), lambda t, _: len(t) // 4, line)


def name_of(content: list[dict[str, Any]], session: str = "") -> Name:
    read, _ = request([], content)
    return Name("tenant", read.opening, read.head, session)


async def send(
    keeper: Keeper, content: list[dict[str, Any]], line: str = "line", session: str = ""
) -> tuple[Plan, bytes]:
    """One request as the hooks make it: known, planned, committed; again when another writer was first."""
    name = name_of(content, session)
    for _ in range(2):
        read, made = request(await keeper.known(name), content, line=line)
        outcome = await keeper.commit(name, made, 5.0)
        if outcome is Outcome.STORED:
            return made, rewrite(read, made.table, made.splices)
    raise AssertionError(outcome)


async def test_another_process_goes_on_where_the_first_stopped(url: str) -> None:
    one = Keeper(await Hierarchy.open(url))
    await send(one, messages(1))
    made, body = await send(one, messages(2))
    assert made.count(Change.FOLD) == 1
    other = Keeper(await Hierarchy.open(url))
    again, same = await send(other, messages(2))
    assert again.line.how is Descent.REPEATED
    assert same == body
    # The first process does not know of that; it is told, and looks again.
    name = name_of(messages(3))
    _, stale = request([made.view], messages(3))
    assert await one.commit(name, stale, 5.0) is Outcome.STALE
    made, _ = await send(one, messages(3))
    assert made.line.how is Descent.CONTINUED
    for keeper in (one, other):
        await keeper.hierarchy.close()


async def test_many_conversations_with_one_first_prompt_keep_their_views(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    count = 50
    for turn in range(4):
        for n in range(count):
            made, _ = await send(keeper, messages(turn, f"answer-{n}-"), line=f"line-{n}-{turn}")
            if turn > 1:
                assert made.line.how is Descent.CONTINUED
                assert made.view.requests > turn - 1
    await keeper.hierarchy.close()


async def test_a_line_that_could_not_be_stored_is_remembered_as_it_was_sent(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    content = messages(2)
    name = name_of(content)
    _, made = request(await keeper.known(name), content)
    assert made.line.how is Descent.JOINED
    bare = without_new(made)
    keeper.sent_unstored(name, bare)
    made, _ = await send(keeper, messages(3), line="other")
    assert made.line.how is Descent.CONTINUED
    assert made.birth
    assert made.view.id == "line"
    assert all(s.anchor.startswith("t2#") for s in made.new), "what went out whole was folded later"
    reopened = Keeper(await Hierarchy.open(url))
    assert [v.id for v in await reopened.known(name_of(messages(3)))] == ["line"]
    for each in (keeper, reopened):
        await each.hierarchy.close()


async def test_what_is_put_to_a_line_that_was_never_stored_brings_what_it_inherited(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    told = messages(4)
    told[4]["content"][0]["content"] += "\nand one more"
    for reads in range(1, 5):
        await send(keeper, told[: 2 * reads + 1])
    content = [*told[:5], {"role": "assistant", "content": "other"}, {"role": "user", "content": "way"}]
    name = name_of(content)
    _, made = request(await keeper.known(name), content, line="fork")
    assert made.birth
    assert made.count(Change.FOLD) == 0 < len(made.replay)
    keeper.sent_unstored(name, without_new(made))
    view = next(v for v in await keeper.known(name) if v.id == "fork")
    hidden = Splice("relay@3:0:t", 0, Change.RELAY, "", "{}")
    assert await keeper.put_back(name, view, [hidden], 5.0, {}) is Outcome.STORED
    await keeper.hierarchy.close()
    other = Keeper(await Hierarchy.open(url))
    view = next(v for v in await other.known(name) if v.id == "fork")
    assert view.splices.keys() == made.replay.keys() | {hidden.anchor}
    await other.hierarchy.close()
    assert held(url, "fork") == pages_of(view.splices)
    assert len(pages_of(view.splices)) == 2


async def test_a_branch_holds_the_pages_that_it_inherits(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    told = messages(4)
    for n in range(4):  # each result is another page, and refers to the one before
        told[2 * n + 2]["content"][0]["content"] = LONG + "\nand one more" * n
    for reads in range(1, 5):
        await send(keeper, told[: 2 * reads + 1])
    content = [*told[:5], {"role": "assistant", "content": "other"}, {"role": "user", "content": "way"}]
    made, _ = await send(keeper, content, line="fork")
    assert made.birth
    assert not made.pages
    await keeper.hierarchy.close()
    assert held(url, "fork") == pages_of(made.replay)
    assert len(pages_of(made.replay)) == 2


def held(url: str, line: str) -> set[str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return {page for (page,) in connection.execute("SELECT page FROM holds WHERE holder = ?", (line,))}


async def test_a_line_is_as_young_as_the_last_request_that_carried_it_on(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    pager = Pager(keeper, KEY, Metrics(), Counter())
    settings = options.read({name: default for name, (default, _) in options.OPTIONS.items()}, {})
    body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": messages(1)}
    call, _ = await pager.handle(anthropic, json.dumps(body).encode(), {"x-api-key": "k"}, 1000.0, settings)
    call.began -= 400
    assert await pager.keep(call, "relay@1:0:t", "{}")
    [view] = await keeper.known(call.name)
    assert 1400 <= view.last_at < 1500
    await keeper.hierarchy.close()


async def test_what_was_taken_back_stays_back(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    await send(keeper, messages(1))
    made, folded = await send(keeper, messages(2))
    back, _ = poison(made.view, [made.new[0].anchor], 1)
    name = name_of(messages(2))
    assert await keeper.put_back(name, made.view, back, 5.0, {"bound": True}) is Outcome.STORED
    other = Keeper(await Hierarchy.open(url))
    for each in (keeper, other):
        made, body = await send(each, messages(2))
        assert body != folded
        assert made.new == []
        assert made.view.state["bound"] is True
        await each.hierarchy.close()


async def test_what_a_response_told_is_stored_with_the_next_request(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    made, _ = await send(keeper, messages(1))
    keeper.heard(name_of(messages(1)), made.view, {"told": 3600.0})
    await send(keeper, messages(2))
    other = Keeper(await Hierarchy.open(url))
    [view] = await other.known(name_of(messages(2)))
    assert view.state["told"] == 3600.0
    for each in (keeper, other):
        await each.hierarchy.close()


async def written(keeper: Keeper) -> None:
    for _ in range(500):
        if not keeper.hierarchy.stats()["unwritten"]:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("it is not written")


async def test_what_a_response_told_one_proxy_the_other_knows(url: str) -> None:
    keeper, other = Keeper(await Hierarchy.open(url)), Keeper(await Hierarchy.open(url))
    made, _ = await send(keeper, messages(1))
    keeper.heard(name_of(messages(1)), made.view, {"told": 3600.0, "credit": 2.0})
    await written(keeper)
    [view] = await other.known(name_of(messages(2)))
    assert (view.state["told"], view.state["credit"]) == (3600.0, 2.0)
    for each in (keeper, other):
        await each.hierarchy.close()


async def test_sums_that_another_proxy_has_gone_on_from_are_not_taken_back(url: str) -> None:
    keeper, other = Keeper(await Hierarchy.open(url)), Keeper(await Hierarchy.open(url))
    made, _ = await send(keeper, messages(1))
    later, _ = await send(other, messages(2))
    other.heard(name_of(messages(2)), later.view, {"credit": 5.0})
    await written(other)
    # late, and of a request that is not the last any more: a fact still holds, a sum does not
    keeper.heard(name_of(messages(1)), made.view, {"bound": True, "credit": 2.0})
    await written(keeper)
    for each in (other, Keeper(await Hierarchy.open(url))):
        [view] = await each.known(name_of(messages(2)))
        assert view.state["credit"] == 5.0
        await each.hierarchy.close()
    assert view.state["bound"] is True
    await keeper.hierarchy.close()


async def test_a_session_is_found_when_its_start_has_changed(url: str) -> None:
    keeper = Keeper(await Hierarchy.open(url))
    await send(keeper, messages(1), session="s")
    await send(keeper, messages(2), session="s")
    changed = messages(2, prompt="began otherwise")
    made, _ = await send(keeper, changed, line="other", session="s")
    assert made.line.how is Descent.DIVERGED
    assert len(made.splices) == 1
    await keeper.hierarchy.close()


def bearer(**claims: str) -> str:
    middle = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer head.{middle}.signature"


def test_tenants() -> None:
    def of(session: str = "", metadata: Any = None, path: str = "/v1/x?alt=sse", **headers: str) -> str:
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return tenant(KEY, given, metadata, session, path)

    account = {"user_id": json.dumps({"account_uuid": "victim"})}
    assert of(x_api_key="a") == of(x_api_key="a", session="s")
    assert len({of(), of(x_api_key="a"), of(x_api_key="b"), of(authorization="Bearer a"), of(x_api_key="victim")}) == 5
    # Google's keys, wherever they stand
    assert of(x_goog_api_key="a") == of(x_api_key="a") == of(path="/v1/x?alt=sse&key=a") != of(path="/v1/x?key=b")
    # renewed tokens of one account, one web token's subject, or one session
    assert of(authorization="Bearer a", metadata=account) == of(authorization="Bearer b", metadata=account)
    old, new = bearer(iss="i", sub="u", exp="1"), bearer(iss="i", sub="u", exp="2")
    assert of(authorization=old) == of(authorization=new) != of(authorization=bearer(iss="i", sub="v"))
    assert of(authorization="Bearer a", session="s") == of(authorization="Bearer b", session="s")
    # naming an account in place of a key opens nothing
    assert of(x_api_key="victim") != of(authorization="Bearer a", metadata=account)
    assert of(x_api_key="a", metadata=account) == of(x_api_key="a")
    for odd in ("Bearer ", "Bearer a.b.c", bearer(iss="i"), "Basic x"):
        assert of(authorization=odd)
    odd_metadata: list[Any] = [{"user_id": 3}, {"user_id": "[]"}, {"user_id": "{"}, [], "x"]
    for junk in odd_metadata:
        assert of(authorization="Bearer a", metadata=junk) == of(authorization="Bearer a")
    assert "a" * 20 not in of(x_api_key="a" * 20)


def test_the_tenant_key_is_made_once_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(tenant_key(home))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert os.listdir(home) == ["tenant.key"]
    assert (home / "tenant.key").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    (home / "tenant.key").write_bytes(b"short")
    with pytest.raises(ValueError, match="damaged"):
        tenant_key(home)


def test_the_site_token_is_made_once_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    token = site_token(home)
    assert site_token(home) == token
    assert site_token(tmp_path / "other") != token
    assert len(token) >= 40
    assert os.listdir(home) == ["site.token"]
    assert (home / "site.token").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    # one that its owner has chosen, from an editor that ends the line
    (home / "site.token").write_text("x" * 40 + "\n")
    assert site_token(home) == "x" * 40
    for damaged in (b"", b"short", b"\xff" * 40):
        (home / "site.token").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            site_token(home)


async def test_two_processes_in_turn_send_one_growing_prefix(url: str) -> None:
    keepers = [Keeper(await Hierarchy.open(url)) for _ in range(2)]
    before: list[Any] = []
    for turn in range(8):
        _, body = await send(keepers[turn % 2], messages(turn), line=f"line-{turn}")
        now = json.loads(body)["messages"]
        assert now[: len(before)] == before
        before = now
    await asyncio.gather(*(keeper.hierarchy.close() for keeper in keepers))
