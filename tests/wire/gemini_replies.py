"""What a model may say in Gemini's API, and every way a server may spell it as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from hypothesis import strategies as st

from addon.wire import sse
from tests.upstream.gemini_message import counts
from tests.wire.replies import HIDDEN, INPUTS, STYLES, WORDS, Piece, Reply, Style, event, spelled

type Part = dict[str, Any]


def call(name: str = HIDDEN, identity: str = "", signature: str = "", **args: Any) -> Part:
    named = {"id": identity} if identity else {}
    made = {"functionCall": {**named, "name": name, "args": args}}
    return {**made, "thoughtSignature": signature} if signature else made


def is_hidden(part: Part) -> bool:
    return bool(part.get("functionCall", {}).get("name") == HIDDEN)


def parts(reply: Reply) -> list[Part]:
    found: list[Part] = reply.get("response", reply)["candidates"][0]["content"].get("parts", [])
    return found


def calls(reply: Reply) -> list[Part]:
    return [part for part in parts(reply) if "functionCall" in part]


def texts(said: list[Part], *, thought: bool = False) -> str:
    return "".join(part["text"] for part in said if "text" in part and part.get("thought", False) is thought)


def build(number: int, said: list[Part], usage: dict[str, Any], finish: str = "STOP") -> Reply:
    """A response."""
    content = {"parts": said, "role": "model"} if said else {"role": "model"}
    choice = {"content": content, "finishReason": finish, "index": 0}
    return {"candidates": [choice], "usageMetadata": usage, "modelVersion": "m", "responseId": f"r{number}"}


NAMES = st.sampled_from([HIDDEN, HIDDEN, "Read", "mmu", "mmu_recaller", "x"])
USAGE = st.builds(counts, *[st.integers(1, 9)] * 4)
OTHER = {"executableCode": {"language": "PYTHON", "code": "1"}}


@st.composite
def conversations(draw: st.DrawFn, rounds: int = 4, *, sound: bool = False) -> list[Reply]:
    """Replies that a client is shown as one: each but the last has hidden calls, the last may.

    `sound` ones can be carried on: the client's own tools are called by the last only, and always with a hidden call in
    it. Calls have ids and signatures, or neither.
    """
    ids = count()
    out: list[Reply] = []
    modern = draw(st.booleans())
    total = draw(st.integers(1, rounds))
    for n in range(total):
        names = draw(st.lists(NAMES, max_size=3))
        if n < total - 1:
            names = [HIDDEN, *(name for name in names if not sound or name == HIDDEN)]
            names = draw(st.permutations(names))
        elif sound and HIDDEN in names:
            names.append("Read")
        said: list[Part] = [{"text": words, "thought": True} for words in draw(st.lists(WORDS, max_size=1)) if words]
        said += [{"text": words} for words in draw(st.lists(WORDS, max_size=1)) if words]
        said += [OTHER] * draw(st.sampled_from([0, 0, 0, 1]))
        said += [{"text": words} for words in draw(st.lists(WORDS, max_size=1)) if words and OTHER in said]
        signature = f"c2ln{n:04}" if modern else ""
        for at, name in enumerate(names):
            identity = f"c{next(ids)}" if modern else ""
            said.append(call(name, identity, "" if at else signature, **draw(INPUTS)))
        if modern and not names and draw(st.booleans()):
            said.append({"text": "", "thoughtSignature": signature})
        out.append(build(n, said, draw(USAGE)))
    return out


@dataclass(frozen=True)
class Server:
    """How a server streams."""

    style: Style = field(default_factory=Style)
    size: int = 5
    """Characters of a piece."""
    at_once: bool = False
    """Everything that is said in one chunk."""
    ends: str = "with"
    """Where it says how it finished: `with` the last part, `behind` it, or in a chunk with an `empty` text."""
    wrapped: bool = False
    """Each chunk in a member `response`."""
    apart: bool = False
    """The last report in a chunk of its own."""


NOISE = (": a comment", "id: 7\nretry: 10", "event: nothing", 'data: {"novel": 1.50}')
SERVERS = st.builds(
    Server,
    style=st.builds(
        lambda style, noise: replace(style, noise=noise, named=False),
        STYLES,
        st.lists(st.sampled_from(NOISE), max_size=2).map(tuple),
    ),
    size=st.integers(1, 60),
    at_once=st.booleans(),
    ends=st.sampled_from(["with", "behind", "empty"]),
    wrapped=st.booleans(),
    apart=st.booleans(),
)


def _cut(said: list[Part], size: int) -> Iterator[list[Part]]:
    for part in said:
        words = part.get("text") or ""
        if not words:
            yield [part]
        for at in range(0, len(words), size):
            yield [{**part, "text": words[at : at + size]}]


def pieces(reply: Reply, server: Server = Server()) -> list[Piece]:
    """The reply as a stream."""
    candidate = reply["candidates"][0]
    said = [parts(reply)] if server.at_once else list(_cut(parts(reply), server.size))
    if server.ends != "with" or not said:
        said.append([{"text": ""}] if server.ends == "empty" else [])
    shared = {key: reply[key] for key in ("usageMetadata", "modelVersion", "responseId")}
    data: list[dict[str, Any]] = []
    for n, some in enumerate(said):
        content = {"parts": some, "role": "model"} if some else {"role": "model"}
        finish = {"finishReason": candidate["finishReason"]} if n == len(said) - 1 else {}
        usage = {**reply["usageMetadata"], "candidatesTokenCount": n} if n < len(said) - 1 else reply["usageMetadata"]
        data.append({**shared, "candidates": [{"content": content, **finish, "index": 0}], "usageMetadata": usage})
    if server.apart:
        del data[-1]["usageMetadata"]
        data.append(shared)
    out: list[Piece] = []
    for n, each in enumerate(data):
        if server.style.noise:
            out.append(Piece(spelled(server.style.noise[n % len(server.style.noise)], server.style), None))
        each = {"response": each, "traceId": "t"} if server.wrapped else each
        text = json.dumps(each, ensure_ascii=server.style.ascii, indent=server.style.indent)
        out.append(Piece(event(text, server.style), each))
    return out


def stream(reply: Reply, server: Server = Server()) -> bytes:
    return b"".join(piece.raw for piece in pieces(reply, server))


def chunks(data: bytes) -> list[dict[str, Any]]:
    """The responses in bytes, noise left out."""
    found = [json.loads(one.data) for one in sse.Reader(limit=1 << 30).feed(data)]
    return [each.get("response", each) for each in found if "novel" not in each]


def gathered(data: bytes) -> list[Part]:
    """The parts of a stream, one behind the other."""
    return [part for chunk in chunks(data) if "candidates" in chunk for part in parts(chunk)]


def run_together(said: list[Part]) -> list[Part]:
    """Without empty texts, and with what was cut as one."""
    out: list[Part] = []
    for part in said:
        last = out[-1] if out else {}
        if part == {"text": ""}:
            continue
        if "text" in part and last.keys() == part.keys() and "thoughtSignature" not in part:
            out[-1] = {**part, "text": last["text"] + part["text"]}
        else:
            out.append(part)
    return out
