"""Where the state lies, for the proxy and for the tools beside it. Light to import: neither proxy nor database."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_state_path


def home(given: str) -> Path:
    """The state folder, the user's own when none is given. ValueError for something that is no folder."""
    folder = Path(given).expanduser() if given else user_state_path("mitmmu")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder")
    return folder


def store(given: str, folder: Path) -> str:
    """The SQLAlchemy URL of the store, SQLite in the state folder when none is given. ValueError says what is wrong."""
    if not given:
        return f"sqlite:///{folder / 'mmu.db'}"
    # a third of a second to import
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(given)
    except ArgumentError:
        raise ValueError(f"{given!r}: expected a URL, for example sqlite:////var/lib/mmu/mmu.db") from None
    if url.get_backend_name() != "sqlite":
        raise ValueError(f"{url.get_backend_name()} is not supported; use sqlite:///PATH")
    if not url.database or url.database == ":memory:":
        raise ValueError("SQLite needs a file, for example sqlite:////var/lib/mmu/mmu.db")
    return given
