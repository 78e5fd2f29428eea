"""The stream path: whatever the reply and however it is cut, the client finds one message and misses nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.wire.anthropic_reply import Joiner, Speech, error_event, joined
from addon.wire.exchange import Exchange, Round, dump, load
from tests.agent.transport import assemble
from tests.wire.replies import HIDDEN, cut, parsed, rounds, stream, whole

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=5)
NOISE = st.lists(st.integers(0, 8), max_size=12)
MANY = settings(max_examples=300, deadline=None)


def is_hidden(block: dict[str, Any]) -> bool:
    return bool(block["type"] == "tool_use" and block["name"] == HIDDEN)


def played(contents: list[list[dict[str, Any]]], noise: list[int], crlf: bool, sizes: list[int]) -> bytes:
    """What the client gets of these answers."""
    joiner = Joiner(HIDDEN)
    out: list[bytes] = []
    for number, content in enumerate(contents):
        if number:
            joiner.proceed()
        for piece in cut(stream(whole(number, content, 10 + number), noise, crlf), sizes):
            out.append(joiner.feed(piece))
        assert joiner.speech.intact
        assert joiner.speech.closed
        assert joiner.hides is any(map(is_hidden, content))
    return b"".join([*out, joiner.finish(), joiner.rest()])


@MANY
@given(rounds(), NOISE, st.booleans(), SIZES)
def test_the_client_finds_one_message_of_all_that_is_not_hidden(
    contents: list[list[dict[str, Any]]], noise: list[int], crlf: bool, sizes: list[int]
) -> None:
    got = played(contents, noise, crlf, sizes)
    assert got == played(contents, noise, crlf, [10**9]), "the pieces made a difference"
    events = parsed(got)
    kinds = [event["type"] for event in events]
    assert (kinds.count("message_start"), kinds.count("message_stop")) == (1, 1)
    assert [e["index"] for e in events if e["type"] == "content_block_start"] == list(
        range(kinds.count("content_block_start"))
    )
    message = assemble(iter(events))
    assert message["content"] == [block for content in contents for block in content if not is_hidden(block)]
    assert message["usage"]["output_tokens"] == sum(range(10, 10 + len(contents)))
    last = len(contents) - 1
    if last:
        assert message["usage"]["input_tokens"] == last
    assert message["stop_reason"] == whole(last, contents[-1], 0)["stop_reason"]


@MANY
@given(st.binary(max_size=300), rounds(), NOISE, st.booleans(), SIZES, st.integers(0, 400))
def test_without_a_hidden_call_every_byte_passes_as_it_came(
    garbage: bytes, contents: list[list[dict[str, Any]]], noise: list[int], crlf: bool, sizes: list[int], at: int
) -> None:
    visible = [block for content in contents for block in content if not is_hidden(block)]
    data = stream(whole(0, visible, 3), noise, crlf)
    data = data[:at] + garbage + data[at:]
    joiner = Joiner(HIDDEN)
    assert b"".join([*map(joiner.feed, cut(data, sizes)), joiner.finish(), joiner.rest()]) == data


@MANY
@given(rounds(), SIZES, st.binary(max_size=60))
def test_nothing_that_may_be_seen_is_held_back(
    contents: list[list[dict[str, Any]]], sizes: list[int], garbage: bytes
) -> None:
    del sizes
    joiner = Joiner(HIDDEN)
    for number, content in enumerate(contents):
        if number:
            joiner.proceed()
        for raw in stream(whole(number, content, 1), [], False).split(b"\n\n")[:-1]:
            event = json.loads(raw.partition(b"data: ")[2])
            index = event.get("index")
            shown = joiner.feed(raw + b"\n\n")
            closing = event["type"] in ("message_delta", "message_stop")
            if event["type"] == "message_start":
                assert bool(shown) is not number
            elif index is not None:
                assert bool(shown) is not is_hidden(content[index])
            elif not closing:
                assert shown
            else:
                assert bool(shown) is not (number or joiner.hides)
    joiner.feed(garbage)


@MANY
@given(rounds(), st.integers(0, 3000))
def test_what_was_hidden_can_be_shown_after_all(contents: list[list[dict[str, Any]]], upto: int) -> None:
    """Also of a stream that was cut: whatever came of the hidden calls, once."""
    data = stream(whole(0, contents[0], 1), [], False)
    whole_length = upto >= len(data)
    joiner = Joiner(HIDDEN)
    got = parsed(joiner.feed(data[:upto]) + joiner.leak() + joiner.finish())
    came = parsed(data[: data[:upto].rfind(b"\n\n") + 2])
    assert sorted(json.dumps({**e, "index": 0}) for e in got) == sorted(json.dumps({**e, "index": 0}) for e in came)
    if whole_length:
        content = assemble(iter(got))["content"]
        assert content == [b for b in contents[0] if not is_hidden(b)] + [b for b in contents[0] if is_hidden(b)]


@MANY
@given(rounds(), SIZES)
def test_a_round_is_sent_back_as_it_was_received(contents: list[list[dict[str, Any]]], sizes: list[int]) -> None:
    for number, content in enumerate(contents):
        joiner = Joiner(HIDDEN)
        for piece in cut(stream(whole(number, content, 1), [], False), sizes):
            joiner.feed(piece)
        streamed = joiner.speech.round({"x": "{}"})
        assert [json.loads(raw) for raw in streamed.blocks] == content
        plain = Speech.whole(whole(number, content, 1))
        assert [json.loads(raw) for raw in plain.round({}).blocks] == content
        assert [(c.id, c.name, c.arguments) for c in joiner.speech.calls] == [
            (b["id"], b["name"], b["input"]) for b in content if b["type"] == "tool_use"
        ]
        assert plain.calls == joiner.speech.calls
        assert (plain.id, plain.stop_reason, plain.closed) == (
            joiner.speech.id, joiner.speech.stop_reason, joiner.speech.closed,
        )  # fmt: skip


@MANY
@given(rounds())
def test_whole_answers_are_joined_like_streamed_ones(contents: list[list[dict[str, Any]]]) -> None:
    made = joined([whole(n, content, 10 + n) for n, content in enumerate(contents)], HIDDEN)
    streamed = assemble(iter(parsed(played(contents, [], False, [64]))))
    assert made["content"] == streamed["content"]
    assert made["usage"]["output_tokens"] == streamed["usage"]["output_tokens"]
    assert made["id"] == f"msg_{len(contents) - 1}"


@MANY
@given(st.lists(st.binary(max_size=80)))
def test_no_bytes_make_it_fail(pieces: list[bytes]) -> None:
    joiner = Joiner(HIDDEN)
    for piece in pieces:
        joiner.feed(piece)
    joiner.leak(), joiner.finish(), joiner.rest()


def test_events_of_any_shape_make_it_doubt_and_not_fail() -> None:
    for data in (
        "[]", "3", '"x"', "{}", '{"type": 3}', '{"type": "content_block_start"}',
        '{"type": "content_block_start", "index": "x", "content_block": {}}',
        '{"type": "content_block_start", "index": 0, "content_block": 3}',
        '{"type": "content_block_delta", "index": 4, "delta": {"type": "text_delta", "text": "x"}}',
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "novel_delta"}}',
        '{"type": "content_block_delta", "index": 0, "delta": null}',
        '{"type": "message_start", "message": []}', '{"type": "message_start", "message": {"usage": 3}}',
        '{"type": "message_delta", "delta": 3, "usage": []}', "not json",
    ):  # fmt: skip
        joiner = Joiner(HIDDEN)
        raw = f"event: x\ndata: {data}\n\n".encode()
        assert joiner.feed(raw) == raw
    for broken in ('{"type": "content_block_delta", "index": 4, "delta": {}}', "not json"):
        joiner = Joiner(HIDDEN)
        joiner.feed(f"data: {broken}\n\n".encode())
        assert not joiner.speech.intact


def test_an_event_without_an_end_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addon.wire.anthropic_reply.LARGEST_EVENT", 100)
    joiner = Joiner(HIDDEN)
    pieces = [b"event: x\ndata: ", b"y" * 150, b"more\n\n", b"event: z\ndata: {}\n\n"]
    assert b"".join(map(joiner.feed, pieces)) == b"".join(pieces)
    assert joiner.blind
    assert not joiner.speech.intact


def test_citations_are_kept_and_blank_texts_are_not_sent_back() -> None:
    speech = Speech()
    speech.hear("content_block_start", {"index": 0, "content_block": {"type": "text", "text": "", "citations": None}})
    for citation in ({"cited_text": "a"}, {"cited_text": "b"}):
        speech.hear("content_block_delta", {"index": 0, "delta": {"type": "citations_delta", "citation": citation}})
    speech.hear("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Said."}})
    speech.hear("content_block_start", {"index": 1, "content_block": {"type": "text", "text": " \n"}})
    (raw,) = speech.round({}).blocks
    assert json.loads(raw) == {
        "type": "text", "text": "Said.", "citations": [{"cited_text": "a"}, {"cited_text": "b"}]
    }  # fmt: skip


def test_a_call_cut_in_the_middle_is_no_round() -> None:
    speech = Speech()
    block = {"type": "tool_use", "id": "t", "name": HIDDEN, "input": {}}
    speech.hear("content_block_start", {"index": 0, "content_block": block})
    speech.hear("content_block_delta", {"index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"pa'}})
    with pytest.raises(ValueError, match="Unterminated"):
        speech.round({})
    assert speech.calls[0].arguments is None
    assert speech.round({}, without=["t"]) == Round()


def test_a_calls_input_goes_back_in_the_models_own_spelling() -> None:
    speech = Speech()
    block = {"type": "tool_use", "id": "t", "name": HIDDEN, "input": {}}
    speech.hear("content_block_start", {"index": 0, "content_block": block})
    spelled = '{"page" : "\\u00e9", "n": 1E5}'
    speech.hear("content_block_delta", {"index": 0, "delta": {"type": "input_json_delta", "partial_json": spelled}})
    (raw,) = speech.round({}).blocks
    assert raw.endswith(f'"input":{spelled}}}')


def test_errors_keep_the_providers_words() -> None:
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "why"}, "request_id": "r"}
    (event,) = parsed(error_event(json.dumps(told).encode(), 529))
    assert event == told
    for body, status, kind in ((b"<html>", 502, "api"), (b"", 0, "overloaded"), (b"[]", 529, "overloaded")):
        (event,) = parsed(error_event(body, status))
        assert (event["type"], event["error"]["type"]) == ("error", f"{kind}_error")


def test_an_exchange_survives_the_store() -> None:
    made = Exchange((Round(('{"type":"text","text":"é"}',), {"t": "{}"}), Round()), True, "msg_1", "msg_2")
    assert load(dump(made)) == made
    with pytest.raises((ValueError, KeyError, TypeError)):
        load("{}")
