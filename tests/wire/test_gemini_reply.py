"""Streams with hidden calls: whatever is said, however it is spelled and cut, the client gets one sound answer."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import sse
from addon.wire.gemini import usage as read_usage
from addon.wire.gemini_reply import PING, Joiner, error_event, failure, joined
from addon.wire.gemini_speech import Speech
from tests.effort import cases
from tests.wire.gemini_replies import (
    SERVERS,
    USAGE,
    Server,
    build,
    call,
    calls,
    chunks,
    conversations,
    gathered,
    is_hidden,
    parts,
    pieces,
    run_together,
    stream,
)
from tests.wire.replies import CUTS, HIDDEN, Reply, cut

MANY = settings(max_examples=cases(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
COST = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


def run(replies: list[Reply], server: Server, cuts: list[int]) -> tuple[bytes, Joiner]:
    """What the client gets, and the joiner."""
    joiner = Joiner(HIDDEN)
    out = b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        for piece in cut(stream(reply, server), cuts):
            out += joiner.feed(piece)
    return out + joiner.finish() + joiner.rest(), joiner


def shown(replies: list[Reply]) -> list[dict[str, Any]]:
    return [part for reply in replies for part in parts(reply) if not is_hidden(part)]


def summed(replies: list[Reply]) -> dict[str, Any]:
    """What the client is told of the cost."""
    last = dict(replies[-1]["usageMetadata"])
    for name in ("candidatesTokenCount", "thoughtsTokenCount"):
        last[name] = sum(reply["usageMetadata"][name] for reply in replies)
    last["totalTokenCount"] = last["promptTokenCount"] + last["candidatesTokenCount"] + last["thoughtsTokenCount"]
    return last


@MANY
@given(conversations(), SERVERS, CUTS)
def test_the_client_gets_one_answer_with_all_that_it_may_see(
    replies: list[Reply], server: Server, cuts: list[int]
) -> None:
    out, joiner = run(replies, server, cuts)
    assert run_together(gathered(out)) == run_together(shown(replies))
    found = chunks(out)
    reasons = [chunk for chunk in found if any("finishReason" in each for each in chunk.get("candidates", ()))]
    assert len(reasons) == 1
    assert [each["usageMetadata"] for each in found if "usageMetadata" in each][-1] == summed(replies)
    assert out.count(b"traceId") == (len(found) if server.wrapped else 0)
    assert out == run(replies, server, [])[0]
    assert joiner.rounds == len(replies) - 1
    assert joiner.speech.intact
    assert joiner.spent == [read_usage(reply["usageMetadata"]) for reply in replies[:-1]]
    event(f"{len(replies)} rounds")


@MANY
@given(conversations(), st.booleans())
def test_whole_answers_are_joined_alike(replies: list[Reply], wrapped: bool) -> None:
    given = [{"response": reply, "traceId": "t"} for reply in replies] if wrapped else replies
    made = joined(given, HIDDEN)
    assert made.keys() == given[-1].keys()
    assert parts(made) == shown(replies)
    inner = made.get("response", made)
    assert inner["usageMetadata"] == summed(replies)
    assert inner["candidates"][0]["finishReason"] == "STOP"


@settings(MANY, max_examples=cases(60))
@given(conversations(), SERVERS)
def test_nothing_that_may_be_seen_is_held_back(replies: list[Reply], server: Server) -> None:
    """Chunk by chunk, what is out is what the client may have."""
    joiner = Joiner(HIDDEN)
    out, seen = b"", b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        for piece in pieces(reply, server):
            out += joiner.feed(piece.raw)
            seen += piece.raw
            visible = [part for part in gathered(seen) if not is_hidden(part)]
            assert run_together(gathered(out)) == run_together(visible)
            if not n and not joiner.hides:
                assert out == seen


ODD = st.one_of(
    st.sampled_from(
        [
            b"data: [1, 2]\n\n", b"data: {\n\n", b'data: "\xff"\n\n', b"event: error\ndata: {}\n\n", b"data:\n\n",
            b'data: {"candidates": [3]}\n\n', b'data: {"candidates": [{"content": 3}]}\n\n',
            b'data: {"candidates": [{"content": {"parts": [3]}}]}\n\n', b'data: {"candidates": [{}, {}]}\n\n',
            b'data: {"candidates": [{"content": {"parts": [{"functionCall": 3}, {"text": 3}]}}]}\n\n',
            b'data: {"response": 3, "promptFeedback": 3, "usageMetadata": 3}\n\n',
            b'data: {"candidates": [{"finishReason": []}], "usageMetadata": {"promptTokenCount": "x"}}\n\n',
            b"data: " + b"[" * 100_000 + b"\n\n",
        ]
    ),
    st.binary(max_size=20),
    st.just(PING),
)  # fmt: skip


@MANY
@given(conversations(1), SERVERS, CUTS, st.lists(st.tuples(st.integers(0), ODD), max_size=4))
def test_without_a_hidden_call_every_byte_is_the_servers(
    replies: list[Reply], server: Server, cuts: list[int], odd: list[tuple[int, bytes]]
) -> None:
    events = [piece.raw for piece in pieces(build(0, shown(replies), COST), server)]
    for place, garbage in odd:
        events.insert(place % (len(events) + 1), garbage)
    whole = b"".join(events)
    joiner = Joiner(HIDDEN)
    out = b""
    for part in cut(whole, cuts):
        out += joiner.feed(part)
        assert whole.startswith(out)
    assert not joiner.hides
    assert out + joiner.rest() == whole
    assert joiner.finish() == b""


@MANY
@given(conversations(3), SERVERS, st.lists(st.tuples(st.integers(0), ODD), max_size=6), st.data())
def test_no_bytes_end_a_stream(
    replies: list[Reply], server: Server, odd: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Nothing raises, whatever stands in the stream and wherever it is damaged."""
    joiner = Joiner(HIDDEN)
    for reply in replies:
        damaged = bytearray(stream(reply, server))
        for place, garbage in odd:
            at = place % (len(damaged) + 1)
            damaged[at : at + data.draw(st.integers(0, 9))] = garbage
        joiner.feed(bytes(damaged))
        assert isinstance(joiner.speech.calls, list)
        assert joiner.speech.waits in (True, False)
        joiner.proceed()
    joiner.feed(bytes(damaged))
    joiner.leak()
    joiner.finish()
    joiner.rest()


@MANY
@given(conversations(), SERVERS)
def test_a_leak_shows_every_hidden_call_once(replies: list[Reply], server: Server) -> None:
    last = [made for made in calls(replies[-1]) if is_hidden(made)]
    assume(last)
    out, joiner = b"", Joiner(HIDDEN)
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        out += joiner.feed(stream(reply, server))
    out += joiner.leak() + joiner.finish()
    assert run_together(gathered(out)) == run_together([*shown(replies), *last])
    assert parts(joined(replies, HIDDEN, leaks=True)) == [*shown(replies), *last]
    assert (joiner.leak(), joiner.hides) == (b"", False)


@MANY
@given(conversations(1), SERVERS, CUTS)
def test_what_was_streamed_is_what_was_said(replies: list[Reply], server: Server, cuts: list[int]) -> None:
    """The streamed and the whole reply are read alike, and sent back with the model's own values."""
    made = calls(replies[0])
    streamed, whole = run(replies, server, cuts)[1].speech, Speech.whole(replies[0])
    for speech in (streamed, whole):
        assert speech.id == replies[0]["responseId"]
        assert (speech.closed, speech.failed, speech.intact) == (True, False, True)
        assert speech.waits is bool(made)
        assert [(c.name, c.arguments) for c in speech.calls] == [
            (each["functionCall"]["name"], each["functionCall"]["args"]) for each in made
        ]
        assert len({c.id for c in speech.calls}) == len(made)
        assert speech.usage == read_usage(replies[0]["usageMetadata"])
        blocks = [json.loads(raw) for raw in speech.round({}).blocks]
        assert blocks == run_together(parts(replies[0]))
        first = [c.id for c in speech.calls[:1]]
        rest = [part for part in blocks if part not in made]
        told = [json.loads(raw) for raw in speech.round({}, without=first).blocks]
        assert told == [*rest, *made[1:]]
        told = [json.loads(raw) for raw in speech.round({}, behind=first).blocks]
        assert told == ([*rest, *made[1:], *made[:1]] if made else blocks)


http: Any = importlib.import_module("httpx2" if genai.__version__ >= "3" else "httpx")
"""What this release of the library talks through."""


def sdk(answer: bytes, cuts: list[int]) -> genai.Client:
    """The vendor's library, answered with these bytes."""

    def provider(request: Any) -> Any:
        del request
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=iter(cut(answer, cuts)))

    options = types.HttpOptions(client_args={"transport": http.MockTransport(provider)})
    return genai.Client(api_key="k", http_options=options)


@settings(MANY, max_examples=cases(40))
@given(conversations(3), SERVERS, CUTS, st.sampled_from(["\n", "\r\n"]))
def test_the_vendors_library_reads_it(replies: list[Reply], server: Server, cuts: list[int], newline: str) -> None:
    # Some of its releases take U+2028 in the JSON for the end of a line, so such a server must spell it as an escape.
    style = replace(server.style, newline=newline, noise=(), tight=False, ascii=True)
    server = replace(server, style=style, wrapped=False)
    out, _ = run(replies, server, cuts)
    seen = b"".join(PING + each for each in sse.Splitter().feed(out))
    client = sdk(seen, cuts)
    read = list(client.models.generate_content_stream(model="m", contents="x"))
    got = [p for c in read if c.candidates and c.candidates[0].content for p in c.candidates[0].content.parts or ()]
    assert "".join(p.text or "" for p in got) == "".join(p.get("text", "") for p in shown(replies))
    made = [(p.function_call.name, p.function_call.args) for p in got if p.function_call]
    own = [part["functionCall"] for part in shown(replies) if "functionCall" in part]
    assert made == [(each["name"], each["args"]) for each in own]


def test_the_vendors_library_reads_an_error() -> None:
    told = stream(build(0, [{"text": "I look."}], COST)) + PING + error_event(b"<html>", 0)
    client = sdk(told, [])
    with pytest.raises(errors.ServerError, match="broke off") as found:
        list(client.models.generate_content_stream(model="m", contents="x"))
    assert (found.value.code, found.value.status) == (503, "UNAVAILABLE")


def heard(*said: dict[str, Any], finish: str = "STOP") -> Speech:
    speech = Speech()
    for one in sse.Reader().feed(stream(build(0, list(said), COST, finish))):
        speech.take(one)
    return speech


@pytest.mark.parametrize("args", [[], 3, "", None], ids=str)
def test_a_call_that_no_request_could_hold_is_not_kept(args: Any) -> None:
    speech = heard({"functionCall": {"name": HIDDEN, "args": args}})
    assert [each.id for each in speech.calls] == [f"{HIDDEN}#0"]
    with pytest.raises(ValueError, match=r"."):
        speech.round({})


@pytest.mark.parametrize("made", [[call(identity="a")] * 2, [call("")]], ids=["twice", "no name"])
def test_calls_that_cannot_be_told_apart_are_not_kept(made: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Speech.whole(build(0, made, COST)).round({})


def test_calls_without_ids_are_known_by_their_place() -> None:
    speech = heard(call(), call("Read"), call(), call(identity="own"))
    assert [each.id for each in speech.calls] == [f"{HIDDEN}#0", "Read#0", f"{HIDDEN}#1", "own"]


@pytest.mark.parametrize(
    ("finish", "said", "waits"),
    [("STOP", [call()], True), ("STOP", [{"text": "x"}], False), ("MAX_TOKENS", [call()], False),
     ("MALFORMED_FUNCTION_CALL", [call()], False)],
)  # fmt: skip
def test_how_it_finished_says_whether_it_waits(finish: str, said: list[dict[str, Any]], waits: bool) -> None:
    speech = heard(*said, finish=finish)
    assert (speech.waits, speech.closed, speech.failed) == (waits, True, False)


def test_a_call_in_pieces_is_not_hidden() -> None:
    joiner = Joiner(HIDDEN)
    told = [
        {"name": HIDDEN, "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.page", "stringValue": "a"}], "willContinue": True}, {},
    ]  # fmt: skip
    whole = stream(build(0, [{"functionCall": each} for each in told], COST))
    assert joiner.feed(whole) == whole
    assert (joiner.hides, joiner.speech.intact) == (False, False)


def test_an_answer_that_is_blocked_has_ended() -> None:
    speech = Speech.whole({"promptFeedback": {"blockReason": "SAFETY"}})
    assert (speech.closed, speech.waits, speech.calls) == (True, False, [])


def test_an_error_in_a_chunk_passes_and_is_told() -> None:
    joiner = Joiner(HIDDEN)
    joiner.feed(stream(build(0, [call()], COST)))
    joiner.proceed()
    broken = error_event(b"", 500)
    assert joiner.feed(broken) == broken
    assert joiner.speech.failed


def test_an_event_beyond_all_bounds_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addon.wire.joining.LARGEST_EVENT", 1000)
    joiner = Joiner(HIDDEN)
    data = b": small\n\ndata: " + b"x" * 2000 + b"\n\n: more\n\n"
    out = b"".join(joiner.feed(part) for part in cut(data, [1]))
    assert out + joiner.rest() == data
    assert (joiner.blind, joiner.speech.intact) == (True, False)


def test_what_a_failed_request_becomes() -> None:
    own = {"error": {"code": 500, "message": "ü\nx", "status": "INTERNAL"}}
    for spelled in (own, [own]):
        (read,) = sse.Reader().feed(error_event(json.dumps(spelled).encode(), 500))
        assert json.loads(read.data) == own
    for body, status, kind in ((b"<html>", 503, "UNAVAILABLE"), (b"", 0, "UNAVAILABLE"), (b"[]", 500, "INTERNAL")):
        assert json.loads(failure(body, status))["error"]["status"] == kind


@settings(MANY, max_examples=cases(20))
@given(USAGE)
def test_usage_of_one_round_is_the_servers(usage: dict[str, Any]) -> None:
    assert joined([build(0, [{"text": "x"}], usage)], HIDDEN)["usageMetadata"] == usage
