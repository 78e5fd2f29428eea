"""Takes a forwarded request back to what the client sent, with nothing but the store: every page must be there."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from addon.mmu import schemas
from addon.mmu.view import Change, Splice, literal_of, page_table, restore
from addon.wire import anthropic
from addon.wire.conversation import Conversation
from storage import engine
from storage.schema import conversations
from storage.tiers import Hierarchy


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store holds: splices by anchor and stand-in text (None: removed), pages by id."""

    splices: dict[tuple[str, str | None], Splice]
    pages: dict[str, str]

    def of(self, change: Change) -> list[Splice]:
        return [splice for splice in self.splices.values() if splice.change is change]


def read(home: Path, session: str, url: str = "") -> Kept:
    """Everything the store under `home`, or at a URL, knows about one client session. LookupError for a page that is
    not there."""
    return asyncio.run(_read(url or f"sqlite:///{home / 'mmu.db'}", session))


async def _read(url: str, session: str) -> Kept:
    reader = engine.reader(engine.parse(url))
    with reader.connect() as plain:
        tenants = list(plain.execute(select(conversations.c.tenant).distinct()).scalars())
    reader.dispose()
    kept = Kept({}, {})
    hierarchy = await Hierarchy.open(url)
    try:
        for tenant in tenants:
            for stored in await hierarchy.conversations(tenant, "", session):
                for row in stored.splices:
                    change = Change(row.kind)
                    kept.splices[row.anchor, row.text] = Splice(
                        row.anchor, row.generation, change, row.page, row.text, row.spelling, row.needs, row.request
                    )
                    if not row.page:
                        continue  # a tool that was added stands for no page
                    page = await hierarchy.page(tenant, row.page)
                    if page is None:
                        raise LookupError(f"the store lost page {row.page} of {row.anchor}")
                    kept.pages[row.page] = page.decode()
    finally:
        await hierarchy.close()
    return kept


def parsed(body: bytes) -> Conversation:
    """Parses a body as the wire layer does."""
    return anthropic.parse(body)


def standing(sent: bytes, forwarded: bytes, kept: Kept) -> dict[str, Splice]:
    """Which splices a forwarded request carries, told from the two bodies alone. KeyError for a difference that the
    store has no splice for."""
    client, provider = parsed(sent), parsed(forwarded)
    theirs = page_table(provider)
    places = {entry.anchor.partition(":")[0]: entry for entry in theirs.entries}
    found: dict[str, Splice] = {}
    for entry in page_table(client).entries:
        there = places[entry.anchor.partition(":")[0]]
        start, end = literal_of(client, entry)
        at, to = literal_of(provider, there)
        if client.text[start:end] != provider.text[at:to]:
            found[entry.anchor] = kept.splices[entry.anchor, there.block.text]
    for stub, tool in zip(provider.tools, client.tools, strict=False):
        text = provider.text[stub.start : stub.end]
        if text != (full := client.text[tool.start : tool.end]):
            anchor = schemas.anchor(tool.name, full)
            found[anchor] = kept.splices[anchor, text]
    if len(provider.tools) > len(client.tools):
        found.update((splice.anchor, splice) for splice in kept.of(Change.TOOL))
    left = {(r.message, r.page) for r in theirs.reasoning}
    for reasoning in page_table(client).reasoning:
        if (reasoning.message, reasoning.page) not in left:
            found[reasoning.anchor] = kept.splices[reasoning.anchor, None]
    return found


ASKED = re.compile(rb',"context_management":\{"edits":\[\{"type":"clear_tool_uses_20250919",[^\[\]]*\}\]\}')
"""What has the provider clear old results, where the client asks for nothing of the kind."""


def taken_back(sent: bytes, forwarded: bytes, kept: Kept) -> bytes:
    """The client's body, rebuilt from the forwarded one."""
    forwarded = ASKED.sub(b"", forwarded, count=1)
    return restore(parsed(forwarded), standing(sent, forwarded, kept), kept.pages).encode("utf-8")
