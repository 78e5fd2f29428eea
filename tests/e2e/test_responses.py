"""Responses through the proxy beyond what an SDK's session shows: histories on the server, and Codex as it talks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai

from tests.e2e.model import HANDLE, output
from tests.e2e.talks import Responses, say
from tests.e2e.world import World, world

FILE = "\n".join(f"value_{n} = {n * 7 % 13}  # of the file" for n in range(1, 90))


def test_what_names_an_earlier_response_passes_untouched(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Responses(there, stream=False)
        names = {"x-upstream-script": "talk", "x-upstream-session": "talk"}
        given: Any = {"model": "gpt-5.1", "extra_headers": names}
        talk.replies = [{"content": [say("One.")]}, {"content": [say("Two.")]}]
        first = talk.sdk.responses.create(input="begin", **given)
        second = talk.sdk.responses.create(input="go on", previous_response_id=first.id, **given)
        assert second.output_text == "Two."
        metrics = there.proxy.metrics()
        assert metrics['mmu_passed_through_total{reason="history on the server"}'] == 1
        assert metrics["mmu_managed_total"] == 1
        assert metrics.get("mmu_rewritten_total", 0) == 0
        assert there.up.invalid == 0


class Codex:
    """Codex 0.169.0 over HTTP: its tools stand in the first item, and its shell in JavaScript."""

    def __init__(self, there: World) -> None:
        self.there = there
        self.now = 1_000_000.0
        self.way = Responses(there, stream=True).way
        exec_tool = {"type": "custom", "name": "exec", "description": "Runs JavaScript."}
        space = {"type": "namespace", "name": "container", "description": "Tools.", "tools": [exec_tool]}
        about = "<environment_context>\n  <cwd>/w/app</cwd>\n</environment_context>"
        self.items: list[dict[str, Any]] = [
            {"type": "additional_tools", "role": "developer", "tools": [exec_tool, space]},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": about}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "begin"}]},
        ]

    def ask(self, *content: dict[str, Any], idle: float = 5.0, **headers: str) -> list[dict[str, Any]]:
        """One request, answered with these blocks; the items of the answer, as the stream had them done."""
        self.now += idle
        self.there.up.script("codex", lambda _: {"content": list(content)})
        body = {
            "model": "gpt-5.1", "instructions": "", "input": self.items, "tool_choice": "auto", "store": False,
            "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "parallel_tool_calls": False,
            "stream": True,
        }  # fmt: skip
        known = {
            "authorization": "Bearer test-key", "session-id": "s", "thread-id": "s", "user-agent": "codex_exec/0.169.0",
            "x-upstream-script": "codex", "x-upstream-session": "codex", "x-upstream-clock": str(self.now),
            "x-mmu-clock": str(self.now), **headers,
        }  # fmt: skip
        with openai.DefaultHttpxClient(**self.way) as http:
            answer = http.post("https://api.openai.com/v1/responses", json=body, headers=known)
        assert answer.status_code == 200, answer.text
        told = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line[:5] == "data:"]
        done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
        self.items += done
        return done

    def run(self, command: str, result: str, idle: float = 5.0) -> None:
        """The model runs a command, and the client answers."""
        source = f"const r = await tools.exec_command({{cmd:{json.dumps(command)}}}); text(r.output)"
        call = self.ask({"type": "tool_use", "name": "exec", "input": source}, idle=idle)[-1]
        said = [{"type": "input_text", "text": "Script completed\n"}, {"type": "input_text", "text": result}]
        self.items.append({"type": "custom_tool_call_output", "call_id": call["call_id"], "output": said})

    def human(self, words: str) -> None:
        self.items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]})

    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.there.up.log[-1].body)
        return found


def test_codex_is_folded_and_evicted_and_may_compact(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        codex = Codex(there)
        codex.run("cat src/app.py", FILE)
        codex.run("sed -n '1,60p' src/app.py", "\n".join(FILE.split("\n")[:60]))
        for n in range(7):
            codex.run(f"make {n}", output(n))
        codex.ask(say("Done."))
        metrics = there.proxy.metrics()
        assert metrics["mmu_folds_total"] == 1, "a range of the file that was shown whole before"
        codex.human("go on")
        codex.ask(say("I see handles."), idle=200_000)
        assert HANDLE.search(json.dumps(codex.last()))
        assert codex.last()["input"][0] == codex.items[0], "its tools are left alone"
        assert "mmu_recall" not in json.dumps(codex.last()["input"][0])

        # what it is about to sum up stays as it is, although it would cost nothing to evict more
        codex.human("more")
        for n in range(7, 14):
            codex.run(f"make {n}", output(n))
        before = there.proxy.metrics()["mmu_evictions_total"]
        codex.items.append({"type": "compaction_trigger"})
        made = codex.ask(idle=200_000)
        assert [item["type"] for item in made] == ["compaction"]
        assert there.proxy.metrics()["mmu_evictions_total"] == before > 0
        assert there.up.invalid == 0
