"""What is learned over conversations, from the pager's request to the store and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from addon import learning
from addon.call import Call
from addon.keeper import Keeper, Memory, Name
from addon.learning import learn, learned, scopes
from addon.mmu.habits import Learned
from addon.mmu.tokens import Counter
from addon.options import Settings
from addon.pager import Pager, Request
from addon.watch.metrics import Metrics
from addon.wire import anthropic
from storage.errors import StoreError
from storage.tiers import Hierarchy

HEADERS = {"user-agent": "claude-cli/2.1.330", "x-claude-code-session-id": "s", "x-api-key": "k"}
LONG = "a line of output that will leave one day\n" * 200


def body(calls: int, prompt: str = "begin", folder: str = "/w/app") -> bytes:
    where = {"role": "system", "content": f" - Primary working directory: {folder}\n"}
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}, where]
    for n in range(calls):
        use = {"type": "tool_use", "id": f"{prompt}{n}", "name": "Bash", "input": {"command": f"make {n}"}}
        result = {"type": "tool_result", "tool_use_id": f"{prompt}{n}", "content": f"{n}\n{LONG}"}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    return json.dumps({"model": "claude-opus-4-8", "max_tokens": 9, "messages": messages}).encode()


class Proxy:
    """A pager that learns, and what its last request was planned with."""

    def __init__(self, keeper: Keeper | Memory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keeper = keeper
        self.metrics = Metrics()
        self.pager = Pager(keeper, b"k" * 32, self.metrics, Counter())
        self.requests: list[Request] = []
        commit = self.pager._commit

        async def watched(request: Request, *, relays: bool) -> tuple[Call, bytes]:
            self.requests.append(request)
            return await commit(request, relays=relays)

        monkeypatch.setattr(self.pager, "_commit", watched)

    async def send(self, request: bytes, **headers: str) -> Call:
        given = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
        call, _ = await self.pager.handle(anthropic, request, given, 1000.0, Settings(Path(), ""))
        await learn(self.keeper, call)
        return call

    async def known(self, **headers: str) -> Learned:
        """What a new conversation's first request is planned with."""
        await self.send(body(0, f"new {len(self.requests)}"), **headers)
        return self.requests[-1].outlook.habits


@pytest.fixture(params=["store", "memory"])
async def proxy(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        yield Proxy(Memory(), monkeypatch)
        return
    hierarchy = await Hierarchy.open(f"sqlite:///{tmp_path / 'mmu.db'}")
    yield Proxy(Keeper(hierarchy), monkeypatch)
    await hierarchy.close()


async def test_what_one_conversation_shows_the_next_is_planned_with(proxy: Proxy) -> None:
    assert await proxy.known() == Learned({}, {})
    for calls in range(4):
        await proxy.send(body(calls))
        await proxy.send(body(calls))  # tried again
    found = await proxy.known()
    # the one that asked before, and this one
    assert {n: v for n, v in found.population.items() if n.startswith("reached")} == {
        "reached:1": 2, "reached:2": 1, "reached:3": 1, "reached:4": 1,
    }  # fmt: skip
    assert found.population["idle:output:1"] == 2
    assert found.project["sessions"] == found.population["sessions"] == 2
    assert found.used == frozenset({"Bash"})
    assert found.remaining(1) == pytest.approx((2 * 1.5 + 10) / 12)
    assert proxy.metrics.value("mmu_failures_total") == 0


async def test_nothing_of_one_tenant_is_seen_by_another(proxy: Proxy) -> None:
    for calls in range(4):
        await proxy.send(body(calls))
    assert await proxy.known(x_api_key="other") == Learned({}, {})
    assert (await proxy.known()).population


async def test_clients_projects_and_sub_agents_are_apart(proxy: Proxy) -> None:
    for calls in range(4):
        await proxy.send(body(calls))
    assert await proxy.known(user_agent="codex/1", x_claude_code_session_id="") == Learned({}, {})
    assert await proxy.known(x_claude_code_request_class="subagent") == Learned({}, {}, sub=True)
    await proxy.send(body(0, "elsewhere", "/w/other"))
    found = proxy.requests[-1].outlook.habits
    assert found.population["reached:4"] == 1
    assert found.project == {}


async def test_what_only_repeats_a_conversation_adds_nothing(proxy: Proxy) -> None:
    for calls in range(3):
        await proxy.send(body(calls))
    await proxy.send(body(3), x_claude_code_request_class="compaction")
    assert "reached:4" not in (await proxy.known()).population


@pytest.mark.parametrize("error", [StoreError("gone"), TimeoutError()])
async def test_a_store_that_does_not_answer_is_nothing_known(error: Exception) -> None:
    class Gone(Memory):
        async def tallies(self, tenant: str, scope: str) -> dict[str, float]:
            raise error

    metrics = Metrics()
    assert await learned(Gone(), Name("t", "o", "h", client="c", sub=True), 0.5, metrics) == Learned(sub=True)
    assert metrics.value("mmu_failures_total", place="learned") == 1


def test_scopes_are_what_any_database_takes() -> None:
    name = Name("t", "o", "h", project="/w/app", client="codex")
    assert scopes(name) == ("codex/main", "codex/main /w/app")
    assert scopes(replace(name, project="", sub=True)) == ("codex/sub", "")
    odd = scopes(Name("t", "o", "h", project="/w\0" + "x" * 900, client="caf\udce9"))
    assert odd[0] == "caf?/main"
    assert odd[1].startswith("caf?/main /w?x")
    assert len(odd[1]) == len("caf?/main ") + learning.LONGEST


async def test_observing_leaves_no_trace_and_forgets_as_the_store_does() -> None:
    memory = Memory()
    memory.tally("t", "s", {"total": 1023, "a": 40})
    memory.tally("t", "s", {"total": 1, "a": 2})
    assert await memory.tallies("t", "s") == {"total": 512, "a": 21}
    for n in range(300):
        memory.tally("t", str(n), {"a": 1})
    assert await memory.tallies("t", "s") == {}
