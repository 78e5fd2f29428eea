"""What is learned over conversations: read before a request is planned, added to when it has been answered or not.

Tallies are a tenant's own and no other sees them. What conversations are like is told by their client, main ones and
sub-agents apart; which tools they use by the project as well.
"""

from __future__ import annotations

import asyncio
import logging

from addon.call import Call
from addon.keeper import Keeper, Memory, Name
from addon.mmu.habits import Learned, observed
from addon.watch.metrics import Metrics
from storage.errors import StoreError

logger = logging.getLogger(__name__)

LONGEST = 400
"""Characters of a project's folder that tell it from others."""


def scopes(name: Name) -> tuple[str, str]:
    """Where tallies of a request lie: those of its client, and those of its client in its project ("": no project)."""
    client = f"{_sayable(name.client)}/{'sub' if name.sub else 'main'}"
    return client, name.project and f"{client} {_sayable(name.project)[:LONGEST]}"


def _sayable(text: str) -> str:
    """As any database takes it. User agents may hold bytes that are no text, and folders anything that JSON can say."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


async def learned(keeper: Keeper | Memory, name: Name, seconds: float, metrics: Metrics) -> Learned:
    """What is known of conversations like this one; nothing where the store does not say in time."""
    client, project = scopes(name)
    try:
        async with asyncio.timeout(seconds):
            population = await keeper.tallies(name.tenant, client)
            return Learned(population, await keeper.tallies(name.tenant, project) if project else {}, name.sub)
    except (StoreError, TimeoutError) as error:
        metrics.add("mmu_failures_total", place="learned")
        logger.warning("mitmmu: what was learned cannot be read: %s", error or "no answer in time")
        return Learned(sub=name.sub)


async def learn(keeper: Keeper | Memory, call: Call) -> None:
    """Add what a request shows, once for each. What only repeats a conversation shows nothing of it."""
    if call.beside:
        return
    seen = await asyncio.to_thread(observed, call.conversation, call.plan.table, call.plan.line)
    client, project = scopes(call.name)
    for scope, amounts in ((client, seen.population), (project, seen.project)):
        if scope and amounts:
            keeper.tally(call.name.tenant, scope, amounts)
