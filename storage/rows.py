"""The statements: records to rows and back, over a connection that somebody else opened and will close.

A batch is a compare-and-set on the conversation's `requests`. That alone does not guard a view that was planned from
a cache: another process may have stored a conversation with the same head that the cache has never heard of, and the
request may have been the next one of that. So a batch is also stale when its siblings are not the ones its planner
was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    cast,
    delete,
    func,
    null,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.sql import CompoundSelect

from . import engine
from . import pages as shelf
from .crypt import Keys, about, keys_of
from .engine import insert_or_add, insert_or_ignore, insert_or_replace
from .records import JSON, Batch, Booking, Conversation, Page, Report, Splice, Stored
from .schema import COUNTS, DOLLARS, conversations, facts, holds, ledger, pages, splices, tallies
from .tallies import BOUND, LEAST, TOTAL, Key

# a head shared by more conversations than this is a canned first message; the older ones are not coming back
MATCHES = 32

_c, _s = conversations.c, splices.c
_SPLICE = (_s.anchor, _s.generation, _s.kind, _s.page, _s.needs, _s.request, _s.spelling, _s.text)
_WIDTH = len(conversations.columns)
_NOTHING = "[]"
# with their types: those of a union's first part are those of the whole
_EMPTY_SPLICE = tuple(type_coerce(null(), column.type).label(column.name) for column in _SPLICE)
_EMPTY_CONVERSATION = tuple(null() for column in list(conversations.columns)[1:])


def _under(session: bool) -> ColumnElement[bool]:
    # the tenant in both arms, two parameters as SQLite sees it: what it knows to be the same it factors out, and then
    # walks all that the tenant has
    mine = _c.tenant == bindparam("tenant")
    by_head = and_(mine, _c.head == bindparam("head"))
    return or_(by_head, and_(mine, _c.session == bindparam("session"))) if session else by_head


def _matches(session: bool) -> CompoundSelect[Any]:
    # one statement, so one snapshot and one trip; a join would repeat the digests for every splice
    newest = select(_c.id).where(_under(session)).order_by(_c.last_at.desc(), _c.id).limit(MATCHES)
    found: CTE = select(conversations).where(_c.id.in_(newest)).cte("found")
    return union_all(
        select(*found.columns, *_EMPTY_SPLICE),
        select(_s.conversation, *_EMPTY_CONVERSATION, *_SPLICE).where(_s.conversation.in_(select(found.c.id))),
    )


# by whether there is a session key to look for
_SIBLINGS = {flag: select(_c.id).where(_under(flag)) for flag in (False, True)}
_MATCHES = {flag: _matches(flag) for flag in (False, True)}
_CURRENT = select(conversations).where(
    _c.id == bindparam("b_id"), _c.tenant == bindparam("b_tenant"), _c.requests == bindparam("b_expected")
)
_NOW = select(conversations).where(_c.id == bindparam("b_id"), _c.tenant == bindparam("b_tenant"))
_TELL = update(conversations).where(_c.id == bindparam("b_id"), _c.tenant == bindparam("b_tenant"))
_ADD = insert_or_ignore(conversations)
_MOVE = update(conversations).where(
    _c.id == bindparam("b_id"), _c.tenant == bindparam("b_tenant"), _c.requests == bindparam("b_expected")
)
_REMOVE = delete(conversations).where(
    _c.id == bindparam("b_id"), _c.tenant == bindparam("b_tenant"), _c.requests == bindparam("b_expected")
)
_TAKEN = select(_s.anchor, _s.generation).where(
    _s.conversation == bindparam("conversation"), _s.anchor.in_(bindparam("anchors", expanding=True))
)
_ADD_SPLICE = insert_or_ignore(splices)
_REMOVE_SPLICE = delete(splices).where(
    _s.conversation == bindparam("b_id"), _s.anchor == bindparam("b_anchor"), _s.generation == bindparam("b_generation")
)
_LET_GO = (
    update(holds).where(holds.c.holder == bindparam("b_holder"), holds.c.until == 0).values(until=bindparam("b_now"))
)
_PAGE = (
    select(*shelf.COLUMNS)
    .select_from(shelf.STORED)
    .where(pages.c.tenant == bindparam("tenant"), pages.c.id == bindparam("id"))
)
# the tenant first: that is a walk over the index of the key, and not over all that the pages hold
_OWNER = select(pages.c.tenant).where(pages.c.id == bindparam("id")).order_by(pages.c.tenant).limit(1)
_ANY_PAGE = (
    select(*shelf.COLUMNS, pages.c.kind, pages.c.label)
    .select_from(shelf.STORED)
    .where(pages.c.tenant == _OWNER.scalar_subquery(), pages.c.id == bindparam("id"))
)
_TOTALS = select(
    select(func.count()).select_from(pages).scalar_subquery().label("pages"),
    select(func.coalesce(func.sum(pages.c.size), 0)).scalar_subquery().label("page_bytes"),
    select(func.count()).select_from(conversations).scalar_subquery().label("conversations"),
)
# no LIKE: it folds case and would not use the key
_PREFIX = (
    select(pages.c.id)
    .where(pages.c.tenant == bindparam("tenant"), pages.c.id >= bindparam("first"), pages.c.id < bindparam("beyond"))
    .order_by(pages.c.id)
    .limit(MATCHES)
)
_FACTS = select(facts.c.key, facts.c.value).where(facts.c.scope == bindparam("scope"))
_LEARN = insert_or_replace(facts)
SUMS = (*COUNTS, *DOLLARS)
BY = {"day": ledger.c.day, "project": ledger.c.project, "conversation": ledger.c.conversation}
_LEDGER = {
    name: select(column, *(cast(func.sum(ledger.c[each]), ledger.c[each].type).label(each) for each in SUMS))
    .where(ledger.c.day >= bindparam("since"))
    .group_by(column)
    for name, column in BY.items()
}
_BOOK = insert_or_add(ledger, SUMS)
_t = tallies.c
_TALLIES = select(_t.name, _t.value).where(_t.tenant == bindparam("tenant"), _t.scope == bindparam("scope"))
_TALLY = insert_or_add(tallies, ["value"], latest=["updated_at"])
_OF_SCOPE = and_(_t.tenant == bindparam("b_tenant"), _t.scope == bindparam("b_scope"))
_TOTAL = select(_t.value).where(_OF_SCOPE, _t.name == TOTAL)
_HALVE = update(tallies).where(_OF_SCOPE).values(value=_t.value * 0.5)
_FORGET = delete(tallies).where(_OF_SCOPE, _t.name != TOTAL, _t.value < LEAST)


def order(stored: Stored) -> tuple[float, str]:
    """Sort key: newest first."""
    return -stored.conversation.last_at, stored.conversation.id


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def of_state(id: str) -> bytes:
    return about("state", id)


def of_splice(conversation: str, anchor: str, generation: int) -> bytes:
    return about("splice", conversation, anchor, generation)


def _conversation(values: Sequence[Any], keys: Keys) -> Conversation:
    """From the columns of the table, in its order."""
    id, tenant, head, session, project, client, requests, last_at, state, digests = values
    known = json.loads(keys.open_text(state, of_state(id)))
    return Conversation(id, tenant, head, session, project, client, requests, bytes(digests), last_at, known)


def _columns(record: Conversation, keys: Keys) -> dict[str, object]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "head": record.head,
        "session": record.session,
        "project": record.project,
        "client": record.client,
        "requests": record.requests,
        "last_at": record.last_at,
        "state": keys.seal_text(_json(record.state), of_state(record.id)),
        "digests": record.digests,
    }


def matches(connection: Connection, tenant: str, head: str, session: str) -> tuple[Stored, ...]:
    """The tenant's conversations with that head, or that session unless it is ""; newest first, MATCHES at most."""
    found: dict[str, Conversation] = {}
    held: dict[str, list[Splice]] = {}
    keys = keys_of(connection)
    key = {"tenant": tenant, "head": head, "session": session}
    for row in connection.execute(_MATCHES[session != ""], key).all():
        anchor, generation, kind, page_id, needs, request, spelling, text = row[_WIDTH:]
        if anchor is None:
            found[row[0]] = _conversation(row[:_WIDTH], keys)
        else:
            needed = tuple(json.loads(needs)) if needs != _NOTHING else ()
            text = keys.open_text(text, of_splice(row[0], anchor, generation))
            splice = Splice(anchor, generation, kind, page_id, text, needed, request, spelling)
            held.setdefault(row[0], []).append(splice)
    return tuple(sorted((Stored(one, ordered(held.get(id, ()))) for id, one in found.items()), key=order))


def ordered(unordered: Sequence[Splice]) -> tuple[Splice, ...]:
    return tuple(sorted(unordered, key=lambda splice: (splice.request, splice.anchor, splice.generation)))


@dataclass(frozen=True, slots=True)
class Change:
    """What a batch did, enough to take it back."""

    after: Conversation
    before: Conversation | None
    added: tuple[tuple[str, int], ...]
    # no splice of the batch found its place taken
    whole: bool


def lock(connection: Connection, records: Sequence[Any]) -> None:
    """The first step of a transaction: whoever writes to these conversations, or beside them, waits for its end."""
    names = set()
    for record in records:
        names |= {f"conversation/{record.id}", f"head/{record.tenant}/{record.head}"}
        if record.session:
            names.add(f"session/{record.tenant}/{record.session}")
    engine.lock(connection, names)


def write(
    connection: Connection,
    batch: Batch,
    known: Callable[[str], bool] | None,
    shown: Collection[str] = (),
) -> Change | None:
    """Apply a batch, all but its pages, inside a transaction that has locked its conversation; None, and nothing
    written, when it is stale.

    `known` tells whether the planner was shown a sibling; None when that is not recorded. `shown` are those that it
    was; one that has expired or was forgotten since took its pages along.
    """
    record = batch.conversation
    keys = keys_of(connection)
    key = {"b_id": record.id, "b_tenant": record.tenant, "b_expected": batch.expected}
    before: Conversation | None = None
    if batch.expected:
        row = connection.execute(_CURRENT, key).first()
        if row is None:
            return None
        before = _conversation(row, keys)
    if known is not None:
        siblings = set(
            connection.execute(
                _SIBLINGS[record.session != ""],
                {"tenant": record.tenant, "head": record.head, "session": record.session},
            ).scalars()
        )
        if any(id != record.id and not known(id) for id in siblings) or not siblings.issuperset(shown):
            return None
    columns = _columns(record, keys)
    statement, values = (_MOVE, {**columns, **key}) if batch.expected else (_ADD, columns)
    if connection.execute(statement, values).rowcount != 1:
        return None
    named = (*(page.id for page in batch.pages), *(splice.page for splice in batch.splices), *batch.holds)
    shelf.hold(connection, record.tenant, record.id, named)
    added = _place(connection, record.id, batch.splices, keys)
    return Change(record, before, added, len(added) == len(batch.splices))


def _place(connection: Connection, id: str, wanted: Sequence[Splice], keys: Keys) -> tuple[tuple[str, int], ...]:
    """Add splices to a conversation that is locked, but for those whose place is taken. Where those stand that were
    added. Two statements whatever their number, for each may be a trip to a server."""
    if not wanted:
        return ()
    found = connection.execute(_TAKEN, {"conversation": id, "anchors": sorted({one.anchor for one in wanted})})
    taken = {(row.anchor, row.generation) for row in found}
    free: dict[tuple[str, int], Splice] = {}
    for splice in wanted:
        place = splice.anchor, splice.generation
        if place not in taken:
            free.setdefault(place, splice)
    if free:
        rows = [
            {
                "conversation": id,
                "anchor": splice.anchor,
                "generation": splice.generation,
                "kind": splice.kind,
                "page": splice.page,
                "needs": _json(splice.needs),
                "spelling": splice.spelling,
                "request": splice.request,
                "text": keys.seal_text(splice.text, of_splice(id, splice.anchor, splice.generation)),
            }
            for splice in free.values()
        ]
        connection.execute(_ADD_SPLICE, rows)
    return tuple(free)


def take_back(connection: Connection, change: Change, now: float) -> None:
    """Undo a committed change, its conversation locked, if that is still where it left it. Its pages stay: they harm
    nobody, and go when nothing has asked for them for a while."""
    key = {"b_id": change.after.id, "b_tenant": change.after.tenant, "b_expected": change.after.requests}
    if change.before is None:
        undone = connection.execute(_REMOVE, key).rowcount
        if undone:
            connection.execute(_LET_GO, {"b_holder": change.after.id, "b_now": now})
    else:
        columns = _columns(change.before, keys_of(connection))
        undone = connection.execute(_MOVE, {**columns, **key}).rowcount
    if undone and change.added:
        connection.execute(
            _REMOVE_SPLICE,
            [{"b_id": change.after.id, "b_anchor": anchor, "b_generation": number} for anchor, number in change.added],
        )


def report(connection: Connection, reports: Sequence[Report]) -> None:
    """Add to the states of conversations, first locked, what still holds of them."""
    lock(connection, [each.conversation for each in reports])
    keys = keys_of(connection)
    for each in reports:
        record = each.conversation
        row = connection.execute(_NOW, {"b_id": record.id, "b_tenant": record.tenant}).first()
        if row is None:
            continue
        held = _conversation(row, keys)
        more = each.facts if held.requests != record.requests else {**each.facts, **each.sums}
        state = keys.seal_text(_json({**held.state, **more}), of_state(record.id))
        connection.execute(_TELL, {"b_id": record.id, "b_tenant": record.tenant, "state": state})


def page(connection: Connection, tenant: str, id: str) -> bytes | None:
    row = connection.execute(_PAGE, {"tenant": tenant, "id": id}).first()
    return None if row is None else shelf.text(row, keys_of(connection))


def any_page(connection: Connection, id: str) -> Page | None:
    """The page of that id, whichever tenant's."""
    row = connection.execute(_ANY_PAGE, {"id": id}).first()
    if row is None:
        return None
    keys = keys_of(connection)
    label = keys.open_text(row.label, shelf.of_label(row.tenant, id))
    return Page(row.tenant, id, shelf.text(row, keys), row.kind, label)


def totals(connection: Connection) -> dict[str, int]:
    return {name: int(value) for name, value in connection.execute(_TOTALS).mappings().one().items()}


def prefixed(connection: Connection, tenant: str, prefix: str) -> tuple[str, ...]:
    beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    found = connection.execute(_PREFIX, {"tenant": tenant, "first": prefix, "beyond": beyond})
    return tuple(found.scalars())


def known_facts(connection: Connection, scope: str) -> dict[str, JSON]:
    return {row.key: json.loads(row.value) for row in connection.execute(_FACTS, {"scope": scope})}


def learn(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    connection.execute(_LEARN, sorted(rows, key=itemgetter("scope", "key")))


def book(connection: Connection, bookings: Sequence[Booking]) -> None:
    """Add to the ledger."""
    keys = ("day", "conversation", "tenant", "project")
    rows = [{**{key: getattr(one, key) for key in keys}, **one.sums} for one in bookings]
    connection.execute(_BOOK, sorted(rows, key=itemgetter("day", "conversation")))


def totals_by(connection: Connection, by: str, since: str) -> dict[str, dict[str, float]]:
    """The ledger's sums from a day on, by one of BY."""
    found = connection.execute(_LEDGER[by], {"since": since}).all()
    return {row[0]: dict(zip(SUMS, row[1:], strict=True)) for row in found}


def known_tallies(connection: Connection, tenant: str, scope: str) -> dict[str, float]:
    found = connection.execute(_TALLIES, {"tenant": tenant, "scope": scope})
    return {row.name: row.value for row in found}


def tally(connection: Connection, more: Mapping[Key, Mapping[str, float]], now: float) -> None:
    """Add to tallies, and let the scopes fade whose time has come."""
    for (tenant, scope), amounts in sorted(more.items()):
        # everybody who adds to a scope begins with the same row, so they queue up there and nowhere else
        names = [TOTAL, *sorted(amounts.keys() - {TOTAL})]
        key = {"tenant": tenant, "scope": scope, "updated_at": now}
        connection.execute(_TALLY, [{**key, "name": name, "value": amounts.get(name, 0.0)} for name in names])
        of_scope = {"b_tenant": tenant, "b_scope": scope}
        if amounts.get(TOTAL) and connection.execute(_TOTAL, of_scope).scalar_one() >= BOUND:
            connection.execute(_HALVE, of_scope)
            connection.execute(_FORGET, of_scope)
