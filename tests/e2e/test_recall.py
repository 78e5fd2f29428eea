"""Recall by patch, end to end: the model asks for an evicted page by its id and has it from then on."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from addon.recall.answer import NO_PAGE
from tests.e2e.model import REFUSAL, TOOLS, Model, evicted, output
from tests.e2e.talk import Talk
from tests.e2e.world import blocks, world


@pytest.mark.parametrize(("name", "thinking"), [("claude-opus-4-8", False), ("claude-opus-5-5", True)])
def test_a_recalled_page_is_exact_and_stays(tmp_path: Path, name: str, thinking: bool) -> None:
    with world(tmp_path, mmu_recall="patch") as there:
        model = Model(there, name, thinking=thinking)
        assert [tool["name"] for tool in TOOLS] == ["Bash", "Read"]
        page = evicted(model)
        assert [tool["name"] for tool in model.last()["tools"]] == ["Bash", "Read", "mmu_recall"]
        assert "mmu_recall(page) or running it again shows it.]" in model.result(2)["content"]
        assert "mmu_recall" not in json.dumps(json.loads(model.seen()[3].body)["tools"])

        model.recall(page=page)
        at = len(model.messages) - 1
        model.recall(page=page, lines="3-4")
        there.proxy.kill()
        there.proxy.restart()
        model.call("Bash", {"command": "last"}, "short")
        model.ask({"type": "text", "text": "Thanks."})

        got = model.result(at)
        assert (got["content"], got["is_error"]) == (output(0), False)
        assert model.result(at + 2)["content"] == "3\trow 2 of output 0, in full\n4\trow 3 of output 0, in full"
        bodies = [blocks(record.body) for record in model.seen()][-5:]
        assert all(two[: len(one)] == one for one, two in pairwise(bodies))
        assert there.up.invalid == 0
        metrics = there.proxy.metrics()
    # the refusal of the second came after the restart; the first is not counted again
    assert metrics['mmu_recalls_total{result="served"}'] == 1


def test_recalls_beside_real_calls_and_of_what_is_not_there(tmp_path: Path) -> None:
    with world(tmp_path, mmu_recall="patch") as there:
        model = Model(there, "claude-opus-4-8")
        page = evicted(model)
        said = model.ask(
            {"type": "text", "text": "Both."},
            {"type": "tool_use", "name": "mmu_recall", "input": {"page": page, "grep": "row 7 "}},
            {"type": "tool_use", "name": "Bash", "input": {"command": "date"}},
            {"type": "tool_use", "name": "mmu_recall", "input": {"page": "feedfeedfeed"}},
            {"type": "tool_use", "name": "mmu_recall", "input": {"pages": 3}},
        )
        refused: dict[str, Any] = {"content": REFUSAL, "is_error": True}
        results: list[dict[str, Any]] = [refused, {"content": "Monday"}, refused, refused]
        calls = [block["id"] for block in said if block["type"] == "tool_use"]
        content = [{"type": "tool_result", "tool_use_id": i, **r} for i, r in zip(calls, results, strict=True)]
        model.messages.append({"role": "user", "content": content})
        model.ask({"type": "text", "text": "Thanks."})
        got = [(block["content"], block.get("is_error")) for block in model.last()["messages"][-1]["content"]]
        assert got[0] == ("\n".join(f"{n}\trow {n - 1} of output 0, in full" for n in range(6, 11)), False)
        assert got[1] == ("Monday", None)
        assert got[2] == ("There is no page feedfeedfeed here. Run the original call again to see its result.", False)
        assert got[3] == (NO_PAGE, False)
        assert there.up.invalid == 0
        metrics = there.proxy.metrics()
        assert metrics['mmu_recalls_total{result="served"}'] == 1
        assert metrics['mmu_recalls_total{result="unknown page"}'] == 1
        assert metrics['mmu_recalls_total{result="not understood"}'] == 1
        assert metrics['mmu_faults_total{kind="explicit"}'] == 1


@pytest.mark.parametrize("key", ["another-key", "test-key"])
def test_a_page_that_did_not_leave_this_conversation_is_unknown(tmp_path: Path, key: str) -> None:
    """Whether another tenant's or another conversation's: an id that was learned elsewhere opens nothing."""
    with world(tmp_path, mmu_recall="patch") as there:
        page = evicted(Model(there, "claude-opus-4-8"))
        other = Model(there, "claude-opus-4-8", headers={"x-api-key": key})
        other.messages = [{"role": "user", "content": "something else"}]
        evicted(other, 100)
        other.recall(page=page)
        at = len(other.messages) - 1
        other.ask({"type": "text", "text": "Hm."})
        assert other.result(at)["content"].startswith(f"There is no page {page} here.")


def test_nothing_is_answered_where_the_tool_was_never_offered(tmp_path: Path) -> None:
    with world(tmp_path, mmu_recall="patch") as there:
        model = Model(there, "claude-opus-4-8")
        model.recall(page="0123456789abcdef01234567")
        model.ask({"type": "text", "text": "Hm."})
        assert (model.result(2)["content"], model.result(2)["is_error"]) == (REFUSAL, True)


def test_the_tool_is_offered_only_where_it_may_be(tmp_path: Path) -> None:
    for option, agent, expected in (
        ("auto", "some-script/1", True),
        ("auto", "claude-cli/2.1.330 (external, cli)", True),
        ("off", "claude-cli/2.1.330 (external, cli)", False),
    ):
        folder = tmp_path / f"{option}-{agent[:6]}"
        folder.mkdir()
        with world(folder, mmu_recall=option) as there:
            model = Model(there, "claude-opus-4-8", headers={"user-agent": agent})
            evicted(model)
            names = [tool["name"] for tool in model.last()["tools"]]
            assert ("mmu_recall" in names) is expected
            assert ("mmu_recall" in json.dumps(blocks(model.seen()[-1].body))) is expected


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_a_client_that_renames_a_call_it_does_not_know_is_sent_on_with_the_models_own(
    tmp_path: Path, stream: bool
) -> None:
    with world(tmp_path, mmu_recall="patch") as there:
        model = Talk(there, stream=stream)
        page = evicted(model)
        call = {"type": "tool_use", "name": "mmu_recall", "input": {"page": page, "lines": "2-3"}}
        said = model.ask({"type": "text", "text": "Let me see."}, call)
        made = dict(said[-1])
        said[-1] |= {"name": "invalid", "input": {"tool": "mmu_recall", "error": "no such tool"}}
        refused = {"type": "tool_result", "tool_use_id": made["id"], "content": "Invalid arguments", "is_error": True}
        model.messages.append({"role": "user", "content": [refused]})
        model.ask({"type": "text", "text": "Thanks."})
        model.messages.append({"role": "user", "content": "go on"})
        there.proxy.kill()
        there.proxy.restart()
        model.ask({"type": "text", "text": "Yes."})
        asked, got = model.last()["messages"][-4:-2]
        assert asked["content"][-1]["name"] == "mmu_recall"
        assert asked["content"][-1]["input"] == {"page": page, "lines": "2-3"}
        assert got["content"][0]["content"].startswith("2\trow 1 of output 0")
        assert there.up.invalid == 0
