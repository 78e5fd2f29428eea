"""A page: the immutable text of a block, named by its hash; and what the manager asks of a store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

ID_LENGTH = 24
"""Characters of a page id: 96 bits of the content hash, in hexadecimal."""

NAME = "mmu_recall"
"""The tool by which the model asks for a page."""

_ID = re.compile(rf"(?<![a-z0-9])[0-9a-f]{{{ID_LENGTH}}}(?![a-z0-9])")


def page_id(digest: bytes) -> str:
    """The id of the page whose text hashes to `digest` (16 bytes)."""
    return digest.hex()[:ID_LENGTH]


def asked(arguments: Any) -> tuple[str, ...]:
    """The page ids that a call's arguments name, each once."""
    given = arguments if isinstance(arguments, dict) else {}
    page = given.get("page", given.get("pages"))
    words = " ".join(map(str, page)) if isinstance(page, list) else page if isinstance(page, str) else ""
    return tuple(dict.fromkeys(_ID.findall(words)))


def name_asked(arguments: Any) -> str:
    """The file or command that a call's arguments name in the place of a page, "" where they name pages."""
    given = arguments if isinstance(arguments, dict) else {}
    page = given.get("page")
    return page.strip() if isinstance(page, str) and not asked(given) else ""


@dataclass(frozen=True, slots=True)
class Page:
    """What is stored before a block leaves the context."""

    id: str
    text: str
    kind: str
    """`result`; `reasoning` or `schema` for the raw JSON of a removed reasoning block or of a tool."""
    label: str
    """What it was, for people: tool and main argument."""
