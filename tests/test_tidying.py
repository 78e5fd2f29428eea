"""The proxy's own deleting: on and on, whatever goes wrong in between; and how long things are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mitmproxy.exceptions import OptionsError

from addon import tidying
from addon.options import OPTIONS, Settings, read
from addon.watch.metrics import Metrics
from storage.errors import StoreError


def settings(days: str) -> Settings:
    return read({**{name: default for name, (default, _) in OPTIONS.items()}, "mmu_keep_days": days}, {})


def test_days() -> None:
    assert settings("90").keep_days == 90
    assert settings("0").keep_days == 0
    assert settings("0.5").keep_days == 0.5
    for wrong in ("", "-1", "ever", "1e3", "inf", "nan"):
        with pytest.raises(OptionsError, match="expected a number of days"):
            settings(wrong)


async def test_it_goes_on_after_trouble_and_hurries_while_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[bool | Exception] = [True, StoreError("locked"), False, ValueError("a bug"), True]
    asked: list[float] = []
    waits: list[float] = []
    days = ["90"]

    class Store:
        async def tidy(self, keep: float) -> bool:
            asked.append(keep)
            days[0] = "7"
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if not answers:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    store: Any = Store()
    metrics = Metrics()
    with pytest.raises(asyncio.CancelledError):
        await tidying.tidy(store, lambda: settings(days[0]), metrics)
    idle, soon = tidying.IDLE, tidying.NEXT
    assert waits == [tidying.FIRST, soon, idle, idle, idle, soon]
    assert asked == [90, 7, 7, 7, 7]
    assert 'mmu_failures_total{place="tidying"} 2' in metrics.text({})
