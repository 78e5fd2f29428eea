"""A page: the immutable text of a block, named by its hash; and what the manager asks of a store."""

from __future__ import annotations

from base64 import b32encode
from dataclasses import dataclass

ID_LENGTH = 20
"""Characters of a page id: 100 bits of the content hash, in lower-case base 32."""


def page_id(digest: bytes) -> str:
    """The id of the page whose text hashes to `digest` (16 bytes): lower-case letters and digits."""
    return b32encode(digest).decode("ascii").lower()[:ID_LENGTH]


@dataclass(frozen=True, slots=True)
class Page:
    """What is stored before a block leaves the context."""

    id: str
    text: str
    kind: str
    """`result`, or `reasoning` for the raw JSON of a removed reasoning block."""
    label: str
    """What it was, for people: tool and main argument."""
