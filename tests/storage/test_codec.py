from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import codec
from storage.errors import PageDamaged

texts = (
    st.binary(max_size=4000)
    | st.text(max_size=2000).map(lambda text: text.encode())
    | st.binary(max_size=40).map(lambda piece: piece * 200)
)


@given(texts)
def test_unpacks_to_the_exact_bytes_and_never_grows(text: bytes) -> None:
    name, data = codec.pack(text)
    assert codec.unpack(name, len(text), data) == text
    assert len(data) <= len(text)


@given(st.text(min_size=8, max_size=200).map(lambda text: text.encode() * 20), st.data())
def test_a_changed_byte_is_an_error_and_never_other_text(text: bytes, data: st.DataObject) -> None:
    name, packed = codec.pack(text)
    assert name == "zstd"
    at = data.draw(st.integers(0, len(packed) - 1))
    bit = data.draw(st.integers(0, 7))
    spoilt = packed[:at] + bytes([packed[at] ^ 1 << bit]) + packed[at + 1 :]
    try:
        found = codec.unpack(name, len(text), spoilt)
    except PageDamaged:
        return
    # a bit that the format leaves unused
    assert found == text


def test_what_cannot_be_read_is_damaged() -> None:
    name, data = codec.pack(b"line\n" * 500)
    for codec_name, size, stored in (
        (name, 2500, data[:-5]),
        (name, 2499, data),
        (name, 2500, b"no frame"),
        ("raw", 3, b"four"),
        ("brotli", 2500, data),
    ):
        with pytest.raises(PageDamaged):
            codec.unpack(codec_name, size, stored)


def test_text_compresses_and_noise_stays_raw() -> None:
    assert codec.pack(b"line\n" * 500)[0] == "zstd"
    assert codec.pack(bytes(range(256)))[0] == "raw"
    assert codec.pack(b"") == ("raw", b"")
