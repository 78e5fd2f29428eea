"""Secrets of the state folder: made once, whole, readable by the owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
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
