"""What a model may say, and every way a provider may spell it as a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

from hypothesis import strategies as st

from tests.upstream import message

HIDDEN = "mmu_recall"

type Block = dict[str, Any]
type Reply = dict[str, Any]

WORDS = st.sampled_from(
    ["", " ", "\n\t", "I look.", "Schön 😀 \u2028 \\ \"so\" </tag>\u0000", "a\r\nb\x85c", "word " * 30, "data: x\n\n"]
)
CITATION = {"type": "char_location", "cited_text": "ä\u2029", "document_index": 0, "document_title": None,
            "start_char_index": 0, "end_char_index": 2}  # fmt: skip
INPUTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["page", "grep", "n", "größe"]),
    st.one_of(WORDS, st.integers(-9, 10**20), st.lists(st.booleans(), max_size=2), st.none(), st.just({"a": {}})),
    max_size=3,
)


def _text(words: str, cited: int) -> Block:
    return {"type": "text", "text": words, **({"citations": [CITATION] * cited} if cited else {})}


TEXT = st.builds(_text, WORDS, st.sampled_from([0, 0, 0, 1, 2]))
THINKING = st.one_of(
    st.builds(lambda words, n: {"type": "thinking", "thinking": words, "signature": f"s{n}"}, WORDS, st.integers(0)),
    st.builds(lambda n: {"type": "redacted_thinking", "data": f"data{n}"}, st.integers(0)),
)
SERVER = st.builds(lambda given: {"type": "server_tool_use", "name": "web_search", "input": given}, INPUTS)
REAL = st.builds(lambda given: {"type": "tool_use", "name": "Read", "input": given}, INPUTS)
RECALL = st.builds(lambda given: {"type": "tool_use", "name": HIDDEN, "input": given}, INPUTS)
SHOWN = st.one_of(TEXT, TEXT, THINKING, SERVER, REAL)


def is_hidden(block: Block) -> bool:
    return (block["type"], block.get("name")) == ("tool_use", HIDDEN)


def is_blank(block: Block) -> bool:
    return block["type"] == "text" and not block["text"].strip()


def _named(blocks: list[Block], ids: Iterator[int]) -> Iterator[Block]:
    """With an id for each call; a server's tool answers its own."""
    for block in blocks:
        if block["type"] == "server_tool_use":
            yield {**block, "id": (name := f"srvtoolu_{next(ids)}")}
            yield {"type": "web_search_tool_result", "tool_use_id": name, "content": []}
        else:
            yield {**block, "id": f"toolu_{next(ids)}"} if block["type"] == "tool_use" else block


@st.composite
def conversations(draw: st.DrawFn, rounds: int = 5, *, sound: bool = False) -> list[Reply]:
    """Replies that a client is shown as one: each but the last has hidden calls, the last may.

    `sound` ones can be carried on: the client's own tools are called by the last only, and always with a hidden call in
    it.
    """
    ids = count()
    out: list[Reply] = []
    total = draw(st.integers(1, rounds))
    for n in range(total):
        blocks = draw(st.lists(st.one_of(SHOWN, RECALL), min_size=1, max_size=6))
        if n < total - 1:
            blocks.insert(draw(st.integers(0, len(blocks))), draw(RECALL))
            blocks = [block for block in blocks if not (sound and block.get("name") == "Read")]
        elif sound and any(map(is_hidden, blocks)):
            blocks.append(draw(REAL))
        out.append(message.build(f"msg_{n}", "claude-opus-5-5", list(_named(blocks, ids)), draw(USAGE), {}))
    return out


def _usage(fresh: int, read: int, written: int, hour: int, output: int) -> dict[str, Any]:
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": written + hour,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
    }


USAGE = st.builds(_usage, *[st.integers(1, 9)] * 5)


@dataclass(frozen=True)
class Style:
    """How a provider writes its events."""

    newline: str = "\n"
    ascii: bool = False
    named: bool = True
    """Whether events have a name beside their data."""
    indent: int | None = None
    """JSON over several data lines."""
    tight: bool = False
    """No blank behind the colon."""
    noise: tuple[str, ...] = ()
    """Put between events, in turn."""


NOISE = (
    ": a comment",
    'event: ping\ndata: {"type": "ping"}',
    'event: novelty\ndata: {"type": "novelty", "index": {"a": 1}, "x": "\u2028"}',
    "id: 7\nretry: 10",
    "event: nothing",
)
STYLES = st.builds(
    Style,
    newline=st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    ascii=st.booleans(),
    named=st.sampled_from([True, True, False]),
    indent=st.sampled_from([None, None, 1]),
    tight=st.booleans(),
    noise=st.lists(st.sampled_from(NOISE), max_size=3).map(tuple),
)


@dataclass(frozen=True)
class Piece:
    """One event in bytes."""

    raw: bytes
    data: dict[str, Any] | None
    """None for noise."""


def _cited(one: message.Event) -> list[message.Event]:
    """Citations come as deltas."""
    name, data = one
    if name == "content_block_start" and data["content_block"].get("citations"):
        shown = {**data["content_block"], "citations": []}
        told = [{"type": "citations_delta", "citation": one} for one in data["content_block"]["citations"]]
        index = data["index"]
        deltas = [("content_block_delta", {"type": "content_block_delta", "index": index, "delta": d}) for d in told]
        return [(name, {**data, "content_block": shown}), *deltas]
    return [one]


def pieces(reply: Reply, style: Style) -> list[Piece]:
    """The reply as a stream."""
    out: list[Piece] = []
    for n, (name, data) in enumerate(each for one in message.events(reply) for each in _cited(one)):
        if style.noise:
            out.append(Piece(spelled(style.noise[n % len(style.noise)], style), None))
        text = json.dumps(data, ensure_ascii=style.ascii, indent=style.indent)
        out.append(Piece(event(text, style, name if style.named else ""), data))
    return out


def event(data: str, style: Style, name: str = "") -> bytes:
    """The bytes of an event."""
    lines = [f"event: {name}"] if name else []
    lines += [f"data:{line}" if style.tight else f"data: {line}" for line in data.split("\n")]
    return spelled("\n".join(lines), style)


def spelled(text: str, style: Style) -> bytes:
    """The bytes of an event from its lines."""
    return (re.sub("\n", style.newline, text) + 2 * style.newline).encode()


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The bytes in pieces; an empty list of cuts leaves them whole, and [1] cuts them into single bytes."""
    if cuts == [1]:
        return [data[n : n + 1] for n in range(len(data))]
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


CUTS: st.SearchStrategy[list[int]] = st.one_of(st.just([1]), st.just([]), st.lists(st.integers(0, 10**6), max_size=30))
