"""Chat bodies as clients make them, damaged in every way: read to the byte, or malformed, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.wire import chat
from tests.mmu.sessions import spell
from tests.upstream.direct import text
from tests.wire.damage import damaged, read_or_refused

BODY: dict[str, Any] = {
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
KEYS = [
    "role", "content", "tool_calls", "tool_call_id", "id", "type", "text", "function", "custom", "name", "arguments",
    "cache_control", "prompt_cache_breakpoint", "ttl", "reasoning_details", "function_call", "n", "x",
]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(damaged(BODY, KEYS), st.integers(0, 3))
def test_a_damaged_body_is_read_to_the_byte_or_malformed(body: dict[str, Any], style: int) -> None:
    try:
        raw = spell(body, style)
    except UnicodeEncodeError:
        raw = spell(body, 1)
    event("read" if read_or_refused(chat, raw) else "malformed")


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 1500), st.integers(0, 12), st.binary(max_size=6), st.integers(0, 3))
def test_damaged_bytes_are_read_to_the_byte_or_malformed(at: int, cut: int, put: bytes, style: int) -> None:
    raw = spell(BODY, style)
    at %= len(raw)
    read_or_refused(chat, raw[:at] + put + raw[at + cut :])


def test_the_undamaged_body_is_read() -> None:
    assert all(read_or_refused(chat, spell(BODY, style)) for style in range(4))
