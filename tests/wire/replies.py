"""Replies of a model for tests of the stream path: any content, any accident, in pieces of any size."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.upstream import message

HIDDEN = "mmu_recall"

WORDS = st.text(st.sampled_from('ab \n\r"\\{}:,éß😀\u2028\x85\x1c'), max_size=30)
SAID = WORDS.map(lambda words: words + ".")
USAGE = {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens": 0}

_text = st.builds(lambda t: {"type": "text", "text": t}, SAID)
_thinking = st.builds(lambda t, s: {"type": "thinking", "thinking": t, "signature": f"s{s}"}, WORDS, st.integers(0, 99))
_redacted = st.builds(lambda n: {"type": "redacted_thinking", "data": f"d{n}"}, st.integers(0, 99))
_server = st.just({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}})
_found = st.just({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
_input = st.dictionaries(st.sampled_from(["page", "lines", "é"]), st.one_of(WORDS, st.integers()), max_size=2)


def _call(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda n, given: {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": given},
        st.integers(0, 10**9),
        _input,
    )


VISIBLE = st.lists(st.one_of(_text, _text, _thinking, _redacted, _server, _found), max_size=4)
"""What the client sees of a round."""
ASKS = st.lists(_call(HIDDEN), min_size=1, max_size=2)
REAL = st.lists(_call("Bash"), min_size=1, max_size=2)


@st.composite
def rounds(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """The contents of one to four answers; all but the last call the hidden tool, and it may, beside a real one."""
    out = [[*draw(VISIBLE), *draw(ASKS)] for _ in range(draw(st.integers(0, 3)))]
    last = draw(VISIBLE)
    if draw(st.booleans()):
        last += draw(REAL)
        if draw(st.booleans()):
            last.insert(draw(st.integers(0, len(last))), draw(ASKS)[0])
    return [*out, last]


def whole(number: int, content: list[dict[str, Any]], output: int) -> dict[str, Any]:
    """The message of one answer, as it is when it is not streamed."""
    return message.build(f"msg_{number}", "m", content, {**USAGE, "input_tokens": number, "output_tokens": output}, {})


NOISE = (
    b": a comment\n\n",
    b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
    b"event: novelty\ndata: {\"type\": \"novelty\", \"index\": 7}\n\n",
    b"retry: 3000\n\n",
)


def stream(reply: dict[str, Any], noise: list[int], crlf: bool) -> bytes:
    """The reply as the provider streams it, with noise between its events."""
    out: list[bytes] = []
    for at, event in enumerate(message.events(reply)):
        raw = message.encode(event)
        out.append(raw.replace(b"\n", b"\r\n") if crlf else raw)
        if at < len(noise) and noise[at]:
            out.append(NOISE[noise[at] % len(NOISE)])
    return b"".join(out)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    out: list[bytes] = []
    at = n = 0
    while at < len(data):
        size = sizes[n % len(sizes)]
        out.append(data[at : at + size])
        at, n = at + size, n + 1
    return out


def parsed(data: bytes) -> list[dict[str, Any]]:
    """The events in a client's bytes, as a simple reader of its own finds them."""
    text = data.decode("utf-8").replace("\r\n", "\n")
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]
