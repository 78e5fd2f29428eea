"""A conversation with a vendor's SDK through the proxy, one way of speaking for all of them.

The test says in the words of Messages what the model answers; each class spells the history as its SDK's users do, and
tells what the SDK made of the answer.
"""

from __future__ import annotations

import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types

from tests.e2e.world import World

TOOLS = ("bash", "read_file")

type Block = dict[str, Any]


def say(words: str) -> Block:
    return {"type": "text", "text": words}


def use(name: str, **arguments: Any) -> Block:
    return {"type": "tool_use", "name": name, "input": arguments}


class Talk(ABC):
    """One conversation."""

    host: str
    turns: str
    """The member of a request that holds what was said."""

    def __init__(self, there: World, *, stream: bool) -> None:
        self.there, self.stream = there, stream
        self.now = 1_000_000.0
        self.replies: list[dict[str, Any]] = []
        self.history: list[Any] = []
        there.up.script("talk", lambda _: self.replies.pop(0))
        self.tls = ssl.create_default_context(cafile=str(there.proxy.ca_file))
        self.begin("begin")

    def begin(self, words: str) -> None:
        """The opening prompt."""
        self.human(words)

    @abstractmethod
    def human(self, words: str) -> None:
        """The user says something."""

    @abstractmethod
    def send(self, headers: Mapping[str, str]) -> list[Block]:
        """One request. What the SDK got enters the history; its texts and calls are returned, calls with ids."""

    @abstractmethod
    def results(self, results: list[tuple[Block, str]]) -> None:
        """The client's answers to calls enter the history."""

    def ask(self, *replies: list[Block], idle: float = 5.0, broken: tuple[int, ...] = ()) -> list[Block]:
        """One request, answered with these replies, one after the other if it is carried on, behind errors of the
        statuses `broken`."""
        self.now += idle
        errors = [{"error": {"status": s, "message": "planted", "headers": {"retry-after": "0"}}} for s in broken]
        self.replies = [*errors, *({"content": reply} for reply in replies)]
        clock = str(self.now)
        names = {"x-upstream-script": "talk", "x-upstream-session": "talk"}
        got = self.send({**names, "x-upstream-clock": clock, "x-mmu-clock": clock})
        assert not self.replies, "the model was asked less often than meant"
        return got

    def run(self, calls: Mapping[str, str], made: list[Block]) -> None:
        """Answer the calls that were made: tool name to result."""
        self.results([(call, calls[call["name"]]) for call in made if call["type"] == "tool_use"])

    @property
    def way(self) -> dict[str, Any]:
        """How an SDK's HTTP client gets out."""
        return {"proxy": self.there.proxy.url, "verify": self.tls, "trust_env": False}

    def bodies(self) -> list[bytes]:
        """What the provider accepted."""
        return [r.body for r in self.there.up.log if r.label == "talk" and r.status == 200]

    def said(self, body: bytes) -> list[Any]:
        """What was said, in a request."""
        found: list[Any] = json.loads(body)[self.turns]
        return found

    def goes_on(self, before: bytes, after: bytes) -> bool:
        """Whether a request begins with all of the one before."""
        one, two = json.loads(before), json.loads(after)
        said = self.said(before)
        return bool(one.get("tools") == two.get("tools") and self.said(after)[: len(said)] == said)


class Messages(Talk):
    host, turns = "https://api.anthropic.com", "messages"

    def __init__(self, there: World, *, stream: bool) -> None:
        super().__init__(there, stream=stream)
        http = anthropic.DefaultHttpxClient(**self.way)
        self.sdk = anthropic.Anthropic(base_url=self.host, api_key="test-key", max_retries=2, http_client=http)
        self.tools: list[Any] = [{"name": n, "description": n, "input_schema": {"type": "object"}} for n in TOOLS]

    def human(self, words: str) -> None:
        if self.history and self.history[-1]["role"] == "user":
            self.history[-1]["content"].append(say(words))
        else:
            self.history.append({"role": "user", "content": [say(words)]})

    def send(self, headers: Mapping[str, str]) -> list[Block]:
        given: Any = {"model": "claude-opus-4-8", "max_tokens": 1000, "tools": self.tools, "messages": self.history}
        given["extra_headers"] = headers
        # without a mark nothing is cached, and every request is an occasion to evict
        given["cache_control"] = {"type": "ephemeral"}
        if self.stream:
            with self.sdk.messages.stream(**given) as stream:
                got: Any = stream.get_final_message()
        else:
            got = self.sdk.messages.create(**given)
        said = [block.model_dump(mode="json", exclude_unset=True, exclude_none=True) for block in got.content]
        self.history.append({"role": "assistant", "content": said})
        return said

    def results(self, results: list[tuple[Block, str]]) -> None:
        content = [{"type": "tool_result", "tool_use_id": call["id"], "content": words} for call, words in results]
        self.history.append({"role": "user", "content": content})


class Chat(Talk):
    host, turns = "https://api.openai.com/v1", "messages"

    def __init__(self, there: World, *, stream: bool) -> None:
        super().__init__(there, stream=stream)
        http = openai.DefaultHttpxClient(**self.way)
        self.sdk = openai.OpenAI(base_url=self.host, api_key="test-key", max_retries=2, http_client=http)
        self.tools: list[Any] = [
            {"type": "function", "function": {"name": n, "description": n, "parameters": {"type": "object"}}}
            for n in TOOLS
        ]

    def begin(self, words: str) -> None:
        self.history.append({"role": "system", "content": "You are an agent."})
        self.human(words)

    def human(self, words: str) -> None:
        self.history.append({"role": "user", "content": words})

    def send(self, headers: Mapping[str, str]) -> list[Block]:
        given: Any = {"model": "gpt-4.1", "messages": self.history, "tools": self.tools, "extra_headers": headers}
        if self.stream:
            with self.sdk.chat.completions.stream(**given, stream_options={"include_usage": True}) as stream:
                done: Any = stream.get_final_completion()
        else:
            done = self.sdk.chat.completions.create(**given)
        message = done.choices[0].message
        kept: dict[str, Any] = {"role": "assistant", "content": message.content}
        said = [say(message.content)] if message.content else []
        for call in message.tool_calls or ():
            function = {"name": call.function.name, "arguments": call.function.arguments}
            kept.setdefault("tool_calls", []).append({"id": call.id, "type": "function", "function": function})
            said.append({**use(call.function.name, **json.loads(call.function.arguments)), "id": call.id})
        self.history.append(kept)
        return said

    def results(self, results: list[tuple[Block, str]]) -> None:
        self.history += [{"role": "tool", "tool_call_id": call["id"], "content": words} for call, words in results]


class Responses(Talk):
    host, turns = "https://api.openai.com/v1", "input"

    def __init__(self, there: World, *, stream: bool) -> None:
        super().__init__(there, stream=stream)
        http = openai.DefaultHttpxClient(**self.way)
        self.sdk = openai.OpenAI(base_url=self.host, api_key="test-key", max_retries=2, http_client=http)
        self.tools: list[Any] = [
            {"type": "function", "name": n, "description": n, "parameters": {"type": "object"}, "strict": False}
            for n in TOOLS
        ]

    def human(self, words: str) -> None:
        self.history.append({"role": "user", "content": [{"type": "input_text", "text": words}]})

    def send(self, headers: Mapping[str, str]) -> list[Block]:
        given: Any = {"model": "gpt-5.1", "input": self.history, "tools": self.tools, "store": False}
        given |= {"include": ["reasoning.encrypted_content"], "extra_headers": headers, "instructions": "Be an agent."}
        if self.stream:
            with self.sdk.responses.stream(**given) as stream:
                done: Any = stream.get_final_response()
        else:
            done = self.sdk.responses.create(**given)
        said: list[Block] = []
        for item in done.output:
            kept = item.model_dump(mode="json", exclude_unset=True, exclude_none=True)
            kept.pop("parsed_arguments", None)
            for part in kept.get("content") or ():
                part.pop("parsed", None)
            self.history.append(kept)
            if item.type == "message":
                said.append(say("".join(part.text for part in item.content)))
            elif item.type == "function_call":
                said.append({**use(item.name, **json.loads(item.arguments)), "id": item.call_id})
        return said

    def results(self, results: list[tuple[Block, str]]) -> None:
        self.history += [
            {"type": "function_call_output", "call_id": call["id"], "output": words} for call, words in results
        ]


class Gemini(Talk):
    host, turns = "https://generativelanguage.googleapis.com", "contents"

    def __init__(self, there: World, *, stream: bool) -> None:
        super().__init__(there, stream=stream)
        retry = types.HttpRetryOptions(attempts=3, initial_delay=0.01, http_status_codes=[429, 500, 503])
        options = types.HttpOptions(
            base_url=self.host, api_version="v1beta", client_args=self.way, retry_options=retry
        )
        self.sdk = genai.Client(api_key="test-key", http_options=options)
        schema = {"type": "object"}
        made = [types.FunctionDeclaration(name=n, description=n, parameters_json_schema=schema) for n in TOOLS]
        self.tools: list[Any] = [types.Tool(function_declarations=made)]

    def human(self, words: str) -> None:
        self.history.append(types.Content(role="user", parts=[types.Part(text=words)]))

    def send(self, headers: Mapping[str, str]) -> list[Block]:
        config = types.GenerateContentConfig(
            tools=self.tools,
            system_instruction="You are an agent.",
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            http_options=types.HttpOptions(headers=dict(headers)),
        )
        given: Any = {"model": "gemini-3-flash-preview", "contents": self.history, "config": config}
        if self.stream:
            chunks = list(self.sdk.models.generate_content_stream(**given))
        else:
            chunks = [self.sdk.models.generate_content(**given)]
        parts = [
            part
            for chunk in chunks
            for candidate in chunk.candidates or ()
            if candidate.content is not None
            for part in candidate.content.parts or ()
        ]
        self.history.append(types.Content(role="model", parts=parts))
        said: list[Block] = []
        for part in parts:
            if part.function_call is not None:
                call = part.function_call
                said.append({**use(call.name or "", **(call.args or {})), "id": call.id})
            elif part.text and not part.thought:
                said.append(say(part.text))
        return said

    def results(self, results: list[tuple[Block, str]]) -> None:
        parts = [
            types.Part(function_response=types.FunctionResponse(id=c["id"], name=c["name"], response={"output": words}))
            for c, words in results
        ]
        self.history.append(types.Content(role="user", parts=parts))
