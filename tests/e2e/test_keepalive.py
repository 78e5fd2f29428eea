"""Caches kept warm through the real proxy. The clock is in the requests, and the provider's is set to the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from addon.mmu.ledger import Action
from tests.e2e.talks import Block, Messages, say, use
from tests.e2e.test_ledger import ledger, opened
from tests.e2e.test_marks import Unmarked, prompt, read
from tests.e2e.world import World, until, world
from tests.upstream import Record

ROW = "a row of what it printed, in full\n" * 800


class Timed:
    """A talk whose provider has a clock of its own, for requests that no client makes have no header with the time."""

    there: World
    now: float
    replies: list[dict[str, Any]]

    def set_up(self) -> None:
        self.refusal: dict[str, Any] = {}

        def answer(request: Any) -> dict[str, Any]:
            if request.body["max_tokens"] <= 1:
                return self.refusal or {"content": [say("x")]}
            return self.replies.pop(0)

        self.there.up.script("talk", answer)

    def timed(self, headers: Mapping[str, str]) -> dict[str, str]:
        self.there.up.set_clock(self.now)
        return {name: value for name, value in headers.items() if name != "x-upstream-clock"}


class Asking(Timed, Messages):
    def send(self, headers: Mapping[str, str]) -> list[Block]:
        return super().send(self.timed(headers))


class Silent(Timed, Unmarked):
    def send(self, headers: Mapping[str, str]) -> list[Block]:
        return super().send(self.timed(headers))


def work(talk: Asking | Silent, times: int = 6) -> None:
    talk.set_up()
    for n in range(times):
        talk.run({"bash": f"{n}\n{ROW}"}, talk.ask([use("bash", command=f"make {n}")]))


def pass_time(there: World, now: float) -> None:
    """Something else happens at the proxy, and so it learns what time it is. Returns when it has looked around."""
    there.up.set_clock(now)
    body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": f"at {now}"}]}
    headers = {"x-mmu-clock": str(now), "x-upstream-script": "first", "x-api-key": "another"}
    assert there.post(json.dumps(body).encode(), headers)[0] == 200


def refreshes(there: World) -> list[Record]:
    return [r for r in there.up.log if r.label == "talk" and json.loads(r.body)["max_tokens"] <= 1]


def kept(there: World, times: int, result: str = "warm") -> None:
    name = f'mmu_refreshes_total{{result="{result}"}}'
    until(lambda: there.proxy.metrics().get(name, 0) == times, f"not {times} times {result}")


@pytest.mark.parametrize("kind", [Asking, Silent], ids=["client's marks", "our marks"])
def test_a_cache_outlasts_a_pause(tmp_path: Path, kind: type[Asking | Silent]) -> None:
    with world(tmp_path, mmu_keepalive="auto", mmu_policy="patient") as there:
        before = opened(there)
        talk = kind(there, stream=True)
        work(talk)
        ledger(there)
        last = [r for r in there.up.log if r.label == "talk"][-1]
        begun = talk.now
        pass_time(there, begun + 200)
        pass_time(there, begun + 275)
        kept(there, 1)
        pass_time(there, begun + 280)
        pass_time(there, begun + 275 + 275)
        kept(there, 2)
        [one, two] = refreshes(there)
        for record in (one, two):
            assert read(record) == prompt(record) == prompt(last)
            assert record.usage["output_tokens"] == 0
            assert record.headers["x-upstream-session"] == "talk"
        losses = ledger(there)[0]
        assert losses["keepalive"] == pytest.approx(-one.dollars - two.dollars)
        assert losses["saved"] == pytest.approx(losses["untouched"] - losses["billed"])

        talk.ask([say("Done.")], idle=800.0)
        again = [r for r in there.up.log if r.label == "talk"][-1]
        assert read(again) == prompt(last)
        sums = ledger(there)[0]
        total = there.up.totals("talk").dollars + there.up.totals("").dollars
        assert sums["billed"] == pytest.approx(total, abs=1e-6)
        gain = read(again) * (6.25e-6 - 0.5e-6)
        assert sums["keepalive"] == pytest.approx(gain - one.dollars - two.dollars)
        assert gain > one.dollars + two.dollars
        assert before["keepalive"] == 0
        names = [action.value for action in Action]
        assert sums["untouched"] - sums["billed"] == pytest.approx(sum(sums[name] for name in names))
        # the prefix is warm, so that it is no moment to change it
        assert there.proxy.metrics().get("mmu_epochs_total", 0) == 0


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        opened(there)
        talk = Asking(there, stream=False)
        work(talk)
        ledger(there)
        pass_time(there, talk.now + 275)
        ledger(there)
        assert refreshes(there) == []


def test_too_late_is_too_late(tmp_path: Path) -> None:
    with world(tmp_path, mmu_keepalive="auto", mmu_policy="patient") as there:
        opened(there)
        talk = Asking(there, stream=False)
        work(talk)
        ledger(there)
        pass_time(there, talk.now + 297)
        pass_time(there, talk.now + 400)
        ledger(there)
        assert refreshes(there) == []


def test_an_error_ends_it(tmp_path: Path) -> None:
    with world(tmp_path, mmu_keepalive="auto", mmu_policy="patient") as there:
        opened(there)
        talk = Asking(there, stream=False)
        work(talk)
        ledger(there)
        talk.refusal = {"error": {"status": 401, "message": "expired"}}
        pass_time(there, talk.now + 275)
        kept(there, 1, "refused")
        pass_time(there, talk.now + 285)
        ledger(there)
        assert len(refreshes(there)) == 1
        assert ledger(there)[0]["keepalive"] == 0


def test_the_system_clock_is_watched(tmp_path: Path) -> None:
    """By the system's clock it looks by itself. Nobody waits minutes for that here, so all is due and pays at once."""
    hurry = tmp_path / "hurry.py"
    hurry.write_text(
        "import addon.keepalive, addon.mmu.keepalive\n"
        "addon.keepalive.TICK, addon.mmu.keepalive.EARLY = 0.05, 0.001\n"
        "addon.keepalive.pays = lambda *_: True\n"
    )
    with world(tmp_path, scripts=[hurry], mmu_keepalive="auto", mmu_clock="system") as there:
        opened(there)
        talk = Asking(there, stream=False)
        work(talk)
        until(lambda: len(refreshes(there)) > 1, "no cache is refreshed")
        there.up.set_clock(None)
        there.proxy.stop()
        done = len(refreshes(there))
        assert done > 1
        assert all(read(record) > 0 for record in refreshes(there))
