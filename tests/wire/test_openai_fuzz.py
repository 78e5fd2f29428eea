"""Bodies of OpenAI's two APIs as clients make them, damaged in every way: read to the byte, or malformed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.wire import chat, responses
from addon.wire.api import Api
from tests.effort import cases
from tests.mmu.sessions import spell
from tests.upstream.direct import text
from tests.wire.damage import damaged, read_or_refused
from tests.wire.test_responses import call, free, result, said, wrote

CHAT: dict[str, Any] = {
    "model": "gpt-5.1",
    "messages": [
        {"role": "system", "content": [{**text("Be good."), "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [text("Grüße"), {"type": "image_url", "image_url": {"url": "d"}}]},
        {
            "role": "assistant", "content": None, "refusal": None, "reasoning_content": "hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "Read", "arguments": '{"path": "a\\u00e4"}'}},
                {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1\tone\n2\ttwo"},
        {"role": "tool", "tool_call_id": "c2", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": "Done.", "audio": {"id": "x"}, "annotations": []},
        {"role": "user", "content": "next", "name": "bob"},
    ],
    "tools": [{"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}],
    "tool_choice": "auto", "stream": True, "stream_options": {"include_usage": True}, "n": 1,
    "prompt_cache_retention": "24h", "max_completion_tokens": 1000,
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "model": "gpt-6.2",
    "instructions": "Be good.",
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "namespace", "name": "n", "tools": []}]},
        {"role": "user", "content": [said("Grüße"), {"type": "input_image", "image_url": "d"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": [wrote("ä", annotations=[])], "phase": "commentary"},
        call("c1", '{"path": "a\\u00e4"}', id="fc_1", status="completed"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        free("c2"),
        result("c1", "1\tone\n2\ttwo"),
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [said("a"), said("b")]},
        {"type": "item_reference", "id": "rs_2"},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "agent_message", "author": "a", "recipient": "b", "content": [said("x")]},
        {"role": "user", "content": "next"},
    ],
    "tools": [{"type": "function", "name": "Read", "parameters": {"type": "object"}, "strict": False}],
    "tool_choice": "auto", "stream": True, "store": False, "previous_response_id": None, "truncation": "disabled",
    "prompt_cache_options": {"mode": "implicit", "ttl": "12h"}, "include": ["reasoning.encrypted_content"],
}  # fmt: skip
SPEAKS: list[tuple[Api, dict[str, Any]]] = [(chat, CHAT), (responses, RESPONSES)]
each_api = pytest.mark.parametrize(("api", "whole"), SPEAKS, ids=["chat", "responses"])
KEYS = [
    "role", "content", "tool_calls", "tool_call_id", "id", "type", "text", "function", "custom", "name", "arguments",
    "cache_control", "prompt_cache_breakpoint", "ttl", "reasoning_details", "function_call", "n", "output",
    "call_id", "execution", "encrypted_content", "status", "x",
]  # fmt: skip


@each_api
@settings(max_examples=cases(1500), deadline=None)
@given(st.data(), st.integers(0, 3))
def test_a_damaged_body_is_read_to_the_byte_or_malformed(
    api: Api, whole: dict[str, Any], data: st.DataObject, style: int
) -> None:
    body = data.draw(damaged(whole, KEYS))
    try:
        raw = spell(body, style)
    except UnicodeEncodeError:
        raw = spell(body, 1)
    event("read" if read_or_refused(api, raw) else "malformed")


@each_api
@settings(max_examples=cases(500), deadline=None)
@given(st.integers(0, 2500), st.integers(0, 12), st.binary(max_size=6), st.integers(0, 3))
def test_damaged_bytes_are_read_to_the_byte_or_malformed(
    api: Api, whole: dict[str, Any], at: int, cut: int, put: bytes, style: int
) -> None:
    raw = spell(whole, style)
    at %= len(raw)
    read_or_refused(api, raw[:at] + put + raw[at + cut :])


@each_api
def test_the_undamaged_body_is_read(api: Api, whole: dict[str, Any]) -> None:
    assert all(read_or_refused(api, spell(whole, style)) for style in range(4))
