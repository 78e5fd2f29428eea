"""Recall by relay in Responses, end to end through the vendor's SDK: the client sees one answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.model import HANDLE, output
from tests.e2e.talks import Block, Responses, say, use
from tests.e2e.world import World, relays_failed, world

BOTH_WAYS = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
COLD = 200_000.0
"""Seconds after which no provider has anything in its cache."""


@contextmanager
def begun(tmp_path: Path, *, stream: bool) -> Iterator[tuple[World, Responses, str]]:
    """A session with results that were evicted, and the page of the first."""
    with world(tmp_path, mmu_recall="relay") as there:
        talk = Responses(there, stream=stream)
        talk.sdk = talk.sdk.with_options(max_retries=0)
        for n in range(8):
            talk.run({"bash": output(n)}, talk.ask([say("I look."), use("bash", command=f"make {n}")]))
        talk.ask([say("Done.")])
        talk.human("go on")
        talk.ask([say("I see handles.")], idle=COLD)
        found = HANDLE.search(talk.bodies()[-1].decode())
        assert found, "nothing was evicted"
        yield there, talk, found[1]


def think(words: str) -> Block:
    return {"type": "thinking", "thinking": words}


def recall(page: str, **more: Any) -> Block:
    return use("mmu_recall", page=page, **more)


def results(talk: Responses) -> list[str]:
    """Results of recalls in the last request."""
    items = talk.said(talk.bodies()[-1])
    recalls = {item["call_id"] for item in items if item.get("name") == "mmu_recall"}
    answers = [item for item in items if item.get("type") == "function_call_output"]
    return [item["output"] for item in answers if item["call_id"] in recalls]


def asked(talk: Responses, *replies: dict[str, Any]) -> list[Block]:
    """One request, answered with these replies, errors among them."""
    talk.replies = list(replies)
    clock = str(talk.now)
    names = {"x-upstream-script": "talk", "x-upstream-session": "talk"}
    return talk.send({**names, "x-upstream-clock": clock, "x-mmu-clock": clock})


def kinds(talk: Responses, start: int) -> list[str]:
    """Of what the client holds."""
    return [str(item.get("type", "user")) for item in talk.history[start:]]


@BOTH_WAYS
def test_the_model_gets_its_pages_and_the_client_one_answer(tmp_path: Path, stream: bool) -> None:
    with begun(tmp_path, stream=stream) as (there, talk, page):
        start, held = len(talk.bodies()), len(talk.history)
        # one recall, then another in the same answer, of which only lines are wanted
        talk.human("what did the first one print?")
        first = [think("Which was it?"), say("Let me see. "), recall(page)]
        made = talk.ask(first, [think("Only the head."), recall(page, lines="3-4")], [say("It has 80 rows.")])
        assert made == [say("Let me see. "), say("It has 80 rows.")]
        assert kinds(talk, held) == ["user", "reasoning", "message", "reasoning", "message"]

        # beside real calls: the client runs its own, and the page goes along with their results
        talk.human("and the date?")
        date = use("bash", command="date")
        made = talk.ask([think("Both."), say("Both."), date, recall(page, grep="row 7 "), date])
        assert [block.get("name") for block in made] == [None, "bash", "bash"]
        talk.run({"bash": "Monday"}, made)
        talk.ask([say("Done.")])
        before = results(talk)
        assert before == [
            output(0),
            "3\trow 2 of output 0, in full\n4\trow 3 of output 0, in full",
            "\n".join(f"{n}\trow {n - 1} of output 0, in full" for n in range(6, 11)),
        ]

        # all of it stands in every later request, also after a crash
        there.proxy.kill()
        there.proxy.restart()
        for words in ("go on", "and on"):
            talk.human(words)
            talk.ask([say("Yes.")])
        assert results(talk) == before
        assert "mmu_recall" not in str(talk.history)
        assert all(talk.goes_on(one, two) for one, two in pairwise(talk.bodies()[start - 1 :]))
        assert there.up.invalid == 0
        assert there.proxy.metrics()["mmu_failures_total"] == 0


@BOTH_WAYS
def test_a_client_that_keeps_words_alone_is_served_like_any_other(tmp_path: Path, stream: bool) -> None:
    """The provider would refuse the hidden call without the reasoning that led to it."""
    with begun(tmp_path, stream=stream) as (there, talk, page):
        held = len(talk.history)
        talk.human("what did the first one print?")
        made = talk.ask([think("Which was it?"), recall(page)], [say("It has 80 rows.")])
        talk.history[held + 1 :] = [{"role": "assistant", "content": block["text"]} for block in made]
        talk.human("go on")
        talk.ask([say("Yes.")])
        assert results(talk) == [output(0)]
        assert talk.goes_on(*talk.bodies()[-2:])
        assert there.up.invalid == 0
        assert there.proxy.metrics().get("mmu_resent_total", 0) == 0


@pytest.mark.parametrize("status", [429, 500])
@BOTH_WAYS
def test_an_error_in_between_is_the_clients_to_see(tmp_path: Path, status: int, stream: bool) -> None:
    with begun(tmp_path, stream=stream) as (there, talk, page):
        talk.human("what did the first one print?")
        broken = {"error": {"status": status, "message": "busy for a very particular reason"}}
        first = [say("Let me see."), recall(page)]
        if stream:
            assert told(talk, {"content": first}, broken) == "busy for a very particular reason"
        else:
            with pytest.raises(openai.APIError, match="a very particular reason"):
                asked(talk, {"content": first}, broken)
        relays_failed(there, 1)
        # agents ask again
        assert talk.ask(first, [say(" Rows.")]) == [say("Let me see."), say(" Rows.")]
        talk.human("go on")
        talk.ask([say("Yes.")])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0


def told(talk: Responses, *replies: dict[str, Any]) -> str:
    """The error with which the SDK sees a stream end."""
    talk.replies = list(replies)
    names = {"x-upstream-script": "talk", "x-upstream-session": "talk", "x-mmu-clock": str(talk.now)}
    given: Any = {"model": "gpt-5.1", "input": talk.history, "tools": talk.tools, "store": False}
    given |= {"instructions": "Be an agent.", "include": ["reasoning.encrypted_content"]}
    with talk.sdk.responses.stream(**given, extra_headers={**names, "x-upstream-clock": str(talk.now)}) as stream:
        *_, last = stream
    assert last.type == "response.failed"
    assert last.response.error is not None
    return last.response.error.message


@pytest.mark.parametrize("broken", ["cut_after_events", "fail_after_events"])
def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path, broken: str) -> None:
    with begun(tmp_path, stream=True) as (there, talk, page):
        talk.human("what did the first one print?")
        rows = {"content": [say("It has rows. " * 9)], broken: 6}
        assert told(talk, {"content": [say("Let me see."), recall(page)]}, rows)
        assert talk.ask([recall(page)], [say("Rows.")]) == [say("Rows.")]
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0


@BOTH_WAYS
def test_what_the_provider_refuses_for_good_reaches_the_client(tmp_path: Path, stream: bool) -> None:
    with begun(tmp_path, stream=stream) as (there, talk, page):
        talk.human("what did the first one print?")
        refused = {"error": {"status": 400, "message": "no"}}
        made = asked(talk, {"content": [say("Let me see."), recall(page)]}, refused, refused)
        assert [block["name"] for block in made if "name" in block] == ["mmu_recall"]
        # the client refuses the call, and is corrected: recall by patch
        talk.run({"mmu_recall": "No such tool"}, made)
        talk.ask([say("Thanks.")])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0
