"""Which keys a store is sealed under. Said in the store itself, so that a wrong key is found at the start.

Each key that has ever sealed something there leaves its id as a fact, before it seals the first. Whoever opens the
store must have all of them; without one there is no writing in the clear beside what is sealed. `retention.rekey`
takes an id out when nothing is left under it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.engine import URL

from . import engine
from .crypt import Keys, missing
from .engine import insert_or_ignore
from .schema import facts, pages

logger = logging.getLogger(__name__)

SCOPE = "mitmmu keys"
PLAIN = "plain"
"""Stands among the ids where a store was opened with a key that held pages in the clear."""
_WAIT_SECONDS = 30.0


def ids(connection: Connection) -> set[str]:
    """The ids of the keys of a store, PLAIN among them where not all of it is sealed; none of a store in the clear."""
    return set(connection.execute(select(facts.c.key).where(facts.c.scope == SCOPE)).scalars())


def check(url: URL, reader: Engine, keys: Keys, clock: Callable[[], float]) -> None:
    """Raises KeyMissing where a key is not there, and notes the one that seals from now on."""
    with reader.connect() as connection:
        found = ids(connection)
    lacking = sorted(found - {PLAIN, *keys.ids})
    if lacking:
        raise missing(lacking, keys.ids)
    if keys and PLAIN in found:
        logger.warning("mitmmu: what the store held before it had a key is not encrypted: run `mitmmu rekey`")
    if keys and keys.first not in found:
        writer = engine.writer(url, _WAIT_SECONDS)
        try:
            with writer.begin() as connection:
                note(connection, keys.first, clock())
                if not found and connection.execute(select(pages.c.id).limit(1)).first() is not None:
                    note(connection, PLAIN, clock())
        finally:
            writer.dispose()


def note(connection: Connection, id: str, now: float) -> None:
    """Say that a key has sealed something."""
    connection.execute(insert_or_ignore(facts), {"scope": SCOPE, "key": id, "value": "1", "updated_at": now})


def strike(connection: Connection, but: str) -> None:
    """Say that nothing is left under any key, except `but` ("" for none)."""
    connection.execute(delete(facts).where(facts.c.scope == SCOPE, facts.c.key != but))
