"""The endpoints under /_/ that drive the provider from another process. JSON in, JSON out."""

from __future__ import annotations

import base64
import math
from typing import Any

from tests.upstream.provider import Provider


class Unknown(Exception):
    """No such control endpoint."""


def control(provider: Provider, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
    """Serve one control call. ValueError when the input is wrong, Unknown when there is no such endpoint."""
    if method == "POST" and not isinstance(body, dict):
        raise ValueError("a JSON object is expected")
    match method, path:
        case "GET", "/_/log":
            return _log(provider, query)
        case "GET", "/_/body":
            body = provider.log[int(query.get("n", "-1"))].body
            return {"base64": base64.b64encode(body).decode()}
        case "GET", "/_/totals":
            return provider.totals(query.get("label")).as_dict() | {"invalid_all": provider.invalid}
        case "GET", "/_/script":
            return {"scripts": sorted(provider.scripts)}
        case "POST", "/_/script":
            provider.script(_text(body, "name"), _listed(body, "replies"))
        case "GET", "/_/clock":
            return {"now": provider.now({}), "set": provider.clock is not None}
        case "POST", "/_/clock":
            return _clock(provider, body)
        case "POST", "/_/warm":
            upto = body.get("upto", "system")
            if not isinstance(upto, str | int):
                raise ValueError("`upto` is a name or a number")
            lifetime = body.get("lifetime", 300.0)
            seconds = math.inf if lifetime is None else float(lifetime)
            provider.warm(_text(body, "session"), upto, body.get("body"), lifetime=seconds)
        case "POST", "/_/gate":
            provider.gate(_text(body, "name")).set()
        case "POST", "/_/reset":
            provider.reset()
        case _:
            raise Unknown(f"{method} {path}")
    return {"ok": True}


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is a text")
    return value


def _listed(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        raise ValueError(f"`{name}` is a list")
    return value


def _log(provider: Provider, query: dict[str, str]) -> dict[str, Any]:
    since = int(query.get("since", "0"))
    with provider.lock:
        records = [record for record in provider.log[since:] if query.get("label") in {None, record.label}]
        return {"records": [record.as_dict() for record in records], "next": len(provider.log)}


def _clock(provider: Provider, body: dict[str, Any]) -> dict[str, Any]:
    with provider.lock:
        if "now" in body:
            provider.clock = None if body["now"] is None else float(body["now"])
        if "advance" in body:
            provider.clock = provider.now({}) + float(body["advance"])
        return {"now": provider.now({}), "set": provider.clock is not None}
