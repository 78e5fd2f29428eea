"""A conversation of the `anthropic` SDK through the proxy."""

from __future__ import annotations

import ssl
from typing import Any

import anthropic

from tests.e2e.model import Model
from tests.e2e.world import NAME, World

BOUND = "claude-opus-5-5"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def recall(page: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": "mmu_recall", "input": {"page": page, **more}}


BASH = {"type": "tool_use", "name": "Bash", "input": {"command": "date"}}


class Talk(Model):
    """The SDK at work, streamed or not."""

    def __init__(self, there: World, *, stream: bool, http2: bool = False, model: str = BOUND) -> None:
        super().__init__(there, model, thinking=model == BOUND, send=self._sdk)
        self.stream = stream
        regular = there.mode != "reverse"
        tls: Any = ssl.create_default_context(cafile=str(there.proxy.ca_file)) if regular else True
        self.http = anthropic.DefaultHttpxClient(
            proxy=there.proxy.url if regular else None, verify=tls, trust_env=False, http2=http2
        )
        self.client = anthropic.Anthropic(
            base_url=NAME if regular else there.proxy.url, api_key="test-key", max_retries=0, http_client=self.http
        )
        self.got: Any = None

    def _sdk(self, body: dict[str, Any], headers: dict[str, str]) -> list[dict[str, Any]]:
        given: Any = body
        if self.stream:
            with self.client.messages.stream(**given, extra_headers=headers) as stream:
                self.got = stream.get_final_message()
        else:
            self.got = self.client.messages.create(**given, extra_headers=headers)
        return [block.model_dump(mode="json", exclude_unset=True, exclude_none=True) for block in self.got.content]

    def turn(self, *replies: list[dict[str, Any]], idle: float = 5.0) -> list[dict[str, Any]]:
        """One request of the client's; the model answers it, and what carries it on, with these. What the client got,
        reasoning aside."""
        self.then = [{"content": [*self.thought(), *reply]} for reply in replies]
        said = self.request(idle)
        assert not self.then, "the model was asked less often than meant"
        return [block for block in said if block["type"] != "thinking"]

    def say(self, words: str) -> None:
        self.messages.append({"role": "user", "content": words})

    def bodies(self) -> list[bytes]:
        return [record.body for record in self.seen()]

    def results(self) -> dict[str, Any]:
        """Results of recalls in the last request, by call id."""
        calls: dict[str, Any] = {}
        for message in self.last()["messages"]:
            for block in message["content"] if isinstance(message["content"], list) else []:
                if block["type"] == "tool_use" and block["name"] == "mmu_recall":
                    calls[block["id"]] = None
                elif block["type"] == "tool_result" and block["tool_use_id"] in calls:
                    calls[block["tool_use_id"]] = block["content"]
        return calls


