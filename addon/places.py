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
    from storage import engine

    engine.parse(given)
    return given
