"""Sealing a whole store anew: under another key, for the first time, or no longer.

Row by row, a few in each transaction, in the order of the keys of the tables. A row that is right already is left
alone, so an interrupted run is simply begun again. What a page was packed with stays; only its seal changes. Others
may read and write meanwhile, if they have all the keys and seal with the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, func, select, tuple_, update

from . import pages as shelf
from . import rows, sealing, search
from .crypt import SEALED, Keys, sealed_by
from .engine import transact
from .records import Page
from .schema import conversations, pages, splices

_c = conversations.c
_NAMES = select(_c.id, _c.tenant, _c.head, _c.session)

BATCH = 64
"""Rows in a transaction."""


def run(engine: Engine, keys: Keys, to: Keys, now: float, told: Callable[[int, int], None]) -> int:
    """Seal everything with the first of `to`, nothing where that is empty. How many rows were changed.

    `keys` open what is there. `told` hears how many rows were looked at, of how many. KeyMissing, PageDamaged.
    """
    with engine.begin() as connection:
        if to:
            sealing.note(connection, to.first, now)
        counts = [connection.execute(select(func.count()).select_from(each)).scalar_one() for each in _SEALED]
    total, through, changed = sum(counts), 0, 0
    for table in _SEALED:
        place: tuple[object, ...] | None = ()
        while place is not None:
            looked, wrote, place = transact(engine, partial(step, table=table, keys=keys, to=to, place=place))
            changed += wrote
            through += looked
            if looked:
                told(through, max(total, through))
    with engine.begin() as connection:
        sealing.strike(connection, to.first)
        # it holds words, and knows pages by numbers that rewriting the file may change
        search.clear(connection)
    return changed


def step(
    connection: Connection, table: Table, keys: Keys, to: Keys, place: tuple[object, ...]
) -> tuple[int, int, tuple[object, ...] | None]:
    """Seal a few rows, those behind `place`, in a transaction: how many were looked at, how many of them written, and
    the place of the last one, if any."""
    key = list(table.primary_key)
    few = select(table).order_by(*key).limit(BATCH)
    if place:
        few = few.where(tuple_(*key) > place)
    if table is not pages:
        concerned = few.with_only_columns(_CONVERSATION[table]).subquery()
        rows.lock(connection, connection.execute(_NAMES.where(_c.id.in_(select(concerned.c[0])))).all())
    found = connection.execute(few.with_for_update()).all()
    wrote = 0
    for row in found:
        values = _SEALED[table](row, keys, to)
        if values:
            _write(connection, table, row, values)
            wrote += 1
    return len(found), wrote, tuple(getattr(found[-1], column.name) for column in key) if found else None


def _write(connection: Connection, table: Table, row: Any, values: dict[str, object]) -> None:
    key = list(table.primary_key)
    statement = update(table).where(*(column == bindparam(f"b_{column.name}") for column in key)).values(values)
    connection.execute(statement, {f"b_{column.name}": getattr(row, column.name) for column in key})


def _page(row: Any, keys: Keys, to: Keys) -> dict[str, object]:
    name, _, key = row.codec.partition(SEALED)
    if key == to.first and (not row.label or sealed_by(row.label) == to.first):
        return {}
    of = shelf.of_data(row.tenant, row.id, name, row.size, row.base)
    data = keys.open(key, bytes(row.data), of) if key else bytes(row.data)
    of_label = shelf.of_label(row.tenant, row.id)
    label = keys.open_text(row.label, of_label)
    return {
        "codec": f"{name}{SEALED}{to.first}" if to else name,
        "data": to.seal(data, of) if to else data,
        "label": to.seal_text(label, of_label),
        "series": shelf.series(Page(row.tenant, row.id, b"", row.kind, label), to),
    }


def _text(column: str, of: Callable[[Any], bytes]) -> Callable[[Any, Keys, Keys], dict[str, object]]:
    def anew(row: Any, keys: Keys, to: Keys) -> dict[str, object]:
        stored = getattr(row, column)
        if not stored or sealed_by(stored) == to.first:
            return {}
        return {column: to.seal_text(keys.open_text(stored, of(row)), of(row))}

    return anew


# whose row it is: what writers lock the names of
_CONVERSATION = {conversations: _c.id, splices: splices.c.conversation}
_SEALED: dict[Table, Callable[[Any, Keys, Keys], dict[str, object]]] = {
    pages: _page,
    conversations: _text("state", lambda row: rows.of_state(row.id)),
    splices: _text("text", lambda row: rows.of_splice(row.conversation, row.anchor, row.generation)),
}
