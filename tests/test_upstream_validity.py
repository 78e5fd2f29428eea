"""Every rule of the strict provider, once kept and once broken."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.upstream import validity
from tests.upstream.direct import TOOL, assistant, call, request, result, text, user
from tests.upstream.violation import Violation

Body = dict[str, Any]

SHORT = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
THOUGHT = {"type": "thinking", "thinking": "so", "signature": "sig"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
EDITING = "context-management-2025-06-27"
COMPACT = "compact-2026-01-12"
BINDING = "thinking-binding-controls-2026-08-01"
DEFERRED = {**TOOL, "name": "Later", "defer_loading": True}
NEWEST = "claude-opus-5-5"


def round_of(*results: Any, calls: tuple[str, ...] = ("a", "b")) -> Body:
    return request(user("go"), assistant(*(call(name) for name in calls)), user(*results))


def marked(*controls: Body | None) -> Body:
    blocks = [
        text(f"part {at}", **({"cache_control": control} if control else {})) for at, control in enumerate(controls)
    ]
    return request(user(*blocks))


VALID: dict[str, tuple[Body, str]] = {
    "one word": (request({"role": "user", "content": "hello"}), ""),
    "both results, then text": (round_of(result("a"), result("b"), "and now?"), ""),
    "results in another order": (round_of(result("b"), result("a")), ""),
    "result without content": (round_of({"type": "tool_result", "tool_use_id": "a"}, result("b", "")), ""),
    "result with an image": (round_of(result("a", [PIXEL]), result("b", [text("x")], is_error=True)), ""),
    "two user messages in a row": (request(user("a"), user("b")), ""),
    "two assistant messages in a row": (request(user("a"), assistant("b"), assistant("c"), user("d")), ""),
    "reasoning": (request(user("a"), assistant(THOUGHT, "b"), user("c")), ""),
    "four markers": (marked(SHORT, SHORT, SHORT, SHORT), ""),
    "three markers and the automatic one": ({**marked(SHORT, SHORT, SHORT, None), "cache_control": SHORT}, ""),
    "an hour before five minutes": (marked(HOUR, SHORT), ""),
    "marker with a scope": (marked({**SHORT, "scope": "global"}), ""),
    "automatic marker agreeing with the last": ({**marked(None, HOUR), "cache_control": HOUR}, ""),
    "server tool in its own message": (request(user("a"), assistant(SEARCH, FOUND, "b"), user("c")), ""),
    "server tool paused": (request(user("a"), assistant(SEARCH)), ""),
    "server tool pending beside a call": (request(user("a"), assistant(SEARCH, call("t")), user(result("t"))), ""),
    "system message at the end": (request(user("a"), {"role": "system", "content": "note"}), ""),
    "system message before the assistant": (
        request(user("a"), {"role": "system", "content": "note"}, assistant("b"), user("c")),
        "",
    ),
    "reference to a deferred tool": (
        request(
            user("a"),
            assistant(call("t")),
            user(result("t", [{"type": "tool_reference", "tool_name": "Later"}])),
            tools=[TOOL, DEFERRED],
        ),
        "",
    ),
    "forced tool": (request(user("a"), tool_choice={"type": "tool", "name": "Read"}), ""),
    "filling the cache": (request(user("a"), max_tokens=0), ""),
    "context editing with its beta": (
        request(
            user("a"),
            context_management={
                "edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]
            },
        ),
        EDITING,
    ),
    "compaction edit with its beta": (
        request(user("a"), context_management={"edits": [{"type": "compact_20260112"}]}), COMPACT,
    ),
    "dropping asked for with its beta": (
        request(
            user("a"), thinking={"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        ),
        BINDING,
    ),
    "manual thinking below the limit": (
        request(user("a"), thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000), "",
    ),
    "old model with a temperature": ({**request(user("a"), temperature=0.5), "model": "claude-opus-4-5"}, ""),
    "default temperature": ({**request(user("a"), temperature=1), "model": NEWEST}, ""),
    "system in blocks": (request(user("a"), system=[text("x", cache_control=SHORT)]), ""),
    "billing block in front": (request(user("a"), system=[text("x-anthropic-billing-header: c"), text("x")]), ""),
    "typed tool": (request(user("a"), tools=[{"type": "bash_20250124", "name": "bash"}]), ""),
}  # fmt: skip

INVALID: dict[str, tuple[Body, str, str]] = {
    "call without result": (
        request(user("go"), assistant(call("a")), user("x")), "", "messages.1: `tool_use` ids were found without",
    ),
    "one of two results": (round_of(result("a")), "", "immediately after: b."),
    "result one message late": (
        request(user("go"), assistant(call("a")), user("wait"), user(result("a"))), "", "immediately after: a.",
    ),
    "results in two messages": (
        request(user("go"), assistant(call("a"), call("b")), user(result("a")), user(result("b"))), "", "after: b.",
    ),
    "text before the result": (round_of("look", result("a"), calls=("a",)), "", "immediately after: a."),
    "result for nothing": (request(user(result("z"))), "", "messages.0.content.0: unexpected `tool_use_id`"),
    "two results for one call": (round_of(result("a"), result("a"), calls=("a",)), "", "a single result"),
    "call id used twice": (
        request(user("go"), assistant(call("a")), user(result("a")), assistant(call("a")), user(result("a"))),
        "", "messages.3.content.0: `tool_use` ids must be unique",
    ),
    "call as the last word": (request(user("go"), assistant(call("a"))), "", "must end with a user message"),
    "system message inside a tool round": (
        request(user("go"), assistant(call("a")), {"role": "system", "content": "x"}, user(result("a"))),
        "", "messages.2: a system message must follow",
    ),
    "empty text": (request(user("")), "", "text content blocks must be non-empty"),
    "blank text": (request(user(" \n")), "", "must contain non-whitespace text"),
    "blank text as a string": (request({"role": "user", "content": "  "}), "", "must contain non-whitespace text"),
    "empty string": (request({"role": "user", "content": ""}), "", "messages.0: user messages must have non-empty"),
    "no blocks": (request({"role": "user", "content": []}), "", "must have non-empty content"),
    "empty text in a result": (round_of(result("a", [text("")]), calls=("a",)), "", "must be non-empty"),
    "empty system text": (request(user("a"), system=[text("")]), "", "system: text content blocks"),
    "billing block in second place": (
        request(user("a"), system=[text("x"), text("x-anthropic-billing-header: cch=1;")]), "", "must be the first",
    ),
    "assistant first": (request(assistant("a"), user("b")), "", 'must use the "user" role'),
    "assistant last": (request(user("a"), assistant("b")), "", "does not support assistant message prefill"),
    "no messages": (request(), "", "at least one message"),
    "five markers": (marked(SHORT, SHORT, SHORT, SHORT, SHORT), "", "A maximum of 4 blocks"),
    "four markers and the automatic one": (
        {**marked(SHORT, SHORT, SHORT, SHORT, None), "cache_control": SHORT}, "", "Found 5.",
    ),
    "five minutes before an hour": (marked(SHORT, HOUR), "", "messages.0.content.1.cache_control.ttl"),
    "automatic marker against the last": (
        {**marked(None, HOUR), "cache_control": SHORT}, "", "cache_control with another ttl",
    ),
    "marker on reasoning": (
        request(user("a"), assistant({**THOUGHT, "cache_control": SHORT}, "b"), user("c")),
        "", "messages.1.content.0.thinking.cache_control: Extra inputs",
    ),
    "marker of an unknown kind": (marked({"type": "for ever"}), "", "Input should be 'ephemeral'"),
    "marker with an odd lifetime": (marked({**SHORT, "ttl": "2h"}), "", "Input should be '5m' or '1h'"),
    "marker on a deferred tool": (
        request(user("a"), tools=[TOOL, {**DEFERRED, "cache_control": SHORT}]), "", "cannot have cache_control set",
    ),
    "server result without its call": (
        request(user("a"), assistant(FOUND, "b"), user("c")), "", "corresponding `server_tool_use` block before it",
    ),
    "server call never answered": (
        request(user("a"), assistant(SEARCH, "b"), user("c")), "", "without a corresponding result block",
    ),
    "server call answered by the client": (
        request(user("a"), assistant(SEARCH), user(result("srvtoolu_1"))), "", "unexpected `tool_use_id`",
    ),
    "system message first": (request({"role": "system", "content": "x"}, user("a")), "", 'use the "user" role'),
    "system message after the assistant": (
        request(user("a"), assistant("b"), {"role": "system", "content": "x"}, assistant("c"), user("d")),
        "", "messages.2: a system message must follow",
    ),
    "system message before a user": (
        request(user("a"), {"role": "system", "content": "x"}, user("b")), "", "come before an assistant message",
    ),
    "system message on an old model": (
        {**request(user("a"), {"role": "system", "content": "x"}), "model": "claude-opus-4-5"},
        "", "role 'system' is not supported on this model",
    ),
    "unknown role": (request({"role": "tool", "content": "x"}), "", "messages.0.role"),
    "unknown field": (request(user("a"), mmu=True), "", "mmu: Extra inputs are not permitted"),
    "unknown field of a message": (request({**user("a"), "id": 1}), "", "messages.0.id: Extra inputs"),
    "unknown field of a block": (request(user(text("a", hash="x"))), "", ".0.text.hash: Extra inputs"),
    "unknown field of a tool": (request(user("a"), tools=[{**TOOL, "page": 1}]), "", ".0.custom.page: Extra inputs"),
    "unknown block": (request(user({"type": "page"})), "", "Input tag 'page'"),
    "block without its text": (request(user({"type": "text"})), "", "messages.0.content.0.text.text: Field required"),
    "reasoning from the user": (request(user(THOUGHT)), "", "can only be in `assistant` messages"),
    "result from the assistant": (request(user("a"), assistant(result("x")), user("b")), "", "can only be in `user`"),
    "reasoning without a signature": (
        request(user("a"), assistant({**THOUGHT, "signature": ""}, "b"), user("c")), "", "signature: Field required",
    ),
    "context editing without its beta": (
        request(user("a"), context_management={"edits": []}), "", "context_management: Extra inputs",
    ),
    "edit of another beta": (
        request(user("a"), context_management={"edits": [{"type": "compact_20260112"}]}), EDITING, "compact_20260112",
    ),
    "thinking cleared second": (
        request(
            user("a"),
            context_management={"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]},
        ),
        EDITING, "must be the first edit",
    ),
    "dropping asked for without its beta": (
        request(user("a"), thinking={"type": "adaptive", "block_binding": {}}),
        "", "thinking.adaptive.block_binding: Extra inputs are not permitted",
    ),
    "thinking turned off on the newest": (
        {**request(user("a"), thinking={"type": "disabled"}), "model": NEWEST}, "", "cannot be disabled",
    ),
    "budget above the limit": (
        request(user("a"), thinking={"type": "enabled", "budget_tokens": 4000}), "", "must be greater than",
    ),
    "forced tool under manual thinking": (
        request(
            user("a"),
            thinking={"type": "enabled", "budget_tokens": 1024},
            max_tokens=2000,
            tool_choice={"type": "any"},
        ),
        "", "when tool_choice forces tool use",
    ),
    "forced tool on the newest": (
        {**request(user("a"), tool_choice={"type": "any"}), "model": NEWEST}, "", "when tool_choice forces tool use",
    ),
    "forced tool that is not there": (
        request(user("a"), tool_choice={"type": "tool", "name": "Write"}), "", "Tool 'Write' not found",
    ),
    "temperature on a new model": ({**request(user("a"), temperature=0.5), "model": NEWEST}, "", "`temperature`"),
    "reference to no tool": (
        round_of(result("a", [{"type": "tool_reference", "tool_name": "Gone"}]), calls=("a",)),
        "", "Tool reference 'Gone' not found",
    ),
    "searched reference to no tool": (
        request(
            user("a"),
            assistant(
                {**SEARCH, "name": "tool_search_tool_regex"},
                {
                    "type": "tool_search_tool_result",
                    "tool_use_id": "srvtoolu_1",
                    "content": {
                        "type": "tool_search_tool_search_result",
                        "tool_references": [{"type": "tool_reference", "tool_name": "Gone"}],
                    },
                },
                "b",
            ),
            user("c"),
        ),
        "", "Tool reference 'Gone' not found",
    ),
    "all tools deferred": (request(user("a"), tools=[DEFERRED]), "", "At least one tool must have defer_loading"),
    "two tools of one name": (request(user("a"), tools=[TOOL, TOOL]), "", "Tool names must be unique"),
    "tool without a schema": (request(user("a"), tools=[{"name": "X"}]), "", "input_schema: Field required"),
    "no max_tokens": ({"model": "m", "messages": [user("a")]}, "", "max_tokens: Field required"),
    "text for max_tokens": (request(user("a"), max_tokens="1"), "", "max_tokens: Input should be a valid integer"),
    "streaming a cache fill": (request(user("a"), max_tokens=0, stream=True), "", "max_tokens: 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_accepts(name: str) -> None:
    body, beta = VALID[name]
    before = copy.deepcopy(body)
    validity.check(body, {beta})
    assert body == before


@pytest.mark.parametrize("name", INVALID)
def test_refuses(name: str) -> None:
    body, beta, wording = INVALID[name]
    with pytest.raises(Violation) as refused:
        validity.check(body, {beta})
    assert wording in str(refused.value)


def test_an_assistant_message_may_come_last_when_allowed() -> None:
    validity.check(request(user("a"), assistant("b")), set(), allow_prefill=True)


def test_counting_wants_no_limit_and_takes_none() -> None:
    body = request(user("a"))
    with pytest.raises(Violation, match="max_tokens: Extra inputs"):
        validity.check(body, set(), counting=True)
    del body["max_tokens"]
    validity.check(body, set(), counting=True)
