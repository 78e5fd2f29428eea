"""Upgrades to a WebSocket on the path of an API.

Over a socket a client sends what is new, and the provider has the history: nothing there could be taken out. A client
that is told 426 (upgrade required, of the other side) falls back to requests with all of its history at once; other
refusals it tries again several times (measured with Codex 0.169.0 on loopback). So the upgrade is refused here, before
the provider hears of it. Where the socket is kept, what is reported over it is counted, and nothing is changed.
"""

from __future__ import annotations

from mitmproxy import http

from addon.watch.metrics import Metrics
from addon.wire.api import Api

REFUSAL = "mmu: no WebSocket here, so that requests can be managed; --set mmu_websocket=observe lets it through\n"


def asked_for(flow: http.HTTPFlow) -> bool:
    """Whether a request asks for a WebSocket."""
    return flow.request.method == "GET" and flow.request.headers.get("upgrade", "").lower() == "websocket"


def refuse(flow: http.HTTPFlow, metrics: Metrics) -> None:
    """Answer in the provider's place."""
    metrics.add("mmu_sockets_total", what="refused")
    flow.response = http.Response.make(426, REFUSAL, {"content-type": "text/plain"})
    flow.comment = "mmu: WebSocket refused (426), the client goes on with requests"


def heard(flow: http.HTTPFlow, api: Api, metrics: Metrics) -> None:
    """Count what the newest message of a socket that was kept reports."""
    assert flow.websocket is not None
    message = flow.websocket.messages[-1]
    if message.from_client or not message.is_text:
        return
    usage = api.stream_usage("", message.text, None)
    if usage is not None:
        metrics.add("mmu_sockets_total", what="answer observed")
        metrics.tokens(usage)
