"""Rows of pages: packed, as a difference to an earlier version where that is smaller, sealed, and held.

A page stays while something holds it: every conversation that its splices lead to (the table `holds`), and every page
that is stored as a difference to it. Who adds a hold to a page that is there already locks its row first, and who
deletes one locks it, and only then looks for holds (`storage/retention.py`). So of two that meet, the later one sees
what the earlier has done: a page that is put again is either still there, or is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, literal_column, select

from . import codec
from .crypt import SEALED, Keys, about
from .engine import insert_or_add, insert_or_ignore
from .records import Page
from .schema import holds, pages

type Earlier = Callable[[str, str], Base | None]
"""The newest page of a tenant and series that stands for itself."""

_p = pages.c
_base = pages.alias("base")
COLUMNS = (
    *(_p.tenant, _p.id, _p.codec, _p.size, _p.data, _p.base),
    _base.c.codec.label("base_codec"),
    _base.c.size.label("base_size"),
    _base.c.data.label("base_data"),
)
"""What `text` needs of a row of STORED."""
STORED = pages.outerjoin(_base, and_(_base.c.tenant == _p.tenant, _base.c.id == _p.base))
"""Pages, each with its base beside it: one read in any case."""

NONE: ColumnElement[str] = literal_column("''")
"""No page, or no series, written out in the statement: a plan that Postgres makes once for all parameters cannot know
that a partial index serves them, and walks over all that a tenant has."""
_NEWEST = (
    select(_p.id, _p.codec, _p.size, _p.data)
    .where(_p.tenant == bindparam("tenant"), _p.series == bindparam("series"), _p.series != NONE, _p.base == NONE)
    .order_by(_p.created_at.desc(), _p.id)
    .limit(1)
)
_THERE = (
    select(_p.id, _p.base)
    .where(_p.tenant == bindparam("tenant"), _p.id.in_(bindparam("ids", expanding=True)))
    .order_by(_p.id)
    .with_for_update(read=True, key_share=True)
)
_ADD = insert_or_ignore(pages)
_HOLD = insert_or_add(holds, (), latest=("until",))


@dataclass(frozen=True, slots=True)
class Base:
    """A page that another may be stored as a difference to."""

    id: str
    text: bytes


def of_data(tenant: str, id: str, name: str, size: int, base: str) -> bytes:
    """What the bytes of a page are bound to. `name`: the codec without its key."""
    return about("page", tenant, id, name, size, base)


def of_label(tenant: str, id: str) -> bytes:
    return about("label", tenant, id)


def row(page: Page, now: float, keys: Keys, base: Base | None = None) -> dict[str, object]:
    """The row of a page, its text packed and sealed: the costly part of a batch, done before any lock is taken."""
    name, data = sealed(keys, page.tenant, page.id, page.text, base)
    against = base.id if base is not None and name.startswith(codec.DELTA) else ""
    return {
        "tenant": page.tenant,
        "id": page.id,
        "codec": name,
        "size": len(page.text),
        "kind": page.kind,
        "label": keys.seal_text(page.label, of_label(page.tenant, page.id)),
        "created_at": now,
        "data": data,
        "base": against,
        "series": series(page, keys),
    }


def sealed(keys: Keys, tenant: str, id: str, text: bytes, base: Base | None = None) -> tuple[str, bytes]:
    """The codec and the bytes of a page, packed and sealed."""
    name, data = codec.pack(text) if base is None else codec.pack_against(text, base.text)
    if not keys:
        return name, data
    against = base.id if base is not None and name == codec.DELTA else ""
    return f"{name}{SEALED}{keys.first}", keys.seal(data, of_data(tenant, id, name, len(text), against))


def series(page: Page, keys: Keys) -> str:
    """What pages of one kind and label have in common, "" for a page without a label."""
    return keys.series(page.tenant, page.kind, page.label) if page.label else ""


def batch(those: Sequence[Page], now: float, keys: Keys, earlier: Earlier) -> list[dict[str, object]]:
    """The rows of a batch's pages. The first of a file in a batch may be the base of those behind it."""
    made: list[dict[str, object]] = []
    first: dict[str, Base] = {}
    for page in those:
        name = series(page, keys)
        base: Base | None = None
        if name and codec.LEAST <= len(page.text) <= codec.MOST:
            base = first.get(name) or earlier(page.tenant, name)
        if base is not None and base.id == page.id:
            base = None
        made.append(row(page, now, keys, base))
        if name and not made[-1]["base"]:
            first[name] = Base(page.id, page.text)
    return made


def newest(connection: Connection, keys: Keys, tenant: str, name: str) -> Base | None:
    """The newest page of a series that stands for itself. PageDamaged, KeyMissing."""
    found = connection.execute(_NEWEST, {"tenant": tenant, "series": name}).first()
    if found is None or found.size > codec.MOST:
        return None
    return Base(found.id, _plain(keys, tenant, found.id, found.codec, found.size, "", bytes(found.data), None))


def text(found: Any, keys: Keys) -> bytes:
    """The exact bytes of a page, from COLUMNS. PageDamaged, KeyMissing."""
    base: bytes | None = None
    if found.base and found.base_codec is not None:
        data = bytes(found.base_data)
        base = _plain(keys, found.tenant, found.base, found.base_codec, found.base_size, "", data, None)
    return _plain(keys, found.tenant, found.id, found.codec, found.size, found.base, bytes(found.data), base)


def _plain(
    keys: Keys, tenant: str, id: str, name: str, size: int, against: str, data: bytes, base: bytes | None
) -> bytes:
    name, _, key = name.partition(SEALED)
    if key:
        data = keys.open(key, data, of_data(tenant, id, name, size, against))
    return codec.unpack(name, size, data, base)


def put(
    connection: Connection,
    rows: Sequence[Mapping[str, object]],
    again: Callable[[str, str], Mapping[str, object]],
) -> None:
    """Write the rows of pages that are not there yet, and lock those that are, inside a transaction.

    `again` makes the row of a page, by tenant and id, that stands for itself: for one whose base has gone since, or
    turns out to be a delta.
    """
    by_tenant: dict[str, dict[str, Mapping[str, object]]] = {}
    for row in rows:
        by_tenant.setdefault(str(row["tenant"]), {}).setdefault(str(row["id"]), row)
    for tenant, by_id in sorted(by_tenant.items()):
        there = lock(connection, tenant, by_id)
        new = [row for id, row in sorted(by_id.items()) if id not in there]
        full, deltas = [row for row in new if not row["base"]], [row for row in new if row["base"]]
        if full:
            connection.execute(_ADD, full)
        if deltas:
            # looked at last: another may have written them a moment before
            bases = lock(connection, tenant, (str(row["base"]) for row in deltas))
            stands = [row if bases.get(str(row["base"])) == "" else again(tenant, str(row["id"])) for row in deltas]
            connection.execute(_ADD, stands)


def lock(connection: Connection, tenant: str, ids: Iterable[str]) -> dict[str, str]:
    """Which of these pages are there, with their bases, for the rest of the transaction."""
    found = connection.execute(_THERE, {"tenant": tenant, "ids": sorted(set(ids))})
    return {row.id: row.base for row in found}


def hold(connection: Connection, tenant: str, holder: str, ids: Iterable[str], until: float = 0.0) -> None:
    """Let pages be held. `until`: when that ended, epoch seconds, if it has."""
    rows = [{"tenant": tenant, "page": id, "holder": holder, "until": until} for id in sorted(set(ids) - {""})]
    if rows:
        connection.execute(_HOLD, rows)
