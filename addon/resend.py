"""Sends a client's request once more, with another body."""

from __future__ import annotations

import logging

from mitmproxy import http

from addon.upstream import Lost, Upstream

logger = logging.getLogger(__name__)

IDLE = 300.0
"""Seconds without a byte after which no more is expected."""
SECONDS = 600.0
"""How long the second answer may take in all."""


async def resend(flow: http.HTTPFlow, body: bytes) -> http.Response | None:
    """The provider's answer to the flow's request with `body` in place of what was sent; None when it cannot be had."""
    try:
        async with Upstream(flow, body, "after a refusal, in place of") as again:
            return await again.whole(IDLE, SECONDS)
    except (Lost, TimeoutError) as why:
        logger.warning("mitmmu: no answer to the second try: %s", why or "it took too long")
        return None
