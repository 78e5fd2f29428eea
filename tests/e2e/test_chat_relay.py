"""Recall by relay in Chat Completions, end to end through the vendor's SDK: the client sees one answer."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.model import output
from tests.e2e.test_chat import Talk, begun, is_prefix, say, talking
from tests.e2e.world import relays_failed

BOTH_WAYS = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
BASH = {"type": "tool_use", "name": "bash", "input": {"command": "date"}}


def recall(page: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": "mmu_recall", "input": {"page": page, **more}}


def turn(talk: Talk, *replies: list[dict[str, Any]], idle: float = 5.0) -> Any:
    """One request of the client's; the model answers it, and what carries it on, with these. The message that the
    client got."""
    before = [{"content": reply} for reply in replies[:-1]]
    return talk.ask(*replies[-1], idle=idle, before=before).choices[0].message


def results(talk: Talk) -> list[str]:
    """Results of recalls in the last request."""
    messages = talk.last()["messages"]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    recalls = {call["id"] for call in calls if call["function"]["name"] == "mmu_recall"}
    return [message["content"] for message in messages if message.get("tool_call_id") in recalls]


@BOTH_WAYS
def test_the_model_gets_its_pages_and_the_client_one_answer(tmp_path: Path, stream: bool) -> None:
    with talking(tmp_path, stream=stream) as (there, talk):
        page = begun(talk)
        start = len(talk.bodies())

        # one recall, then another in the same answer, of which only lines are wanted
        talk.human("what did the first one print?")
        replies = [say("Let me see.\n"), recall(page)], [recall(page, lines="3-4")], [say("It has 80 rows.")]
        done = talk.ask(*replies[-1], before=[{"content": reply} for reply in replies[:-1]])
        said = done.choices[0].message
        assert (said.content, said.tool_calls, said.role) == ("Let me see.\nIt has 80 rows.", None, "assistant")
        assert done.choices[0].finish_reason == "stop"
        rounds = [record for record in there.up.log if record.label == "c"][start:]
        costs = [record.usage for record in rounds if record.usage is not None]
        assert len(costs) == len(rounds) == 3
        inputs = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        assert done.usage.prompt_tokens == sum(costs[-1][name] for name in inputs)
        assert done.usage.completion_tokens == sum(cost["output_tokens"] for cost in costs)
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens

        # a recall beside real calls: the client runs its own, and the page goes along with their results
        talk.human("and the date?")
        said = turn(talk, [say("Both."), BASH, recall(page, grep="row 7 "), BASH])
        assert (said.content, [call.function.name for call in said.tool_calls]) == ("Both.", ["bash", "bash"])
        for call in said.tool_calls:
            talk.messages.append({"role": "tool", "tool_call_id": call.id, "content": "Monday"})
        assert turn(talk, [say("Done.")]).content == "Done."
        before = results(talk)
        assert before == [
            output(0),
            "3\trow 2 of output 0, in full\n4\trow 3 of output 0, in full",
            "\n".join(f"{n}\trow {n - 1} of output 0, in full" for n in range(6, 11)),
        ]

        # all of it stands in every later request, also after a crash in the middle of nothing
        there.proxy.kill()
        there.proxy.restart()
        for words in ("go on", "and on"):
            talk.human(words)
            turn(talk, [say("Yes.")])
        assert results(talk) == before
        assert "mmu_recall" not in json.dumps(talk.messages)
        assert all(is_prefix(one, two) for one, two in pairwise(talk.bodies()[start - 1 :]))
        assert there.up.invalid == 0
        assert there.proxy.metrics()["mmu_failures_total"] == 0


@BOTH_WAYS
def test_recalls_of_one_answer_are_answered_together(tmp_path: Path, stream: bool) -> None:
    with talking(tmp_path, stream=stream) as (there, talk):
        page = begun(talk)
        talk.human("compare")
        said = turn(talk, [recall(page, lines="1-1"), recall(page, lines="2-2")], [say("They differ.")])
        assert (said.content, said.tool_calls) == ("They differ.", None)
        assert results(talk) == ["1\trow 0 of output 0, in full", "2\trow 1 of output 0, in full"]
        talk.human("go on")
        turn(talk, [say("Yes.")])
        assert is_prefix(*talk.bodies()[-2:])
        assert there.up.invalid == 0


@BOTH_WAYS
def test_hidden_calls_carry_no_reasoning_where_the_clients_carry_none(tmp_path: Path, stream: bool) -> None:
    with talking(tmp_path, stream=stream) as (there, talk):
        page = begun(talk)
        talk.human("think")
        thought = {"type": "thinking", "thinking": "Which page was it?"}
        turn(talk, [thought, say("I look."), recall(page)], [thought, say("That one.")])
        assert "reasoning_content" not in talk.last()["messages"][-2]
        talk.human("go on")
        turn(talk, [say("Yes.")])
        assert is_prefix(*talk.bodies()[-2:])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0


@pytest.mark.parametrize("status", [429, 500])
@BOTH_WAYS
def test_an_error_in_between_is_the_clients_to_see(tmp_path: Path, status: int, stream: bool) -> None:
    with talking(tmp_path, stream=stream) as (there, talk):
        page = begun(talk)
        talk.human("what did the first one print?")
        talk.client.max_retries = 0
        broken = {"error": {"status": status, "message": "busy for a very particular reason"}}
        with pytest.raises(openai.APIError, match="a very particular reason"):
            talk.ask(before=[{"content": [say("Let me see."), recall(page)]}, broken])
        relays_failed(there, 1)
        # agents ask again
        assert turn(talk, [say("Let me see."), recall(page)], [say(" Rows.")]).content == "Let me see. Rows."
        talk.human("go on")
        turn(talk, [say("Yes.")])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0


@pytest.mark.parametrize("broken", ["cut_after_events", "fail_after_events"])
def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path, broken: str) -> None:
    with talking(tmp_path, stream=True) as (there, talk):
        page = begun(talk)
        talk.human("what did the first one print?")
        rows = {"content": [say("It has rows. " * 9)], broken: 4}
        with pytest.raises(openai.APIError):
            talk.ask(before=[{"content": [say("Let me see."), recall(page)]}, rows])
        assert turn(talk, [recall(page)], [say("Rows.")]).content == "Rows."
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0


@BOTH_WAYS
def test_a_page_that_does_not_fit_is_taken_back(tmp_path: Path, stream: bool) -> None:
    too_long = {"error": {"status": 400, "message": "maximum context length is 128000 tokens"}}
    with talking(tmp_path, stream=stream) as (there, talk):
        page = begun(talk)
        talk.human("what did the first one print?")
        done = talk.ask(say("Then not."), before=[{"content": [recall(page)]}, too_long])
        assert done.choices[0].message.content == "Then not."
        assert [words.startswith("This does not fit") for words in results(talk)] == [True]
        assert there.up.invalid == 0


@BOTH_WAYS
def test_what_the_provider_refuses_for_good_reaches_the_client(tmp_path: Path, stream: bool) -> None:
    refused = {"error": {"status": 400, "message": "no"}}
    with talking(tmp_path, stream=stream) as (there, talk):
        page = begun(talk)
        talk.human("what did the first one print?")
        first = {"content": [say("Let me see."), recall(page)]}
        said = talk.ask(before=[first, refused, refused]).choices[0].message
        assert (said.content, [call.function.name for call in said.tool_calls]) == ("Let me see.", ["mmu_recall"])
        # the client refuses the call, and is corrected: recall by patch
        refusal = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "No such tool"}
        talk.messages.append(refusal)
        turn(talk, [say("Thanks.")])
        assert results(talk) == [output(0)]
        assert there.up.invalid == 0
