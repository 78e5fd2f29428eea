"""Search over the texts of pages, on Postgres: the distinct words of each page in an array, under a GIN index.

Not a tsvector: that ends at a megabyte, its parser has a mind of its own about paths and numbers, and it knows accents
only with an extension. Words are taken apart here, by the same rules as FTS5's on SQLite (letters and digits, small,
without their marks), so that the same words find the same pages, apart from signs that this Python's Unicode and that
of FTS5 disagree about. The newest come first: by the clock of whoever stored them, there being no count of rows.

As there, pages are indexed when somebody searches, in batches, and whoever comes second finds them done. A page that
is deleted takes its words along.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from . import pages as shelf
from .records import Hit
from .schema import Words, pages
from .search import HIDDEN, bounded, folded, matching, text_of

_BATCH_PAGES = 128
_BATCH_BYTES = 2 * 1024 * 1024
# an entry of the index has room for some 2,700 bytes
_LONGEST = 200

_WORD = re.compile(r"[^\W_]+")

pages_text = Table(
    "pages_text",
    MetaData(),
    Column("tenant", Words, nullable=False),
    Column("id", Words, nullable=False),
    Column("words", ARRAY(Text), nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
)

_p, _t = pages.c, pages_text.c
_SAME = and_(_t.tenant == _p.tenant, _t.id == _p.id)
_NEWER = (
    select(_p.tenant, _p.id, _p.kind, _p.size)
    .outerjoin(pages_text, _SAME)
    .where(_t.id.is_(None))
    .order_by(_p.created_at, _p.tenant, _p.id)
    .limit(_BATCH_PAGES)
)
_PAGE = (
    select(*shelf.COLUMNS, _p.label)
    .select_from(shelf.STORED)
    .where(_p.tenant == bindparam("b_tenant"), _p.id == bindparam("b_id"))
)
# a page that is being deleted is left out, and one that is left in waits with its end
_ADD = (
    insert(pages_text)
    .from_select(
        ["tenant", "id", "words"],
        select(_p.tenant, _p.id, bindparam("b_words", type_=ARRAY(Text)))
        .where(_p.tenant == bindparam("b_tenant"), _p.id == bindparam("b_id"))
        .with_for_update(read=True, key_share=True),
    )
    .on_conflict_do_nothing()
)


def terms(words: str) -> tuple[str, ...]:
    """The terms of a search. ValueError when there are none, or too many."""
    return bounded(_words(words))


def possible(_: Connection) -> None:
    """It always is."""


def index(reader: Engine, writer: Engine, stop: threading.Event) -> None:
    """Index every page that is not yet; blocking. Ends early, between two batches, when told to stop."""
    while not stop.is_set():
        with reader.connect() as connection:
            batch = list(_newer(connection))
        if not batch:
            return
        with writer.begin() as connection:
            connection.execute(_ADD, sorted(batch, key=lambda row: (row["b_tenant"], row["b_id"])))


def _newer(connection: Connection) -> Iterator[dict[str, object]]:
    """The next batch. A page that is not to be found has no words, which says that it is done with."""
    size = 0
    for row in connection.execute(_NEWER).all():
        words: Iterable[str] = ()
        key = {"b_tenant": row.tenant, "b_id": row.id}
        if row.kind not in HIDDEN:
            page = connection.execute(_PAGE, key).first()
            words = () if page is None else _words(f"{page.label}\n{text_of(page)}")
            size += row.size
        yield {**key, "b_words": [_entry(word) for word in dict.fromkeys(words)]}
        if size >= _BATCH_BYTES:
            return


def _words(text: str) -> Iterator[str]:
    return (found[0] for found in _WORD.finditer(folded(text)))


def _entry(word: str) -> str:
    """A word as the index has it."""
    if len(word) <= _LONGEST:
        return word
    return hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=16).hexdigest()


def find(connection: Connection, wanted: Sequence[str], limit: int) -> tuple[Hit, ...]:
    """The newest pages that hold all the terms, `limit` at most; one that several tenants have counts once."""
    number = func.row_number().over(partition_by=_p.id, order_by=[_p.created_at.desc(), _p.tenant])
    found = (
        select(_p.tenant, _p.id, number.label("number"))
        .join(pages_text, _SAME)
        .where(_t.words.contains(bindparam("wanted", [_entry(term) for term in wanted], type_=ARRAY(Text))))
        .subquery()
    )
    newest = (
        select(*shelf.COLUMNS, _p.kind, _p.label, _p.created_at)
        .select_from(shelf.STORED)
        .join(found, and_(found.c.tenant == _p.tenant, found.c.id == _p.id))
        .where(found.c.number == 1)
        .order_by(_p.created_at.desc(), _p.id.desc())
        .limit(limit)
    )
    return tuple(
        Hit(row.id, row.kind, row.label, row.size, row.created_at, matching(text_of(row), wanted))
        for row in connection.execute(newest)
    )
