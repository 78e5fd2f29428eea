"""What /pages answers, without a proxy before it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from addon.recall import site
from addon.recall.answer import LONGEST
from addon.recall.site import Reply
from storage.records import Batch, Booking, Conversation, Outcome, Page
from storage.rows import SUMS
from storage.tiers import Hierarchy

TOKEN = "t" * 40
FILE, LOG, LONG = "a" * 24, "b" * 24, "c" * 24
TEXTS = {
    FILE: "\n".join(f"{n}\tline {n} of the file, naïve" for n in range(40, 100)),
    LOG: "\n".join(f"step {n} fine" if n != 30 else "step 30 ERROR: disk" for n in range(60)) + "\n",
    LONG: "\n".join(f"row {n}" for n in range(40_000)),
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Hierarchy]:
    made = await Hierarchy.open(f"sqlite:///{tmp_path / 'mmu.db'}", clock=lambda: 1_700_000_000.0)
    for n, (id, text) in enumerate(TEXTS.items()):
        tenant = f"tenant {n}"
        record = Conversation(f"c{n}", tenant, f"h{n}", "", "", "", 1, b"", 0.0, {})
        page = Page(tenant, id, text.encode(), "result", f"Bash make {n}")
        assert await made.commit(Batch(record, 0, [page], []), 20) is Outcome.STORED
    yield made
    await made.close()


async def get(store: Hierarchy | None, target: str, token: str = TOKEN, method: str = "GET", **headers: str) -> Reply:
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    return await site.reply(site.question(method, target, {**shown, **headers}), store, TOKEN, "/home/site.token")


async def text(store: Hierarchy, target: str) -> str:
    reply = await get(store, target)
    assert reply.status == 200, reply
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    return reply.body.decode()


async def value(store: Hierarchy, target: str, status: int = 200) -> Any:
    reply = await get(store, target, Accept="application/json, text/plain")
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    return json.loads(reply.body)


async def test_a_page_in_whole_is_exact_whatever_its_length(store: Hierarchy) -> None:
    for id, whole in TEXTS.items():
        reply = await get(store, f"/pages/{id}")
        assert reply.body == whole.encode()
        assert reply.headers["cache-control"] == "no-store"
    assert len(TEXTS[LONG]) > LONGEST
    assert await text(store, f"/pages/{FILE},{LONG}") == f"{TEXTS[FILE]}\n\n{TEXTS[LONG]}"


async def test_parts_are_answered_as_the_tool_answers(store: Hierarchy) -> None:
    assert await text(store, f"/pages/{FILE}?lines=41-42") == "\n".join(TEXTS[FILE].split("\n")[1:3])
    assert await text(store, f"/pages/{LOG}?grep=ERR.R&lines=30-31") == "30\tstep 29 fine\n31\tstep 30 ERROR: disk"
    assert await text(store, f"/pages/{LOG}?grep=nowhere") == f"Nothing in page {LOG} matches."
    assert "cut here" in (await text(store, f"/pages/{LONG}?lines=1-"))[-200:]


async def test_json(store: Hierarchy) -> None:
    entry = {"page": FILE, "kind": "result", "label": "Bash make 0", "size": len(TEXTS[FILE].encode())}
    assert await value(store, f"/pages/{FILE}") == {**entry, "text": TEXTS[FILE]}
    assert (await value(store, f"/pages/{LOG}?lines=1"))["text"] == "1\tstep 0 fine"
    several = await value(store, f"/pages/{FILE},{'d' * 24},{LOG}?lines=41")
    assert [one["page"] for one in several["pages"]] == [FILE, "d" * 24, LOG]
    assert several["pages"][0]["text"] == TEXTS[FILE].split("\n")[1]
    assert several["pages"][1]["error"].startswith("There is no page")
    for target in (f"/pages/{FILE}?format=json", "/pages?q=fine&format=json", f"/pages/{'d' * 24}?format=json"):
        assert (await get(store, target)).headers["content-type"] == "application/json"
    plain = await get(store, f"/pages/{FILE}?format=text", Accept="application/json")
    assert plain.body == TEXTS[FILE].encode()


async def test_unknown_pages(store: Hierarchy) -> None:
    unknown = "d" * 24
    reply = await get(store, f"/pages/{unknown}")
    assert (reply.status, reply.body.decode().startswith(f"There is no page {unknown}")) == (404, True)
    assert (await value(store, f"/pages/{unknown}", 404))["error"].startswith(f"There is no page {unknown}")
    assert (await get(store, f"/pages/{unknown},{FILE}")).status == 200


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (f"/pages/{FILE}?lines=x", "`lines` must be"),
        (f"/pages/{FILE}?grep={quote('(')}", "is not a pattern"),
        ("/pages/x", "`page` must be"),
        ("/pages/..%2f..%2fetc", "`page` must be"),
        ("/pages/" + ",".join(f"{n:024d}" for n in range(9)), "At most"),
        ("/pages", "Ask for"),
        ("/pages/", "Ask for"),
        ("/pages?q=", "Ask for"),
        ("/pages?q=!", "letters or digits"),
        ("/pages?q=fine&limit=x", "cannot be searched"),
        ("/pages?q=fine&limit=0", "1 to 100"),
    ],
)
async def test_what_cannot_be_asked_is_said(store: Hierarchy, target: str, says: str) -> None:
    reply = await get(store, target)
    assert reply.status == 400
    assert says in reply.body.decode()
    assert says in (await value(store, target, 400))["error"]


async def test_search(store: Hierarchy) -> None:
    assert await text(store, "/pages?q=DISK+error") == (
        f"{LOG}  result  {len(TEXTS[LOG]):,} bytes  2023-11-14 22:13 UTC  Bash make 1\n    step 30 ERROR: disk\n"
    )
    assert await text(store, "/pages?q=nowhere") == "No page holds all of these words.\n"
    [hit] = (await value(store, "/pages?q=fine&limit=1"))["pages"]
    assert hit == {
        "page": LOG,
        "kind": "result",
        "label": "Bash make 1",
        "size": len(TEXTS[LOG]),
        "created_at": 1_700_000_000.0,
        "lines": ["step 0 fine", "step 1 fine", "step 2 fine"],
    }


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "t", "tökén", "\udcff"])
async def test_without_the_token_there_is_nothing(store: Hierarchy, token: str) -> None:
    for target in (
        f"/pages/{FILE}",
        "/pages?q=fine",
        "/pages",
        f"/pages/{FILE}?token={quote(token, errors='replace')}",
    ):
        reply = await get(store, target, token)
        assert reply.status == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert b"/home/site.token" in reply.body
        assert b"line" not in reply.body
    assert (await get(store, f"/pages/{FILE}", "", Authorization=f"Basic {TOKEN}")).status == 401


async def test_the_token_may_stand_in_either_place(store: Hierarchy) -> None:
    assert (await get(store, f"/pages/{FILE}?token={TOKEN}", "")).status == 200
    assert (await get(store, f"/pages/{FILE}", "", authorization=f"bearer {TOKEN}")).status == 200
    assert (await get(store, f"/pages/{FILE}?token={TOKEN}", "wrong")).status == 200


async def test_while_there_is_no_token_nothing_opens(store: Hierarchy) -> None:
    for target in ("/pages?q=fine", "/pages?q=fine&token="):
        assert (await site.reply(site.question("GET", target, {}), store, "", "")).status == 401


async def test_pages_are_only_read(store: Hierarchy) -> None:
    for method in ("POST", "DELETE", "HEAD"):
        reply = await get(store, f"/pages/{FILE}", method=method)
        assert (reply.status, reply.headers["allow"]) == (405, "GET")


async def test_a_store_that_is_not_there_or_fails(store: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = await get(None, f"/pages/{FILE}")
    assert (reply.status, b"No store is open" in reply.body) == (503, True)

    def broken(*_: object) -> None:
        raise ValueError("the disk is gone")

    monkeypatch.setattr("storage.rows.any_page", broken)
    reply = await get(store, f"/pages/{FILE}")
    assert (reply.status, b"the disk is gone" in reply.body) == (503, True)
    await store.close()
    reply = await get(store, f"/pages/{FILE}")
    assert (reply.status, b"the store is closed" in reply.body) == (503, True)


async def test_the_ledger_by_day_project_and_conversation(store: Hierarchy) -> None:
    for day, conversation, billed in (("2026-11-01", "c0", 1.5), ("2026-11-02", "c1", 2.0)):
        sums = {**dict.fromkeys(SUMS, 0), "requests": 1, "billed": billed, "untouched": 3.0}
        store.book(Booking(day, conversation, "t", "p", sums))
    found = await value(store, "/api/ledger")
    assert [(row["day"], row["billed"], row["saved"]) for row in found["rows"]] == [
        ("2026-11-01", 1.5, 1.5), ("2026-11-02", 2.0, 1.0),
    ]  # fmt: skip
    [late] = (await value(store, "/api/ledger?by=conversation&since=2026-11-02"))["rows"]
    assert (late["conversation"], late["untouched"]) == ("c1", 3.0)
    assert (await value(store, "/api/ledger?by=project"))["rows"][0]["billed"] == 3.5
    assert "expected one of day" in (await value(store, "/api/ledger?by=hour", 400))["error"]
    assert "summed up" in (await value(store, "/api/ledger?since=yesterday", 400))["error"]
    assert (await get(store, "/api/ledger", token="")).status == 401
    assert (await get(store, "/api/ledger", method="POST")).status == 405
