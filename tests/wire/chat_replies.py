"""What a model may say in Chat Completions, and every way a server may spell it as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from addon.wire import sse
from tests.wire.replies import HIDDEN, INPUTS, STYLES, WORDS, Piece, Reply, Style, event, spelled

type Call = dict[str, Any]

HOW = ("pieces", "whole", "named late", "named in pieces", "repeated", "no number", "one number")
"""How calls are sent. The last three the vendor's library does not put together."""


def call(identity: str, name: str = HIDDEN, arguments: str = "{}") -> Call:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def is_hidden(made: Call) -> bool:
    return bool(made["function"]["name"] == HIDDEN)


def said(reply: Reply) -> dict[str, Any]:
    """The message of a reply."""
    message: dict[str, Any] = reply["choices"][0]["message"]
    return message


def calls(reply: Reply) -> list[Call]:
    return said(reply).get("tool_calls") or []


NAMES = st.sampled_from([HIDDEN, HIDDEN, "Read", "mmu", "mmu_recaller", "x"])
ARGUMENTS = st.builds(lambda given, ascii: json.dumps(given, ensure_ascii=ascii), INPUTS, st.booleans())


def _usage(fresh: int, read: int, output: int, thought: int) -> dict[str, Any]:
    return {
        "prompt_tokens": fresh + read, "completion_tokens": output + thought, "total_tokens": fresh + read + output
        + thought, "prompt_tokens_details": {"cached_tokens": read},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }  # fmt: skip


USAGE = st.builds(_usage, *[st.integers(1, 9)] * 4)


def build(
    number: int, content: str | None, made: list[Call], usage: dict[str, Any], thought: str | None = None, **more: Any
) -> Reply:
    """A completion."""
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if thought is not None:
        message["reasoning_content"] = thought
    if made:
        message["tool_calls"] = made
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if made else "stop", **more}
    shared = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": number, "model": "m"}
    return {**shared, "choices": [choice], "usage": usage}


@st.composite
def conversations(draw: st.DrawFn, rounds: int = 4, *, sound: bool = False) -> list[Reply]:
    """Replies that a client is shown as one: each but the last has hidden calls, the last may.

    `sound` ones can be carried on: the client's own tools are called by the last only, and always with a hidden call in
    it.
    """
    ids = count()
    out: list[Reply] = []
    total = draw(st.integers(1, rounds))
    for n in range(total):
        names = draw(st.lists(NAMES, max_size=3))
        if n < total - 1:
            names = [HIDDEN, *(name for name in names if not sound or name == HIDDEN)]
            names = draw(st.permutations(names))
        elif sound and HIDDEN in names:
            names.append("Read")
        made = [call(f"call_{next(ids)}", name, draw(ARGUMENTS)) for name in names]
        content, thought = draw(st.one_of(st.none(), WORDS)), draw(st.one_of(st.none(), st.none(), WORDS))
        out.append(build(n, content, made, draw(USAGE), thought))
    return out


@dataclass(frozen=True)
class Server:
    """How a server streams."""

    style: Style = field(default_factory=Style)
    how: str = HOW[0]
    size: int = 5
    """Characters of a piece."""
    at_once: bool = False
    """Everything that is said in one chunk."""
    reports: str = "apart"
    """Where the usage stands: `apart` in a chunk of its own, `last` in the one that finishes, `groq`, or nowhere."""
    done: bool = True
    """Whether it says `[DONE]`."""
    says_stop: bool = False
    """It finishes with `stop` when it calls, too."""


NOISE = (": OPENROUTER PROCESSING", "id: 7\nretry: 10", "event: nothing", 'data: {"choices": [], "filtered": [1.50]}')
SERVERS = st.builds(
    Server,
    style=st.builds(
        lambda style, noise: replace(style, noise=noise, named=False),
        STYLES,
        st.lists(st.sampled_from(NOISE), max_size=2).map(tuple),
    ),
    how=st.sampled_from(HOW),
    size=st.integers(1, 60),
    at_once=st.booleans(),
    reports=st.sampled_from(["apart", "last", "groq", ""]),
    done=st.booleans(),
    says_stop=st.booleans(),
)
ORTHODOX = SERVERS.map(lambda server: replace(server, how=server.how if server.how in HOW[:4] else HOW[0]))


def _cut(text: str, size: int) -> Iterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


def _of_call(number: int, made: Call, server: Server) -> Iterator[Call]:
    """The pieces of a call."""
    name, arguments = made["function"]["name"], made["function"]["arguments"]
    where: dict[str, Any] = {} if server.how == "no number" else {"index": 0 if server.how == "one number" else number}
    if server.how in ("whole", "no number", "one number") or server.at_once:
        yield {**made, **where}
        return
    again: dict[str, Any] = {"id": made["id"], "type": "function"} if server.how == "repeated" else {}
    if server.how == "named late":
        yield {**where, "id": made["id"], "type": "function", "function": {"arguments": ""}}
        yield {**where, "function": {"name": name}}
    elif server.how == "named in pieces":
        yield {**where, "id": made["id"], "type": "function", "function": {"name": name[:4]}}
        yield {**where, "function": {"name": name[4:]}}
    else:
        yield {**made, **where, "function": {"name": name, "arguments": ""}}
    for piece in _cut(arguments, server.size):
        yield {**where, **again, "function": {"arguments": piece}}


def _deltas(message: dict[str, Any], server: Server) -> Iterator[dict[str, Any]]:
    made = [list(_of_call(n, each, server)) for n, each in enumerate(message.get("tool_calls") or [])]
    if server.at_once:
        pieces = [piece for each in made for piece in each]
        yield {**message, **({"tool_calls": pieces} if pieces else {})}
        return
    yield {"role": "assistant", "content": "" if message["content"] is not None else None, "refusal": None}
    for name in ("reasoning_content", "content"):
        if message.get(name) == "":
            yield {name: ""}
        for piece in _cut(message.get(name) or "", server.size):
            yield {name: piece}
    for each in made:
        for part in each:
            yield {"tool_calls": [part]}


def pieces(reply: Reply, server: Server = Server()) -> list[Piece]:
    """The reply as a stream. `[DONE]` has no data."""
    shared = {key: reply[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**shared, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    data = [chunk(delta) for delta in _deltas(said(reply), server)]
    reason = reply["choices"][0]["finish_reason"]
    reason = "stop" if server.says_stop and reason == "tool_calls" else reason
    if server.at_once:
        data[-1]["choices"][0]["finish_reason"] = reason
    else:
        data.append(chunk({}, reason))
    if server.reports == "last":
        data[-1]["usage"] = reply["usage"]
    elif server.reports == "groq":
        data[-1]["x_groq"] = {"id": "req", "usage": reply["usage"]}
    elif server.reports:
        data.append({**shared, "choices": [], "usage": reply["usage"]})
    out: list[Piece] = []
    for n, each in enumerate(data):
        if server.style.noise:
            out.append(Piece(spelled(server.style.noise[n % len(server.style.noise)], server.style), None))
        text = json.dumps(each, ensure_ascii=server.style.ascii, indent=server.style.indent)
        out.append(Piece(event(text, server.style), each))
    return [*out, Piece(event("[DONE]", server.style), None)] if server.done else out


def stream(reply: Reply, server: Server = Server()) -> bytes:
    return b"".join(piece.raw for piece in pieces(reply, server))


def chunks(data: bytes) -> list[dict[str, Any]]:
    """The chunks in bytes, noise and the end left out."""
    events = (one.data for one in sse.Reader(limit=1 << 30).feed(data))
    found = [json.loads(data) for data in events if data != "[DONE]"]
    return [chunk for chunk in found if "object" in chunk]


def put_together(data: bytes) -> dict[str, Any]:
    """The completion as the vendor's library assembles it."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks(data):
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    done: dict[str, Any] = state.current_completion_snapshot.to_dict(mode="json")
    return done


def gathered(data: bytes) -> dict[str, Any]:
    """The message as a lenient client assembles it: a call with an id of its own is another call."""
    message: dict[str, Any] = {"tool_calls": []}
    for chunk in chunks(data):
        for choice in chunk["choices"]:
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for piece in value:
                        _gather(message["tool_calls"], piece)
                elif isinstance(value, str):
                    message[name] = message.get(name, "") + value
            message["finish_reason"] = choice["finish_reason"] or message.get("finish_reason")
    return message


def _gather(made: list[Call], piece: dict[str, Any]) -> None:
    same = [each for each in made if each["index"] == piece.get("index")][-1:]
    if not same or (piece.get("id") and same[0]["id"] != piece["id"]):
        same = [{"index": piece.get("index"), "id": piece["id"], "function": {"name": "", "arguments": ""}}]
        made += same
    for name, value in piece.get("function", {}).items():
        same[0]["function"][name] += value
