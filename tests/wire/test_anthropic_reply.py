"""Streams with hidden calls: whatever is said, however it is spelled and cut, the client gets one sound message."""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import accumulate
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import sse
from addon.wire.anthropic import usage as read_usage
from addon.wire.anthropic_reply import PING, Joiner, Speech, error_event, failure, joined
from tests.agent.transport import assemble
from tests.effort import cases
from tests.wire.replies import (
    CUTS,
    HIDDEN,
    STYLES,
    Block,
    Reply,
    Style,
    conversations,
    cut,
    is_blank,
    is_hidden,
    pieces,
)

MANY = settings(max_examples=cases(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
CLOSING = ("message_delta", "message_stop")


def told(data: bytes) -> list[dict[str, Any]]:
    """The events in bytes, noise left out."""
    return [json.loads(one.data) for one in sse.Reader().feed(data)]


def put_together(stream: bytes) -> dict[str, Any]:
    """The message as a client assembles it; citations are gathered here, as the small agent knows none."""
    kept: list[dict[str, Any]] = []
    cited: dict[int, list[Any]] = {}
    for one in told(stream):
        if one["type"] == "content_block_delta" and one["delta"]["type"] == "citations_delta":
            cited.setdefault(one["index"], []).append(one["delta"]["citation"])
        else:
            kept.append(one)
    whole = assemble(iter(kept))
    for index, citations in cited.items():
        whole["content"][index]["citations"] = citations
    return whole


def shown(replies: list[Reply]) -> list[Block]:
    return [block for reply in replies for block in reply["content"] if not is_hidden(block)]


def run(replies: list[Reply], style: Style, cuts: list[int]) -> tuple[bytes, Joiner]:
    """What the client gets, and the joiner."""
    joiner = Joiner(HIDDEN)
    out = b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        for piece in cut(b"".join(p.raw for p in pieces(reply, style)), cuts):
            out += joiner.feed(piece)
    return out + joiner.finish(), joiner


@MANY
@given(conversations(), STYLES, CUTS)
def test_the_client_gets_one_message_with_all_that_it_may_see(
    replies: list[Reply], style: Style, cuts: list[int]
) -> None:
    out, joiner = run(replies, style, cuts)
    last = replies[-1]
    got = put_together(out)
    assert got["content"] == shown(replies)
    assert (got["id"], got["stop_reason"]) == (replies[0]["id"], last["stop_reason"])
    output = sum(reply["usage"]["output_tokens"] for reply in replies)
    inputs = {k: v for k, v in last["usage"].items() if k not in ("output_tokens", "cache_creation")}
    assert {k: got["usage"][k] for k in inputs} == inputs
    assert got["usage"]["output_tokens"] == output

    events = told(out)
    kinds = [one["type"] for one in events if one["type"] not in ("ping", "novelty")]
    assert [kind for kind in kinds if kind.startswith("message_")] == ["message_start", *CLOSING]
    assert (kinds[0], kinds[-2:]) == ("message_start", list(CLOSING))
    numbers = [one["index"] for one in events if one["type"] == "content_block_start"]
    assert numbers == list(range(len(shown(replies))))
    assert out == run(replies, style, [])[0]
    assert joiner.rounds == len(replies) - 1
    assert joiner.speech.intact
    assert joiner.spent == [read_usage(reply["usage"]) for reply in replies[:-1]]
    event(f"{len(replies)} rounds")


@MANY
@given(conversations(), STYLES, CUTS)
def test_nothing_that_may_be_seen_is_held_back(replies: list[Reply], style: Style, cuts: list[int]) -> None:
    """Event by event, what is out is what the client may have; and after any other piece it is what is complete."""
    steps, joiner = Joiner(HIDDEN), Joiner(HIDDEN)
    for n, reply in enumerate(replies):
        if n:
            steps.proceed()
            joiner.proceed()
        stream = pieces(reply, style)
        out = [steps.feed(piece.raw) for piece in stream]
        hides = False
        hidden: set[int] = set()
        for piece, got in zip(stream, out, strict=True):
            data = piece.data or {}
            kind = data.get("type", "")
            if kind == "content_block_start" and is_hidden({"name": "", **data["content_block"]}):
                hides = True
                hidden.add(data["index"])
            held = (kind in CLOSING and (hides or n)) or (kind == "message_start" and n) or data.get("index") in hidden
            assert bool(got) is not bool(held)
            if not n and not hides:
                assert got == piece.raw
            if got and piece.data is not None:
                assert [{**one, "index": 0} for one in told(got)] == [{**data, "index": 0}]
            elif got:
                assert got == piece.raw
        ends = list(accumulate(len(piece.raw) for piece in stream))
        fed, had = 0, b""
        for part in cut(b"".join(piece.raw for piece in stream), cuts):
            had += joiner.feed(part)
            fed += len(part)
            assert had == b"".join(out[: bisect_right(ends, fed)])


ODD = st.one_of(
    st.sampled_from(
        [
            b"data: {\n\n", b"data: [DONE]\n\n", b"data: []\n\n", b"\n\n", b"\r\n", b"\xff\xfe\n\n", b"data: \xe4\n\n",
            b'data: {"type": "content_block_start", "index": 7, "content_block": {"type": "text", "text": "x"}}\n\n',
            b'data: {"type": "content_block_start", "index": 7}\n\n',
            b'data: {"type": "content_block_start", "index": "7", "content_block": {"type": "text"}}\n\n',
            b'data: {"type": "content_block_delta", "index": 99, "delta": {"type": "text_delta", "text": "x"}}\n\n',
            b'data: {"type": "content_block_delta", "index": 7, "delta": {"type": "citations_delta"}}\n\n',
            b'data: {"type": "content_block_start", "index": 7, "content_block": {"citations": 3}}\n\n',
            b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta"}}\n\n',
            b'data: {"type": "content_block_delta", "index": 0, "index": 7, "delta": 3}\n\n',
            b'data: {"type": "content_block_delta", "index": [0]}\n\n',
            b'data: {"type": "message_delta", "usage": [1], "delta": "x"}\n\n',
            b'data: {"type": "message_start", "message": 3}\n\n',
            b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}\n\n',
            b"data: " + b"[" * 100_000 + b"\n\n",
        ]
    ),
    st.binary(max_size=20),
    st.just(PING),
)  # fmt: skip


@MANY
@given(conversations(1), STYLES, CUTS, st.lists(st.tuples(st.integers(0), ODD), max_size=4))
def test_without_a_hidden_call_every_byte_is_the_providers(
    replies: list[Reply], style: Style, cuts: list[int], odd: list[tuple[int, bytes]]
) -> None:
    seen = {**replies[0], "content": shown(replies)}
    stream = [piece.raw for piece in pieces(seen, style)]
    for place, garbage in odd:
        stream.insert(place % (len(stream) + 1), garbage)
    whole = b"".join(stream)
    joiner = Joiner(HIDDEN)
    out = b""
    for part in cut(whole, cuts):
        out += joiner.feed(part)
        assert whole.startswith(out)
    assert not joiner.hides
    assert out + joiner.rest() == whole
    assert joiner.finish() == b""


@MANY
@given(conversations(3), STYLES, st.lists(st.tuples(st.integers(0), ODD), max_size=6), st.data())
def test_no_bytes_end_a_stream(
    replies: list[Reply], style: Style, odd: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Nothing raises, whatever stands in the stream and wherever it is damaged."""
    joiner = Joiner(HIDDEN)
    for reply in replies:
        stream = bytearray(b"".join(piece.raw for piece in pieces(reply, style)))
        for place, garbage in odd:
            at = place % (len(stream) + 1)
            stream[at : at + data.draw(st.integers(0, 9))] = garbage
        joiner.feed(bytes(stream))
        assert isinstance(joiner.speech.calls, list)
        joiner.proceed()
    joiner.feed(bytes(stream))
    joiner.leak()
    joiner.finish()
    joiner.rest()


@MANY
@given(conversations(), STYLES, st.data())
def test_a_leak_shows_every_hidden_block_once(replies: list[Reply], style: Style, data: st.DataObject) -> None:
    """After any prefix of the last round."""
    assume(any(map(is_hidden, replies[-1]["content"])))
    out, joiner = b"", Joiner(HIDDEN)
    for reply in replies[:-1]:
        out += joiner.feed(b"".join(piece.raw for piece in pieces(reply, style)))
        joiner.proceed()
    stream = pieces(replies[-1], style)
    upto = data.draw(st.integers(0, len(stream)))
    out += joiner.feed(b"".join(piece.raw for piece in stream[:upto]))
    leaked = joiner.leak()
    hidden = [n for n, block in enumerate(replies[-1]["content"]) if is_hidden(block)]
    given = [piece.data for piece in stream[:upto] if piece.data is not None and piece.data.get("index") in hidden]
    visible = sum(one["type"] == "content_block_start" for one in told(out))
    began = [one["index"] for one in given if one["type"] == "content_block_start"]
    place = {index: visible + n for n, index in enumerate(began)}
    assert told(leaked) == [{**one, "index": place[one["index"]]} for one in given]
    assert joiner.leak() == b""
    if upto == len(stream):
        last = [block for block in replies[-1]["content"] if is_hidden(block)]
        assert put_together(out + leaked + joiner.finish())["content"] == [*shown(replies), *last]


@MANY
@given(conversations(1), STYLES, CUTS)
def test_what_was_streamed_is_what_was_said(replies: list[Reply], style: Style, cuts: list[int]) -> None:
    """The streamed and the whole reply are read alike, and sent back with the provider's own values."""
    said = replies[0]["content"]
    streamed, whole = run(replies, style, cuts)[1].speech, Speech.whole(replies[0])
    calls = [block for block in said if block["type"] == "tool_use"]
    expected = [block for block in said if not is_blank(block)]
    first = {block["id"] for block in calls[:1]}
    for speech in (streamed, whole):
        assert (speech.id, speech.stop_reason) == (replies[0]["id"], replies[0]["stop_reason"])
        assert (speech.closed, speech.failed, speech.intact) == (True, False, True)
        assert [(c.id, c.name, c.arguments) for c in speech.calls] == [(b["id"], b["name"], b["input"]) for b in calls]
        assert speech.usage == read_usage(replies[0]["usage"])
        assert [json.loads(raw) for raw in speech.round({}).blocks] == expected
        without = [json.loads(raw) for raw in speech.round({}, without=first).blocks]
        assert without == [block for block in expected if block.get("id") not in first]
        behind = [json.loads(raw) for raw in speech.round({}, behind=first).blocks]
        assert behind == [*without, *calls[:1]]


@settings(MANY, max_examples=cases(60))
@given(conversations(3), STYLES, CUTS)
def test_the_vendors_library_reads_it(replies: list[Reply], style: Style, cuts: list[int]) -> None:
    out, _ = run(replies, style, cuts)
    assume(style.named)  # the library goes by names

    def provider(request: httpx2.Request) -> httpx2.Response:
        del request
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=iter(cut(out, cuts)))

    http = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(provider))
    client = anthropic.Anthropic(api_key="k", http_client=http, max_retries=0)
    with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as stream:
        got = stream.get_final_message().model_dump(mode="json", exclude_unset=True)
    assert [{k: v for k, v in b.items() if k != "parsed_output"} for b in got["content"]] == shown(replies)
    assert got["stop_reason"] == replies[-1]["stop_reason"]
    assert got["usage"]["output_tokens"] == sum(reply["usage"]["output_tokens"] for reply in replies)


@MANY
@given(conversations())
def test_whole_messages_are_joined_alike(replies: list[Reply]) -> None:
    got = joined(replies, HIDDEN)
    streamed = put_together(run(replies, Style(), [])[0])
    assert got["content"] == streamed["content"]
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert got["usage"][name] == streamed["usage"][name]
    leaked = [block for block in replies[-1]["content"] if is_hidden(block)]
    assert joined(replies, HIDDEN, leaks=True)["content"] == [*shown(replies), *leaked]


def said(*events: dict[str, Any]) -> Speech:
    speech = Speech()
    for one in events:
        speech.hear(one["type"], one)
    return speech


def start(index: int, block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": more}


CALL = {"type": "tool_use", "id": "t", "name": HIDDEN, "input": {}}


@pytest.mark.parametrize(
    "given",
    ['{"page": "a', '{"page": "a", "page": "b"}', '{"n": NaN}', "[]", "3", " ", "[" * 100_000],
    ids=["cut", "twice", "no number", "a list", "a number", "blank", "deep"],
)
def test_a_call_that_no_request_could_hold_is_not_kept(given: str) -> None:
    speech = said(start(0, CALL), delta(0, type="input_json_delta", partial_json=given))
    assert [call.id for call in speech.calls] == ["t"]
    with pytest.raises(ValueError, match=r"."):
        speech.round({})


def test_a_text_that_no_request_could_hold_is_not_kept() -> None:
    with pytest.raises(ValueError, match=r"."):
        said(start(0, {"type": "text", "text": "half \ud83d"})).round({})


def test_the_input_stays_as_the_model_spelled_it() -> None:
    speech = said(start(0, CALL), delta(0, type="input_json_delta", partial_json='{ "n": 1E5, "u": "\\u00e9" }'))
    assert speech.round({}).blocks[0].endswith('"name":"mmu_recall","input":{ "n": 1E5, "u": "\\u00e9" }}')


@pytest.mark.parametrize(
    "lost",
    [
        delta(0, type="novel_delta", novel=1),
        delta(5, type="text_delta", text="x"),
        {"type": "content_block_delta", "index": 0, "delta": None},
        start(0, None),
        {"type": "content_block_start", "index": None, "content_block": {}},
    ],
)
def test_what_was_not_understood_is_told(lost: dict[str, Any]) -> None:
    assert not said(start(0, {"type": "text", "text": ""}), lost).intact


@pytest.mark.parametrize("odd", [b"data: {\n\n", b"data: []\n\n"])
def test_an_event_that_cannot_be_read_is_told(odd: bytes) -> None:
    joiner = Joiner(HIDDEN)
    joiner.feed(odd)
    assert not joiner.speech.intact


def test_two_blocks_under_one_number_are_told() -> None:
    for first in (CALL, {"type": "text", "text": ""}):
        joiner = Joiner(HIDDEN)
        for block in (first, CALL):
            joiner.feed(b"data: " + json.dumps(start(0, block)).encode() + b"\n\n")
        assert not joiner.speech.intact


def test_an_event_whose_number_stands_twice_is_renumbered_as_it_was_read() -> None:
    joiner = Joiner(HIDDEN)
    text = {"type": "text", "text": ""}
    for block, index in ((CALL, 0), (text, 1)):
        joiner.feed(b"data: " + json.dumps(start(index, block)).encode() + b"\n\n")
    raw = b'data: {"type":"content_block_delta","index":9,"index":1,"delta":{"type":"text_delta","text":"x"}}\n\n'
    assert told(joiner.feed(raw)) == [delta(0, type="text_delta", text="x")]


def test_an_event_that_makes_no_sense_passes() -> None:
    joiner = Joiner(HIDDEN)
    for one in (start(0, {"type": "text", "citations": 3}), delta(0, type="citations_delta", citation={})):
        raw = b"data: " + json.dumps(one).encode() + b"\n\n"
        assert joiner.feed(raw) == raw
    assert not joiner.speech.intact


def test_numbers_that_do_not_rise_leave_no_doubt() -> None:
    joiner = Joiner(HIDDEN)
    visible = {"type": "text", "text": ""}
    places: list[int] = []
    for index, block in ((1, visible), (0, visible), (2, CALL), (3, visible)):
        events = told(joiner.feed(b"data: " + json.dumps(start(index, block)).encode() + b"\n\n"))
        places += [one["index"] for one in events]
    assert places == [1, 0, 2]


def test_an_event_beyond_all_bounds_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addon.wire.joining.LARGEST_EVENT", 1000)
    joiner = Joiner(HIDDEN)
    stream = b": small\n\ndata: " + b"x" * 2000 + b"\n\n: more\n\n"
    out = b"".join(joiner.feed(part) for part in cut(stream, [1]))
    assert out + joiner.rest() == stream
    assert (joiner.blind, joiner.speech.intact) == (True, False)


def test_a_report_without_figures_gets_those_of_the_last_round() -> None:
    joiner = Joiner(HIDDEN)
    opening = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 2}}}
    for closing in ({"usage": 3}, {}):
        for one in (opening, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **closing}):
            joiner.feed(b"data: " + json.dumps(one).encode() + b"\n\n")
        got = told(joiner.finish())
        joiner.proceed()
    assert got[0]["usage"]["input_tokens"] == 5
    assert got[0]["usage"]["output_tokens"] == 4


def test_what_a_failed_request_becomes() -> None:
    own = {"type": "error", "error": {"type": "api_error", "message": "ü\nx"}, "request_id": "r"}
    assert told(error_event(json.dumps(own).encode(), 500)) == [own]
    for body, status, kind in (
        (b"<html>", 503, "overloaded_error"),
        (b"", 0, "overloaded_error"),
        (b"[]", 500, "api_error"),
        (b"\xff", 529, "overloaded_error"),
    ):
        assert json.loads(failure(body, status))["error"]["type"] == kind


def test_a_message_without_blocks_is_no_answer() -> None:
    for content in (None, "text", [1]):
        speech = Speech.whole({"id": "m", "content": content})
        assert (speech.closed, speech.calls) == (False, [])


def test_what_the_provider_dropped_is_told() -> None:
    dropped = {"input_transformations": [{"type": "thinking_dropped"}]}
    assert said({"type": "message_start", "message": dropped}).transformed
    assert not said({"type": "message_start", "message": {}}).transformed
    assert said({"type": "error"}).failed
