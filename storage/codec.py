"""How the bytes of a page lie in the store.

zstd level 3: on source code, tool results and logs it reaches nine tenths of what the slow levels reach, at a speed
that can be paid on the way of a request. Frames carry a checksum, so that damage is an error and never wrong text.
"""

from __future__ import annotations

import threading

import zstandard

from .errors import PageDamaged

_LEVEL = 3
_own = threading.local()


def _compressor() -> zstandard.ZstdCompressor:
    # a compressor must not be shared by threads and costs more to make than to use
    made: zstandard.ZstdCompressor | None = getattr(_own, "compressor", None)
    if made is None:
        made = _own.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return made


def pack(text: bytes) -> tuple[str, bytes]:
    """The codec's name and the bytes to store: "zstd", or "raw" where that is not larger."""
    packed = _compressor().compress(text)
    return ("zstd", packed) if len(packed) < len(text) else ("raw", text)


def unpack(codec: str, size: int, data: bytes) -> bytes:
    """The page's bytes again; `size` is their length. PageDamaged when they cannot be had exactly."""
    if codec == "raw":
        text = data
    elif codec == "zstd":
        try:
            if zstandard.get_frame_parameters(data).content_size != size:
                raise PageDamaged(f"a frame does not hold the {size} bytes recorded")
            text = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise PageDamaged(f"a frame cannot be read: {error}") from error
    else:
        raise PageDamaged(f"unknown codec {codec!r}")
    if len(text) != size:
        raise PageDamaged(f"{len(text)} bytes where {size} were stored")
    return text
