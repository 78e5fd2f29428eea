"""Chat Completions through the proxy with the vendor's SDK: folded, evicted, recalled, and never refused."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.model import HANDLE, REFUSAL, output
from tests.e2e.world import World, world
from tests.harness import Mitmdump
from tests.upstream import Upstream

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {"type": "object"}}}
    for name in ("bash", "read_file")
]
FILE = "\n".join(f"{n}\tvalue_{n} = {n * 7 % 13} # of the file" for n in range(1, 90))


class Talk:
    """A conversation of the `openai` SDK."""

    def __init__(self, there: World, *, stream: bool) -> None:
        self.there, self.stream = there, stream
        regular = there.mode == "regular"
        tls: Any = ssl.create_default_context(cafile=str(there.proxy.ca_file)) if regular else True
        http = openai.DefaultHttpxClient(proxy=there.proxy.url if regular else None, verify=tls, trust_env=False)
        url = "https://api.openai.com/v1" if regular else f"{there.proxy.url}/v1"
        self.client = openai.OpenAI(api_key="test-key", base_url=url, max_retries=2, http_client=http)
        self.messages: list[Any] = [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": "begin"},
        ]
        self.now = 1_000_000.0
        self.replies: list[dict[str, Any]] = []
        there.up.script("chat", lambda _: self.replies.pop(0))

    def ask(self, *content: dict[str, Any], idle: float = 5.0, before: list[dict[str, Any]] | None = None) -> Any:
        """One request; the model answers with these blocks, after what comes `before`, which may be all."""
        self.now += idle
        self.replies = [*(before or []), *([{"content": list(content)}] if content else [])]
        clock = f"{self.now}"
        headers = {"x-upstream-script": "chat", "x-upstream-session": "c", "x-upstream-clock": clock}
        given: Any = {"model": "gpt-4.1", "messages": self.messages, "tools": TOOLS}
        given["extra_headers"] = {**headers, "x-mmu-clock": clock}
        if self.stream:
            with self.client.chat.completions.stream(**given, stream_options={"include_usage": True}) as stream:
                done = stream.get_final_completion()
        else:
            done = self.client.chat.completions.create(**given)
        message = done.choices[0].message
        kept: dict[str, Any] = {"role": "assistant", "content": message.content}
        if message.tool_calls:
            made = [(c.id, {"name": c.function.name, "arguments": c.function.arguments}) for c in message.tool_calls]
            kept["tool_calls"] = [{"id": id, "type": "function", "function": function} for id, function in made]
        self.messages.append(kept)
        assert not self.replies
        return done

    def call(self, *calls: tuple[str, dict[str, Any], str], idle: float = 5.0) -> None:
        """The model calls tools at once, and the client answers."""
        blocks = [{"type": "tool_use", "name": name, "input": given} for name, given, _ in calls]
        done = self.ask(*blocks, idle=idle)
        for made, (_, _, result) in zip(done.choices[0].message.tool_calls, calls, strict=True):
            self.messages.append({"role": "tool", "tool_call_id": made.id, "content": result})

    def human(self, words: str) -> None:
        self.messages.append({"role": "user", "content": words})

    def last(self) -> Any:
        return json.loads(self.bodies()[-1])

    def bodies(self) -> list[bytes]:
        return [r.body for r in self.there.up.log if r.label == "c" and r.status == 200]


def say(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def is_prefix(before: bytes, after: bytes) -> bool:
    one, two = (json.loads(body) for body in (before, after))
    return bool(one["tools"] == two["tools"] and two["messages"][: len(one["messages"])] == one["messages"])


@contextmanager
def talking(folder: Path, *, stream: bool, **options: str) -> Iterator[tuple[World, Talk]]:
    with world(folder, "regular", scripts=(), billed=False, **options) as there:
        yield there, Talk(there, stream=stream)


def begun(talk: Talk) -> str:
    """Outputs and a file, evicted on a cold cache; the id of the first output's page."""
    for n in range(8):
        talk.call(("bash", {"command": f"make {n}"}, output(n)), ("read_file", {"path": "src/app.py"}, FILE))
    talk.ask(say("Done."))
    talk.human("go on")
    talk.ask(say("I see handles."), idle=200_000)
    found = HANDLE.match(talk.last()["messages"][3]["content"])
    assert found, "nothing was evicted"
    return found[1]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_a_session_is_folded_evicted_recalled_and_survives_a_crash(tmp_path: Path, stream: bool) -> None:
    with talking(tmp_path, stream=stream, mmu_recall="patch") as (there, talk):
        page = begun(talk)
        shown = [str(m["content"]) for m in talk.last()["messages"]]
        assert sum("unchanged since your read above" in words for words in shown) == 7
        assert [t["function"]["name"] for t in talk.last()["tools"]] == ["bash", "read_file", "mmu_recall"]
        talk.human("what did the first one print?")
        talk.call(("mmu_recall", {"page": page, "lines": "3-4"}, REFUSAL), ("bash", {"command": "date"}, "Monday"))
        there.proxy.kill()
        there.proxy.restart()
        talk.ask(say("Row 2."))
        results = [m["content"] for m in talk.last()["messages"] if m["role"] == "tool"][-2:]
        assert results == ["3\trow 2 of output 0, in full\n4\trow 3 of output 0, in full", "Monday"]
        for n in range(20):
            talk.human(f"and {n}")
            talk.ask(say("Yes."))
        bodies = talk.bodies()[9:]
        assert all(is_prefix(one, two) for one, two in pairwise(bodies))
        assert there.up.invalid == 0
        metrics = there.proxy.metrics()
        assert metrics['mmu_recalls_total{result="served"}'] in (0.0, 1.0)
        assert metrics["mmu_saved_tokens_total"] > 0


@pytest.mark.parametrize("status", [429, 500, 529])
def test_an_error_of_the_providers_reaches_the_sdk_which_asks_again(tmp_path: Path, status: int) -> None:
    with talking(tmp_path, stream=True) as (there, talk):
        begun(talk)
        talk.human("again")
        broken = {"error": {"status": status, "message": "busy", "headers": {"retry-after": "0"}}}
        assert talk.ask(say("Here."), before=[broken]).choices[0].message.content == "Here."
        assert is_prefix(*talk.bodies()[-2:])
        assert there.up.invalid == 0


def test_a_refused_rewrite_is_answered_by_what_was_sent_before_and_the_session_goes_on(tmp_path: Path) -> None:
    with talking(tmp_path, stream=False) as (there, talk):
        begun(talk)
        talk.human("again")
        refused = {"error": {"status": 400, "message": "messages.2.content: planted"}}
        assert talk.ask(say("Here."), before=[refused]).choices[0].message.content == "Here."
        talk.human("more")
        talk.ask(say("Yes."))
        assert there.proxy.metrics()["mmu_resent_total"] == 1
        assert there.up.invalid == 0


def test_a_compatible_server_behind_a_reverse_proxy_is_managed_alike(tmp_path: Path) -> None:
    with Upstream() as up:
        proxy = Mitmdump({"mmu_clock": "header", "mmu_recall": "patch"}, target=up.url, folder=tmp_path / "proxy")
        with proxy:
            talk = Talk(World(up, proxy, "reverse", tmp_path), stream=True)
            begun(talk)
            assert up.invalid == 0
            assert proxy.metrics()["mmu_evictions_total"] > 0


def test_what_is_not_a_chat_call_is_left_alone(tmp_path: Path) -> None:
    with talking(tmp_path, stream=False) as (there, talk):
        tls = ssl.create_default_context(cafile=str(there.proxy.ca_file))
        with openai.DefaultHttpxClient(proxy=there.proxy.url, verify=tls, trust_env=False) as http:
            for path in ("/v1/embeddings", "/v1/files", "/v2/chat/completions"):
                http.post(f"https://api.openai.com{path}", content=b"{ any }", headers={"authorization": "Bearer k"})
        assert [r.body for r in there.up.log] == [b"{ any }"] * 3
        assert there.proxy.metrics()["mmu_requests_total"] == 0
        assert talk.ask(say("Hi.")).choices[0].message.content == "Hi."
