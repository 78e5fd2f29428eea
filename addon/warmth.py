"""Which heads the provider has in its cache, as far as passes through here: tools and instructions are the same in many
sessions of a client, and as long as one of them is at work the head stays warm for the next.

Kept by tenant, model and tools, with the way they were last sent: as the client has them, or changed. It outlives the
process as a fact of the store. A head that nobody here has sent for longer than it lives is cold, if the tenant's
requests have been seen for that long; before that nothing is known, and it may be warm.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any

from addon.keeper import Keeper, Memory
from addon.mmu.evict import DEFAULT_TTL, gone_after
from addon.mmu.outlook import Warmth
from addon.mmu.plan import Plan
from addon.mmu.view import Change, Descent
from addon.wire.conversation import Conversation
from addon.wire.usage import Usage

logger = logging.getLogger(__name__)

SCOPE = "heads"
MOST = 512
REFRESH = 60.0
"""Seconds between two writes of what is only a later time."""
RELOAD = 5.0
"""Seconds between two looks at what other processes know."""


@dataclass(slots=True)
class _Head:
    since: float = 0.0
    """When it was first sent, and so for how long the tenant's requests have been seen at least."""
    plain_at: float = 0.0
    """When it was last sent as the client has it, epoch seconds."""
    changed_at: float = 0.0
    anchors: tuple[str, ...] = ()
    """Of what was changed in it then."""
    warm_read: int | None = None
    """Tokens that a first request read when it was warm as the client has it."""
    cold_read: int = 0
    """The same when nobody here had sent it for long: what others keep warm."""


class Heads:
    """What was sent lately."""

    def __init__(self, keeper: Keeper | Memory) -> None:
        self._keeper = keeper
        self._heads: OrderedDict[str, _Head] = OrderedDict()
        self._since: dict[str, float] = {}
        self._written: dict[str, float] = {}
        self._loaded = 0.0

    async def load(self) -> None:
        """Fetch what other processes know, before this one and beside it. Raises StoreError."""
        if not isinstance(self._keeper, Keeper):
            return
        self._loaded = time.monotonic()
        for key, fact in (await self._keeper.hierarchy.facts(SCOPE)).items():
            head = _head(fact)
            if head is None:
                continue
            self._put(key, _newer(self._heads.get(key), head))
            tenant = key.partition(" ")[0]
            self._since[tenant] = min(self._since.get(tenant, head.since), head.since)

    async def refresh(self) -> None:
        """The same now and then. Raises StoreError, and what is known stays."""
        if time.monotonic() - self._loaded > RELOAD:
            await self.load()

    def warmth(self, tenant: str, conversation: Conversation, now: float) -> Warmth:
        """What the provider has of a request's head."""
        since = self._since[tenant] = min(now, self._since.get(tenant, now))
        gone = gone_after(conversation.ttl or DEFAULT_TTL)
        head = self._heads.get(_key(tenant, conversation))
        if head is None:
            return Warmth(0 if now - since > gone else None)
        alive = now - head.changed_at <= (conversation.ttl or DEFAULT_TTL)
        stubbed = frozenset(head.anchors if alive else ())
        if now - head.plain_at <= gone:
            return Warmth(head.warm_read, stubbed)
        return Warmth(head.cold_read if now - since > gone else None, stubbed)

    def sent(self, tenant: str, conversation: Conversation, plan: Plan, now: float) -> bool:
        """Note how a head leaves. Whether it had been sent lately as the client has it."""
        if not conversation.tools:
            return False
        key = _key(tenant, conversation)
        head = self._heads.get(key) or _Head(since=now)
        warm = now - head.plain_at <= gone_after(conversation.ttl or DEFAULT_TTL)
        changed = tuple(a for a, s in plan.splices.items() if s.change in (Change.STUB, Change.TOOL))
        fresh = changed != head.anchors if changed else not head.plain_at
        if changed:
            head.changed_at, head.anchors = now, changed
        else:
            head.plain_at = now
        self._put(key, head, fresh=fresh, now=now)
        return warm

    def heard(self, tenant: str, conversation: Conversation, plan: Plan, usage: Usage, warm: bool) -> None:
        """Note what a first request has read of a head that left as it came; `warm`: it had been sent lately."""
        if plan.line.how is not Descent.FIRST or plan.splices or not conversation.tools:
            return
        head = self._heads.get(key := _key(tenant, conversation))
        if head is not None:
            if warm:
                head.warm_read = usage.read
            else:
                head.cold_read = usage.read
            self._put(key, head, fresh=True)

    def _put(self, key: str, head: _Head, *, fresh: bool = False, now: float = 0.0) -> None:
        self._heads[key] = head
        self._heads.move_to_end(key)
        if len(self._heads) > MOST:
            gone, _ = self._heads.popitem(last=False)
            self._written.pop(gone, None)
        if isinstance(self._keeper, Keeper) and (fresh or now - self._written.get(key, now) > REFRESH):
            self._keeper.hierarchy.learn(SCOPE, key, {**asdict(head), "anchors": list(head.anchors)})
            self._written[key] = now
        self._written.setdefault(key, now)


def _newer(own: _Head | None, other: _Head) -> _Head:
    """What two processes know of a head. One that writes late still knows its own last request best."""
    if own is None:
        return other
    last = own if max(own.plain_at, own.changed_at) >= max(other.plain_at, other.changed_at) else other
    first, plain = min(own.since, other.since), max(own.plain_at, other.plain_at)
    changed = own if own.changed_at >= other.changed_at else other
    return replace(last, since=first, plain_at=plain, changed_at=changed.changed_at, anchors=changed.anchors)


def _head(fact: Any) -> _Head | None:
    try:
        return _Head(**{**fact, "anchors": tuple(fact["anchors"])})
    except (TypeError, KeyError):
        logger.warning("mitmmu: what was known of a head of a prompt is damaged and is forgotten: %r", fact)
        return None


def _key(tenant: str, conversation: Conversation) -> str:
    tools = conversation.tools
    declared = conversation.text[tools[0].start : tools[-1].end] if tools else ""
    name = blake2b(f"{conversation.model}\n{declared}".encode("utf-8", "replace"), digest_size=12).hexdigest()
    return f"{tenant} {name}"
