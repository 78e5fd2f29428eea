"""Gemini through the proxy: streams without events, caches that were made before, and addresses that are no call's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.talks import Gemini, say
from tests.e2e.world import World, world

BODY: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "begin"}]}],
    "tools": [{"functionDeclarations": [{"name": "look", "parameters": {"type": "object"}}]}],
}


def post(there: World, path: str, body: Mapping[str, Any]) -> Any:
    talk = Gemini(there, stream=True)
    talk.replies = [{"content": [say("Hello. " * 40)]}]
    headers = {"x-goog-api-key": "test-key", "x-upstream-script": "talk", "x-upstream-session": "talk"}
    with openai.DefaultHttpxClient(**talk.way) as http:
        return http.post(f"{talk.host}{path}", json=body, headers=headers)


@pytest.mark.parametrize("query", ["", "?alt=json&key=k", "?alt=sse"])
def test_a_stream_passes_untouched_and_is_booked_with_or_without_events(tmp_path: Path, query: str) -> None:
    with world(tmp_path) as there:
        path = f"/v1beta/models/gemini-2.5-pro:streamGenerateContent{query}"
        answer = post(there, path, BODY)
        assert answer.status_code == 200
        chunks = json.loads(answer.content) if "sse" not in query else [
            json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line
        ]  # fmt: skip
        said = "".join(part["text"] for c in chunks for part in c["candidates"][0]["content"]["parts"])
        assert said == "Hello. " * 40
        metrics = there.proxy.metrics()
        usage = chunks[-1]["usageMetadata"]
        assert metrics["mmu_output_tokens_total"] == usage["candidatesTokenCount"] > 0
        assert metrics['mmu_input_tokens_total{price="fresh"}'] == usage["promptTokenCount"] > 0
        assert metrics.get("mmu_failures_total", 0) == 0


def test_what_begins_on_the_server_passes_untouched(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        post(there, "/v1beta/models/gemini-2.5-pro:generateContent", {**BODY, "cachedContent": "cachedContents/x"})
        metrics = there.proxy.metrics()
        assert metrics['mmu_passed_through_total{reason="history on the server"}'] == 1
        assert metrics["mmu_managed_total"] == 0


def test_what_is_no_call_is_left_alone(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        for path in ("/v1beta/models/gemini-2.5-pro:countTokens", "/v1beta/cachedContents"):
            post(there, path, BODY)
        assert there.proxy.metrics()["mmu_requests_total"] == 0
