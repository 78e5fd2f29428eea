"""The tools that the MCP server offers over a store: recall, search, stats.

The store is opened by the first call, not before: it takes three times as long as all the rest of the start, and a
client waits for that whether or not anybody ever asks for a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from addon.mmu.handle import PREFIX
from addon.recall import desk
from addon.recall.answer import DESCRIPTION, SCHEMA, answer, read
from addon.recall.mcp import Result
from storage.errors import StoreError

if TYPE_CHECKING:
    from storage.tiers import Hierarchy

NAME = "mitmmu"
INSTRUCTIONS = (
    f"Earlier tool results that were taken out of the context are kept. Where a handle `{PREFIX}ID: ...]` stands, "
    "`recall` gives the exact text behind it; `search` finds kept results by their words, of other sessions too."
)
DEFINITIONS: Sequence[Mapping[str, Any]] = (
    {"name": "recall", "description": DESCRIPTION, "inputSchema": SCHEMA},
    {
        "name": "search",
        "description": (
            "Finds kept tool results (files read, command outputs) that hold all of the words, newest first: ID, size, "
            "time, what it was, and a few matching lines. `recall` gives the text."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "words; all must occur"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "20 when not given"},
            },
            "required": ["query"],
        },
    },
    {
        "name": "stats",
        "description": "How many pages and conversations are kept, and what they take.",
        "inputSchema": {"type": "object", "properties": {}},
    },
)


class Shelf:
    """Tools over the store that `opening` opens; it may raise StoreError, and is then tried again at the next call."""

    name = NAME
    instructions = INSTRUCTIONS
    definitions = DEFINITIONS

    def __init__(self, version: str, opening: Callable[[], Awaitable[Hierarchy]]) -> None:
        self.version = version
        self._opening = opening
        self._store: Hierarchy | None = None
        self._one_at_a_time = asyncio.Lock()

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Result | None:
        """Call a tool; None when there is none of that name."""
        tool = {"recall": self._recall, "search": self._search, "stats": self._stats}.get(name)
        if tool is None:
            return None
        try:
            return await tool(arguments)
        except StoreError as error:
            return Result(f"The store does not answer: {error}. Run the original call again to see its result.", True)

    async def close(self) -> None:
        """Close the store, if it was opened."""
        if self._store is not None:
            await self._store.close()

    async def _opened(self) -> Hierarchy:
        async with self._one_at_a_time:
            if self._store is None:
                self._store = await self._opening()
            return self._store

    async def _recall(self, arguments: Mapping[str, Any]) -> Result:
        ask = read(arguments)
        if ask.problem:
            return Result(ask.problem, True)
        texts = desk.texts(await desk.fetch(await self._opened(), ask))
        text = await asyncio.to_thread(answer, ask, texts)
        return Result(text, all(each is None for each in texts.values()))

    async def _search(self, arguments: Mapping[str, Any]) -> Result:
        query, limit = arguments.get("query"), arguments.get("limit")
        if not isinstance(query, str) or not isinstance(limit, int | None):
            return Result("`query` must be words, and `limit` a number.", True)
        store = await self._opened()
        try:
            return Result(desk.told(await (store.search(query) if limit is None else store.search(query, limit))))
        except ValueError as error:
            return Result(f"That cannot be searched: {error}.", True)

    async def _stats(self, _: Mapping[str, Any]) -> Result:
        totals = await (await self._opened()).totals()
        return Result(
            f"{totals['pages']:,} pages of {totals['page_bytes']:,} bytes, from {totals['conversations']:,} "
            f"conversations; the store takes {totals['store_bytes']:,} bytes."
        )
