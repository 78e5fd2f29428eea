"""Sends a client's original request once more, through mitmproxy's own core.

The exchange is a flow of its own, marked with its parent, so that upstream proxies, TLS options and the flow list all
apply to it.
"""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import ctx, http
from mitmproxy.addons.clientplayback import ReplayHandler

logger = logging.getLogger(__name__)

SECONDS = 600.0
"""How long the second answer may take in all."""


async def resend(flow: http.HTTPFlow, body: bytes) -> http.Response | None:
    """The provider's answer to the flow's request with `body` in place of what was sent; None when it cannot be had."""
    again = flow.copy()
    again.is_replay = "request"
    again.response = None
    again.error = None
    again.metadata["mmu_parent"] = flow.id
    again.comment = "mmu: the original, after a refusal"
    again.request.content = body
    handler = ReplayHandler(again, ctx.options)
    try:
        async with asyncio.timeout(SECONDS):
            await handler.replay()
    except TimeoutError:
        logger.warning("mitmmu: no answer to the original request within %d s", SECONDS)
        return None
    answer: http.Response | None = again.response
    return answer
