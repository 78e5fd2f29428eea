from __future__ import annotations

from benchmarks.compare import Tally, difference
from benchmarks.traces import Json


def body(**results: str) -> dict[str, Json]:
    answered = [{"type": "tool_result", "tool_use_id": call, "content": text} for call, text in results.items()]
    return {"tools": [{"name": "Read", "description": "long"}], "messages": [{"role": "user", "content": answered}]}


def test_a_result_changed_on_arrival_is_a_fold_and_a_later_change_an_eviction() -> None:
    tally = Tally()
    tally.add(difference(body(a="one"), body(a="one")))
    tally.add(difference(body(a="one", b="two"), body(a="one", b="~")))
    assert (tally.folds, tally.evictions) == (1, 0)
    assert tally.add(difference(body(a="one", b="two"), body(a="~", b="~"))) == 1
    tally.add(difference(body(a="one", b="two"), body(a="~", b="~")))
    assert (tally.folds, tally.evictions, tally.back) == (1, 1, 0)


def test_a_result_that_stands_whole_again_is_back_and_may_be_evicted_again() -> None:
    tally = Tally()
    for arrived in ("one", "~", "one", "~"):
        tally.add(difference(body(a="one"), body(a=arrived)))
    assert (tally.folds, tally.evictions, tally.back) == (0, 2, 1)


def test_spelling_of_content_is_no_change() -> None:
    listed = body(a="one")
    listed["messages"][0]["content"][0]["content"] = [{"type": "text", "text": "one"}]
    assert difference(body(a="one"), listed).changes == ()


def test_changed_tools_and_inserted_messages_are_seen() -> None:
    arrived = body(a="one")
    arrived["tools"] = [{"name": "Read", "description": "short"}]
    arrived["messages"] = [*arrived["messages"], {"role": "assistant", "content": "more"}]
    found = difference(body(a="one"), arrived)
    assert (found.stubs, found.inserted) == (1, 1)
