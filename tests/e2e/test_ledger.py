"""The books, against two providers: one behind mitmmu, whose own bill they must show to the cent, and one that the same
session is sent to as it is, whose bill is what the untouched session costs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from addon.mmu.ledger import Action
from tests.agent.session import build
from tests.e2e import bill
from tests.e2e.talks import Chat, Gemini, Messages, Responses, Talk, say, use
from tests.e2e.world import World, until, world
from tests.harness import Mitmdump
from tests.upstream import Upstream

CENT = 0.005
FILE = "\n".join(f"{n}\tvalue_{n} = {n * 7 % 13} # of the file" for n in range(1, 600))


def ledger(there: World, by: str = "project") -> list[dict[str, Any]]:
    """Its rows, when every request has been booked: that is done behind the response."""
    token = (there.proxy.home / "site.token").read_text().strip()
    for _ in range(200):
        status, text = there.proxy.site(f"/api/ledger?by={by}&token={token}")
        assert status == 200, text
        found: list[dict[str, Any]] = json.loads(text)["rows"]
        if sum(row["requests"] for row in found) == there.proxy.metrics()["mmu_managed_total"]:
            return found
        time.sleep(0.05)
    raise TimeoutError(text)


def opened(there: World) -> dict[str, Any]:
    """The sums so far, when a request has been booked: what a proxy that has just started is told, it books only when
    its prices are loaded, and until then the next request knows nothing of the one before."""
    there.up.script("first", [{"content": [say("Hello.")]}])
    body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": "open the books"}]}
    assert there.post(json.dumps(body).encode(), {"x-upstream-script": "first"})[0] == 200
    [sums] = ledger(there)
    return sums


def check(there: World, before: dict[str, Any], billed: float, straight: float) -> dict[str, Any]:
    """What must hold of any session; its sums."""
    projects = ledger(there)
    total = {name: sum(row[name] for row in projects) for name in before.keys() - {"project"}}
    sums = {name: total[name] - before[name] for name in total}
    assert sums["billed"] == pytest.approx(billed, abs=min(CENT, billed / 1000))
    assert sums["untouched"] == pytest.approx(straight, rel=0.02)
    assert sums["saved"] == pytest.approx(sums["untouched"] - sums["billed"])
    assert sums["unknown"] == 0
    metrics = there.proxy.metrics()
    assert metrics["mmu_billed_dollars_total"] == pytest.approx(total["billed"])
    assert metrics["mmu_untouched_dollars_total"] == pytest.approx(total["untouched"])
    assert metrics.get("mmu_failures_total", 0) == 0
    return sums


@pytest.mark.parametrize(
    ("seed", "options", "ttl"),
    [(2, {}, ""), (3, {"compact": True, "rewind": True}, "1h"), (4, {"thinking": True}, "")],
    ids=["plain", "compacted", "thinking"],
)
def test_a_session_costs_what_the_provider_says(tmp_path: Path, seed: int, options: Any, ttl: str) -> None:
    session = build(seed, 60, **options)
    with world(tmp_path, mmu_policy="patient") as there, Upstream(tls=True) as other:
        before = opened(there)
        managed = there.agent(session, plain=True, ttl=ttl)
        list(managed.play())
        second = World(other, there.proxy, there.mode, there.folder, there.agents)
        straight = second.straight(session, ttl=ttl)
        list(straight.play())
        sums = check(there, before, there.up.totals(managed.label).dollars, other.totals(straight.label).dollars)
        assert sums["requests"] == session.requests
        assert sums["fold"] > 0
        assert "; saved $0." in there.proxy.log_text()
        # a compaction and a rewind begin new lines
        assert len(ledger(there, "conversation")) >= 1
        assert there.proxy.site("/api/ledger")[0] == 401


@contextmanager
def beside(there: World) -> Iterator[World]:
    """The same way to another provider, with nothing in between but a proxy that does nothing."""
    with Upstream(tls=True) as other:
        folder = there.folder / "beside"
        with Mitmdump(addon=None, redirect_to=f"127.0.0.1:{other.port}", folder=folder) as proxy:
            yield World(other, proxy, there.mode, there.folder)


def output(n: int) -> str:
    """Long enough that what stands around it does not count: this provider bills every byte of a request."""
    return "\n".join(f"row {k} of output {n}, in full" for k in range(500))


def play(talk: Talk, idle: float) -> None:
    """Work, a pause in which the provider's cache goes cold, and more work."""
    for n in range(8):
        talk.run({"bash": output(n)}, talk.ask([use("bash", command=f"make {n}")]))
    for _ in range(2):
        talk.run({"read_file": FILE}, talk.ask([use("read_file", path="src/a.py")]))
    talk.ask([say("Done.")])
    talk.human("go on")
    for n in range(8, 14):
        made = talk.ask([use("bash", command=f"make {n}")], idle=idle if n == 8 else 5.0)
        talk.run({"bash": output(n)}, made)
    talk.ask([say("Done again.")])


@pytest.mark.parametrize(
    ("kind", "idle"),
    [(Messages, 4_000.0), (Chat, 100_000.0), (Responses, 100_000.0), (Gemini, 5_000.0)],
    ids=["messages", "chat", "responses", "gemini"],
)
def test_every_api(tmp_path: Path, kind: type[Talk], idle: float) -> None:
    with world(tmp_path, mmu_policy="patient") as there, beside(there) as other:
        before = opened(there)
        for place in (there, other):
            play(kind(place, stream=True), idle)
        sums = check(there, before, there.up.totals("talk").dollars, other.up.totals("talk").dollars)
        assert sums["evict"] > 0
        assert sums["fold"] > 0
        assert sums["billed"] < sums["untouched"]


OWN = '["gpt-4*"]\ninput = 200\noutput = 800\nread = 50\n'


def test_prices_of_ones_own(tmp_path: Path) -> None:
    prices = tmp_path / "mine.toml"
    prices.write_text(OWN)
    with world(tmp_path, billed=False, mmu_prices=str(prices)) as there:
        talk = Chat(there, stream=False)
        talk.ask([say("Hello.")])
        [sums] = ledger(there, "day")
        assert sums["day"] == "1970-01-12"
        assert sums["billed"] == pytest.approx(100 * there.up.totals("talk").dollars)


def test_a_stream_that_reports_nothing_is_booked_as_unknown(tmp_path: Path) -> None:
    with world(tmp_path, billed=False) as there:
        talk = Chat(there, stream=True)
        talk.replies = [{"content": [say("Hello.")]}]
        headers = {"x-upstream-script": "talk"}
        given: Any = {"model": "gpt-4.1", "messages": talk.history, "stream": True, "extra_headers": headers}
        assert list(talk.sdk.chat.completions.create(**given))
        [sums] = ledger(there)
        assert (sums["requests"], sums["unknown"], sums["billed"], sums["untouched"]) == (1, 1, 0, 0)


def test_recalls_are_paid_for_in_full(tmp_path: Path) -> None:
    """A response that was carried on twice: all of it is billed, and none of it would have been."""
    with world(tmp_path) as there:
        talk = Messages(there, stream=True)
        play(talk, 4_000.0)
        before = ledger(there)[0]
        page = re.findall(r"\[mmu page ([0-9a-z]+): ", talk.bodies()[-1].decode())[0]
        talk.human("what did it print?")
        recalls = [[use("mmu_recall", page=page)], [use("mmu_recall", page=page, lines="3-4")]]
        talk.ask(*recalls, [say("That.")])
        talk.human("thanks")
        talk.ask([say("Bye.")])
        [sums] = ledger(there)
        assert sums["billed"] == pytest.approx(there.up.totals("talk").dollars, abs=1e-6)
        added = {name: sums[name] - before[name] for name in ("billed", "untouched", "carried", "recall", "requests")}
        assert added["requests"] == 2
        assert added["carried"] < 0  # the requests that carried it on
        assert added["recall"] < 0  # and what they put into the next one
        assert sums["untouched"] - sums["billed"] == pytest.approx(
            sum(sums[action.value] for action in Action)
        )


def test_what_is_passed_through_is_booked_for_whom_it_was(tmp_path: Path) -> None:
    """A request that is not understood costs what it costs, and nobody else."""
    twice = b'"model":"claude-opus-5","model":"claude-opus-5"'
    body = b"{" + twice + b',"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
    with world(tmp_path) as there:
        for key, times in (("one", 1), ("another", 2)):
            for _ in range(times):
                assert there.post(body, {"x-api-key": key})[0] == 200
        until(lambda: sum(row["requests"] for row in ledger_rows(there)) == 3, "not booked")
        found = ledger_rows(there)
        assert sorted(row["requests"] for row in found) == [1, 2]
        assert all(row["saved"] == 0 and row["billed"] == row["untouched"] > 0 for row in found)
        assert there.proxy.metrics()['mmu_passed_through_total{reason="malformed"}'] == 3


def ledger_rows(there: World) -> list[dict[str, Any]]:
    return bill.rows(there.proxy, "conversation")
