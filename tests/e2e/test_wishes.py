"""What the model says it can do without: it leaves when that costs nothing, and comes back when asked for."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.model import HANDLE, evicted, output
from tests.e2e.talk import BOUND, Talk, text
from tests.e2e.test_relay import monotone
from tests.e2e.world import until, world

SUMMARY = "Eight runs of make; each printed eighty rows."
MODELS = pytest.mark.parametrize("model", ["claude-opus-4-8", BOUND], ids=["free", "bound"])


def wish(**arguments: str) -> dict[str, Any]:
    return {"type": "tool_use", "name": "mmu_recall", "input": arguments}


def started(talk: Talk) -> None:
    """A first task of many outputs, and a second one begun."""
    evicted(talk)
    talk.messages[-1]["content"] = "Now the second task: write it down"
    for n in range(6):
        talk.call("Bash", {"command": f"later {n}"}, output(500 + n))


@MODELS
def test_a_summary_stands_for_a_span_from_the_next_epoch_on(tmp_path: Path, model: str) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model=model)
        started(talk)
        said = talk.turn([wish(summary=SUMMARY, upto="Now the  second task")], [text("Noted.")])
        assert said == [text("Noted.")]
        assert [*talk.results().values()][-1].startswith("The summary will stand for all from your first answer")
        talk.say("third")
        talk.turn([text("Yes.")])
        assert "make 3" in json.dumps(talk.last()), "the span left while the cache was warm"

        talk.say("fourth")
        before = len(talk.seen())
        talk.turn([text("Yes.")], idle=4000)
        messages = talk.last()["messages"]
        assert messages[0]["content"] == "begin"
        assert messages[1]["content"][0]["text"].endswith(f"your own summary of it.]\n{SUMMARY}")
        assert messages[2]["content"] == "Now the second task: write it down"
        assert "make 3" not in json.dumps(messages)
        assert "later 3" in json.dumps(messages)

        there.proxy.kill()
        there.proxy.restart()
        talk.say("fifth")
        talk.turn([text("Yes.")])
        found = HANDLE.match(talk.last()["messages"][1]["content"][0]["text"])
        assert found
        talk.say("what did the first task print?")
        talk.turn([wish(page=found[1], grep="row 3 of output 2,")], [text("That.")])
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert "row 3 of output 2, in full" in [*talk.results().values()][-1]
        assert monotone(talk.bodies()[before:])
        assert there.up.invalid == 0
        until(lambda: there.proxy.metrics()["mmu_saved_tokens_total"] > 0, "nothing is booked")


@MODELS
def test_released_results_leave_at_the_next_epoch_however_young(tmp_path: Path, model: str) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model=model)
        started(talk)
        talk.turn([wish(release="later 5\nno such thing")], [text("Noted.")])
        noted = [*talk.results().values()][-1]
        assert noted.startswith("1 result of later 5 will leave. Nothing here is of no such thing.")
        talk.say("third")
        talk.turn([text("Yes.")], idle=4000)
        shown = [
            block["content"]
            for message in talk.last()["messages"]
            for block in message["content"]
            if isinstance(block, dict) and block["type"] == "tool_result"
        ]
        released = next(t for t in shown if "later 5" in t)
        assert re.match(r"\[mmu page [0-9a-f]+: Bash later 5, 80 lines", released)
        page = HANDLE.match(released)
        assert page
        talk.say("after all")
        talk.turn([wish(page=page[1])], [text("That.")])
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert [*talk.results().values()][-1] == output(505)
        assert there.up.invalid == 0


def test_a_span_rests_where_the_client_goes_back_into_it(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model="claude-opus-4-8")
        started(talk)
        talk.turn([wish(summary=SUMMARY, upto="Now the second task")], [text("Noted.")])
        talk.say("third")
        talk.turn([text("Yes.")], idle=4000)
        assert SUMMARY in json.dumps(talk.last()["messages"][1])
        del talk.messages[9:]
        talk.turn([text("Another way.")])
        assert SUMMARY not in json.dumps(talk.last())
        assert "make 3" in json.dumps(talk.last())
        assert there.up.invalid == 0


def test_a_wish_that_names_nothing_is_said_so_and_changes_nothing(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True)
        started(talk)
        talk.turn([wish(summary=SUMMARY, upto="Never said")], [text("Hm.")])
        assert "is not used" in [*talk.results().values()][-1]
        talk.say("third")
        talk.turn([text("Yes.")], idle=4000)
        assert SUMMARY not in json.dumps(talk.last()["messages"][1])
        assert there.up.invalid == 0


def test_a_summary_may_follow_a_system_message_and_is_no_word_of_the_users(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model="claude-opus-4-8")
        talk.messages.append({"role": "system", "content": "Primary working directory: /work"})
        for n in range(8):
            talk.call("Bash", {"command": f"make {n}"}, output(n))
        talk.human(4000)
        talk.ask(text("I see handles."))
        talk.say("Now the second task: write it down")
        talk.turn([wish(summary=SUMMARY, upto="Now the second task")], [text("Noted.")])
        talk.say("third")
        talk.turn([text("Yes.")], idle=4000)
        assert [m["role"] for m in talk.last()["messages"][:4]] == ["user", "system", "assistant", "user"]
        assert SUMMARY in json.dumps(talk.last()["messages"][2])
        assert there.up.invalid == 0


def fork(talk: Talk) -> Talk:
    """The same conversation in a second client."""
    made = Talk(talk.there, stream=True, model=talk.model)
    made.messages = copy.deepcopy(talk.messages)
    answers(talk)
    return made


def answers(talk: Talk) -> None:
    """This one's model speaks from now on."""
    talk.there.up.script("recall", lambda _: talk._next())


@MODELS
def test_a_fork_goes_on_as_it_was_sent_when_a_summary_stands_in_the_other(tmp_path: Path, model: str) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model=model)
        started(talk)
        talk.turn([wish(summary=SUMMARY, upto="Now the second task")], [text("Noted.")])
        other = fork(talk)
        other.now = talk.now
        other.say("fork")
        answers(other)
        other.call("Bash", {"command": "fork"}, output(900))
        before = other.bodies()[-1]

        answers(talk)
        talk.say("third")
        talk.turn([text("Yes.")], idle=4000)
        assert SUMMARY in json.dumps(talk.last()["messages"][1])
        summed = talk.bodies()[-1]

        answers(other)
        other.now = talk.now
        other.call("Bash", {"command": "fork again"}, output(901))
        after = other.bodies()[-1]
        assert SUMMARY not in json.dumps(json.loads(after)["messages"][1])
        if model == BOUND:  # the other may evict, for it is cold as well
            assert monotone([before, after])

        answers(talk)
        talk.now = other.now
        talk.say("fourth")
        talk.turn([text("Yes.")])
        assert monotone([summed, talk.bodies()[-1]])
        assert there.up.invalid == 0


@MODELS
def test_a_summary_that_the_provider_refuses_is_taken_out_and_not_tried_again(tmp_path: Path, model: str) -> None:
    with world(tmp_path, mmu_policy="patient") as there:
        talk = Talk(there, stream=True, model=model)
        started(talk)
        talk.turn([wish(summary=SUMMARY, upto="Now the second task")], [text("Noted.")])
        before = talk.bodies()[-1]
        talk.say("third")
        refused = {"error": {"status": 400, "message": "not this one"}}
        talk.then = [refused, {"content": [*talk.thought(), text("Yes.")]}]
        talk.request(4000)
        assert SUMMARY in json.dumps(json.loads(talk.bodies()[-2])["messages"][1])
        assert monotone([before, talk.bodies()[-1]])
        talk.say("fourth")
        talk.turn([text("Yes.")])
        talk.say("fifth")
        talk.turn([text("Yes.")])
        assert monotone([before, *talk.bodies()[-2:]])
        talk.say("sixth")
        talk.turn([text("Yes.")], idle=4000)
        assert SUMMARY not in json.dumps(talk.last()["messages"][1])
        assert there.up.invalid == 0
