"""Streams with hidden calls: whatever is said, however it is spelled and cut, the client gets one sound response."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import sse
from addon.wire.responses import usage as read_usage
from addon.wire.responses_reply import PING, Joiner, failure, joined, listen, whole
from tests.effort import cases
from tests.upstream import responses_message
from tests.wire.replies import CUTS, HIDDEN, STYLES, Reply, Style, cut
from tests.wire.replies import event as spelled_event
from tests.wire.responses_replies import (
    Item,
    build,
    call,
    can_be_sent,
    conversations,
    custom,
    is_hidden,
    message,
    pieces,
    reasoning,
    usage,
)

MANY = settings(max_examples=cases(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
COST = usage(1, 2, 3, 4)


def stream(reply: Reply, style: Style) -> bytes:
    return b"".join(piece.raw for piece in pieces(reply, style))


def run(replies: list[Reply], style: Style, cuts: list[int]) -> tuple[bytes, Joiner]:
    """What the client gets, and the joiner."""
    joiner = Joiner(HIDDEN)
    out = b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        for piece in cut(stream(reply, style), cuts):
            out += joiner.feed(piece)
    return out + joiner.finish() + joiner.rest(), joiner


def events(out: bytes) -> list[dict[str, Any]]:
    found = [json.loads(each.data) for each in sse.Reader().feed(out)]
    return [each for each in found if str(each.get("type")).startswith("response.")]


def shown(replies: list[Reply]) -> list[Item]:
    return [item for reply in replies for item in reply["output"] if not is_hidden(item)]


def summed(replies: list[Reply]) -> dict[str, Any]:
    costs = [reply["usage"] for reply in replies]
    thought = sum(cost["output_tokens_details"]["reasoning_tokens"] for cost in costs)
    output = sum(cost["output_tokens"] for cost in costs)
    more = {"output_tokens": output, "output_tokens_details": {"reasoning_tokens": thought}}
    return {**costs[-1], **more, "total_tokens": costs[-1]["input_tokens"] + output}


def is_sound(found: list[dict[str, Any]]) -> None:
    """One beginning, one end, everything numbered without a gap, and each item begun and done."""
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    kinds = [each["type"] for each in found]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    ends = [n for n, kind in enumerate(kinds) if kind in ("response.completed", "response.incomplete")]
    assert ends == [len(kinds) - 1]
    begun = [each["output_index"] for each in found if each["type"] == "response.output_item.added"]
    done = [each["output_index"] for each in found if each["type"] == "response.output_item.done"]
    assert begun == done == list(range(len(begun)))
    assert len({each["response"]["id"] for each in found if "response" in each}) == 1


@MANY
@given(conversations(), STYLES, CUTS)
def test_the_client_gets_one_response_with_all_that_it_may_see(
    replies: list[Reply], style: Style, cuts: list[int]
) -> None:
    out, joiner = run(replies, style, cuts)
    found = events(out)
    is_sound(found)
    assert [each["item"] for each in found if each["type"] == "response.output_item.done"] == shown(replies)
    assert found[-1]["response"]["output"] == shown(replies)
    assert found[-1]["response"]["usage"] == summed(replies)
    assert out == run(replies, style, [])[0]
    assert joiner.rounds == len(replies) - 1
    assert joiner.speech.intact
    assert joiner.speech.usage == read_usage(replies[-1]["usage"])
    event(f"{len(replies)} rounds")


@MANY
@given(conversations())
def test_whole_responses_are_joined_alike(replies: list[Reply]) -> None:
    made = joined(replies, HIDDEN)
    assert made["output"] == shown(replies)
    assert made["usage"] == summed(replies)
    assert {**made, "output": 0, "usage": 0} == {**replies[-1], "output": 0, "usage": 0}


@settings(MANY, max_examples=cases(60))
@given(conversations(), STYLES)
def test_nothing_that_may_be_seen_is_held_back(replies: list[Reply], style: Style) -> None:
    joiner = Joiner(HIDDEN)
    out = seen = b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        hides = {at for at, item in enumerate(reply["output"]) if is_hidden(item)}
        for piece in pieces(reply, style):
            got = joiner.feed(piece.raw)
            out, seen = out + got, seen + piece.raw
            data = piece.data or {}
            mine = "output_index" in data and data["output_index"] not in hides
            assert bool(got) or not mine
            if not n and not joiner.hides:
                assert out == seen


@MANY
@given(conversations(1), STYLES, CUTS, st.lists(st.tuples(st.integers(0), st.binary(max_size=20)), max_size=4))
def test_without_a_hidden_call_every_byte_is_the_servers(
    replies: list[Reply], style: Style, cuts: list[int], odd: list[tuple[int, bytes]]
) -> None:
    sent = [piece.raw for piece in pieces(build(0, shown(replies), COST), style)]
    for place, garbage in odd:
        sent.insert(place % (len(sent) + 1), garbage)
    joiner = Joiner(HIDDEN)
    out = b"".join(map(joiner.feed, cut(b"".join(sent), cuts)))
    assert out + joiner.finish() + joiner.rest() == b"".join(sent)


@settings(MANY, max_examples=cases(60))
@given(conversations(), STYLES)
def test_what_was_hidden_can_be_shown_after_all(replies: list[Reply], style: Style) -> None:
    replies = [*replies[:-1], build(9, [message("So."), call(number=90), call("Read", 91)], COST)]
    joiner = Joiner(HIDDEN)
    out = b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        out += joiner.feed(stream(reply, style))
    found = events(out + joiner.leak() + joiner.finish())
    is_sound(found)
    late = [item for item in replies[-1]["output"] if is_hidden(item)]
    assert found[-1]["response"]["output"] == shown(replies) + late
    assert found[-1]["response"]["output"] == joined(replies, HIDDEN, leaks=True)["output"]


@MANY
@given(conversations(1), STYLES)
def test_a_stream_and_a_whole_response_say_the_same(replies: list[Reply], style: Style) -> None:
    assume(can_be_sent(replies))
    heard = listen()
    for each in sse.Reader().feed(stream(replies[0], style)):
        if str(json.loads(each.data).get("type")).startswith("response."):
            heard.take(each)
    read = whole(replies[0])
    assert heard.intact
    assert heard.closed
    assert heard.waits
    assert (heard.calls, heard.usage, heard.id, heard.round({})) == (read.calls, read.usage, read.id, read.round({}))


def test_calls_of_every_kind_are_the_clients_to_answer_but_those_of_the_server() -> None:
    output = [call("Read", 1, path="ä"), custom(2), {"type": "web_search_call", "id": "ws_1", "status": "completed"}]
    found = [(each.id, each.name, each.arguments) for each in whole(build(0, output, COST)).calls]
    assert found == [("call_1", "Read", {"path": "ä"}), ("call_2", HIDDEN, "of another kind")]


def test_a_round_keeps_items_as_they_came_but_for_what_says_nothing() -> None:
    output = [reasoning(1), message(" \n", 2), call(number=3), call("Read", 4)]
    speech = whole(build(0, output, COST))
    kept = [json.loads(raw) for raw in speech.round({}, behind=["call_3"]).blocks]
    assert kept == [output[0], output[3], output[2]]
    assert [json.loads(raw) for raw in speech.round({}, without=["call_3"]).blocks] == [output[0], output[3]]
    with pytest.raises(ValueError, match="without an id"):
        speech.round({"": "x"})
    with pytest.raises(ValueError, match="surrogate"):
        whole(build(0, [message("\ud800")], COST)).round({})


@pytest.mark.parametrize("stop", ["max_tokens", "refusal"])
def test_a_response_that_was_cut_short_does_not_wait(stop: str) -> None:
    reply = build(0, [call()], COST, stop_reason=stop)
    assert not whole(reply).waits
    assert whole(reply).closed


@pytest.mark.parametrize("lost", ["response.output_item.done", "response.completed"])
def test_what_was_lost_on_us_is_noticed(lost: str) -> None:
    joiner = Joiner(HIDDEN)
    for piece in pieces(build(0, [message("x"), call(number=1)], COST), Style()):
        if (piece.data or {}).get("type") != lost:
            joiner.feed(piece.raw)
    assert not (joiner.speech.intact and joiner.speech.closed)


def read_by_the_library(out: bytes, cuts: list[int]) -> tuple[list[str], Any]:
    """The types of the events that the vendor's library gives, and the response it puts together, if it ends well."""

    def provider(request: httpx2.Request) -> httpx2.Response:
        del request
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=iter(cut(out, cuts)))

    http = openai.DefaultHttpxClient(transport=httpx2.MockTransport(provider))
    client = openai.OpenAI(api_key="k", http_client=http, max_retries=0)
    with client.responses.stream(model="m", input="x") as read:
        kinds: list[str] = [each.type for each in read]
        return kinds, read.get_final_response() if kinds[-1] == "response.completed" else None


@settings(MANY, max_examples=cases(40))
@given(conversations(3), CUTS)
def test_the_vendors_library_reads_it(replies: list[Reply], cuts: list[int]) -> None:
    _, done = read_by_the_library(PING + run(replies, Style(), [])[0], cuts)
    assert (done.id, done.status) == (replies[0]["id"], "completed")
    kept = [item.model_dump(mode="json", exclude_unset=True) for item in done.output]
    assert [(item["type"], item["id"]) for item in kept] == [(item["type"], item["id"]) for item in shown(replies)]
    assert done.output_text == "".join(i["content"][0]["text"] for i in shown(replies) if i["type"] == "message")
    assert done.usage.model_dump(mode="json", exclude_unset=True) == summed(replies)


BEGUN = build(0, [reasoning(1), message("I look.", 2), call(number=3)], COST)
ENDED = build(1, [message("Done.", 4)], COST)
BUSY = json.dumps({"error": {"message": "busy", "type": "server_error", "code": None}}).encode()


def broken(*, goes_on: bool) -> bytes:
    """A stream whose second answer fails at once, or after it has begun."""
    joiner = Joiner(HIDDEN)
    out = joiner.feed(stream(BEGUN, Style()))
    if goes_on:
        joiner.proceed()
        out += b"".join(joiner.feed(piece.raw) for piece in list(pieces(ENDED, Style()))[:5])
    return out + PING + joiner.fail(BUSY, 503)


def failed_itself() -> bytes:
    """A stream whose second answer the provider ends as failed."""
    joiner = Joiner(HIDDEN)
    out = joiner.feed(stream(BEGUN, Style()))
    joiner.proceed()
    out += b"".join(joiner.feed(piece.raw) for piece in list(pieces(ENDED, Style()))[:5])
    out += joiner.feed(responses_message.failed(ENDED, 5))
    assert joiner.speech.failed
    return out


@pytest.mark.parametrize("out", [broken(goes_on=False), broken(goes_on=True), failed_itself()])
def test_a_failing_stream_ends_as_the_providers_own_does(out: bytes) -> None:
    found = [json.loads(each.data) for each in sse.Reader().feed(out)]
    assert [each["type"] for each in found[-2:]] == ["error", "response.failed"]
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    assert {each["response"]["id"] for each in found if "response" in each} == {"resp_0"}
    assert found[-1]["response"]["error"]["message"] in ("busy", responses_message.OVERLOADED)
    assert read_by_the_library(out, [])[0][-2:] == ["error", "response.failed"]
    heard = listen()
    for each in sse.Reader().feed(out):
        heard.take(each)
    assert heard.failed


def test_what_says_nothing_of_an_error_is_told_as_one() -> None:
    assert "broke off (503)" in failure(b"<html>", 503)
    for body in (b"", b"[]", b'{"error": "gone"}', b"\xff"):
        (_, event) = sse.Reader().feed(Joiner(HIDDEN).fail(body, 0))
        assert json.loads(event.data)["response"]["error"]["message"]


def test_items_that_come_at_once_stand_in_their_places() -> None:
    several = list(pieces(build(0, [call(number=1), message("a", 2), message("b", 3)], COST), Style()))
    done = {(p.data or {})["output_index"]: p for p in several if (p.data or {})["type"] == "response.output_item.done"}
    several = [done[1] if p is done[2] else done[2] if p is done[1] else p for p in several]
    joiner = Joiner(HIDDEN)
    out = b"".join(joiner.feed(piece.raw) for piece in several) + joiner.finish()
    assert [item["id"] for item in events(out)[-1]["response"]["output"]] == ["msg_2", "msg_3"]


ODD = st.one_of(
    st.sampled_from(
        [
            b"data: {\n\n", b"data: []\n\n", b"\n\n", b"\xff\xfe\n\n", b"data: " + b"[" * 100_000 + b"\n\n",
            *[
                f"data: {json.dumps(data)}\n\n".encode()
                for kind in ("output_item.added", "output_item.done", "created", "completed", "failed")
                for data in (
                    {"type": f"response.{kind}"},
                    {"type": f"response.{kind}", "output_index": 0, "sequence_number": []},
                    {"type": f"response.{kind}", "output_index": 1, "item": {"name": [], "type": {}}},
                    {"type": f"response.{kind}", "output_index": [], "item": 3, "response": []},
                    {"type": f"response.{kind}", "response": {"id": 3, "usage": {"output_tokens": "x"}, "output": 1}},
                    {"type": f"response.{kind}", "response": {"usage": {"output_tokens_details": 3}}},
                )
            ],
        ]
    ),
    st.binary(max_size=20),
)  # fmt: skip


@MANY
@given(conversations(3), STYLES, st.lists(st.tuples(st.integers(0), ODD), max_size=6), st.data())
def test_no_bytes_end_a_stream(
    replies: list[Reply], style: Style, odd: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Nothing raises, whatever stands in the stream and wherever it is damaged."""
    joiner = Joiner(HIDDEN)
    for reply in replies:
        parts = [piece.raw for piece in pieces(reply, style)]
        for place, garbage in odd:
            parts.insert(place % (len(parts) + 1), garbage)
        damaged = bytearray(b"".join(parts))
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(damaged)))
            damaged[at : at + data.draw(st.integers(0, 9))] = b""
        joiner.feed(bytes(damaged))
        assert isinstance(joiner.speech.calls, list)
        assert joiner.speech.waits in (True, False)
        joiner.proceed()
    joiner.feed(bytes(damaged))
    joiner.leak()
    joiner.finish()
    joiner.fail(b"", 0)
    joiner.rest()


@pytest.mark.parametrize(
    "odd", [{"type": "response.output_item.done", "output_index": 0}, {"type": "response.completed"}]
)
def test_events_without_what_they_tell_end_nothing(odd: dict[str, Any]) -> None:
    joiner = Joiner(HIDDEN)
    hidden = [piece.raw for piece in pieces(build(0, [call(number=1)], COST), Style())]
    out = b"".join(map(joiner.feed, [*hidden[:3], spelled_event(json.dumps(odd), Style()), *hidden[3:]]))
    assert joiner.hides
    found = events(out + joiner.leak() + joiner.finish())
    assert found[-1]["response"]["output"] == [call(number=1)]


def test_an_event_beyond_all_bounds_makes_it_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addon.wire.joining.LARGEST_EVENT", 1000)
    joiner = Joiner(HIDDEN)
    sent = stream(build(0, [message("x")], COST), Style()) + b"data: " + b"x" * 2000
    rest = b"\n\n" + stream(build(1, [call(number=1)], COST), Style())
    assert joiner.feed(sent) + joiner.feed(rest) == sent + rest
    assert joiner.blind
    assert not joiner.speech.intact
