"""Rules that Chat Completions and Responses share: types of fields, sampling, what may be said about the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.upstream.chat_models import Model
from tests.upstream.violation import Violation

BREAKPOINT = "prompt_cache_breakpoint"
MAX_BREAKPOINTS = 4
NAMES: dict[type, str] = {bool: "a boolean", dict: "an object", str: "a string", list: "an array"}


def known(body: dict[str, Any], fields: frozenset[str]) -> None:
    """No field but these, and a model."""
    for name in body:
        if name not in fields:
            raise Violation(name, f"Unrecognized request argument supplied: {name}", labelled=False)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Violation("model", "you must provide a model parameter", labelled=False)


def typed(body: dict[str, Any], types: Mapping[type, Iterable[str]]) -> None:
    """Fields that are there and not null have their type."""
    for kind, names in types.items():
        for name in names:
            if body.get(name) is not None and not isinstance(body[name], kind):
                raise Violation(name, f"expected {NAMES[kind]}")


def stream_options(body: dict[str, Any], options: frozenset[str]) -> None:
    """Only with a stream, and only these."""
    given = body.get("stream_options")
    if given is not None and not body.get("stream"):
        raise Violation("stream_options", "only allowed when 'stream' is enabled")
    if set(given or {}) - options:
        raise Violation("stream_options", "Unknown parameter")


def limit(name: str, value: Any, least: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise Violation(name, f"expected an integer of at least {least}")


def sampling(body: dict[str, Any], model: Model) -> None:
    for name in ("temperature", "top_p"):
        if model.reasons and body.get(name) not in {None, 1}:
            raise Violation(name, f"{body['model']} only supports the default (1)")


def caching(body: dict[str, Any], model: Model, fields: frozenset[str], lifetimes: tuple[str, ...]) -> None:
    """`prompt_cache_options` with these fields and values of `ttl`, and `prompt_cache_retention`."""
    options = body.get("prompt_cache_options")
    if options is not None:
        if not model.explicit:
            raise Violation("prompt_cache_options", "not supported on this model")
        if set(options) - fields or options.get("mode", "implicit") not in {"implicit", "explicit"}:
            raise Violation("prompt_cache_options", "Unknown parameter or mode")
        if options.get("ttl", "30m") not in lifetimes:
            raise Violation("prompt_cache_options.ttl", f"supported: {', '.join(lifetimes)}")
    retention = body.get("prompt_cache_retention")
    if retention not in ({None, "24h"} if model.only_24h else {None, "24h", "in_memory"}):
        raise Violation("prompt_cache_retention", "not supported on this model")


def breakpoints(name: str, parts: Iterable[tuple[str, dict[str, Any]]], model: Model) -> None:
    """The marks on these parts (path, part) of the field `name`."""
    marks = [(f"{path}.{BREAKPOINT}", part[BREAKPOINT]) for path, part in parts if BREAKPOINT in part]
    for path, mark in marks:
        if not model.explicit:
            raise Violation(path, "not supported on this model")
        if not isinstance(mark, dict) or mark.get("mode") != "explicit" or set(mark) - {"mode", "ttl"}:
            raise Violation(path, "expected the mode 'explicit'")
        if mark.get("ttl", "30m") not in {"30m", "12h"}:
            raise Violation(f"{path}.ttl", "supported: '30m', '12h'")
    if len(marks) > MAX_BREAKPOINTS:
        raise Violation(name, f"at most {MAX_BREAKPOINTS} cache breakpoints, found {len(marks)}")
