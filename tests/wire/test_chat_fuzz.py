"""Chat bodies as clients make them, damaged in every way: read to the byte, or malformed, and nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.mmu.plan import rewrite
from addon.mmu.view import page_table
from addon.wire import chat
from addon.wire.scan import Malformed
from tests.mmu.sessions import spell
from tests.upstream.direct import text

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
WORDS = ["", "text", "tool", "user", "assistant", "system", "function", "c1", "24h", "ä", "\ud800", "{", "[]", "5m"]
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
KEYS = st.sampled_from(
    ["role", "content", "tool_calls", "tool_call_id", "id", "type", "text", "function", "custom", "name", "arguments",
     "cache_control", "prompt_cache_breakpoint", "ttl", "reasoning_details", "function_call", "n", "x"]
)  # fmt: skip
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, each in inside for path in ((*here, name), *places(each, (*here, name)))]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    for _ in range(draw(st.integers(1, 4))):
        found = places(body)
        path = draw(st.sampled_from(found)) if found else ()
        if not path:
            break
        holder: Any = body
        for name in path[:-1]:
            holder = holder[name]
        match draw(st.sampled_from(["replace", "remove", "add", "twice"])):
            case "replace":
                holder[path[-1]] = draw(junk)
            case "remove":
                del holder[path[-1]]
            case "add" if isinstance(holder, dict):
                holder[draw(KEYS)] = draw(junk)
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[path[-1]]))
    return body


def read_or_refused(raw: bytes) -> bool:
    try:
        read = chat.parse(raw)
    except Malformed:
        return False
    table = page_table(read)
    assert rewrite(read, table, {}) == raw
    for entry in table.entries:
        start, end = entry.block.literal or (0, 0)
        assert json.loads(read.text[entry.position + start : entry.position + end]) == entry.block.text
    again = chat.parse(raw, {chat.key(read): read})
    assert again == read
    return True


@settings(max_examples=1500, deadline=None)
@given(damaged(), st.integers(0, 3))
def test_a_damaged_body_is_read_to_the_byte_or_malformed(body: dict[str, Any], style: int) -> None:
    try:
        raw = spell(body, style)
    except UnicodeEncodeError:
        raw = spell(body, 1)
    event("read" if read_or_refused(raw) else "malformed")


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 1500), st.integers(0, 12), st.binary(max_size=6), st.integers(0, 3))
def test_damaged_bytes_are_read_to_the_byte_or_malformed(at: int, cut: int, put: bytes, style: int) -> None:
    raw = spell(BODY, style)
    at %= len(raw)
    read_or_refused(raw[:at] + put + raw[at + cut :])


def test_the_undamaged_body_is_read() -> None:
    assert all(read_or_refused(spell(BODY, style)) for style in range(4))
