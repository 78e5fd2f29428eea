"""A page: the immutable text of a block, named by its hash; and what the manager asks of a store."""

from __future__ import annotations

from dataclasses import dataclass

ID_LENGTH = 24
"""Characters of a page id: 96 bits of the content hash, in hexadecimal."""


def page_id(digest: bytes) -> str:
    """The id of the page whose text hashes to `digest` (16 bytes)."""
    return digest.hex()[:ID_LENGTH]


@dataclass(frozen=True, slots=True)
class Page:
    """What is stored before a block leaves the context."""

    id: str
    text: str
    kind: str
    """`result`, or `reasoning` for the raw JSON of a removed reasoning block."""
    label: str
    """What it was, for people: tool and main argument."""
