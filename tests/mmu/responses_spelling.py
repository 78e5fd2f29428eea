"""A session in the words of Responses: an item for all that is said, in the order in which it was said.

Agents differ in whether they keep the ids of items (opencode does, Codex does not), whether what they run is a custom
tool's free text (Codex), and where the instructions stand. A provider that does not keep what it said seals its
reasoning, and wants every item of an answer back.
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
from tests.upstream.responses import PATH, SEALED
from tests.upstream.responses_items import items
from tests.upstream.responses_prompt import INSTRUCTIONS, is_model, level

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8="}
FREE = (2, 3, 6)
"""Styles whose client has what it runs as a custom tool."""
APART = 5
"""The style whose client has its instructions in a member of their own; others head the list with them."""
TIMED = 7
"""The style whose client says the time in its instructions."""


def _tool(name: str, *, custom: bool) -> dict[str, Any]:
    if custom:
        return {"type": "custom", "name": name, "description": "does"}
    made: dict[str, Any] = json.loads(responses.tool(name, "does", {"type": "object"}))
    return made


@dataclass
class Responses:
    instructions: str = "You are an agent."
    api: Api = responses

    path = PATH
    pace = 12.0

    def request(
        self, messages: list[dict[str, Any]], model: str, count: int, style: int, *, caching: bool
    ) -> dict[str, Any]:
        del caching  # unasked, or not at all
        told = self.instructions + (f" It is {count} o'clock." if style == TIMED else "")
        custom = {b["id"] for m in messages for b in m["content"] if isinstance(b, dict) and b.get("kind") == "custom"}
        said = [] if style == APART else [{"role": "developer", "content": told}]
        for number, message in enumerate(messages):
            plain = style >= 4 and number < len(messages) - 1
            user = message["role"] == "user"
            said += self._user(message, custom, plain) if user else self._assistant(message, style)
        parts = {
            "model": model, "tools": [_tool(name, custom=name == "Bash" and style in FREE) for name in NAMES],
            "tool_choice": "auto", "max_output_tokens": 100, "store": False, "include": [SEALED],
            **({"instructions": told} if style == APART else {}),
        }  # fmt: skip
        return {**parts, "input": said} if style % 2 else {"input": said, **parts}

    def _user(self, message: dict[str, Any], custom: set[str], plain: bool) -> Iterator[dict[str, Any]]:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        for block in blocks:
            if block["type"] == "tool_result":
                call, given = block["tool_use_id"], block.get("content", "")
                kind = "custom_tool_call_output" if call in custom else "function_call_output"
                output = given if isinstance(given, str) else [self._part(part) for part in given]
                yield {"type": kind, "call_id": call, "output": output}
        texts = [self._part(block) for block in blocks if block["type"] == "text"]
        if texts:
            yield {"role": "user", "content": texts[0]["text"] if plain and len(texts) == 1 else texts}

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        return {"type": "input_text", "text": part["text"]} if part["type"] == "text" else IMAGE

    def _assistant(self, message: dict[str, Any], style: int) -> Iterator[dict[str, Any]]:
        for block in message["content"]:
            named = {"id": block["item"]} if style % 2 and "item" in block else {}
            if block["type"] == "thinking":
                yield {"type": "reasoning", "summary": [], "encrypted_content": block["signature"], **named}
            elif block["type"] == "text":
                part = {"type": "output_text", "text": block["text"]}
                whole = {**part, "annotations": []} if style >= 4 else part
                yield {"type": "message", "role": "assistant", "content": [whole], **named}
            else:
                call = {"call_id": block["id"], "name": block["name"], **named}
                spelled = block.get("spelled") or json.dumps(block["input"])
                if block.get("kind") == "custom":
                    yield {"type": "custom_tool_call", **call, "input": spelled}
                else:
                    yield {"type": "function_call", **call, "arguments": spelled, "status": "completed"}

    def said(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for made in payload["output"]:
            named = {"item": made["id"]}
            if made["type"] == "reasoning":
                blocks.append({"type": "thinking", "thinking": "", "signature": made["encrypted_content"], **named})
            elif made["type"] == "message":
                blocks.append({**text("".join(part["text"] for part in made["content"])), **named})
            else:
                custom = made["type"] == "custom_tool_call"
                spelled = made["input"] if custom else made["arguments"]
                call = {"type": "tool_use", "id": made["call_id"], "name": made["name"], "spelled": spelled}
                blocks.append({**call, "kind": "custom" if custom else "function", **named})
        return blocks

    def turns(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What the model said in a row is one message; every other item is one."""
        said = [level(item) for item in items(body["input"]) if item.get("role") not in INSTRUCTIONS]
        out: list[dict[str, Any]] = []
        for theirs, group in groupby(said, key=is_model):
            row = list(group)
            out += [{"content": row}] if theirs else [{"content": [item]} for item in row]
        return out

    def declared(self, body: dict[str, Any]) -> list[Any]:
        tools: list[Any] = body["tools"]
        return tools

    def blank(self, body: dict[str, Any], replaced: set[tuple[str, int]], pardoned: set[str]) -> None:
        assert not pardoned
        for item in body["input"]:
            output = item.get("output")
            if isinstance(output, str) and (item["call_id"], 0) in replaced:
                item["output"] = ""
            for part, inner in enumerate(output if isinstance(output, list) else ()):
                if (item["call_id"], part) in replaced:
                    inner["text"] = ""

    def results(self, body: dict[str, Any]) -> dict[str, Any]:
        return {item["call_id"]: item["output"] for item in body["input"] if "output" in item}

    def streamed(self, payload: dict[str, Any]) -> bytes:
        return b"".join(responses_message.stream(payload))

    def assembled(self, stream: bytes) -> dict[str, Any]:
        """The items as they were done. The end of a stream has them as well, but not every client looks there."""
        lines = [line.removeprefix(b"data: ") for line in stream.splitlines() if line.startswith(b"data: ")]
        told = [json.loads(line) for line in lines]
        done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
        return {**told[-1]["response"], "output": done}

    def recalled(self, text: str, rounds: Sequence[Round]) -> dict[str, str]:
        del text
        return {call: json.loads(result)["output"] for round_ in rounds for call, result in round_.results.items()}

    def withdrawn(self, body: dict[str, Any], rounds: Sequence[Round]) -> list[dict[str, Any]]:
        hidden = {call for round_ in rounds for call in round_.results}
        left = [item for item in body["input"] if item.get("call_id") not in hidden]
        return self.turns({**body, "input": left})
