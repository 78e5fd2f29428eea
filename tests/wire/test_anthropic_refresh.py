"""The last request as a refresh, and that the strict provider takes it and reads its cache with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.wire import anthropic
from addon.wire.anthropic_refresh import again
from addon.wire.api import Again
from tests.upstream.provider import Provider

LONG = {"type": "text", "text": "word " * 2_000, "cache_control": {"type": "ephemeral"}}


def read(path: str = "/v1/messages?beta=true", **more: Any) -> Again | None:
    body = {"model": "claude-opus-4-8", "max_tokens": 4096, "messages": [{"role": "user", "content": [LONG]}], **more}
    return again(anthropic.parse(json.dumps(body).encode(), path=path))


@pytest.mark.parametrize(
    ("more", "least"),
    [
        ({}, 0),
        ({"stream": True}, 0),
        ({"thinking": {"type": "disabled"}}, 0),
        ({"thinking": {"type": "adaptive"}}, 1),
        ({"model": "claude-opus-5-5"}, 1),
        ({"tool_choice": {"type": "any"}, "tools": [{"name": "t", "input_schema": {"type": "object"}}]}, 1),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, 1),
        ({"output_config": {"effort": "low"}, "stream": False}, 0),
    ],
)
def test_it_asks_for_the_least_that_is_allowed(more: dict[str, Any], least: int) -> None:
    made = read(**more)
    assert made is not None
    assert made.output == least
    body = json.loads(made.text)
    given = {"model": "claude-opus-4-8", **more}
    changed = {"max_tokens": least, **({"stream": False} if "stream" in more else {})}
    assert body == {"messages": [{"role": "user", "content": [LONG]}], **given, **changed}


@pytest.mark.parametrize(
    "more",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"mcp_servers": []},
        {"container": "c"},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    ],
)
def test_what_cannot_serve_is_not_sent_again(more: dict[str, Any]) -> None:
    assert read(**more) is None


def test_where_the_path_says_that_it_streams() -> None:
    vertex = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-8:%sawPredict"
    made = read(vertex % "streamR")
    assert made is not None
    assert (made.path, made.output) == (vertex % "r", 1)
    made = read("/model/anthropic.claude-opus-4-8/invoke-with-response-stream")
    assert made is not None
    assert made.path == "/model/anthropic.claude-opus-4-8/invoke"


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-opus-5-5"])
def test_it_keeps_the_cache_and_costs_a_read(model: str) -> None:
    provider = Provider()

    def send(body: dict[str, Any], now: float) -> Any:
        headers = {"anthropic-version": "2023-06-01", "x-upstream-clock": str(now)}
        raw = json.dumps(body).encode()
        answer = provider.handle("POST", "/v1/messages", headers, raw, raw)
        assert answer.status == 200, provider.log[-1].violation
        return answer.payload["usage"]

    body = {"model": model, "max_tokens": 4096, "stream": True, "messages": [{"role": "user", "content": [LONG]}]}
    written = send(body, 1_000.0)["cache_creation_input_tokens"]
    made = again(anthropic.parse(json.dumps(body).encode(), path="/v1/messages"))
    assert made is not None
    for now in (1_270.0, 1_540.0):
        usage = send(json.loads(made.text), now)
        assert usage["cache_read_input_tokens"] == written > 0
        assert usage["output_tokens"] <= 25
    assert send(body, 1_800.0)["cache_read_input_tokens"] == written
