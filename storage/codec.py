"""How the bytes of a page lie in the store.

zstd level 3: on source code, tool results and logs it reaches nine tenths of what the slow levels reach, at a speed
that can be paid on the way of a request. Frames carry a checksum, so that damage is an error and never wrong text.

A file is read, edited and read again, so that many pages are nearly an earlier one. Such a page is stored as a *delta*:
a frame that has the earlier page as its dictionary. It needs that page, its base, to be read. A base is never itself a
delta, so reading takes one more page and no more. `benchmarks/codec.py` has the figures.
"""

from __future__ import annotations

import threading

import zstandard

from .errors import PageDamaged

DELTA = "delta"
"""The codec of a page that is stored as its difference to another."""
MARGIN = 0.5
"""A delta must take at most this part of the plain frame: it makes a second page as precious as itself."""
LEAST, MOST = 1024, 1024 * 1024
"""Bytes of a page for which a delta is tried, and of its base: small ones save nothing, large ones take too long."""

_LEVEL = 3
_own = threading.local()


def _compressor() -> zstandard.ZstdCompressor:
    # a compressor must not be shared by threads and costs more to make than to use
    made: zstandard.ZstdCompressor | None = getattr(_own, "compressor", None)
    if made is None:
        made = _own.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return made


def _dictionary(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def pack(text: bytes) -> tuple[str, bytes]:
    """The codec's name and the bytes to store: "zstd", or "raw" where that is not larger."""
    packed = _compressor().compress(text)
    return ("zstd", packed) if len(packed) < len(text) else ("raw", text)


def pack_against(text: bytes, base: bytes) -> tuple[str, bytes]:
    """The same, or "delta" where that is much smaller; `base` is then needed to read it."""
    name, packed = pack(text)
    if not LEAST <= len(text) <= MOST or not LEAST <= len(base) <= MOST:
        return name, packed
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, dict_data=_dictionary(base))
    delta = compressor.compress(text)
    return (DELTA, delta) if len(delta) <= MARGIN * len(packed) else (name, packed)


def unpack(codec: str, size: int, data: bytes, base: bytes | None = None) -> bytes:
    """The page's bytes again; `size` is their length, `base` the text that a delta was made against.

    PageDamaged when they cannot be had exactly.
    """
    if codec == "raw":
        text = data
    elif codec == "zstd" or (codec == DELTA and base is not None):
        dictionary = _dictionary(base) if codec == DELTA and base is not None else None
        try:
            if zstandard.get_frame_parameters(data).content_size != size:
                raise PageDamaged(f"a frame does not hold the {size} bytes recorded")
            text = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise PageDamaged(f"a frame cannot be read: {error}") from error
    elif codec == DELTA:
        raise PageDamaged("the page that it was stored as the difference to is not there")
    else:
        raise PageDamaged(f"unknown codec {codec!r}")
    if len(text) != size:
        raise PageDamaged(f"{len(text)} bytes where {size} were stored")
    return text
