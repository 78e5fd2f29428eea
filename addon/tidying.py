"""The proxy deletes what has expired by itself: a small step now and then, beside the requests and never before one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from addon.options import Settings
from addon.watch.metrics import Metrics
from storage.errors import StoreError
from storage.tiers import Hierarchy

logger = logging.getLogger(__name__)

FIRST = 60.0
"""Seconds from the start to the first step: others start with the proxy too."""
NEXT, IDLE = 5.0, 600.0
"""Seconds between two steps, while there is something to do and when there is not."""


async def tidy(store: Hierarchy, settings: Callable[[], Settings], metrics: Metrics) -> None:
    """Go on until cancelled."""
    await asyncio.sleep(FIRST)
    while True:
        more = False
        try:
            more = await store.tidy(settings().keep_days)
        except StoreError as error:
            metrics.add("mmu_failures_total", place="tidying")
            logger.info("mitmmu: %s", error)
        except Exception:
            metrics.add("mmu_failures_total", place="tidying")
            logger.exception("mitmmu: what has expired could not be deleted")
        await asyncio.sleep(NEXT if more else IDLE)
