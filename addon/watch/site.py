"""The pages of a host that exists only inside the proxy: whether it is well, and its counters."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from mitmproxy import http

from addon.watch.metrics import Metrics

HOST = "mitmmu.local"


def answer(flow: http.HTTPFlow, state: str, metrics: Metrics, stats: Mapping[str, float]) -> None:
    """Answer a request for the host. `state` is `ok`, `off` or what is wrong; `stats` are the store's figures."""
    path = flow.request.path.partition("?")[0]
    peer = flow.client_conn.peername
    if peer is None or not ip_address(peer[0].partition("%")[0]).is_loopback:
        flow.response = http.Response.make(403, "Only this machine may look here.\n")
    elif path == "/healthz":
        flow.response = http.Response.make(200 if state in ("ok", "off") else 503, f"{state}\n")
    elif path == "/metrics":
        text = metrics.text({f"mmu_store_{name}": float(value) for name, value in stats.items()})
        flow.response = http.Response.make(200, text, {"content-type": "text/plain; version=0.0.4"})
    else:
        flow.response = http.Response.make(404, "There are /healthz and /metrics here.\n")
