"""Calls and their outputs: each call is answered once, by an output of its kind, before the conversation goes on.

What the model says in one answer stands together, in any order; so a call may be followed by more of the same answer,
but once an output stands there, all calls of the answer must have theirs before the model or anybody else speaks.
"""

from __future__ import annotations

from typing import Any

from tests.upstream.responses_prompt import is_model
from tests.upstream.violation import Violation

OUTPUT_OF = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
WORDS = {"function_call": "function call", "custom_tool_call": "custom tool call"}
CALL_OF = {output: call for call, output in OUTPUT_OF.items()}


def check(items: list[dict[str, Any]], before: int) -> None:
    """Raise Violation where a call or an output stands alone, twice or in the wrong place, or an item twice. The first
    `before` items are history that the server kept, the rest is `input`."""
    known: set[str] = set()
    seen: set[str] = set()
    pending: dict[str, str] = {}
    answering = False
    for index, item in enumerate(items):
        path = f"input[{index - before}]"
        kind = item["type"]
        _once(path, item, seen)
        if kind in CALL_OF:
            call = CALL_OF[kind]
            if pending.get(item["call_id"]) != call:
                text = f"No tool call found for {WORDS[call]} output with call_id {item['call_id']}."
                raise Violation(path, text, labelled=False)
            del pending[item["call_id"]]
            answering = True
            continue
        if pending and (_speaks(item) or (answering and is_model(item))):
            raise _unanswered(pending)
        answering = answering and bool(pending)
        if kind in OUTPUT_OF:
            if item["call_id"] in known:
                raise Violation(path, f"ids of calls must be unique: {item['call_id']}")
            known.add(item["call_id"])
            pending[item["call_id"]] = kind
    if pending:
        raise _unanswered(pending)


def _once(path: str, item: dict[str, Any], seen: set[str]) -> None:
    identity = item.get("id")
    if identity is None:
        return
    if identity in seen:
        text = f"Duplicate item found with id {identity}. Remove duplicate items from your input and try again."
        raise Violation(path, text, labelled=False)
    seen.add(identity)


def _speaks(item: dict[str, Any]) -> bool:
    return item["type"] in {"message", "compaction_trigger"} and not is_model(item)


def _unanswered(pending: dict[str, str]) -> Violation:
    identity, kind = next(iter(pending.items()))
    return Violation("input", f"No tool output found for {WORDS[kind]} {identity}.", labelled=False)
