"""Search over the texts of pages, on SQLite: an FTS5 index beside them, brought up to date when somebody searches.

Nothing of it lies on the way of a request. A search first indexes the pages that came since the last one, in batches;
each is read and unpacked without any lock, and the write lock is held only while its words are put in. Several
processes may do so at once: a batch is dropped when the index is no longer where it was when the batch was read.

The index is contentless, for the pages are there, and of detail=none. On 1,000 Python files (17.8 MB, 4.4 MB packed)
that takes 1.4 MB; detail=column takes 2.2 MB and can do no more, there being one column; detail=full takes 5.2 MB, and
only it knows phrases and can rank by bm25 (without content the others give every page the same rank). So every word
must occur, in whatever order, and the newest pages come first.

A row of the index has its page's rowid. Who deletes a page must delete here first (`forget`), which a contentless table
does only when it is given the old text; then a number that is given again finds nothing here. No VACUUM but that of a
store without an index: it may number pages anew.
"""

from __future__ import annotations

import heapq
import logging
import re
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, inspect, text

from . import engine, pages
from .crypt import NONE
from .errors import PageDamaged, StoreError
from .records import Hit

logger = logging.getLogger(__name__)

LIMIT = 20
"""Pages found by a search that does not say how many it wants."""
MOST = 100
WORDS = 32
"""Words of a search; the engine bounds the depth of what they become."""
LINES = 3
WIDTH = 160

# kinds whose content nobody is to come upon by searching
HIDDEN = frozenset({"reasoning"})
# of a batch; a hundred megabytes are indexed in a second, so that others wait some 20 ms for the lock
_BATCH_PAGES = 128
_BATCH_BYTES = 2 * 1024 * 1024
# characters of a long line shown before its match
_BEFORE = 40

_LAST = text("SELECT rowid FROM pages_text ORDER BY rowid DESC LIMIT 1")
# what `pages.text` asks for
_STORED = (
    "p.tenant, p.id, p.codec, p.size, p.data, p.base,"
    " b.codec AS base_codec, b.size AS base_size, b.data AS base_data, p.kind, p.label"
)
_WITH_BASE = " LEFT JOIN pages AS b ON b.tenant = p.tenant AND b.id = p.base"
_NEWER = text(
    f"SELECT p.rowid, {_STORED} FROM pages AS p{_WITH_BASE} WHERE p.rowid > :last ORDER BY p.rowid"
)
_STILL = text("SELECT rowid, id FROM pages WHERE rowid > :last AND rowid <= :end")
_ADD = text("INSERT INTO pages_text (rowid, text) VALUES (:rowid, :text)")
_INDEXED = text(
    f"SELECT p.rowid, {_STORED} FROM pages AS p{_WITH_BASE}"
    " WHERE p.tenant = :tenant AND p.id IN :ids AND p.rowid <= :last"
).bindparams(bindparam("ids", expanding=True))
_REMOVE = text("INSERT INTO pages_text (pages_text, rowid, text) VALUES ('delete', :rowid, :text)")
_FIND = text(
    f"SELECT p.created_at, {_STORED}"
    f" FROM pages_text JOIN pages AS p ON p.rowid = pages_text.rowid{_WITH_BASE}"
    " WHERE pages_text MATCH :terms ORDER BY pages_text.rowid DESC"
)


def terms(words: str) -> tuple[str, ...]:
    """The terms of a search, as the index spells them. ValueError when there are none, or too many.

    The index's own tokenizer splits them: a word that it takes for two would be a phrase, and the index knows none.
    """
    with closing(sqlite3.connect(":memory:")) as own:
        own.execute("CREATE VIRTUAL TABLE given USING fts5(text, tokenize='unicode61')")
        own.execute("CREATE VIRTUAL TABLE split USING fts5vocab(given, instance)")
        own.execute("INSERT INTO given VALUES (?)", (words.encode("utf-8", "replace").decode("utf-8"),))
        found = own.execute("SELECT term FROM split ORDER BY offset").fetchall()
    return bounded(term for (term,) in found)


def bounded(found: Iterable[str]) -> tuple[str, ...]:
    """Each term once. ValueError when there are none, or too many."""
    distinct = tuple(dict.fromkeys(found))
    if not distinct:
        raise ValueError("a search needs a word of letters or digits")
    if len(distinct) > WORDS:
        raise ValueError(f"a search takes at most {WORDS} words, not {len(distinct)}")
    return distinct


def possible(connection: Connection) -> None:
    """StoreError where the database lacks the index."""
    if not inspect(connection).has_table("pages_text"):
        raise StoreError("this store has no search: it was made by an SQLite without FTS5")


def index(reader: Engine, writer: Engine, stop: threading.Event) -> None:
    """Index every page that is not yet; blocking. Ends early, between two batches, when told to stop."""
    while not stop.is_set():
        with reader.connect() as connection:
            last = _last(connection)
            batch = list(_newer(connection, last))
        if not batch:
            return
        began = time.monotonic()
        with writer.begin() as connection:
            if _last(connection) == last:
                # pages go, and their numbers are given again
                found = connection.execute(_STILL, {"last": last, "end": batch[-1]["rowid"]}).all()
                still = {(row.rowid, row.id) for row in found}
                if kept := [row for row in batch if (row["rowid"], row["id"]) in still]:
                    connection.execute(_ADD, kept)
        # as long as others have waited, so that they get their turn before the next batch
        stop.wait(time.monotonic() - began)


def _last(connection: Connection) -> int:
    return int(connection.execute(_LAST).scalar() or 0)


def _newer(connection: Connection, last: int) -> Iterator[dict[str, object]]:
    """The next batch. A page that is not to be found has a row without words, which says that it is done with."""
    size = 0
    for count, row in enumerate(connection.execute(_NEWER, {"last": last}), 1):
        words = _words(row)
        size += row.size if words else 0
        yield {"rowid": row.rowid, "id": row.id, "text": words}
        if count >= _BATCH_PAGES or size >= _BATCH_BYTES:
            return


def _words(row: Any) -> str:
    return "" if row.kind in HIDDEN else f"{row.label}\n{text_of(row)}"


def text_of(row: Any) -> str:
    """The text of a page, of which `row` has what `pages.text` asks for; "" for one that cannot be had."""
    try:
        return pages.text(row, NONE).decode("utf-8", "replace")
    except PageDamaged as error:
        logger.error("page %r cannot be searched: %s", row.label, error)
        return ""


def forget(connection: Connection, tenant: str, ids: Sequence[str]) -> None:
    """Take pages out of the index, before they are deleted and in the same transaction."""
    if _kept_by_hand(connection) and (last := _last(connection)):
        for row in connection.execute(_INDEXED, {"tenant": tenant, "ids": list(ids), "last": last}).all():
            connection.execute(_REMOVE, {"rowid": row.rowid, "text": _words(row)})


def clear(connection: Connection) -> None:
    """Empty the index."""
    if _kept_by_hand(connection):
        connection.execute(text("INSERT INTO pages_text (pages_text) VALUES ('delete-all')"))
    elif inspect(connection).has_table("pages_text"):
        engine.empty(connection, ["pages_text"])


def merge(connection: Connection) -> None:
    """Rewrite the index without what was taken out of it, which until then lies about in it."""
    if _kept_by_hand(connection):
        connection.execute(text("INSERT INTO pages_text (pages_text) VALUES ('optimize')"))


def _kept_by_hand(connection: Connection) -> bool:
    """Whether there is an index from which nothing goes by itself."""
    return connection.dialect.name == "sqlite" and inspect(connection).has_table("pages_text")


def find(connection: Connection, wanted: Sequence[str], limit: int) -> tuple[Hit, ...]:
    """The newest pages that hold all the terms, `limit` at most; one that several tenants have counts once."""
    quoted = " ".join('"' + term.replace('"', '""') + '"' for term in wanted)
    found: dict[str, Hit] = {}
    with connection.execute(_FIND, {"terms": quoted}) as rows:
        for row in rows:
            if row.id not in found:
                lines = matching(text_of(row), wanted)
                found[row.id] = Hit(row.id, row.kind, row.label, row.size, row.created_at, lines)
            if len(found) >= limit:
                break
    return tuple(found.values())


def matching(page: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The lines with most of the terms, LINES at most, in their order; a long one is cut to WIDTH around its match."""
    whole = [re.compile(rf"(?<![^\W_]){re.escape(term)}(?![^\W_])") for term in wanted]
    lines = page.split("\n")
    scored: list[tuple[int, int, int]] = []
    for number, line in enumerate(folded(page).split("\n")):
        # looking for the bare letters first is many times faster
        places = [
            match.start()
            for term, word in zip(wanted, whole, strict=True)
            if term in line and (match := word.search(line)) is not None
        ]
        if places:
            scored.append((-len(places), number, min(places)))
    best = sorted((number, place) for _, number, place in heapq.nsmallest(LINES, scored))
    return tuple(_cut(lines[number], place) for number, place in best)


def folded(page: str) -> str:
    """As an index folds it: small letters without their marks. Lines stay lines."""
    if page.isascii():
        return page.lower()
    return "".join(c for c in unicodedata.normalize("NFD", page.lower()) if not unicodedata.combining(c))


def _cut(line: str, place: int) -> str:
    line = line.rstrip("\r")
    if len(line) <= WIDTH:
        return line
    start = max(min(place - _BEFORE, len(line) - WIDTH), 0)
    return line[start : start + WIDTH]
