"""The tools: over a store, over one that comes later, and over one that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from addon.recall.answer import answer, read
from addon.recall.mcp import Result
from addon.recall.shelf import DEFINITIONS, Shelf
from storage.errors import StoreError
from storage.records import Batch, Conversation, Outcome, Page
from storage.tiers import Hierarchy

ID, OTHER = "a" * 24, "b" * 24
TEXT = "\n".join(f"step {n} fine" if n != 30 else "step 30 ERROR: disk" for n in range(60))


async def filled(folder: Path) -> Hierarchy:
    store = await Hierarchy.open(f"sqlite:///{folder / 'mmu.db'}", clock=lambda: 0.0)
    record = Conversation("c", "t", "h", "", "", "", 1, b"", 0.0, {})
    pages = [Page("t", ID, TEXT.encode(), "result", "Bash make"), Page("t", OTHER, b"fine", "result", "Bash true")]
    assert await store.commit(Batch(record, 0, pages, []), 20) is Outcome.STORED
    return store


async def call(shelf: Shelf, name: str, **arguments: Any) -> Result:
    result = await shelf.call(name, arguments)
    assert result is not None
    return result


async def test_the_tools(tmp_path: Path) -> None:
    store = await filled(tmp_path)
    opened = 0

    async def opening() -> Hierarchy:
        nonlocal opened
        opened += 1
        return store

    shelf = Shelf("1", opening)
    for asked in ({"page": ID}, {"page": ID, "lines": "3-5"}, {"page": f"{ID} {OTHER}", "grep": "ERR|^fine"}):
        same = answer(read(asked), {ID: TEXT, OTHER: "fine"})
        assert await call(shelf, "recall", **asked) == Result(same)
    found = await call(shelf, "search", query="error DISK")
    assert found == Result(f"{ID}  result  {len(TEXT)} bytes  1970-01-01 00:00 UTC  Bash make\n    step 30 ERROR: disk")
    assert (await call(shelf, "search", query="fine", limit=1)).text.startswith(OTHER)
    assert await call(shelf, "search", query="nowhere") == Result("No page holds all of these words.")
    size = store.stats()["cold_bytes"]
    kept = f"2 pages of {len(TEXT) + 4:,} bytes, from 1 conversations; the store takes {size:,} bytes."
    assert await call(shelf, "stats") == Result(kept)
    assert await shelf.call("forget", {}) is None
    assert opened == 1
    await shelf.close()


async def test_what_fails_says_what_to_do(tmp_path: Path) -> None:
    store = await filled(tmp_path)

    async def opening() -> Hierarchy:
        return store

    shelf = Shelf("1", opening)
    for name, arguments, says in (
        ("recall", {}, "`page` must be"),
        ("recall", {"page": ID, "lines": "x"}, "`lines` must be"),
        ("recall", {"page": "d" * 24}, "There is no page dddddddddddddddddddddddd here. Run the original call"),
        ("search", {}, "`query` must be"),
        ("search", {"query": 3}, "`query` must be"),
        ("search", {"query": "fine", "limit": "3"}, "`limit` a number"),
        ("search", {"query": "fine", "limit": 0}, "1 to 100"),
        ("search", {"query": "!"}, "letters or digits"),
    ):
        result = await call(shelf, name, **arguments)
        assert result.failed, name
        assert says in result.text
    # one page of two is something
    assert not (await call(shelf, "recall", page=f"{ID} {'d' * 24}")).failed
    await shelf.close()


@pytest.mark.parametrize("name", [tool["name"] for tool in DEFINITIONS])
async def test_a_store_that_does_not_open_is_tried_again(tmp_path: Path, name: str) -> None:
    stores: list[Hierarchy] = []

    async def opening() -> Hierarchy:
        if not stores:
            raise StoreError("there is none")
        return stores[0]

    shelf = Shelf("1", opening)
    result = await call(shelf, name, page=ID, query="disk")
    assert result.failed
    assert "there is none" in result.text
    stores.append(await filled(tmp_path))
    assert not (await call(shelf, name, page=ID, query="disk")).failed
    await shelf.close()
