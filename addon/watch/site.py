"""The door to what the proxy shows of itself: whether it is well, its counters, its books, and the pages it keeps.

It stands on a host that exists only inside the proxy. A request that reaches the proxy as a server, as all do in
reverse mode, finds the same under a path of its own, for there the host that was asked is another's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from mitmproxy import http

from addon.keyfile import TOKEN
from addon.recall import site as pages
from addon.watch.metrics import Metrics
from storage.tiers import Hierarchy

HOST = "mitmmu.local"

_PREFIX = re.compile(r"/_mmu(?=[/?]|$)")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for the site: the target there, and what its Host header may be."""

    target: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Inside:
    """What there is to show. `state` is `ok`, `off` or what is wrong; `token` is "" while there is none."""

    state: str
    metrics: Metrics
    store: Hierarchy | None
    token: str
    home: Path


def visit(flow: http.HTTPFlow) -> Visit | None:
    """What a request wants of the site, None when it is for somebody else."""
    request = flow.request
    if HOST in (request.host.lower(), request.pretty_host.lower()):
        return Visit(request.path, frozenset({HOST}))
    found = _PREFIX.match(request.path)
    if found is None:
        return None
    target = request.path[found.end() :]
    if flow.client_conn.proxy_mode.type_name == "reverse":
        # mitmproxy has put its own destination into the header, unless it was told to keep what was asked
        return Visit(target, _LOOPBACK | {request.host.lower()})
    listening = flow.client_conn.sockname
    if listening is not None and request.host.lower() in _LOOPBACK and request.port == listening[1]:
        return Visit(target, _LOOPBACK)
    return None


async def answer(flow: http.HTTPFlow, visit: Visit, inside: Inside) -> None:
    """Answer a visit. The flow has a response from the first moment, so that nothing of it can go further."""
    flow.response = http.Response.make(500, "mitmmu failed here; its log says how.\n")
    asked = pages.question(flow.request.method, visit.target, dict(flow.request.headers))
    peer = flow.client_conn.peername
    if peer is None or not ip_address(peer[0].partition("%")[0]).is_loopback:
        flow.response = http.Response.make(403, "Only this machine may look here.\n")
    elif flow.request.pretty_host.lower() not in visit.names:
        # a browser that was lured to a name which leads to this machine sends that name
        flow.response = http.Response.make(403, "The Host header names another host.\n")
    elif asked.path in OPEN:
        flow.response = http.Response.make(*told(asked.path, inside), {"content-type": "text/plain; version=0.0.4"})
    elif pages.concerns(asked.path):
        reply = await pages.reply(asked, inside.store, inside.token, str(inside.home / TOKEN))
        flow.response = http.Response.make(reply.status, reply.body, dict(reply.headers))
    else:
        flow.response = http.Response.make(404, "There are /healthz, /metrics, /pages and /api/ledger here.\n")


OPEN = ("/healthz", "/metrics")
"""What needs no token."""


def told(path: str, inside: Inside) -> tuple[int, str]:
    """Status and text of what needs no token."""
    if path == "/healthz":
        return 200 if inside.state in ("ok", "off") else 503, f"{inside.state}\n"
    if path == "/metrics":
        return 200, inside.metrics.text(_gauges(inside.store))
    return 404, f"There are {' and '.join(OPEN)} here.\n"


def _gauges(store: Hierarchy | None) -> Mapping[str, float]:
    return {} if store is None else {f"mmu_store_{name}": float(value) for name, value in store.stats().items()}
