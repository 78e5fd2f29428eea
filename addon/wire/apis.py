"""The APIs that are managed, and which of them a request speaks."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from addon.wire import (
    anthropic,
    anthropic_clear,
    anthropic_expand,
    anthropic_marks,
    anthropic_refresh,
    anthropic_reply,
    chat,
    chat_expand,
    chat_reply,
    gemini,
    gemini_expand,
    gemini_reply,
    responses,
    responses_expand,
    responses_reply,
)
from addon.wire.api import Api, Clearing, Marking, Refreshing
from addon.wire.reply import Relaying

APIS: tuple[Api, ...] = (anthropic, chat, responses, gemini)

_RELAYING: Mapping[str, Relaying] = {
    anthropic.NAME: Relaying(anthropic_reply, anthropic_expand),
    responses.NAME: Relaying(responses_reply, responses_expand),
    chat.NAME: Relaying(chat_reply, chat_expand, chat_expand.fitted),
    gemini.NAME: Relaying(gemini_reply, gemini_expand),
}

_MARKING: Mapping[str, Marking] = {anthropic.NAME: anthropic_marks}

_CLEARING: Mapping[str, Clearing] = {anthropic.NAME: anthropic_clear}

_REFRESHING: Mapping[str, Refreshing] = {anthropic.NAME: anthropic_refresh}

HOSTS: tuple[str, ...] = tuple(dict.fromkeys(host for api in APIS for host, _ in api.HOSTS))
"""The providers' own hosts, as regular expressions."""


def spoken(path: str, hosts: Collection[str], *, trusted: bool) -> Api | None:
    """The API of a request by its path (without query) and the names its host goes by; None for anything else.

    On the providers' hosts only the very path counts. `trusted` says that somebody chose this host for LLM calls;
    gateways may have a path of their own before the API's.
    """
    known = [(api, where) for api in APIS for host, where in api.HOSTS if any(re.fullmatch(host, h) for h in hosts)]
    if known:
        return next((api for api, where in known if re.fullmatch(where, path)), None)
    return next((api for api in APIS if api.is_call(path)), None) if trusted else None


def relaying(api: Api) -> Relaying | None:
    """What relay needs of an API; None where what the client was not shown could not be put back."""
    return _RELAYING.get(api.NAME)


def marking(api: Api) -> Marking | None:
    """How requests of an API are marked for the cache; None where that is never needed."""
    return _MARKING.get(api.NAME)


def clearing(api: Api) -> Clearing | None:
    """How providers of an API are asked to clear old results; None where they do no such thing."""
    return _CLEARING.get(api.NAME)


def refreshing(api: Api) -> Refreshing | None:
    """How a cache of an API is kept warm; None where caching is the provider's own affair, and lasts."""
    return _REFRESHING.get(api.NAME)
