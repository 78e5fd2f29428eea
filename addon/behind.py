"""What a response leaves to be done when it has gone: counting, booking, learning.

It is off any request's path, but not off the conversation's: the next decision rests on what the last answer cost. So a
request waits for what is still being done behind the answers of its own conversation, for a moment; agents take longer
than that to go on, and who does not is planned without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Behind:
    """Work behind responses. `key` names the conversations that it concerns, "" for none."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], str] = {}

    def add(self, work: Coroutine[None, None, None], key: str = "") -> None:
        """Begin it."""
        task = asyncio.ensure_future(work)
        self._tasks[task] = key
        task.add_done_callback(self._tasks.pop)

    async def caught_up(self, key: str, seconds: float) -> bool:
        """Wait for what concerns `key`, at most so long. Whether all of it is done."""
        waiting = [task for task, concerned in self._tasks.items() if concerned == key]
        return not waiting or not (await asyncio.wait(waiting, timeout=seconds))[1]

    async def end(self, seconds: float) -> None:
        """Wait for all of it, at most so long."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)
