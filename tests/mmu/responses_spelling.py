"""A session in the words of Responses: every answer, call and result is an item of its own in one flat list.

The client keeps the provider's items as they came, ids included, in even styles; in odd ones it leaves out the ids and
the state of each, as agents differ in that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from addon.wire import responses
from addon.wire.api import Api
from addon.wire.exchange import Round
from tests.mmu.sessions import NAMES
from tests.upstream import responses_message
from tests.upstream.direct import text
from tests.upstream.responses import PATH
from tests.upstream.responses_items import items
from tests.upstream.responses_prompt import is_model, level

LEFT_OUT = ("id", "status")


def _said(words: str) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


@dataclass
class Responses:
    instructions: str = "You are an agent."
    api: Api = responses

    path = PATH
    pace = 12.0
    tools = tuple(json.loads(responses.tool(name, "does", {"type": "object"})) for name in NAMES)

    def request(
        self, messages: list[dict[str, Any]], model: str, count: int, style: int, *, caching: bool
    ) -> dict[str, Any]:
        del count, caching  # unasked, or not at all
        said = [
            item
            for number, message in enumerate(messages)
            for item in (
                self._user(message, style >= 4 and number < len(messages) - 1)
                if message["role"] == "user"
                else self._assistant(message, style)
            )
        ]
        parts = {
            "model": model, "max_output_tokens": 100, "tools": list(self.tools), "tool_choice": "auto", "store": False,
            "include": ["reasoning.encrypted_content"], "instructions": self.instructions,
        }  # fmt: skip
        return {**parts, "input": said} if style % 2 else {"input": said, **parts}

    def _user(self, message: dict[str, Any], plain: bool) -> Iterator[dict[str, Any]]:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        for block in blocks:
            if block["type"] == "tool_result":
                output = self._output(block.get("content", ""))
                yield {"type": "function_call_output", "call_id": block["tool_use_id"], "output": output}
        texts = [_said(block["text"]) for block in blocks if block["type"] == "text"]
        if texts:
            yield {"role": "user", "content": texts[0]["text"] if plain and len(texts) == 1 else texts}

    def _output(self, content: Any) -> Any:
        if isinstance(content, str):
            return content
        return [_said(part["text"] if part["type"] == "text" else "[image]") for part in content]

    def _assistant(self, message: dict[str, Any], style: int) -> Iterator[dict[str, Any]]:
        for block in message["content"]:
            item = block.get("item") or self._item(block)
            yield {key: value for key, value in item.items() if key not in LEFT_OUT} if style % 2 else item

    def _item(self, block: dict[str, Any]) -> dict[str, Any]:
        if block["type"] == "text":
            return {"role": "assistant", "content": [{"type": "output_text", "text": block["text"]}]}
        arguments = json.dumps(block["input"], ensure_ascii=False)
        return {"type": "function_call", "call_id": block["id"], "name": block["name"], "arguments": arguments}

    def said(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for item in payload["output"]:
            if item["type"] == "function_call":
                given = json.loads(item["arguments"])
                block = {"type": "tool_use", "id": item["call_id"], "name": item["name"], "input": given}
            elif item["type"] == "reasoning":
                block = {"type": "thinking", "thinking": ""}
            else:
                block = text("".join(part["text"] for part in item["content"]))
            blocks.append({**block, "item": item})
        return blocks

    def turns(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Without what is only spelling. What the model's side said in a row is one."""
        found: list[dict[str, Any]] = []
        for of_model, run in groupby(map(level, items(body["input"])), is_model):
            some = list(run)
            contents = [some] if of_model else [[item] for item in some]
            found += [{"role": "assistant" if of_model else "user", "content": content} for content in contents]
        return found

    def declared(self, body: dict[str, Any]) -> list[Any]:
        tools: list[Any] = body["tools"]
        return tools

    def blank(self, body: dict[str, Any], replaced: set[tuple[str, int]], pardoned: set[str]) -> None:
        assert not pardoned
        for item in body["input"]:
            if item.get("type") != "function_call_output":
                continue
            if isinstance(item["output"], str) and (item["call_id"], 0) in replaced:
                item["output"] = ""
            elif isinstance(item["output"], list):
                for part, inner in enumerate(item["output"]):
                    if (item["call_id"], part) in replaced:
                        inner["text"] = ""

    def streamed(self, payload: dict[str, Any]) -> bytes:
        return b"".join(responses_message.stream(payload))

    def assembled(self, stream: bytes) -> dict[str, Any]:
        """The response in the event that ends the stream."""
        last = [line for line in stream.split(b"\n") if line.startswith(b"data: ")][-1]
        done: dict[str, Any] = json.loads(last.removeprefix(b"data: "))["response"]
        return done

    def results(self, body: dict[str, Any]) -> dict[str, Any]:
        found = (item for item in body["input"] if item.get("type") == "function_call_output")
        return {item["call_id"]: item["output"] for item in found}

    def withdrawn(self, body: dict[str, Any], rounds: Sequence[Round]) -> list[dict[str, Any]]:
        hidden = {call for round_ in rounds for call in round_.results}
        left = [item for item in body["input"] if item.get("call_id") not in hidden]
        return self.turns({"input": left})
