"""Work in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from typing import Any

SPAWN = multiprocessing.get_context("spawn")


def apart[**P, T](work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function of a module in another process; what it returns or raises."""
    with ProcessPoolExecutor(1, SPAWN) as pool:
        return pool.submit(_run, work, args, kwargs).result()  # type: ignore[arg-type]


def _run(work: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return asyncio.run(work(*args, **kwargs))
