"""What processes on one store tell each other: under which keys a conversation was written.

Nothing depends on it. A process that hears nothing finds out when its next batch is stale, and looks again; one that
hears looks again at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .cache import Key


class News(Protocol):
    """Nothing here raises, and nothing but `close` waits."""

    def hear(self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None]) -> None:
        """Begin to listen, on the running event loop. `changed` is told the keys of what another process wrote, `lost`
        that some may have been missed: the first time, and after each time that nothing could be heard."""

    def tell(self, keys: frozenset[Key]) -> None:
        """Conversations under these keys were written here."""

    def stats(self) -> dict[str, int]: ...

    async def close(self) -> None: ...


class Silence:
    """No news: the process is alone on its store, or finds out by itself."""

    def hear(self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None]) -> None:
        """Nobody speaks."""

    def tell(self, keys: frozenset[Key]) -> None:
        """Nobody listens."""

    def stats(self) -> dict[str, int]:
        return {}

    async def close(self) -> None:
        """Nothing waits."""
