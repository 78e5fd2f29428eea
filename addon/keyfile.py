"""Secrets of the state folder: made once, whole, readable by the owner alone."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shlex
import stat
from collections.abc import Callable, Mapping
from pathlib import Path


def kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; `make` says what to put there when it is missing. OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Written whole before it gets its name, so that another process never sees half of it.
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()


TOKEN = "site.token"


def site_token(home: Path) -> str:
    """What opens the pages to whoever can read the state folder. ValueError for a file that holds no such thing."""
    path = home / TOKEN
    token = kept(path, lambda: secrets.token_urlsafe(32).encode()).decode("ascii", "replace").strip()
    if len(token) < 32 or not token.isascii():
        raise ValueError(f"{path} is damaged: delete it, and the next start makes a new one")
    return token


VARIABLE = "MITMMU_KEY"
MAKE = "openssl rand -base64 32"


def store_keys(file: str, environment: Mapping[str, str]) -> list[bytes]:
    """The keys that the store is encrypted with, the one that encrypts first; none for no encryption.

    Those of MITMMU_KEY, then those of `file` ("" for none), each 32 bytes in base64 or hexadecimal, with spaces, commas
    or lines between them and comments behind `#`. ValueError says what is wrong, and never what a key says.
    """
    keys = _keys(environment.get(VARIABLE, ""), VARIABLE)
    if not file:
        return keys
    path = Path(file).expanduser()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ValueError(f"others may read the key in {path} (mode {mode:04o}): chmod 600 {shlex.quote(str(path))}")
        found = _keys(path.read_text("ascii", "replace"), str(path))
    except FileNotFoundError:
        made = shlex.quote(str(path))
        raise ValueError(f"there is no key file {path}; to make one: (umask 077; {MAKE} > {made})") from None
    except OSError as error:
        raise ValueError(f"the key file {path} cannot be read: {error.strerror}") from None
    if not found:
        raise ValueError(f"{path} holds no key; to make one: {MAKE}")
    return keys + found


def _keys(text: str, where: str) -> list[bytes]:
    words = [word for line in text.splitlines() for word in line.partition("#")[0].replace(",", " ").split()]
    return [_key(word, f"key {number} in {where}") for number, word in enumerate(words, 1)]


def _key(word: str, which: str) -> bytes:
    try:
        if len(word) == 64:
            return bytes.fromhex(word)
        key = base64.b64decode(word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"{which} is not 32 bytes in base64 or hexadecimal; to make one: {MAKE}")
    return key
