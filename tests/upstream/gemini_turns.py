"""Whose turn it is: calls and their responses stand in neighbouring contents, one response for each call.

What the real server enforces of it depends on the model and the day; here it is all of what has been reported.
"""

from __future__ import annotations

from typing import Any

from tests.upstream.violation import Violation

NUMBER = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the "
    "function call turn."
)
RESPONSE = "Please ensure that function response turn comes immediately after a function call turn."
CALL = "Please ensure that function call turn comes immediately after a user turn or after a function response turn."

Content = dict[str, Any]


def inside(content: Content, field: str) -> list[dict[str, Any]]:
    """The function calls or responses of a content."""
    return [part[field] for part in content["parts"] if field in part]


def is_human(content: Content) -> bool:
    """Not the model's, and no answer to its calls: where a turn begins."""
    return content["role"] != "model" and not inside(content, "functionResponse")


def check(contents: list[Content], *, allow_prefill: bool) -> None:
    """Raise Violation where a content stands in the wrong place or a call and its response do not meet."""
    if contents[0]["role"] == "model":
        raise Violation("contents[0]", "the first content must have the role 'user'")
    asked: list[dict[str, Any]] = []
    known: set[str] = set()
    for index, content in enumerate(contents):
        path = f"contents[{index}]"
        responses = inside(content, "functionResponse")
        if len(responses) != len(asked) and asked:
            raise Violation(path, NUMBER, labelled=False)
        if responses and not asked:
            raise Violation(path, RESPONSE, labelled=False)
        if responses and len(responses) != len(content["parts"]):
            raise Violation(path, f"{NUMBER} A function response turn holds nothing else.", labelled=False)
        _pair(path, asked, responses)
        asked = inside(content, "functionCall")
        if asked and contents[index - 1]["role"] == "model":
            raise Violation(path, CALL, labelled=False)
        for identity in [call["id"] for call in asked if "id" in call]:
            if identity in known:
                raise Violation(path, f"ids of function calls must be unique: {identity}")
            known.add(identity)
    if asked:
        raise Violation(f"contents[{len(contents) - 1}]", NUMBER, labelled=False)
    if contents[-1]["role"] == "model" and not allow_prefill:
        raise Violation("contents", "the last content must have the role 'user'")


def _pair(path: str, calls: list[dict[str, Any]], responses: list[dict[str, Any]]) -> None:
    """Each response takes a call of its name, in any order; where both have an id, the call of its id."""
    ids = {call["id"] for call in calls if "id" in call}
    left = list(calls)
    for response in sorted(responses, key=lambda each: each.get("id") not in ids):
        name, identity = response["name"], response.get("id")
        same = [c for c in left if c["name"] == name and (identity is None or c.get("id", identity) == identity)]
        if not same:
            raise Violation(path, f"{NUMBER} No call is left for the response of '{name}'.", labelled=False)
        left.remove(min(same, key=lambda call: call.get("id") != identity))
