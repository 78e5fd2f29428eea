"""The APIs that are managed, and which of them a request speaks."""

from __future__ import annotations

from collections.abc import Collection

from addon.wire import anthropic, chat
from addon.wire.api import Api

APIS: tuple[Api, ...] = (anthropic, chat)

HOSTS: tuple[str, ...] = tuple(dict.fromkeys(host for api in APIS for host, _ in api.HOSTS))
"""The providers' own hosts."""


def spoken(path: str, hosts: Collection[str], *, trusted: bool) -> Api | None:
    """The API of a request by its path (without query) and the names its host goes by; None for anything else.

    On the providers' hosts only the very path counts. `trusted` says that somebody chose this host for LLM calls;
    gateways may have a path of their own before the API's.
    """
    known = [(api, where) for api in APIS for host, where in api.HOSTS if host in hosts]
    if known:
        return next((api for api, where in known if where == path), None)
    return next((api for api in APIS if api.is_call(path)), None) if trusted else None
