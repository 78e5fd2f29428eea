"""A sample of the fuzz campaign, and that it would notice."""

from __future__ import annotations

import asyncio

import pytest

from addon.wire import anthropic
from addon.wire.conversation import Conversation
from benchmarks.fuzz import Broken, campaign, table
from tests.mmu.spellings import SPELLINGS, Messages, Spelling


@pytest.mark.parametrize(("make", "model"), SPELLINGS, ids=[make().api.NAME for make, _ in SPELLINGS])
def test_damaged_requests_are_understood_or_left_alone(make: type[Spelling], model: str) -> None:
    row = asyncio.run(campaign(make(), model, 300, 7))
    assert row.cases == 300
    assert min(row.ends["malformed"], row.ends["read"], row.ends["rewritten"]) > 9
    assert "mmu_failures_total" not in row.ends
    assert f"| {row.api} | 300 |" in table([row])


def test_the_campaign_notices_what_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_: object, **__: object) -> Conversation:
        raise KeyError("bug")

    monkeypatch.setattr(anthropic, "parse", parse)
    with pytest.raises(Broken, match="KeyError"):
        asyncio.run(campaign(Messages(), "claude-opus-4-8", 1, 1))
