"""One session in the words of each API: the request it becomes, what its answer said, and what was hidden in either.

A session is kept in the words of Messages. Chat Completions says the same with a message for each result, and knows
neither errors nor images of a tool. Responses and Gemini are in files of their own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from addon.wire import anthropic, chat
from addon.wire.api import Api
from addon.wire.exchange import Round
from tests.agent.transport import assemble, events
from tests.mmu.gemini_spelling import Gemini
from tests.mmu.responses_spelling import Responses
from tests.mmu.sessions import NAMES
from tests.upstream import chat_message
from tests.upstream import message as whole_message
from tests.upstream.chat import PATH
from tests.upstream.direct import TOOL, text
from tests.upstream.provider import MESSAGES
from tests.wire.chat_replies import put_together

type Places = set[tuple[str, int]]
"""Call id and part of results."""


class Spelling(Protocol):
    """What is different from API to API."""

    instructions: str
    api: Api
    pace: float
    """Seconds that go by for each that a session with caching idles, so that a pause means the same to every time to
    live."""

    @property
    def path(self) -> str: ...

    def request(
        self, messages: list[dict[str, Any]], model: str, count: int, style: int, *, caching: bool
    ) -> dict[str, Any]:
        """The body of the session's `count`-th request."""
        ...

    def said(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        """The blocks of an answer."""
        ...

    def turns(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The messages behind the instructions."""
        ...

    def declared(self, body: dict[str, Any]) -> list[Any]:
        """The tools' definitions in a body."""
        ...

    def blank(self, body: dict[str, Any], replaced: Places, pardoned: set[str]) -> None:
        """Empty in a body what may have been replaced."""
        ...

    def streamed(self, payload: dict[str, Any]) -> bytes:
        """An answer as a stream."""
        ...

    def assembled(self, stream: bytes) -> dict[str, Any]:
        """The answer that a client makes of a stream."""
        ...

    def results(self, body: dict[str, Any]) -> dict[str, Any]:
        """What calls were answered with, by call id."""
        ...

    def recalled(self, text: str, rounds: Sequence[Round]) -> dict[str, str]:
        """What these rounds, which stand in a request, answered the hidden calls with, by call id."""
        ...

    def withdrawn(self, body: dict[str, Any], rounds: Sequence[Round]) -> list[dict[str, Any]]:
        """The messages of the client again: what these rounds put in is taken out, and what they said is one message.
        Of a body that nothing was put into they are the same."""
        ...


def _recalled(rounds: Sequence[Round]) -> dict[str, str]:
    return {call: json.loads(result)["content"] for round_ in rounds for call, result in round_.results.items()}


@dataclass
class Messages:
    instructions: str = "You are an agent."
    api: Api = anthropic

    path = MESSAGES
    pace = 1.0
    tools = tuple({**TOOL, "name": name} for name in NAMES)

    def request(
        self, messages: list[dict[str, Any]], model: str, count: int, style: int, *, caching: bool
    ) -> dict[str, Any]:
        system = [text(f"x-anthropic-billing-header: cch={count:05x};"), text(self.instructions)]
        messages = copy.deepcopy(messages)
        if caching:
            system[-1]["cache_control"] = {"type": "ephemeral"}
            last = messages[-1]["content"]
            if isinstance(last, str):
                messages[-1]["content"] = last = [text(last)]
            last[-1]["cache_control"] = {"type": "ephemeral"}
        for message in messages[:-1]:
            if style >= 4 and len(message["content"]) == 1 and message["content"][0]["type"] == "text":
                message["content"] = message["content"][0]["text"]
        parts = {"model": model, "max_tokens": 100, "tools": list(self.tools), "system": system}
        return {**parts, "messages": messages} if style % 2 else {"messages": messages, **parts}

    def said(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        return list(payload["content"])

    def turns(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return list(body["messages"])

    def declared(self, body: dict[str, Any]) -> list[Any]:
        tools: list[Any] = body["tools"]
        return tools

    def blank(self, body: dict[str, Any], replaced: Places, pardoned: set[str]) -> None:
        for message in body["messages"]:
            content = message["content"]
            if isinstance(content, list):
                message["content"] = [b for b in content if b["type"] != "thinking"]
            for block in message["content"]:
                if isinstance(block, dict) and block["type"] == "tool_result":
                    if block["tool_use_id"] in pardoned:
                        block["is_error"] = None
                    _blank(block, block["tool_use_id"], replaced)

    def streamed(self, payload: dict[str, Any]) -> bytes:
        return b"".join(map(whole_message.encode, whole_message.events(payload)))

    def assembled(self, stream: bytes) -> dict[str, Any]:
        return assemble(events(iter(stream.split(b"\n"))))

    def results(self, body: dict[str, Any]) -> dict[str, Any]:
        contents = (m["content"] for m in body["messages"] if m["role"] == "user" and isinstance(m["content"], list))
        blocks = (b for content in contents for b in content if b["type"] == "tool_result")
        return {b["tool_use_id"]: b.get("content") for b in blocks}

    def recalled(self, text: str, rounds: Sequence[Round]) -> dict[str, str]:
        return _recalled(rounds)

    def withdrawn(self, body: dict[str, Any], rounds: Sequence[Round]) -> list[dict[str, Any]]:
        hidden = {call for round_ in rounds for call in round_.results}
        out: list[dict[str, Any]] = []
        goes_on = False
        for one in body["messages"]:
            content = one["content"]
            if isinstance(content, list):
                content = [b for b in content if b.get("id", b.get("tool_use_id")) not in hidden]
            answers = one["role"] == "user" and content != one["content"]
            if answers and not content:
                goes_on = True
            elif goes_on and one["role"] == "assistant":
                out[-1] = {**out[-1], "content": [*out[-1]["content"], *content]}
                goes_on = False
            else:
                out.append({**one, "content": content})
                goes_on = False
        return out


@dataclass
class Chat:
    instructions: str = "You are an agent."
    api: Api = chat

    path = PATH
    pace = 12.0
    tools = tuple(json.loads(chat.tool(name, "does", {"type": "object"})) for name in NAMES)

    def request(
        self, messages: list[dict[str, Any]], model: str, count: int, style: int, *, caching: bool
    ) -> dict[str, Any]:
        del caching  # unasked, or not at all
        # Some clients say the time in their instructions.
        time = f" It is {count} o'clock." if style == 7 else ""
        said = [{"role": "system", "content": self.instructions + time}]
        for number, message in enumerate(messages):
            plain = style >= 4 and number < len(messages) - 1
            said += self._user(message, plain) if message["role"] == "user" else [self._assistant(message, style)]
        parts = {"model": model, "max_completion_tokens": 100, "tools": list(self.tools), "tool_choice": "auto"}
        return {**parts, "messages": said} if style % 2 else {"messages": said, **parts}

    def _user(self, message: dict[str, Any], plain: bool) -> list[dict[str, Any]]:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        results = [
            {"role": "tool", "tool_call_id": b["tool_use_id"], "content": self._result(b.get("content", ""))}
            for b in blocks
            if b["type"] == "tool_result"
        ]
        texts = [text(b["text"]) for b in blocks if b["type"] == "text"]
        whole = texts[0]["text"] if plain and len(texts) == 1 else texts
        return [*results, *([{"role": "user", "content": whole}] if texts else [])]

    def _result(self, content: Any) -> Any:
        if isinstance(content, str):
            return content
        return [text(part["text"] if part["type"] == "text" else "[image]") for part in content]

    def _assistant(self, message: dict[str, Any], style: int) -> dict[str, Any]:
        found: dict[str, list[Any]] = {"thinking": [], "text": [], "tool_use": []}
        for block in message["content"]:
            found[block["type"]].append(block)
        made: dict[str, Any] = {"role": "assistant", "content": "".join(b["text"] for b in found["text"]) or None}
        if found["thinking"]:
            made["reasoning_content"] = "".join(b["thinking"] for b in found["thinking"])
        if found["tool_use"]:
            made["tool_calls"] = [
                {
                    "id": b["id"],
                    "type": "function",
                    "function": {"name": b["name"], "arguments": json.dumps(b["input"], ensure_ascii=style % 2 == 0)},
                }
                for b in found["tool_use"]
            ]
        return made

    def said(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        message = payload["choices"][0]["message"]
        blocks: list[dict[str, Any]] = []
        if "reasoning_content" in message:
            blocks.append({"type": "thinking", "thinking": message["reasoning_content"]})
        if message["content"]:
            blocks.append(text(message["content"]))
        for made in message.get("tool_calls") or ():
            given = json.loads(made["function"]["arguments"])
            blocks.append({"type": "tool_use", "id": made["id"], "name": made["function"]["name"], "input": given})
        return blocks

    def turns(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return list(body["messages"][1:])

    def declared(self, body: dict[str, Any]) -> list[Any]:
        tools: list[Any] = body["tools"]
        return tools

    def blank(self, body: dict[str, Any], replaced: Places, pardoned: set[str]) -> None:
        assert not pardoned
        for message in body["messages"]:
            if message["role"] == "tool":
                _blank(message, message["tool_call_id"], replaced)

    def streamed(self, payload: dict[str, Any]) -> bytes:
        return b"".join(chat_message.stream(payload, include_usage=True))

    def assembled(self, stream: bytes) -> dict[str, Any]:
        return put_together(stream)

    def results(self, body: dict[str, Any]) -> dict[str, Any]:
        return {m["tool_call_id"]: m["content"] for m in body["messages"] if m["role"] == "tool"}

    def recalled(self, text: str, rounds: Sequence[Round]) -> dict[str, str]:
        return _recalled(rounds)

    def withdrawn(self, body: dict[str, Any], rounds: Sequence[Round]) -> list[dict[str, Any]]:
        """Without reasoning: whether hidden rounds have it depends on what the client's own calls carry."""
        hidden = {call for round_ in rounds for call in round_.results}
        out: list[dict[str, Any]] = []
        goes_on = False
        for one in body["messages"]:
            if one["role"] == "tool" and one["tool_call_id"] in hidden:
                # Between a round's call and its next; beside the client's calls none follows.
                goes_on = not out[-1].get("tool_calls")
            elif one["role"] != "assistant":
                out.append(one)
                goes_on = False
            else:
                calls = [call for call in one.get("tool_calls") or () if call["id"] not in hidden]
                said = {"content": one["content"] or "", "tool_calls": calls}
                if goes_on:
                    said["content"] = out.pop()["content"] + said["content"]
                out.append({"role": "assistant", **said})
                goes_on = False
        return out


def _blank(holder: dict[str, Any], call: str, replaced: Places) -> None:
    if isinstance(holder.get("content"), str) and (call, 0) in replaced:
        holder["content"] = ""
    elif isinstance(holder.get("content"), list):
        for part, inner in enumerate(holder["content"]):
            if (call, part) in replaced:
                inner["text"] = ""


SPELLINGS: tuple[tuple[Callable[[], Spelling], str], ...] = (
    (Messages, "claude-opus-4-8"),
    (Chat, "gpt-4o"),
    (Responses, "gpt-4o"),
    (Gemini, "gemini-2.5-pro"),
)
"""Each API's, with a model of it that caches and does not bind its reasoning."""
