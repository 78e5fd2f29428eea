"""What goes, and when.

A conversation goes when it has not been used for so many days, with its splices. Its holds stay behind, marked with the
time of its end, and go a day later (GRACE): whoever has read it a moment before it went, to carry it on under another
name, has stored that by then. With the last hold goes the page, and with the last page that is stored as a difference
to it a base that nothing else holds.

All is done in small steps, each a transaction of its own that holds the write lock for milliseconds; an interruption
loses at most the step under way. A page is locked first and its holds are looked at afterwards: `storage/pages.py` says
why. A later tier that keeps pages for reasons of its own needs nothing here: it adds holds, under a name of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from . import engine, rows, search
from . import pages as shelf
from .cache import Key
from .cache import keys as keys_under
from .crypt import keys_of
from .schema import conversations, facts, holds, ledger, pages, splices, tallies

DAY = 86_400.0
GRACE = DAY
"""Seconds for which a page outlives the last conversation that held it."""
CONVERSATIONS, PAGES = 16, 128
"""Of one step, at most."""
AT_ONCE = 500
"""Pages that one statement is about: of a conversation that is forgotten there may be more than it takes parameters."""

_c, _h, _p = conversations.c, holds.c, pages.c
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_TENANT: BindParameter[str] = bindparam("tenant")
# written out, as shelf.NONE is and for the same reason
_ZERO: ColumnElement[float] = literal_column("0")

_USED_BEFORE = select(_c.id).where(_c.last_at < bindparam("before"))
_EXPIRED = _USED_BEFORE.order_by(_c.last_at, _c.id).limit(bindparam("limit"))
_NAMES = select(_c.id, _c.tenant, _c.head, _c.session).where(_c.id.in_(_IDS))
_STILL = _USED_BEFORE.where(_c.id.in_(_IDS)).with_for_update()
_DROP_SPLICES = delete(splices).where(splices.c.conversation.in_(_IDS))
_DROP_CONVERSATIONS = delete(conversations).where(_c.id.in_(_IDS))
_DROP_LEDGER = delete(ledger).where(ledger.c.conversation.in_(_IDS))
_LET_GO = update(holds).where(_h.holder.in_(_IDS), _h.until == 0).values(until=bindparam("now"))
_HELD = select(_h.tenant, _h.page).where(_h.holder.in_(_IDS)).distinct()
_DROP_HOLDS = delete(holds).where(_h.holder.in_(_IDS))
_ENDED = (
    select(_h.tenant, _h.page, _h.holder)
    .where(_h.until > _ZERO, _h.until < bindparam("before"))
    .order_by(_h.until)
    .limit(bindparam("limit"))
)
_DROP_ENDED = delete(holds).where(
    _h.tenant == bindparam("b_tenant"),
    _h.page == bindparam("b_page"),
    _h.holder == bindparam("b_holder"),
    _h.until > _ZERO,
)
# the bases as well: all that a step locks, it locks in one order
_BASES = select(_p.base).where(_p.tenant == _TENANT, _p.id.in_(_IDS), _p.base != "").distinct()
_LOCK = select(_p.id).where(_p.tenant == _TENANT, _p.id.in_(_IDS)).order_by(_p.id).with_for_update()
_delta = pages.alias("delta")
_UNHELD = select(_p.id, _p.base, func.length(_p.data).label("bytes")).where(
    _p.tenant == _TENANT,
    _p.id.in_(_IDS),
    ~select(_h.page).where(_h.tenant == _p.tenant, _h.page == _p.id).exists(),
)
_FREE = _UNHELD.where(
    # what is said twice here leads to the index of those that have a base
    ~select(_delta.c.id)
    .where(_delta.c.tenant == _p.tenant, _delta.c.base == _p.id, _delta.c.base != shelf.NONE)
    .exists(),
)
_DELTAS = (
    select(*shelf.COLUMNS)
    .select_from(shelf.STORED)
    .where(_p.tenant == _TENANT, _p.base.in_(_IDS), _p.base != shelf.NONE, _p.id.not_in(_IDS))
)
_UNRAVEL = (
    update(pages)
    .where(_p.tenant == bindparam("b_tenant"), _p.id == bindparam("b_id"))
    .values(codec=bindparam("b_codec"), data=bindparam("b_data"), base="")
)
_DROP_PAGES = delete(pages).where(_p.tenant == _TENANT, _p.id.in_(_IDS))


@dataclass(slots=True)
class Swept:
    """What went: counts, and the bytes that the pages took as they were stored."""

    conversations: int = 0
    pages: int = 0
    bytes: int = 0
    ids: list[str] = field(default_factory=list)
    """Of the conversations."""
    keys: set[Key] = field(default_factory=set)
    """What the conversations were found under."""
    gone: list[tuple[str, str]] = field(default_factory=list)
    """The pages, by tenant and id."""
    more: bool = False
    """Whether a step was full, so that another may find something."""

    def add(self, other: Swept) -> None:
        self.conversations += other.conversations
        self.pages += other.pages
        self.bytes += other.bytes
        self.ids += other.ids
        self.keys |= other.keys
        self.gone += other.gone


def before(now: float, days: float) -> float:
    """The time of last use before which a conversation goes; with 0 days none does."""
    return now - days * DAY if days else float("-inf")


def step(connection: Connection, now: float, days: float) -> Swept:
    """One step inside a transaction that has the write lock: some conversations, some pages. `days` 0: for ever."""
    gone = before(now, days)
    found = _ids(connection.execute(_EXPIRED, {"before": gone, "limit": CONVERSATIONS})) if days else []
    keys: set[Key] = set()
    if found:
        keys = _locked(connection, found)
        found = _ids(connection.execute(_STILL, {"ids": found, "before": gone}))
        connection.execute(_LET_GO, {"ids": found, "now": now})
        _drop(connection, found)
    ended = connection.execute(_ENDED, {"before": now - GRACE, "limit": PAGES}).all()
    swept = Swept(len(found), ids=found, keys=keys if found else set())
    if ended:
        those = [{"b_tenant": row.tenant, "b_page": row.page, "b_holder": row.holder} for row in sorted(ended)]
        connection.execute(_DROP_ENDED, those)
        _remove(connection, ((row.tenant, row.page) for row in ended), swept)
    swept.more = len(found) == CONVERSATIONS or len(ended) == PAGES
    return swept


def due(connection: Connection, now: float, days: float) -> Swept:
    """What goes if nothing is used from now on: conversations by now, pages a day after the last that held them."""
    gone = {"before": before(now, days)}
    count = connection.execute(select(func.count()).select_from(_USED_BEFORE.subquery()), gone).scalar_one()
    held, base = _held_beyond(pages), _delta
    needed = select(base.c.id).where(base.c.tenant == _p.tenant, base.c.base == _p.id, base.c.base != shelf.NONE)
    needed = needed.where(_held_beyond(base))
    found: Select[Any] = select(func.count(), func.coalesce(func.sum(func.length(_p.data)), 0))
    row = connection.execute(found.where(~held, ~needed.exists()), gone).one()
    return Swept(int(count), int(row[0]), int(row[1]))


def _held_beyond(those: FromClause) -> ColumnElement[bool]:
    mine = and_(_h.tenant == those.c.tenant, _h.page == those.c.id)
    return select(_h.page).where(mine, _h.until == 0, _h.holder.not_in(_USED_BEFORE)).exists()


def concerned(connection: Connection, project: str = "", conversation: str = "") -> list[str]:
    """Ids of the conversations of a project, or the one of that id: of every tenant, for the owner of the store."""
    wanted = _c.id == conversation if conversation else _c.project == project
    return _ids(connection.execute(select(_c.id).where(wanted).order_by(_c.id)))


def forget(connection: Connection, ids: Sequence[str]) -> Swept:
    """Delete conversations, their rows of the ledger and the pages that nothing else holds, at once and without grace.

    For a few conversations at a time, inside a transaction that has the write lock. What is stored as a difference to
    such a page is stored in full from now on. A request that was planned from one of the conversations finds it gone
    when it commits, and is planned again.
    """
    swept = Swept(len(ids), ids=list(ids), keys=_locked(connection, ids))
    held = connection.execute(_HELD, {"ids": list(ids)}).all()
    connection.execute(_DROP_HOLDS, {"ids": list(ids)})
    connection.execute(_DROP_LEDGER, {"ids": list(ids)})
    _drop(connection, ids)
    _remove(connection, ((row.tenant, row.page) for row in held), swept, unravel=True)
    return swept


def forget_project(connection: Connection, project: str) -> None:
    """Delete what else is kept under a project's name: rows of the ledger, and which tools its sessions call."""
    connection.execute(delete(ledger).where(ledger.c.project == project))
    of_project = tallies.c.scope.endswith(f" {project}", autoescape=True)
    connection.execute(delete(tallies).where(of_project))


def forget_all(connection: Connection) -> Swept:
    """Empty the store, inside a transaction that nothing was read in before."""
    engine.hold_off(connection)
    count = connection.execute(select(func.count()).select_from(conversations)).scalar_one()
    row = connection.execute(select(func.count(), func.coalesce(func.sum(func.length(_p.data)), 0))).one()
    gone = [(each.tenant, each.id) for each in connection.execute(select(_p.tenant, _p.id))]
    search.clear(connection)
    tables = (conversations, holds, splices, pages, ledger, tallies, facts)
    engine.empty(connection, [table.name for table in tables])
    return Swept(int(count), int(row[0]), int(row[1]), gone=gone)


def _locked(connection: Connection, ids: Sequence[str]) -> set[Key]:
    """Lock conversations; what they are found under."""
    names = connection.execute(_NAMES, {"ids": list(ids)}).all()
    rows.lock(connection, names)
    return {key for row in names for key in keys_under(row.tenant, row.head, row.session)}


def _ids(found: Any) -> list[str]:
    return list(found.scalars())


def _drop(connection: Connection, ids: Collection[str]) -> None:
    connection.execute(_DROP_SPLICES, {"ids": list(ids)})
    connection.execute(_DROP_CONVERSATIONS, {"ids": list(ids)})


def _remove(
    connection: Connection, candidates: Iterable[tuple[str, str]], swept: Swept, *, unravel: bool = False
) -> None:
    """Delete those of the pages that nothing holds, and then their bases likewise. A page that another is stored as a
    difference to stays, or that other is stored anew (`unravel`)."""
    by_tenant: dict[str, set[str]] = {}
    for tenant, id in candidates:
        by_tenant.setdefault(tenant, set()).add(id)
    few = [(tenant, set(some)) for tenant, ids in sorted(by_tenant.items()) for some in batched(sorted(ids), AT_ONCE)]
    for tenant, ids in few:
        while ids:
            key = {"tenant": tenant, "ids": sorted(ids)}
            bases = connection.execute(_BASES, key).scalars()
            connection.execute(_LOCK, {"tenant": tenant, "ids": sorted(ids.union(bases))}).all()
            if unravel:
                _unravel(connection, tenant, [row.id for row in connection.execute(_UNHELD, key)])
            free = connection.execute(_FREE, key).all()
            if not free:
                break
            key = {"tenant": tenant, "ids": [row.id for row in free]}
            search.forget(connection, tenant, key["ids"])
            connection.execute(_DROP_PAGES, key)
            swept.gone += [(tenant, row.id) for row in free]
            swept.pages += len(free)
            swept.bytes += sum(row.bytes for row in free)
            ids = {row.base for row in free} - {""}


def _unravel(connection: Connection, tenant: str, bases: Sequence[str]) -> None:
    keys = keys_of(connection)
    for row in connection.execute(_DELTAS, {"tenant": tenant, "ids": list(bases)}).all():
        name, data = shelf.sealed(keys, tenant, row.id, shelf.text(row, keys))
        connection.execute(_UNRAVEL, {"b_tenant": tenant, "b_id": row.id, "b_codec": name, "b_data": data})
