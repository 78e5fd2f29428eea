"""The event reader: whatever pieces the network brings, the same events come out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from addon.wire.anthropic import stream_usage
from addon.wire.sse import Event, Reader, Splitter
from addon.wire.usage import Usage
from tests.effort import cases

words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))


@settings(max_examples=cases(500))
@given(
    st.lists(st.tuples(words.filter(lambda w: not w.startswith(" ")), words), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_cuts_do_not_matter(events: list[tuple[str, str]], newline: str, cuts: list[int]) -> None:
    raw = "".join(f"event: {n}{newline}data: {d}{newline}{newline}" for n, d in events).encode()
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    reader = Reader()
    out = [e for start, end in pairwise(edges) for e in reader.feed(raw[start:end])]
    assert out == [Event(name, data) for name, data in events]


def test_comments_joined_data_and_endless_events() -> None:
    reader = Reader(limit=100)
    assert list(reader.feed(b": ping\n\ndata: a\ndata: b\n\n")) == [Event("", "a\nb")]
    assert list(reader.feed(b"data: " + b"x" * 500)) == []
    assert list(reader.feed(b"x\n\ndata: next\n\n")) == [Event("", "next")]


def test_a_splitter_that_is_left_in_the_middle_has_the_rest() -> None:
    splitter = Splitter()
    assert list(splitter.feed(b"data: a\r\n\r")) == []
    assert next(splitter.feed(b"\ndata: b\n\ndata: c")) == b"data: a\r\n\r\n"
    assert splitter.rest == b"data: b\n\ndata: c"


def test_usage_is_gathered_over_a_stream() -> None:
    start = (
        '{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":100,'
        '"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_1h_input_tokens":20},"output_tokens":1}}}'
    )
    usage = stream_usage("message_start", start, None)
    assert usage == Usage(fresh=5, read=100, written=10, written_hour=20, output=1)
    assert usage.prompt == 135
    usage = stream_usage("message_delta", '{"usage":{"output_tokens":42}}', usage)
    assert usage == Usage(fresh=5, read=100, written=10, written_hour=20, output=42)
    counts = '"input_tokens":5,"cache_read_input_tokens":100,"cache_creation_input_tokens":30,"output_tokens":42'
    totals = f'{{"usage":{{{counts}}}}}'
    assert stream_usage("message_delta", totals, usage) == usage, "how long was written for is only said at the start"
    for junk in ("{", "[]", '{"usage": 3}', '{"message": []}'):
        assert stream_usage("message_delta", junk, usage) == usage
    assert stream_usage("content_block_delta", start, None) is None
