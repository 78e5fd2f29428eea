"""What mitmmu does because it pays, end to end: tools that nobody uses come without their prose, long outputs come in
part, and what nobody quotes leaves a warm cache. It takes prices, habits of earlier sessions and the way their heads
were sent, so every test here begins with a project that has been at work before."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.genai import types

from addon.wire import chat, gemini
from storage.writer import FLUSH_SECONDS
from tests.agent.schemas import tools
from tests.e2e.ledger import parsed
from tests.e2e.talks import Block, Chat, Gemini, Messages, Talk, say, use
from tests.e2e.test_ledger import beside, ledger, opened
from tests.e2e.world import World, world
from tests.upstream import Record

DECLARED = tools()[:12]
USED = ("Bash", "Read", "Edit")
SYSTEM = "You are an agent.\nPrimary working directory: /work/shop\n"
LIFE = 300.0
COLD = 5_000.0
STUB = re.compile(r"\[mmu page ([0-9a-z]+): the rest of this description\]")
GAP = re.compile(r"\[mmu page ([0-9a-z]+): lines (\d+)-(\d+) \([\d,]+ bytes\) left out")


def output(n: int, rows: int) -> str:
    return "\n".join(f"row {k} of run {n}: {k * 7919 % 1000} things done" for k in range(1, rows + 1))


class Work(Messages):
    """A session of a coding agent, with tools as large as theirs, in one project and one account of the provider."""

    def __init__(self, there: World, label: str, now: float) -> None:
        self.label = label
        super().__init__(there, stream=True)
        self.tools, self.now = DECLARED, now
        there.up.script(label, lambda _: self.replies.pop(0))

    def begin(self, words: str) -> None:
        self.human(f"{words} with task {self.label}")

    def send(self, headers: Mapping[str, str]) -> list[Block]:
        of_mine = {"x-upstream-script": self.label, "x-upstream-session": self.label, "x-upstream-account": "team"}
        given: Any = {"model": "claude-opus-4-8", "max_tokens": 1000, "tools": self.tools, "messages": self.history}
        # a mark behind the instructions, as clients set it, lets other sessions read the head from the cache
        given["system"] = [{**say(SYSTEM), "cache_control": {"type": "ephemeral"}}]
        given |= {"cache_control": {"type": "ephemeral"}, "extra_headers": {**headers, **of_mine}}
        with self.sdk.messages.stream(**given) as stream:
            got: Any = stream.get_final_message()
        said = [block.model_dump(mode="json", exclude_unset=True, exclude_none=True) for block in got.content]
        self.history.append({"role": "assistant", "content": said})
        return said

    def seen(self) -> list[Record]:
        return [r for r in self.there.up.log if r.label == self.label and r.status == 200]

    def bodies(self) -> list[bytes]:
        return [record.body for record in self.seen()]

    def bash(self, n: int, text: str, idle: float = 5.0) -> None:
        self.run({"Bash": text}, self.ask([use("Bash", command=f"make {n}")], idle=idle))


def short(talk: Talk) -> None:
    """A session that uses three tools."""
    for name, arguments in (
        ("Bash", {"command": "make"}),
        ("Read", {"file_path": "/work/shop/a.py"}),
        ("Edit", {"file_path": "/work/shop/a.py", "old_string": "a", "new_string": "b"}),
    ):
        talk.run({name: "1\ta" if name == "Read" else "done"}, talk.ask([use(name, **arguments)]))
    talk.ask([say("Done.")])


def taught(there: World) -> float:
    """Two sessions teach what the project uses; the time of a third, for which everything is cold."""
    opened(there)
    now = 1_000_000.0
    for label in ("one", "two"):
        talk = Work(there, label, now)
        short(talk)
        now = talk.now
        assert all(head(body)[0] == DECLARED for body in talk.bodies())
    return now + COLD


def head(body: bytes) -> tuple[Any, str]:
    """The tools of a request, and everything up to their end as it is spelled."""
    conversation = parsed(body)
    ends = conversation.tools
    return json.loads(body)["tools"], conversation.text[ends[0].start : ends[-1].end]


def is_kept(talk: Work) -> bool:
    """Whether every request of a session begins with all of the one before."""
    return all(talk.goes_on(one, two) and head(one)[1] == head(two)[1] for one, two in pairwise(talk.bodies()))


def recalled(talk: Work) -> Any:
    """The newest result of a recall in the last request."""
    found = None
    for message in talk.said(talk.bodies()[-1]):
        for block in message["content"]:
            if block["type"] == "tool_use" and block["name"] == "mmu_recall":
                found = block["id"]
    [result] = [
        block["content"]
        for message in talk.said(talk.bodies()[-1])
        for block in message["content"]
        if block["type"] == "tool_result" and block["tool_use_id"] == found
    ]
    return result


def stubbed(talk: Work) -> dict[str, str]:
    """Page of the definition of each tool that came without its prose in a session's first request."""
    declared, _ = head(talk.bodies()[0])
    found = ((tool["name"], STUB.search(tool["description"])) for tool in declared)
    return {name: match[1] for name, match in found if match is not None}


@pytest.mark.parametrize("ends", ["kill", "stop", ""])
def test_tools_that_nobody_uses_come_without_their_prose(tmp_path: Path, ends: str) -> None:
    with world(tmp_path, billed=True) as there:
        talk = Work(there, "three", taught(there))
        talk.bash(0, "ok")
        declared, _ = head(talk.bodies()[0])
        pages = stubbed(talk)
        assert [tool["name"] for tool in declared] == [*(tool["name"] for tool in DECLARED), "mmu_recall"]
        assert len(pages) >= 7
        assert pages.keys().isdisjoint(USED)
        assert [tool for tool in declared if tool["name"] in USED] == [t for t in DECLARED if t["name"] in USED]
        for mine, theirs in zip(declared, DECLARED, strict=False):
            assert mine["input_schema"]["required"] == theirs["input_schema"]["required"]
            assert mine["input_schema"]["properties"].keys() == theirs["input_schema"]["properties"].keys()

        # a stub can be called, and the client gets the call as the model made it
        fetch = use("WebFetch", url="https://example.org", prompt="What is it?")
        made = talk.ask([fetch])
        assert [{k: v for k, v in call.items() if k != "id"} for call in made] == [fetch]
        talk.run({"WebFetch": "An example."}, made)
        if ends:
            getattr(there.proxy, ends)()
            there.proxy.start()

        # and its definition can be had, without the client's knowing
        assert talk.ask([use("mmu_recall", page=pages["WebFetch"])], [say("I see.")]) == [say("I see.")]
        talk.human("go on")
        talk.ask([say("Done.")])
        [full] = [tool for tool in DECLARED if tool["name"] == "WebFetch"]
        assert recalled(talk) == json.dumps(full, separators=(",", ":"), ensure_ascii=False)
        assert is_kept(talk)

        # as long as that head is warm, the next session takes it as it is
        if ends == "kill":
            settled()
        if ends:
            getattr(there.proxy, ends)()
            there.proxy.start()
        after = Work(there, "four", talk.now + LIFE / 2)
        short(after)
        assert head(after.bodies()[0])[1] == head(talk.bodies()[0])[1]
        assert after.seen()[0].usage["cache_read_input_tokens"] > 1024
        assert is_kept(after)
        assert there.up.invalid == 0
        assert there.proxy.metrics().get("mmu_failures_total", 0) == 0


def test_a_refusal_of_a_stub_comes_with_the_definition(tmp_path: Path) -> None:
    with world(tmp_path, billed=True) as there:
        talk = Work(there, "three", taught(there))
        for _ in range(2):
            [call] = talk.ask([use("WebFetch", url="https://example.org")])
            said = "InputValidationError: The required parameter `prompt` is missing"
            result = {"type": "tool_result", "tool_use_id": call["id"], "content": said, "is_error": True}
            talk.history.append({"role": "user", "content": [result]})
        talk.ask([say("I give up.")])
        [full] = [tool for tool in DECLARED if tool["name"] == "WebFetch"]
        first, second = (talk.said(talk.bodies()[-1])[n]["content"][0] for n in (2, 4))
        assert (first["is_error"], second["is_error"], second["content"]) == (True, True, said)
        assert first["content"].startswith(said)
        assert json.loads(first["content"].splitlines()[-1]) == full
        assert is_kept(talk)
        assert there.up.invalid == 0


@pytest.mark.parametrize("ends", ["kill", ""])
def test_a_long_output_comes_in_part_and_the_rest_on_demand(tmp_path: Path, ends: str) -> None:
    text = output(1, 600)
    with world(tmp_path, billed=True) as there:
        talk = Work(there, "three", taught(there))
        talk.bash(1, text)
        talk.ask([say("It is done.")])
        shown = talk.said(talk.bodies()[-1])[2]["content"][0]["content"]
        gaps = list(GAP.finditer(shown))
        assert gaps
        assert len(shown) < len(text) / 3
        lines = text.split("\n")
        assert shown.startswith(lines[0])
        assert shown.endswith(lines[-1])
        if ends:
            there.proxy.kill()
            there.proxy.start()
        for gap in gaps:
            page, start, end = gap[1], int(gap[2]), int(gap[3])
            talk.human("and between?")
            asked = use("mmu_recall", page=page, lines=f"{start}-{end}")
            assert talk.ask([asked], [say("That.")]) == [say("That.")]
            got = recalled(talk).split("\n")
            assert got == [f"{n}\t{lines[n - 1]}" for n in range(start, end + 1)]
        assert is_kept(talk)
        assert there.up.invalid == 0


def settled() -> None:
    """Wait until what is written behind has been written."""
    time.sleep(1.5 * FLUSH_SECONDS)


def cuts(talk: Work) -> list[int]:
    """Requests whose prefix is not the one before."""
    return [n for n, (one, two) in enumerate(pairwise(talk.bodies()), 1) if not talk.goes_on(one, two)]


def work(talk: Work, runs: int) -> None:
    """Commands whose outputs are too short to come in part, and that nobody speaks of again."""
    for n in range(runs):
        talk.bash(n, output(n, 130))


@pytest.mark.parametrize("ends", ["kill", ""])
def test_what_nobody_quotes_leaves_a_warm_cache(tmp_path: Path, ends: str) -> None:
    with world(tmp_path, billed=True) as there, beside(there) as other:
        now = taught(there)
        talk, untouched = Work(there, "three", now), Work(other, "three", now)
        for each in (talk, untouched):
            work(each, 16)
        found = cuts(talk)
        assert found
        seen = talk.seen()
        for n in found:
            assert seen[n].time - seen[n - 1].time < LIFE
            # the head at least; more where the cut is near the end, which depends on how soon a saving was booked
            assert seen[n].usage["cache_read_input_tokens"] > 5000
            changed = [
                (before["content"][0]["content"], after["content"][0]["content"])
                for before, after in zip(talk.said(seen[n - 1].body), talk.said(seen[n].body), strict=False)
                if before != after
            ]
            assert changed
            for before, after in changed:
                assert before in [output(run, 130) for run in range(n)]
                assert after.startswith("[mmu page ")
        if ends:
            there.proxy.kill()
            there.proxy.start()
        else:
            assert there.proxy.metrics()['mmu_epochs_total{occasion="cut"}'] == len(found)
            [row] = [row for row in ledger(there, "conversation") if row["evict"]]
            assert min(row["saved"], row["stub"], row["evict"]) > 0
        gone = [n for n, message in enumerate(talk.said(seen[-1].body)) if "[mmu page " in json.dumps(message)]
        for each in (talk, untouched):
            each.human("go on")
            each.ask([say("Done.")])
        for n in gone:
            assert talk.said(talk.bodies()[-1])[n] == talk.said(seen[-1].body)[n]
        assert there.up.totals("three").dollars < other.up.totals("three").dollars
        assert there.up.invalid == 0


def spelled(talk: Talk) -> list[Any]:
    """The tools as a vendor's SDK takes them."""
    if isinstance(talk, Gemini):
        made = [
            types.FunctionDeclaration(
                name=tool["name"], description=tool["description"], parameters_json_schema=tool["input_schema"]
            )
            for tool in DECLARED
        ]
        return [types.Tool(function_declarations=made)]
    return [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool["description"],
                "parameters": tool["input_schema"],
            },
        }
        for tool in DECLARED
    ]


def words_of(value: Any) -> set[str]:
    """The sentences in a JSON value, however deep they are quoted."""
    plain = json.dumps(value).replace("\\", "").replace('"', ".").replace("nn", ".")
    return {sentence.strip() for sentence in plain.split(".") if len(sentence) > 30}


def definitions(body: bytes) -> dict[str, Any]:
    """The tools of a request by name."""
    conversation = api(body).parse(body)
    return {tool.name: json.loads(conversation.text[tool.start : tool.end]) for tool in conversation.tools}


def api(body: bytes) -> Any:
    return gemini if "contents" in json.loads(body) else chat


@pytest.mark.parametrize("kind", [Chat, Gemini], ids=["chat", "gemini"])
def test_tools_of_other_apis(tmp_path: Path, kind: type[Talk]) -> None:
    with world(tmp_path, billed=True) as there:
        opened(there)
        now = 1_000_000.0
        for words in ("one", "two", "three"):
            talk = kind(there, stream=True)
            talk.tools, talk.now = spelled(talk), now  # type: ignore[attr-defined]
            talk.history.pop()
            talk.human(f"begin with task {words}")
            if words == "three":
                break
            short(talk)
            now = talk.now + 200_000
        plain = definitions(talk.bodies()[-1])
        start = len(talk.bodies())
        short(talk)
        first = definitions(talk.bodies()[start])
        assert [*first] == [*plain, "mmu_recall"]
        pages = {
            name: match[1] for name, tool in first.items() if (match := STUB.search(json.dumps(tool))) is not None
        }
        assert len(pages) >= 7
        assert all(first[name] == plain[name] for name in plain.keys() - pages.keys())
        assert pages.keys().isdisjoint(USED)
        talk.human("and the web?")
        assert talk.ask([use("mmu_recall", page=pages["WebFetch"])], [say("I see.")]) == [say("I see.")]
        talk.human("go on")
        talk.ask([say("Done.")])
        assert words_of(plain["WebFetch"]) <= words_of(json.loads(talk.bodies()[-1])[talk.turns])
        assert not words_of(plain["WebFetch"]) <= words_of(json.loads(talk.bodies()[start])["tools"])
        assert all(talk.goes_on(one, two) for one, two in pairwise(talk.bodies()[start:]))
        assert there.up.invalid == 0
