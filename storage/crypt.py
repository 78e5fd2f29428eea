"""Encryption at rest: AES-256-GCM, each value sealed by itself under a random nonce.

What a value belongs to (tenant, id, codec, ...) is bound to it as associated data, so that a sealed value that somebody
moves to another row does not open there. Nonces are 96 random bits, which NIST SP 800-38D allows for 2^32 values under
one key; a store that comes near that wants a new key. There may be several keys: the first seals, all open. Each has a
short id, a hash of it, which stands beside what it has sealed.

Bytes carry the id outside, in the codec column: "zstd+gcm:KEYID". Texts carry it inside: `\\x01gcm:KEYID:BASE64`; a
plain text that begins with `\\x01` is written with `\\x01=` before it, so that neither is taken for the other.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import overload

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from . import codec
from .errors import KeyMissing, PageDamaged

BYTES = 32
"""Bytes of a key."""
NONCE = 12
SEALED = "+gcm:"
"""Stands in a codec's name before the id of a key."""

_MARK, _PLAIN, _GCM = "\x01", "\x01=", "\x01gcm:"


def key_id(key: bytes) -> str:
    """The short name of a key, which tells nothing of it."""
    return blake2b(key, digest_size=4, person=b"mitmmu key id").hexdigest()


def about(*parts: str | int) -> bytes:
    """What a value belongs to. No part is the beginning of another's: each is preceded by its length."""
    return b"".join(b"%d:%s" % (len(part), part) for part in (str(one).encode("utf-8", "replace") for one in parts))


class Keys:
    """The keys of a store, the one that seals first; none at all where nothing is sealed. Never shows a key."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """ValueError for a key that is not of 32 bytes."""
        if any(len(key) != BYTES for key in keys):
            raise ValueError(f"a key has {BYTES} bytes")
        self.ids = tuple(dict.fromkeys(map(key_id, keys)))
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self._series = blake2b(keys[0], digest_size=32, person=b"mitmmu series").digest() if keys else b""

    def __repr__(self) -> str:
        return f"Keys({', '.join(self.ids)})"

    def __bool__(self) -> bool:
        return bool(self.ids)

    @property
    def first(self) -> str:
        """The id of the key that seals, "" where there is none."""
        return self.ids[0] if self.ids else ""

    def series(self, *parts: str) -> str:
        """A name for what these say, which without the key does not show what they say."""
        return blake2b(about(*parts), key=self._series, digest_size=8).hexdigest()

    def seal(self, data: bytes, of: bytes) -> bytes:
        """Seal under the first key. `of`: what it belongs to."""
        nonce = os.urandom(NONCE)
        return nonce + self._ciphers[self.first].encrypt(nonce, data, of)

    def open(self, id: str, data: bytes, of: bytes) -> bytes:
        """What was sealed under the key of that id. KeyMissing without it, PageDamaged where a bit was changed or it
        belonged to something else."""
        cipher = self._ciphers.get(id)
        if cipher is None:
            raise missing([id], self.ids)
        try:
            return cipher.decrypt(data[:NONCE], data[NONCE:], of)
        except (InvalidTag, ValueError):
            raise PageDamaged("what is stored was changed: its seal is broken") from None

    @overload
    def seal_text(self, text: str, of: bytes) -> str: ...
    @overload
    def seal_text(self, text: None, of: bytes) -> None: ...
    @overload
    def seal_text(self, text: str | None, of: bytes) -> str | None: ...
    def seal_text(self, text: str | None, of: bytes) -> str | None:
        """A text as it is stored: sealed where there are keys. None stays None, and "" is nothing to hide."""
        if not text:
            return text
        if not self:
            return _PLAIN + text if text.startswith(_MARK) else text
        raw = text.encode("utf-8")
        name, packed = codec.pack(raw)
        sealed = self.seal(b"%s:%d:%s" % (name.encode(), len(raw), packed), of)
        return f"{_GCM}{self.first}:{base64.b64encode(sealed).decode()}"

    @overload
    def open_text(self, stored: str, of: bytes) -> str: ...
    @overload
    def open_text(self, stored: None, of: bytes) -> None: ...
    @overload
    def open_text(self, stored: str | None, of: bytes) -> str | None: ...
    def open_text(self, stored: str | None, of: bytes) -> str | None:
        """The text again. KeyMissing, PageDamaged."""
        if not stored or not stored.startswith(_MARK):
            return stored
        if stored.startswith(_PLAIN):
            return stored.removeprefix(_PLAIN)
        if not stored.startswith(_GCM):
            return stored  # from before there were marks
        id, _, sealed = stored.removeprefix(_GCM).partition(":")
        try:
            data = base64.b64decode(sealed, validate=True)
        except ValueError:
            raise PageDamaged("what is stored was changed: its seal is broken") from None
        name, size, packed = self.open(id, data, of).split(b":", 2)
        return codec.unpack(name.decode(), int(size), packed).decode("utf-8")


def sealed_by(stored: str) -> str:
    """The id of the key that sealed a text, "" where none did."""
    return stored.removeprefix(_GCM).partition(":")[0] if stored.startswith(_GCM) else ""


def missing(wanted: Sequence[str], given: Sequence[str]) -> KeyMissing:
    """The error where keys are wanted that are not given."""
    given_text = f"given: {', '.join(given)}" if given else "none is given"
    return KeyMissing(
        f"the store is encrypted with key {', '.join(wanted)} ({given_text}). Give that key in MITMMU_KEY or in the "
        "file that mmu_key_file names, behind the newer one if there is one. If it is lost, so is what it sealed: "
        "`mitmmu forget --all` clears the store, or another mmu_home begins a new one"
    )


NONE = Keys()

OPTION = "mitmmu_keys"


def keys_of(connection: Connection) -> Keys:
    """The keys that travel with a connection, as an execution option of its engine."""
    found = connection.get_execution_options().get(OPTION, NONE)
    assert isinstance(found, Keys)
    return found
