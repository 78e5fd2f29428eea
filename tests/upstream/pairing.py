"""Calls and results: each call of a client tool is answered in the next message, each server tool in its own."""

from __future__ import annotations

from typing import Any

from tests.upstream.prompt import as_blocks
from tests.upstream.violation import Violation

SERVER_CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
SERVER_RESULT = "_tool_result"


def _is_server_result(kind: str) -> bool:
    return kind.endswith(SERVER_RESULT)


def is_paused(message: dict[str, Any]) -> bool:
    """An assistant message that ends inside a server tool's work, so the provider itself will go on with it."""
    kinds = [str(block.get("type")) for block in as_blocks(message["content"])]
    return bool(kinds) and (kinds[-1] in SERVER_CALLS or _is_server_result(kinds[-1]))


def check(messages: list[dict[str, Any]]) -> None:
    """Raise Violation where a call or a result stands alone, twice, in the wrong message or in the wrong order."""
    _unique(messages)
    _server_tools(messages)
    _client_tools(messages)


def _blocks(messages: list[dict[str, Any]]) -> list[tuple[int, int, dict[str, Any]]]:
    return [(i, j, block) for i, each in enumerate(messages) for j, block in enumerate(as_blocks(each["content"]))]


def _unique(messages: list[dict[str, Any]]) -> None:
    calls: set[str] = set()
    for index, at, block in _blocks(messages):
        if block["type"] in {"tool_use"} | SERVER_CALLS:
            if block["id"] in calls:
                raise Violation(f"messages.{index}.content.{at}", "`tool_use` ids must be unique")
            calls.add(block["id"])


def _server_tools(messages: list[dict[str, Any]]) -> None:
    pending: dict[str, tuple[int, int, dict[str, Any]]] = {}
    known: set[str] = set()
    for index, at, block in _blocks(messages):
        kind = block["type"]
        if kind in SERVER_CALLS:
            known.add(block["id"])
            pending[block["id"]] = (index, at, block)
        elif _is_server_result(kind):
            identity = str(block.get("tool_use_id"))
            if identity not in known or messages[index]["role"] != "assistant":
                raise Violation(
                    f"messages.{index}.content.{at}",
                    f"unexpected `tool_use_id` found in `{kind}` blocks: {identity}. Each `{kind}` block must have a "
                    "corresponding `server_tool_use` block before it.",
                )
            pending.pop(identity, None)
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    for index, at, block in pending.values():
        rest = messages[last + 1 :]
        only_results = all(part["type"] == "tool_result" for message in rest for part in as_blocks(message["content"]))
        if index != last or not only_results:
            raise Violation(
                f"messages.{index}.content.{at}",
                f"`{block['name']}` tool use with id `{block['id']}` was found without a corresponding result block",
            )


def _client_tools(messages: list[dict[str, Any]]) -> None:
    open_calls: list[str] = []
    asked = -1
    for index, message in enumerate(messages):
        found = as_blocks(message["content"])
        if open_calls and message["role"] != "user":
            raise _unanswered(asked, open_calls)
        leading = True
        answered: set[str] = set()
        for at, block in enumerate(found):
            if block["type"] != "tool_result":
                leading = False
                continue
            identity = block["tool_use_id"]
            path = f"messages.{index}.content.{at}"
            if identity not in open_calls:
                raise Violation(
                    path,
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {identity}. Each `tool_result` block "
                    "must have a corresponding `tool_use` block in the previous message.",
                )
            if identity in answered:
                raise Violation(path, f"each tool_use must have a single result. Found multiple for id: {identity}")
            if not leading:
                raise _unanswered(asked, [identity])
            answered.add(identity)
        left = [identity for identity in open_calls if identity not in answered]
        if left:
            raise _unanswered(asked, left)
        open_calls = [block["id"] for block in found if block["type"] == "tool_use"]
        asked = index
    if open_calls:
        raise _unanswered(asked, open_calls)


def _unanswered(index: int, identities: list[str]) -> Violation:
    return Violation(
        f"messages.{index}",
        f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(identities)}. Each "
        "`tool_use` block must have a corresponding `tool_result` block in the next message.",
    )
