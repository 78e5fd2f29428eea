"""What processes on one store tell each other: under which keys a conversation was written, and which pages are gone.

Nothing depends on it. A process that hears nothing finds out when its next batch is stale, and looks again; one that
hears looks again at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .cache import Key
from .warm import Gone


class News(Protocol):
    """Nothing here raises, and nothing but `close` waits."""

    def hear(
        self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None], gone: Callable[[Gone], None]
    ) -> None:
        """Begin to listen, on the running event loop. `changed` is told the keys of what another process wrote, `gone`
        what it deleted, `lost` that some may have been missed: the first time, and after each time that nothing could
        be heard."""

    def tell(self, keys: frozenset[Key], gone: Gone = frozenset()) -> None:
        """Conversations under these keys were written here, or deleted, and these pages are gone."""

    def stats(self) -> dict[str, int]: ...

    async def close(self) -> None: ...


class Silence:
    """No news: the process is alone on its store, or finds out by itself."""

    def hear(
        self, changed: Callable[[frozenset[Key]], None], lost: Callable[[], None], gone: Callable[[Gone], None]
    ) -> None:
        """Nobody speaks."""

    def tell(self, keys: frozenset[Key], gone: Gone = frozenset()) -> None:
        """Nobody listens."""

    def stats(self) -> dict[str, int]:
        return {}

    async def close(self) -> None:
        """Nothing waits."""
