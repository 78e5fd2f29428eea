"""The load benchmark would notice what it says it looks for."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import load
from benchmarks.load import Memory, Played, Sample, play, show_first_bytes, show_memory
from tests.upstream import Upstream


async def played(provider: Upstream, monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr(load, "SIZE", 100_000)
    # both ways lead to the provider
    return await play(provider.port, provider.port, conversations=2, seconds=0.5, pause=0.1)


async def test_whole_answers_are_counted_for_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    with Upstream() as provider:
        provider.script("load", lambda _: {**load.ANSWER, "delay_ms": 0})
        found = await played(provider, monkeypatch)
    assert found.errors == []
    assert {one.managed for one in found.samples} == {True, False}


@pytest.mark.parametrize(
    "reply",
    [
        {"error": {"status": 529}},
        {"content": [{"type": "text", "text": "another answer"}]},
        {**load.ANSWER, "delay_ms": 0, "cut_after_events": 5},
        {**load.ANSWER, "delay_ms": 0, "fail_after_events": 5},
    ],
)
async def test_any_other_answer_is_an_error(reply: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    with Upstream() as provider:
        provider.script("load", lambda _: dict(reply))
        found = await played(provider, monkeypatch)
    assert found.errors
    assert not found.samples


async def test_a_proxy_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Upstream() as provider:
        port = provider.port
    found = await asyncio.wait_for(play(port, port, 2, 0.3, 0.1), 20)
    assert found.errors


def test_what_was_sent_while_the_store_was_gone_has_a_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [Sample(at, managed, 0.01 + 0.02 * managed) for at in range(30) for managed in (True, False)]
    show_first_bytes(samples, (10, 20))
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split("|")[1].strip() for row in rows] == ["before", "store gone", "after"]
    assert all(row.endswith("| 20 | 10.0, 10.0 | 30.0, 30.0 | +20.0, +20.0 |") for row in rows)


def test_the_slope_is_that_of_the_last_third(capsys: pytest.CaptureFixture[str]) -> None:
    seen = [Memory(at, 100 + at if at < 120 else 300 + (at - 120) / 60, 7, 0) for at in range(0, 241, 10)]
    show_memory(seen)
    rss, caches = capsys.readouterr().out.splitlines()[-2:]
    assert rss == "| rss | 100 | 160 | 300 | 301 | 302 | +1.00 |"
    assert caches == "| caches | 7 | 7 | 7 | 7 | 7 | +0.00 |"
