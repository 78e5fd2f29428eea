"""What the owner of a store may ask of it by hand: any page by its id, and searches. For the site and for MCP.

Here ids open pages of every tenant and conversation. That is right for whoever can read the state folder, and for
nobody else: a model's own recalls are answered elsewhere, from its conversation alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from addon.recall.answer import Ask

if TYPE_CHECKING:
    # a third of a second to import, with the database behind it
    from storage.tiers import Hierarchy

from storage.records import Hit, Page

NOTHING = "No page holds all of these words."


async def fetch(store: Hierarchy, ask: Ask) -> dict[str, Page | None]:
    """The pages asked for, None for one that nobody stored. Raises StoreError."""
    return {id: await store.page_of_any_tenant(id) for id in ask.pages}


def texts(found: Mapping[str, Page | None]) -> dict[str, str | None]:
    """As `answer` takes them."""
    return {id: None if page is None else page.text.decode("utf-8") for id, page in found.items()}


def told(hits: Sequence[Hit]) -> str:
    """What a search found, for reading: a line a page, and below it the lines that hold its words."""
    if not hits:
        return NOTHING
    out: list[str] = []
    for hit in hits:
        out.append(f"{hit.id}  {hit.kind}  {hit.size:,} bytes  {_when(hit.created_at)}  {hit.label}")
        out += [f"    {line.strip()}" for line in hit.lines]
    return "\n".join(out)


def listed(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """The same for programs. `size` is in bytes, `created_at` in epoch seconds."""
    return [
        {
            "page": hit.id,
            "kind": hit.kind,
            "label": hit.label,
            "size": hit.size,
            "created_at": hit.created_at,
            "lines": list(hit.lines),
        }
        for hit in hits
    ]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
