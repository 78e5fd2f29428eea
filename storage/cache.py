"""Conversations kept in the process, so that the next request of one needs no read.

An answer may only come from here when it is known to be whole. So beside the conversations there is, for each head
and each session key that was looked up, the set of ids that carry it; a lookup of a key without such a set goes to the
database. A conversation that is evicted takes the sets of its keys along. Other processes write too: what they changed
shows when our next batch turns out stale, and then everything about that conversation is forgotten. Where there are
news of them (news.py) it is forgotten as soon as they come.

Runs on the event loop only, hence no lock. A read that was on its way while something it may concern was written is
not taken in.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import rows
from .records import Batch, Conversation, Splice, Stored

type Key = tuple[str, str, str]

# sets may be empty, and then no conversation that is evicted takes them along
_KEYS = 16_384


@dataclass(slots=True, eq=False)
class Reading:
    """A lookup on its way to the database."""

    keys: frozenset[Key]
    spoilt: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    stored: Stored
    # estimated bytes: of the splices, and of everything
    splices: int
    weight: int


def keys(tenant: str, head: str, session: str) -> frozenset[Key]:
    """What a lookup asks for, and equally what a conversation is found under."""
    found = {(tenant, "head", head)}
    if session:
        found.add((tenant, "session", session))
    return frozenset(found)


def _keys(record: Conversation) -> frozenset[Key]:
    return keys(record.tenant, record.head, record.session)


def touched(change: rows.Change) -> frozenset[Key]:
    """Under what a conversation is found that was changed, and under what it was."""
    return _keys(change.after) if change.before is None else _keys(change.after) | _keys(change.before)


def _weigh(splices: Sequence[Splice]) -> int:
    return sum(len(one.text or "") + len(one.anchor) + len(one.page) + 300 for one in splices)


def _extended(old: tuple[Splice, ...], new: Sequence[Splice]) -> tuple[Splice, ...]:
    added = rows.ordered(new)
    if not old or not added or added[0].request > old[-1].request:
        return old + added
    return rows.ordered(old + added)


class Cache:
    """Least recently used goes first, within `budget` bytes (estimated)."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._whole: OrderedDict[Key, set[str]] = OrderedDict()
        self._readings: set[Reading] = set()
        self._hits = 0
        self._misses = 0

    def known(self, wanted: frozenset[Key]) -> frozenset[str] | None:
        """Ids of all the conversations under these keys; None when not all may be known."""
        sets = [self._whole.get(key) for key in wanted]
        found: set[str] = set()
        for one in sets:
            if one is None:
                return None
            found |= one
        return frozenset(found)

    def get(self, wanted: frozenset[Key]) -> tuple[Stored, ...] | None:
        """What a lookup would find; None when only the database can tell."""
        ids = self.known(wanted)
        if ids is None:
            self._misses += 1
            return None
        self._hits += 1
        for key in wanted:
            self._whole.move_to_end(key)
        for id in ids:
            self._entries.move_to_end(id)
        return tuple(sorted((self._entries[id].stored for id in ids), key=rows.order)[: rows.MATCHES])

    def begin(self, wanted: frozenset[Key]) -> Reading:
        reading = Reading(wanted)
        self._readings.add(reading)
        return reading

    def finish(self, reading: Reading, found: Sequence[Stored] | None) -> None:
        """Take in what a reading found; None when it failed."""
        self._readings.discard(reading)
        # at the limit there may be more, and which of them one key alone would have found is not known
        if found is None or reading.spoilt or len(found) >= rows.MATCHES:
            return
        for stored in found:
            texts = _weigh(stored.splices)
            self._place(stored, texts)
        for key in reading.keys:
            self._whole[key] = {one.conversation.id for one in found if key in _keys(one.conversation)}
            self._whole.move_to_end(key)
        self._shrink()

    def wrote(self, batch: Batch, change: rows.Change) -> None:
        """Write a stored batch through."""
        after, before = change.after, change.before
        self._spoil(touched(change))
        old = self._entries.get(after.id)
        held: tuple[Splice, ...] = ()
        texts = 0
        if before is not None and old is not None:
            held, texts = old.stored.splices, old.splices
        seen = old.stored.conversation.requests if old is not None else 0
        if not change.whole or seen != (before.requests if before is not None else 0):
            # which splices now stand, only the database knows
            self._forget(after)
            return
        self._place(Stored(after, _extended(held, batch.splices)), texts + _weigh(batch.splices))
        self._shrink()

    def drop(self, record: Conversation) -> None:
        """What is known of a conversation and its siblings is no longer certain."""
        self._spoil(_keys(record))
        self._forget(record)

    def forget(self, changed: frozenset[Key]) -> None:
        """What another process wrote under these keys is not known here."""
        self._spoil(changed)
        for id in {id for key in changed for id in self._whole.get(key, ())}:
            self._forget(self._entries[id].stored.conversation)
        for key in changed:
            self._whole.pop(key, None)

    def clear(self) -> None:
        """Nothing that is known is certain any more."""
        for reading in self._readings:
            reading.spoilt = True
        self._entries.clear()
        self._whole.clear()
        self._bytes = 0

    def gone(self, ids: Iterable[str]) -> None:
        """These conversations are no longer stored."""
        for id in ids:
            if id in self._entries:
                self.drop(self._entries[id].stored.conversation)

    def stats(self) -> dict[str, int]:
        return {
            "cache_conversations": len(self._entries),
            "cache_bytes": self._bytes,
            "cache_hits": self._hits,
            "cache_misses": self._misses,
        }

    def _spoil(self, touched: frozenset[Key]) -> None:
        for reading in self._readings:
            if not touched.isdisjoint(reading.keys):
                reading.spoilt = True

    def _forget(self, record: Conversation) -> None:
        entry = self._entries.pop(record.id, None)
        gone = _keys(record)
        if entry is not None:
            self._bytes -= entry.weight
            gone |= _keys(entry.stored.conversation)
        for key in gone:
            self._whole.pop(key, None)

    def _place(self, stored: Stored, splices: int) -> None:
        record = stored.conversation
        weight = 1000 + len(record.digests) + 3 * len(json.dumps(record.state)) + splices
        old = self._entries.pop(record.id, None)
        if old is not None:
            self._bytes -= old.weight
            for key in _keys(old.stored.conversation) - _keys(record):
                if key in self._whole:
                    self._whole[key].discard(record.id)
        self._entries[record.id] = _Entry(stored, splices, weight)
        self._bytes += weight
        for key in _keys(record):
            if key in self._whole:
                self._whole[key].add(record.id)

    def _shrink(self) -> None:
        while self._bytes > self._budget and self._entries:
            self._forget(next(iter(self._entries.values())).stored.conversation)
        while len(self._whole) > _KEYS:
            self._whole.popitem(last=False)
