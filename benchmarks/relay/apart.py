"""Work in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

SPAWN = multiprocessing.get_context("spawn")


def apart[**P, T](work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function of a module in another process; what it returns or raises."""
    with ProcessPoolExecutor(1, SPAWN) as pool:
        return pool.submit(_run, partial(work, *args, **kwargs)).result()


def _run[T](work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(work())
