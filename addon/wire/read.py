"""What reading a request takes in every API: texts hashed, strings expected, lists that need not be lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addon.wire.conversation import text_digest
from addon.wire.scan import Field, Malformed, Reader, fields, items, value

WINDOW = 4096
"""Characters of the messages by which a conversation's last request is looked up."""


def hashed(text: str) -> bytes:
    try:
        return text_digest(text)
    except UnicodeEncodeError:
        raise Malformed("lone surrogate") from None


def string(members: Mapping[str, Field], key: str) -> str:
    """The member where there is one, else "". Raises Malformed for anything but a string."""
    got = members.get(key)
    if got is None:
        return ""
    if not isinstance(got[0], str):
        raise Malformed(f"{key} is not a string")
    return got[0]


def list_of(reader: Reader) -> Reader:
    """Reads each element where the value is a list; the plain value otherwise."""
    return lambda text, at: items(text, at, reader) if text[at] == "[" else value(text, at)


def _part(text: str, at: int) -> tuple[Any, int]:
    return fields(text, at, {}) if text[at] == "{" else value(text, at)


parts = list_of(_part)
"""Members of each element where the value is a list; the plain value otherwise."""
