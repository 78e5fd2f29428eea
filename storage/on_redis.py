"""Everything that is shared on a Redis, over one link to it. Imports redis-py, which is an extra."""

from __future__ import annotations

from .news import News
from .news_redis import Channel
from .redis_link import BUDGET, Link
from .redis_url import Target
from .tiers import Beside
from .warm import Process, Warm
from .warm_redis import DAY, Shared


def beside(target: Target, seconds: int = DAY, budget: float = BUDGET) -> Beside:
    """What a Hierarchy opens beside its store. A page stays `seconds` in Redis after its last use, and a call may take
    `budget` seconds."""

    async def connect(front: Process) -> tuple[Warm, News]:
        link = Link(target, budget)
        await link.start()
        return Shared(link, front, seconds), Channel(link)

    return connect
