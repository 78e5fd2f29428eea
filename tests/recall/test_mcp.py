"""The protocol: whatever line comes in, the right line or none goes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.recall.mcp import Result, answered


class Fakes:
    name = "fakes"
    version = "1.2"
    instructions = "Use them."
    definitions: Sequence[Mapping[str, Any]] = ({"name": "echo", "inputSchema": {"type": "object"}},)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Result | None:
        if name == "echo":
            return Result(json.dumps(arguments), failed="fail" in arguments)
        if name == "bug":
            raise RuntimeError("a bug")
        return None


async def say(message: Any) -> Any:
    line = await answered(message if isinstance(message, bytes) else json.dumps(message).encode(), Fakes())
    if line is None:
        return None
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


async def ask(method: str, params: Any = None, id: Any = 7) -> Any:
    return await say({"jsonrpc": "2.0", "id": id, "method": method, **({} if params is None else {"params": params})})


async def code(message: Any) -> tuple[Any, int]:
    said = await say(message)
    assert set(said) == {"jsonrpc", "id", "error"}
    return said["id"], said["error"]["code"]


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2031-01-01", "2025-06-18"),
        (None, "2025-06-18"),
        (["2024-11-05"], "2025-06-18"),
    ],
)
async def test_initialize(wanted: Any, given: str) -> None:
    said = await ask("initialize", {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "x"}})
    assert said == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {
            "protocolVersion": given,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "fakes", "version": "1.2"},
            "instructions": "Use them.",
        },
    }


async def test_tools() -> None:
    assert (await ask("tools/list"))["result"] == {"tools": list(Fakes.definitions)}
    assert (await ask("tools/call", {"name": "echo", "arguments": {"a": "ä\n\u2028"}}, id="s"))["id"] == "s"
    good = await ask("tools/call", {"name": "echo", "arguments": {"a": 1}})
    assert good["result"] == {"content": [{"type": "text", "text": '{"a": 1}'}], "isError": False}
    assert (await ask("tools/call", {"name": "echo", "arguments": {"fail": 1}}))["result"]["isError"] is True
    for bare in ({"name": "echo"}, {"name": "echo", "arguments": None}):
        assert (await ask("tools/call", bare))["result"]["content"][0]["text"] == "{}"


async def test_what_is_not_answered() -> None:
    assert (await ask("ping"))["result"] == {}
    for method in ("notifications/initialized", "notifications/cancelled", "never/heard/of", "tools/call"):
        assert await say({"jsonrpc": "2.0", "method": method}) is None
    for answer in ({"jsonrpc": "2.0", "id": 1, "result": {}}, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}):
        assert await say(answer) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"{", (None, -32700)),
        (b"\xff\xfe\xff", (None, -32700)),
        (b"[" * 100_000, (None, -32700)),
        (b"[]", (None, -32600)),
        (b"3", (None, -32600)),
        ({"jsonrpc": "2.0", "id": 1}, (1, -32600)),
        ({"id": 1, "method": "ping"}, (1, -32600)),
        ({"jsonrpc": "2.0", "id": 1, "method": 3}, (1, -32600)),
        ({"jsonrpc": "2.0", "id": [1], "method": "ping"}, (None, -32600)),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, (None, -32600)),
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, (1, -32601)),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}, (1, -32602)),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}, (1, -32602)),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 3}}, (1, -32602)),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nobody"}}, (1, -32602)),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": 3}}, (1, -32602)),
    ],
)
async def test_errors(message: Any, expected: tuple[Any, int]) -> None:
    assert await code(message) == expected


async def test_a_bug_is_an_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await code({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "bug"}}) == (1, -32603)
    assert "a bug" in caplog.text


async def test_batches() -> None:
    ping, note = {"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "method": "notifications/x"}
    said = await say([ping, note, {**ping, "id": 2, "method": "x"}, 3])
    assert [(one["id"], one.get("error", {}).get("code")) for one in said] == [(1, None), (2, -32601), (None, -32600)]
    assert await say([note, note]) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
async def test_any_message_gets_a_line_or_nothing(message: Any) -> None:
    for each in (message, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": message}):
        await say(each)


@given(st.binary())
async def test_any_bytes_get_a_line_or_nothing(line: bytes) -> None:
    await say(line)
