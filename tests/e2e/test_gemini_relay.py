"""Recall by relay in Gemini, end to end through the vendor's SDK: the client sees one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.genai import errors

from tests.e2e.model import HANDLE, output
from tests.e2e.talks import Block, Gemini, say, use
from tests.e2e.world import World, relays_failed, world

BOTH_WAYS = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
COLD = 200_000.0
"""Seconds after which no provider has anything in its cache."""


@contextmanager
def begun(tmp_path: Path, *, stream: bool) -> Iterator[tuple[World, Gemini, str]]:
    """A session with results that were evicted, and the page of the first."""
    with world(tmp_path, mmu_recall="relay") as there:
        talk = Gemini(there, stream=stream)
        for n in range(8):
            talk.run({"bash": output(n)}, talk.ask([say("I look."), use("bash", command=f"make {n}")]))
        talk.ask([say("Done.")])
        talk.human("go on")
        talk.ask([say("I see handles.")], idle=COLD)
        found = HANDLE.search(talk.bodies()[-1].decode())
        assert found, "nothing was evicted"
        yield there, talk, found[1]


def words(made: list[Block]) -> str:
    return "".join(block["text"] for block in made if block["type"] == "text")


def results(talk: Gemini) -> list[str]:
    """Results of recalls in the last request."""
    parts = [part for content in talk.said(talk.bodies()[-1]) for part in content["parts"]]
    answers = [part["functionResponse"] for part in parts if "functionResponse" in part]
    return [answer["response"]["output"] for answer in answers if answer["name"] == "mmu_recall"]


def recall(page: str, **more: Any) -> Block:
    return use("mmu_recall", page=page, **more)


def asked(talk: Gemini, *replies: dict[str, Any]) -> list[Block]:
    """One request, answered with these replies, errors among them."""
    talk.replies = list(replies)
    clock = str(talk.now)
    names = {"x-upstream-script": "talk", "x-upstream-session": "talk"}
    return talk.send({**names, "x-upstream-clock": clock, "x-mmu-clock": clock})


@BOTH_WAYS
def test_the_model_gets_its_pages_and_the_client_one_answer(tmp_path: Path, stream: bool) -> None:
    with begun(tmp_path, stream=stream) as (there, talk, page):
        start = len(talk.bodies())
        talk.human("what did the first one print?")
        made = talk.ask([say("Let me see. "), recall(page)], [recall(page, lines="3-4")], [say("It has 80 rows.")])
        assert words(made) == "Let me see. It has 80 rows."
        assert {block["type"] for block in made} == {"text"}

        # beside real calls: the client runs its own, and the page goes along with their results
        talk.human("and the date?")
        dates = [use("bash", command="date"), recall(page, grep="row 7 "), use("bash", command="date -u")]
        made = talk.ask([say("Both."), recall(page, lines="1-1"), *dates])
        assert [block.get("name") for block in made] == [None, "bash", "bash"]
        talk.run({"bash": "Monday"}, made)
        talk.ask([say("Done.")])
        before = results(talk)
        assert before[:2] == [output(0), "3\trow 2 of output 0, in full\n4\trow 3 of output 0, in full"]
        assert before[2] == "1\trow 0 of output 0, in full"
        assert len(before) == 4

        # all of it stands in every later request, also after a crash
        there.proxy.kill()
        there.proxy.restart()
        for said in ("go on", "and on"):
            talk.human(said)
            talk.ask([say("Yes.")])
        assert results(talk) == before
        assert all(talk.goes_on(one, two) for one, two in pairwise(talk.bodies()[start - 1 :]))
        assert "mmu_recall" not in "".join(each.model_dump_json() for each in talk.history)
        assert there.up.invalid == 0
        assert there.proxy.metrics()["mmu_failures_total"] == 0


@BOTH_WAYS
def test_an_error_in_between_is_the_clients_to_see(tmp_path: Path, stream: bool) -> None:
    with begun(tmp_path, stream=stream) as (there, talk, page):
        talk.human("what did the first one print?")
        broken = {"error": {"status": 404, "message": "gone for a very particular reason"}}
        with pytest.raises(errors.APIError, match="a very particular reason"):
            asked(talk, {"content": [say("Let me see."), recall(page)]}, broken)
        relays_failed(there, 1)
        # agents ask again
        assert words(talk.ask([say("Let me see."), recall(page)], [say(" Rows.")])) == "Let me see. Rows."
        talk.human("go on")
        talk.ask([say("Yes.")])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0


def test_what_the_provider_refuses_for_good_reaches_the_client(tmp_path: Path) -> None:
    with begun(tmp_path, stream=True) as (there, talk, page):
        talk.human("what did the first one print?")
        refused = {"error": {"status": 400, "message": "no"}}
        made = asked(talk, {"content": [say("Let me see."), recall(page)]}, refused, refused)
        assert [block["name"] for block in made if "name" in block] == ["mmu_recall"]
        # the client refuses the call, and is corrected: recall by patch
        talk.run({"mmu_recall": "No such tool"}, made)
        talk.ask([say("Thanks.")])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0
        assert json.loads(talk.bodies()[-1])["contents"][-1]["parts"][0]["functionResponse"]["name"] == "mmu_recall"
