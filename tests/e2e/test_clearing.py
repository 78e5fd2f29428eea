"""Bound reasoning, and a cache that goes cold within a turn: nothing may be evicted, so the provider clears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.model import Model, output
from tests.e2e.talk import BOUND, Talk
from tests.e2e.test_ledger import check, opened
from tests.e2e.world import World, blocks, until, world
from tests.harness import Mitmdump
from tests.upstream import Record, Upstream, clearing

BETA = "context-management-2025-06-27"
TYPE = "clear_tool_uses_20250919"
COLD = 4_000.0


def offered(model: Model) -> None:
    """A turn whose end, on a cold cache, lets everything of it be evicted: only then comes the recall tool."""
    for n in range(8):
        model.call("Bash", {"command": f"make {n}"}, output(n))
    model.human(COLD)


def work(model: Model, first: int, last: int, idle: float = 5.0) -> None:
    """Tool uses in one turn; before the first of them the cache may go cold."""
    for n in range(first, last):
        model.call("Bash", {"command": f"make {n}"}, output(n), idle=idle if n == first else 5.0)


def session(model: Model) -> None:
    offered(model)
    work(model, 8, 18)
    work(model, 18, 26, COLD)
    work(model, 26, 34, COLD)


def edit(record: Record) -> dict[str, Any]:
    managed = json.loads(record.body).get("context_management", {"edits": []})
    found: list[dict[str, Any]] = [e for e in managed["edits"] if e["type"] == TYPE]
    return found[0] if found else {}


def keeps(record: Record) -> int:
    return int(edit(record)["keep"]["value"])


def uses(record: Record) -> int:
    return sum(
        block["type"] == "tool_use"
        for message in json.loads(record.body)["messages"]
        for block in message["content"]
        if isinstance(block, dict)
    )


def read(record: Record) -> int:
    return int(record.usage["cache_read_input_tokens"])


def prompt(record: Record) -> int:
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(int(record.usage[name]) for name in names)


@contextmanager
def straight(there: World) -> Iterator[World]:
    """The same way to another provider, with nothing in between but a proxy that does nothing."""
    with Upstream(tls=True) as other:
        here = f"127.0.0.1:{other.port}"
        with Mitmdump(addon=None, redirect_to=here, folder=there.folder / "straight") as proxy:
            yield World(other, proxy, there.mode, there.folder)


def test_the_same_results_are_cleared_until_the_cache_is_cold_again(tmp_path: Path) -> None:
    with world(tmp_path) as there, straight(there) as other:
        before = opened(there)
        for place in (there, other):
            session(Model(place, BOUND, thinking=True))
        asked = there.seen("m")
        assert there.up.invalid == 0
        assert all(record.status == 200 for record in asked)
        cleared = [record.cleared for record in asked]
        steps = sorted(set(cleared))
        assert len(steps) == 3, cleared
        assert steps[0] == 0
        assert cleared == sorted(cleared), "what was cleared came back"
        for record in asked:
            if record.cleared:
                assert BETA in record.headers["anthropic-beta"].split(",")
                assert uses(record) - keeps(record) == record.cleared
        # between epochs all that was sent is read again, and bound reasoning never finds another prefix
        for one, two in pairwise(asked):
            if two.time - one.time < 300 and prompt(one) >= 512:
                assert read(two) == prompt(one), one.n
        first = next(n for n, record in enumerate(asked) if record.cleared)
        for one, two in pairwise(asked[first - 1 :]):
            sent = blocks(one.body)
            assert blocks(two.body)[: len(sent)] == sent
        sums = check(there, before, there.up.totals("m").dollars, other.up.totals("m").dollars)
        assert sums["billed"] < sums["untouched"]
        assert sums["evict"] > 0
        metrics = there.proxy.metrics()
        assert metrics["mmu_clears_total"] > 0
        assert metrics["mmu_cleared_total"] == sum(n > 0 for n in cleared)
        until(lambda: "cleared by the provider" in there.proxy.log_text(), "nothing is said of it")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_cleared_result_is_recalled_by_its_command(tmp_path: Path, stream: bool) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=stream)
        offered(talk)
        work(talk, 8, 18)
        work(talk, 18, 20, COLD)
        many = there.seen("m")[-1].cleared
        assert many > 8
        said = talk.turn(
            [{"type": "tool_use", "name": "mmu_recall", "input": {"page": "make 9"}}],
            [{"type": "tool_use", "name": "mmu_recall", "input": {"page": "make 3", "lines": "3-4"}}],
            [{"type": "text", "text": "I see."}],
        )
        assert [block["type"] for block in said] == ["text"]
        texts = list(talk.results().values())
        assert texts[0] == output(9)
        assert texts[1] == "\n".join(f"{k + 1}\trow {k} of output 3, in full" for k in (2, 3))
        # what carried the response on had more tool uses, and the same cleared
        assert {record.cleared for record in there.seen("m")[-3:]} == {many}
        talk.say("thanks")
        talk.ask({"type": "text", "text": "Bye."})
        assert there.seen("m")[-1].cleared == many
        assert there.up.invalid == 0


def test_after_a_kill_the_same_are_cleared(tmp_path: Path) -> None:
    with world(tmp_path, billed=False) as there:
        model = Model(there, BOUND, thinking=True)
        offered(model)
        work(model, 8, 18)
        work(model, 18, 20, COLD)
        many = there.seen("m")[-1].cleared
        assert many > 0
        there.proxy.kill()
        there.proxy.restart()
        work(model, 20, 24)
        assert [record.cleared for record in there.seen("m")[-4:]] == [many] * 4
        assert there.up.invalid == 0
        assert all(read(r) > 0 for r in there.seen("m")[-4:])


def test_a_file_that_is_read_again_comes_in_full(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        model = Model(there, BOUND, thinking=True)
        offered(model)
        text = "\n".join(f"{n}\tvalue_{n} = {n * 7 % 13} # of the file" for n in range(1, 200))
        model.call("Read", {"file_path": "/src/a.py"}, text)
        work(model, 8, 20)
        work(model, 20, 22, COLD)
        assert there.seen("m")[-1].cleared > 8
        model.call("Read", {"file_path": "/src/a.py"}, text)
        model.ask({"type": "text", "text": "I see."})
        assert model.result(len(model.messages) - 2)["content"] == text
        assert there.proxy.metrics()['mmu_faults_total{kind="implicit"}'] == 1


@pytest.mark.parametrize(
    "own",
    [
        {"context_management": {"edits": [{"type": TYPE, "keep": {"type": "tool_uses", "value": 30}}]}},
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
    ],
    ids=["clears", "compacts"],
)
def test_a_client_that_has_its_own_edits_is_left_alone(tmp_path: Path, own: dict[str, Any]) -> None:
    with world(tmp_path) as there:
        headers = {"anthropic-beta": f"{BETA},compact-2026-01-12"}
        model = Model(there, BOUND, thinking=True, headers=headers)
        model.extra = own
        session(model)
        for record in there.seen("m"):
            assert json.loads(record.body)["context_management"] == own["context_management"]
            assert record.headers["anthropic-beta"] == headers["anthropic-beta"]
        assert there.proxy.metrics().get("mmu_cleared_total", 0) == 0


def test_old_thinking_that_the_client_has_cleared_stays_first(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        own = {"type": "clear_thinking_20251015", "keep": "all"}
        model = Model(there, BOUND, thinking=True, headers={"anthropic-beta": f"some-beta-2026-01-01,{BETA}"})
        model.extra = {"context_management": {"edits": [own]}}
        session(model)
        last = there.seen("m")[-1]
        assert last.cleared > 0
        assert json.dumps(own).encode() in last.body
        assert [e["type"] for e in json.loads(last.body)["context_management"]["edits"]] == [own["type"], TYPE]
        assert last.headers["anthropic-beta"] == f"some-beta-2026-01-01,{BETA}"
        assert there.up.invalid == 0


@pytest.mark.parametrize("betas", ["", "some-beta-2026-01-01"], ids=["none", "one"])
def test_what_is_refused_is_not_asked_for_again(tmp_path: Path, betas: str) -> None:
    with world(tmp_path) as there:
        model = Model(there, BOUND, thinking=True, headers={"anthropic-beta": betas} if betas else {})

        def refuses(request: Any) -> dict[str, Any]:
            if "context_management" in request.body:
                return {"error": {"status": 400, "message": "context_management: Extra inputs are not permitted"}}
            return model._next()

        there.up.script("recall", refuses)
        session(model)
        answers = [(r.status, "context_management" in json.loads(r.body)) for r in there.seen("m")]
        assert answers.count((400, True)) == 1
        assert all(answer == (200, False) for answer in answers if answer != (400, True))
        after = there.seen("m")[answers.index((400, True)) + 1]
        assert after.headers.get("anthropic-beta", "") == betas
        metrics = there.proxy.metrics()
        assert metrics['mmu_resent_total{result="same without clearing accepted"}'] == 1
        assert metrics['mmu_failures_total{place="clearing"}'] == 1
        until(lambda: "refused, same without clearing sent" in there.proxy.log_text(), "nothing is said of it")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_where_more_is_cleared_than_was_meant_it_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: Any, stream: bool
) -> None:
    with world(tmp_path) as there:
        real = clearing.edited

        def greedy(body: Any, weigh: Any) -> Any:
            for each in (body.get("context_management") or {}).get("edits", ()):
                each["keep"]["value"] -= 1
            return real(body, weigh)

        monkeypatch.setattr(clearing, "edited", greedy)
        model = Talk(there, stream=stream)
        session(model)
        assert sum(record.cleared > 0 for record in there.seen("m")) in (1, 2)
        assert there.proxy.metrics()['mmu_failures_total{place="clearing"}'] >= 1


def test_a_client_that_goes_back_to_what_was_cleared_is_shown_the_last_of_it(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        model = Model(there, BOUND, thinking=True)
        offered(model)
        work(model, 8, 18)
        work(model, 18, 20, COLD)
        many = there.seen("m")[-1].cleared
        results = [n for n, m in enumerate(model.messages) if "tool_result" in json.dumps(m)]
        model.messages = model.messages[: results[many - 1] + 1]
        work(model, 30, 33)
        assert [record.cleared for record in there.seen("m")[-3:]] == [many - 1, many, many]
        assert there.up.invalid == 0
        assert there.proxy.metrics().get("mmu_broken_rules_total", 0) == 0
