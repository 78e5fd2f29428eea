"""Everything that is shared on a Redis, over one link to it. Imports redis-py, which is an extra."""

from __future__ import annotations

from .crypt import NONE, Keys
from .news import News
from .news_redis import Channel
from .redis_link import BUDGET, Link
from .redis_url import Target
from .tiers import Beside
from .warm import Process, Warm
from .warm_redis import DAY, Shared


def beside(target: Target, seconds: int = DAY, budget: float = BUDGET, keys: Keys = NONE) -> Beside:
    """What a Hierarchy opens beside its store. A page stays `seconds` in Redis after its last use, and a call may take
    `budget` seconds; `keys` seal it."""

    async def connect(front: Process) -> tuple[Warm, News]:
        link = Link(target, budget)
        await link.start()
        return Shared(link, front, seconds, keys), Channel(link)

    return connect
