"""The strict provider clears old results when asked: what is billed and cached, and what reasoning is bound to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.upstream import clearing
from tests.upstream.direct import ask as asked
from tests.upstream.direct import assistant, call, request, result, user
from tests.upstream.provider import Provider
from tests.upstream.validity import check
from tests.upstream.violation import Violation

BETA = "context-management-2025-06-27"
MODEL = "claude-opus-5-5"
LONG = "a line of some length\n" * 200


def edit(**more: Any) -> dict[str, Any]:
    given = {name: value if isinstance(value, list | bool) else {"type": "tool_uses", "value": value}
             for name, value in more.items()}  # fmt: skip
    return {"edits": [{"type": clearing.TYPE, **given}]}


def body(uses: int, managed: dict[str, Any] | None = None) -> dict[str, Any]:
    turns = [turn for n in range(uses) for turn in (assistant(call(f"t{n}")), user(result(f"t{n}", LONG)))]
    more = {} if managed is None else {"context_management": managed}
    made = {**request(user("go"), *turns, **more), "model": MODEL}
    return made | {"cache_control": {"type": "ephemeral"}}


def shown(made: dict[str, Any]) -> list[bool]:
    """Which results the model is shown."""
    got, _ = clearing.edited(made, lambda body: len(str(body)))
    return [m["content"][0]["content"] == LONG for m in got["messages"][2::2]]


@pytest.mark.parametrize(
    ("managed", "expected"),
    [
        (edit(), [True] * 5),  # under the trigger
        (edit(trigger=4), [False] * 2 + [True] * 3),
        (edit(trigger=5), [True] * 5),
        (edit(trigger=1, keep=4), [False] + [True] * 4),
        (edit(trigger=1, keep=0), [False] * 5),
        (edit(trigger=1, keep=9), [True] * 5),
        (edit(trigger=1, keep=0, exclude_tools=["Read"]), [True] * 5),
    ],
)
def test_which_results_are_shown(managed: dict[str, Any], expected: list[bool]) -> None:
    assert shown(body(5, managed)) == expected


def test_nothing_is_cleared_that_is_less_than_was_asked_for() -> None:
    managed = edit(trigger=1, keep=1)
    managed["edits"][0]["clear_at_least"] = {"type": "input_tokens", "value": 10**6}
    assert shown(body(5, managed)) == [True] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep": {"type": "input_tokens", "value": 3}},
        {"keep": {"type": "tool_uses", "value": -1}},
        {"trigger": {"type": "tool_uses", "value": 0}},
        {"trigger": 5},
        {"placeholder": "gone"},
    ],
)
def test_what_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Violation):
        check(body(2, {"edits": [{"type": clearing.TYPE, **wrong}]}), {BETA})


def test_what_is_cleared_is_not_billed_and_what_stays_is_cached() -> None:
    provider = Provider()
    _, whole = asked(provider, body(5), clock="0", session="whole")
    _, one = asked(provider, body(5, edit(trigger=2, keep=3)), clock="0", session="one", beta=BETA)
    answer, two = asked(provider, body(6, edit(trigger=2, keep=4)), clock="9", session="one", beta=BETA)
    # with a constant `keep` the place moves on, and the cache restarts there
    _, three = asked(provider, body(7, edit(trigger=2, keep=4)), clock="18", session="one", beta=BETA)
    assert (one.cleared, two.cleared, three.cleared) == (2, 2, 3)
    assert one.dollars < 0.7 * whole.dollars
    written, read = one.usage["cache_creation_input_tokens"], two.usage["cache_read_input_tokens"]
    assert read == written > 0
    assert three.usage["cache_read_input_tokens"] < read
    [applied] = answer["context_management"]["applied_edits"]
    assert applied["cleared_tool_uses"] == 2
    assert applied["cleared_input_tokens"] > 1000
