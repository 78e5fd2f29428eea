"""A session in the words of Gemini: answers of functions in a content of their own, and calls that may have no id.

The client makes up an id for each call that came without one, and shows it with the answer in some styles, as agents
differ in that. Names of fields are spelled in either way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from addon.mmu.page import NAME
from addon.wire import gemini
from addon.wire.api import Api
from addon.wire.conversation import Kind
from addon.wire.exchange import Round
from tests.mmu.sessions import NAMES, spell
from tests.upstream import gemini_message
from tests.upstream.direct import text

IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}
SNAKE = 6
"""The style whose client spells fields `like_this`."""
FUNCTION = 7
"""The style whose client has a role of its own for answers."""
MADE_UP = "mine-"


def _snake(part: dict[str, Any]) -> dict[str, Any]:
    return {re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", key): value for key, value in part.items()}


@dataclass
class Gemini:
    instructions: str = "You are an agent."
    model: str = "gemini-2.5-pro"
    api: Api = gemini
    style: int = 0
    """Of the last request, as is what follows."""
    names: dict[str, str] = field(default_factory=dict)
    """The function that each call is one of, by its id."""

    pace = 12.0
    tools = tuple(json.loads(gemini.tool(name, "does what it is for", {"type": "object"})) for name in NAMES)

    @property
    def path(self) -> str:
        return f"/v1beta/models/{self.model}:generateContent"

    def request(
        self, messages: list[dict[str, Any]], model: str, count: int, style: int, *, caching: bool
    ) -> dict[str, Any]:
        del count, caching  # unasked, or not at all
        assert model == self.model, "it stands in the path"
        self.style = style
        said = (block for message in messages if message["role"] == "assistant" for block in message["content"])
        self.names = {block["id"]: block["name"] for block in said if block["type"] == "tool_use"}
        contents = [content for message in messages for content in self._contents(message)]
        if style == SNAKE:
            contents = [{**each, "parts": [_snake(part) for part in each["parts"]]} for each in contents]
        rest = {
            "systemInstruction": {"parts": [{"text": self.instructions}]},
            "tools": [{"functionDeclarations": list(self.tools)}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "generationConfig": {"temperature": 1},
        }
        return {**rest, "contents": contents} if style % 2 else {"contents": contents, **rest}

    def _contents(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        if message["role"] == "assistant":
            yield {"role": "model", "parts": [self._said(block) for block in blocks]}
            return
        results = [self._result(block) for block in blocks if block["type"] == "tool_result"]
        texts = [{"text": block["text"]} for block in blocks if block["type"] == "text"]
        if results:
            yield {"role": "function" if self.style == FUNCTION else "user", "parts": results}
        if texts:
            yield {"role": "user", "parts": texts}

    def _said(self, block: dict[str, Any]) -> dict[str, Any]:
        signature = {"thoughtSignature": block["signature"]} if "signature" in block else {}
        if block["type"] == "text":
            return {"text": block["text"], **signature}
        if block["type"] == "thinking":
            return {"text": block["thinking"], "thought": True}
        named = {} if block["id"].startswith(MADE_UP) else {"id": block["id"]}
        return {"functionCall": {**named, "name": block["name"], "args": block["input"]}, **signature}

    def _result(self, block: dict[str, Any]) -> dict[str, Any]:
        content, identity = block.get("content"), block["tool_use_id"]
        parts = [text(content)] if isinstance(content, str) else content or []
        words = "\n".join(part["text"] for part in parts if part["type"] == "text")
        key = "error" if block.get("is_error") else "output" if self.style % 4 else "result"
        made: dict[str, Any] = {"name": self.names[identity], "response": {key: words} if parts else {}}
        if self.style % 2 or not identity.startswith(MADE_UP):
            made["id"] = identity
        if any(part["type"] == "image" for part in parts):
            made["parts"] = [IMAGE]
        return {"functionResponse": made}

    def said(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for part in _run_together(payload["candidates"][0]["content"]["parts"]):
            signature = {"signature": part["thoughtSignature"]} if "thoughtSignature" in part else {}
            made = part.get("functionCall")
            if made is not None:
                identity = made.get("id", f"{MADE_UP}{payload['responseId']}-{len(blocks)}")
                block = {"type": "tool_use", "id": identity, "name": made["name"], "input": made["args"]}
                blocks.append({**block, **signature})
            elif part.get("thought"):
                blocks.append({"type": "thinking", "thinking": part["text"]})
            else:
                blocks.append({**text(part["text"]), **signature})
        return blocks

    def turns(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": content.get("role", "user"), "content": content["parts"]} for content in body["contents"]]

    def declared(self, body: dict[str, Any]) -> list[Any]:
        declarations: list[Any] = body["tools"][0]["functionDeclarations"]
        return declarations

    def _answers(self, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each answer of a function with the id that the reader finds for its call."""
        read = gemini.parse(spell(body, self.style))
        for content, message in zip(body["contents"], read.messages, strict=True):
            calls = [b.call for b in message.blocks if b.call and b.kind is not Kind.CALL and not b.part]
            yield from zip(calls, _inside(content, "functionResponse"), strict=True)

    def blank(self, body: dict[str, Any], replaced: set[tuple[str, int]], pardoned: set[str]) -> None:
        for call, answer in self._answers(body):
            response = answer["response"]
            if call in pardoned:
                response.clear()
            elif (call, 0) in replaced:
                (key,) = response
                response[key] = ""

    def results(self, body: dict[str, Any]) -> dict[str, Any]:
        return {call: next(iter(answer["response"].values()), None) for call, answer in self._answers(body)}

    def streamed(self, payload: dict[str, Any]) -> bytes:
        return b"".join(gemini_message.events(payload))

    def assembled(self, stream: bytes) -> dict[str, Any]:
        chunks = [json.loads(line.removeprefix(b"data: ")) for line in stream.splitlines() if line]
        parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"].get("parts", ())]
        last = chunks[-1]["candidates"][0]
        content = {"role": "model", "parts": list(_run_together(parts))}
        return {**chunks[-1], "candidates": [{**last, "content": content}]}

    def recalled(self, text: str, rounds: Sequence[Round]) -> dict[str, str]:
        hidden = _hidden(rounds)
        answers = self._answers(json.loads(text))
        return {call: answer["response"]["output"] for call, answer in answers if answer in hidden}

    def withdrawn(self, body: dict[str, Any], rounds: Sequence[Round]) -> list[dict[str, Any]]:
        """Answers tell which calls were hidden: some have no id."""
        hidden = _hidden(rounds)
        out: list[dict[str, Any]] = []
        goes_on: list[dict[str, Any]] = []
        for content in self.turns(body):
            parts = [*goes_on, *content["content"]]
            goes_on = []
            left = [part for part in parts if (part.get("functionResponse") or {}) not in hidden]
            if len(left) < len(parts):
                # Those of a round have a content of their own; beside the client's the model does not go on.
                said = out[-1]["content"]
                gone = [part for part in said if (part.get("functionCall") or {}).get("name") == NAME]
                for part in gone[: len(parts) - len(left)]:
                    said.remove(part)
                parts = left
                if not parts:
                    goes_on = out.pop()["content"]
                    continue
            said = list(_run_together(parts)) if content["role"] == "model" else parts
            out.append({**content, "content": said})
        return out


def _hidden(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """The answers to hidden calls."""
    return [json.loads(result)["functionResponse"] for round_ in rounds for result in round_.results.values()]


def _inside(content: dict[str, Any], field: str) -> list[dict[str, Any]]:
    found = (part.get(field) or part.get(next(iter(_snake({field: 0})))) for part in content["parts"])
    return [each for each in found if each]


def _run_together(parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pieces of one text as one part; a signature that comes behind a text is that text's."""
    held: dict[str, Any] = {}
    for part in parts:
        same = "text" in part and "text" in held and part.get("thought") == held.get("thought")
        if same and "thoughtSignature" not in held:
            held = {**held, **part, "text": held["text"] + part["text"]}
            continue
        if held:
            yield held
        held = part
    if held:
        yield held
