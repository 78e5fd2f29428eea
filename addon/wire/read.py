"""What reading a request takes in every API: texts hashed, strings expected, what was read before not read again."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Any

from addon.wire.conversation import Conversation, Message, text_digest
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


class Again:
    """Reads messages, taking those that stand unchanged in the conversation's last request from there.

    A message is a whole JSON object: where the same characters stand, the same message stands. `key` says under what a
    request is found in `recent` (of its text and where its messages start), `message` reads one, and `apart` are the
    roles at the head of the list that the conversation does not have among its messages.

    Where an API spells a message as several objects, those of the roles in `open` may go on behind what stood there. So
    one is only taken where the message that ended it stands behind it again.
    """

    def __init__(
        self,
        recent: Mapping[str, Conversation],
        key: Callable[[str, int], str],
        message: Callable[[str, int], tuple[Message, int]],
        apart: Container[str] = (),
        open: Container[str] = (),
    ) -> None:
        self.recent, self.key, self.message, self.apart, self.open = recent, key, message, apart, open

    def __call__(self, text: str, at: int) -> tuple[Any, int]:
        if text[at] != "[":
            raise Malformed("messages is not a list")
        before = self.recent.get(self.key(text, at))
        if before is None:
            return items(text, at, self.message)
        known, source, index = before.as_read or before.messages, before.text, 0

        def message(text: str, at: int) -> tuple[Message, int]:
            nonlocal index
            if index < len(known):
                old = known[index]
                last = index + (old.role in self.open)
                if last < len(known) and text.startswith(source[old.start : known[last].end], at):
                    index += 1
                    end = at + old.end - old.start
                    return (old if old.start == at else replace(old, start=at, end=end)), end
            read, end = self.message(text, at)
            index += index > 0 or read.role not in self.apart
            return read, end

        return items(text, at, message)
