"""Recall by patch, end to end: the model asks for an evicted page by its id and has it from then on."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World, blocks, world
from tests.upstream import Record

TOOLS = [{"name": name, "description": name, "input_schema": {"type": "object"}} for name in ("Bash", "Read")]
HANDLE = re.compile(r"\[mmu page ([a-z0-9-]+): ")
REFUSAL = "<tool_use_error>Error: No such tool available: mmu_recall</tool_use_error>"


NONE: dict[str, str] = {}


class Model:
    """An agent without any library: it sends exactly what a client would, and the test says what the model answers."""

    def __init__(self, there: World, model: str, *, thinking: bool = False, headers: dict[str, str] = NONE) -> None:
        self.there, self.model, self.thinking, self.headers = there, model, thinking, headers
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
        self.now = 1_000_000.0
        self.reply: dict[str, Any] = {}
        there.up.script("recall", lambda _: self.reply)

    def ask(self, *content: dict[str, Any], idle: float = 5.0) -> list[dict[str, Any]]:
        """One request, answered with these blocks. Returns the blocks."""
        self.now += idle
        thought = [{"type": "thinking", "thinking": f"hm {len(self.messages)}"}] if self.thinking else []
        self.reply = {"content": [*thought, *content]}
        messages = json.loads(json.dumps(self.messages))
        if isinstance(messages[-1]["content"], str):
            messages[-1]["content"] = [{"type": "text", "text": messages[-1]["content"]}]
        messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        body = {"model": self.model, "max_tokens": 1000, "tools": TOOLS, "messages": messages}
        clock = str(self.now)
        headers = {"x-upstream-script": "recall", "x-upstream-session": "m", "x-upstream-clock": clock, **self.headers}
        status, answer = self.there.post(json.dumps(body).encode(), {**headers, "x-mmu-clock": clock})
        assert status == 200, answer
        said: list[dict[str, Any]] = json.loads(answer)["content"]
        self.messages.append({"role": "assistant", "content": said})
        return said

    def call(self, tool: str, arguments: dict[str, Any], result: str, idle: float = 5.0, **more: Any) -> None:
        """The model calls one tool, and the client answers."""
        said = self.ask({"type": "tool_use", "name": tool, "input": arguments}, idle=idle)
        answered = {"type": "tool_result", "tool_use_id": said[-1]["id"], "content": result, **more}
        self.messages.append({"role": "user", "content": [answered]})

    def recall(self, **arguments: Any) -> None:
        self.call("mmu_recall", arguments, REFUSAL, is_error=True)

    def human(self, idle: float) -> None:
        self.ask({"type": "text", "text": "Done."})
        self.messages.append({"role": "user", "content": "go on"})
        self.now += idle

    def seen(self) -> list[Record]:
        return self.there.seen("m")

    def last(self) -> Any:
        return json.loads(self.seen()[-1].body)

    def result(self, message: int) -> Any:
        return self.last()["messages"][message]["content"][-1]


def output(n: int) -> str:
    return "\n".join(f"row {k} of output {n}, in full" for k in range(80))


def evicted(model: Model, first: int = 0) -> str:
    """Let outputs be evicted; the id of the first one's page."""
    for n in range(first, first + 8):
        model.call("Bash", {"command": f"make {n}"}, output(n))
    model.human(4000)
    model.ask({"type": "text", "text": "I see handles."})
    model.messages.append({"role": "user", "content": "so?"})
    found = HANDLE.match(model.result(2)["content"])
    assert found, "nothing was evicted"
    return found[1]


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
        assert got[3] == ("`page` must be the ID that a handle names.", False)
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
