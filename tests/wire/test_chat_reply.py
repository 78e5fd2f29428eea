"""Streams with hidden calls: whatever is said, however it is spelled and cut, the client gets one sound completion."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from addon.wire import chat_blocks, sse
from addon.wire.chat import usage as read_usage
from addon.wire.chat_reply import PING, Joiner, error_event, failure, joined
from addon.wire.chat_speech import Speech
from tests.effort import cases
from tests.wire.chat_replies import (
    HOW,
    ORTHODOX,
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
    pieces,
    put_together,
    said,
    stream,
)
from tests.wire.replies import CUTS, HIDDEN, Reply, cut

MANY = settings(max_examples=cases(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
COST = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


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
    return [made for reply in replies for made in calls(reply) if not is_hidden(made)]


def spoken(made: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["id"], each["function"]["name"], each["function"]["arguments"]) for each in made]


def texts(replies: list[Reply], name: str) -> str:
    return "".join(said(reply).get(name) or "" for reply in replies)


@MANY
@given(conversations(), SERVERS, CUTS)
def test_the_client_gets_one_completion_with_all_that_it_may_see(
    replies: list[Reply], server: Server, cuts: list[int]
) -> None:
    out, joiner = run(replies, server, cuts)
    got = gathered(out)
    assert spoken(got["tool_calls"]) == spoken(shown(replies))
    for name in ("content", "reasoning_content"):
        assert got.get(name, "") == texts(replies, name)
    assert got["role"] == "assistant"
    found = chunks(out)
    assert {chunk["id"] for chunk in found} == {replies[0]["id"]}
    reasons = [choice["finish_reason"] for chunk in found for choice in chunk["choices"] if choice["finish_reason"]]
    assert len(reasons) == 1
    hides = len(replies) > 1 or any(map(is_hidden, calls(replies[0])))
    if hides and server.how != "no number":
        numbers = dict.fromkeys(
            piece["index"] for c in found for choice in c["choices"] for piece in choice["delta"].get("tool_calls", [])
        )
        assert list(numbers) == list(range(len(shown(replies)))) or server.how == "one number"
    assert out.count(b"[DONE]") == server.done
    assert out == run(replies, server, [])[0]
    assert joiner.rounds == len(replies) - 1
    assert joiner.speech.intact
    if server.reports:
        assert joiner.spent == [read_usage(reply["usage"]) for reply in replies[:-1]]
    event(f"{len(replies)} rounds")


@MANY
@given(conversations(), ORTHODOX)
def test_whole_completions_are_joined_as_the_vendors_library_joins_chunks(
    replies: list[Reply], server: Server
) -> None:
    out, _ = run(replies, server, [])
    streamed, whole = put_together(out), joined(replies, HIDDEN)
    one, other = said(streamed), said(whole)
    for name in ("content", "reasoning_content"):
        assert (one.get(name) or None) == (other.get(name) or None)
    assert spoken(one.get("tool_calls") or []) == spoken(other.get("tool_calls") or []) == spoken(shown(replies))
    assert one["role"] == other["role"] == "assistant"
    assert server.says_stop or streamed["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    last = replies[-1]["usage"]
    output = sum(reply["usage"]["completion_tokens"] for reply in replies)
    expected = {**last, "completion_tokens": output, "total_tokens": last["prompt_tokens"] + output}
    thought = sum(reply["usage"]["completion_tokens_details"]["reasoning_tokens"] for reply in replies)
    expected["completion_tokens_details"] = {"reasoning_tokens": thought}
    assert whole["usage"] == expected
    if server.reports == "groq":
        assert chunks(out)[-1]["x_groq"]["usage"] == expected
    elif server.reports:
        assert streamed["usage"] == expected


@settings(MANY, max_examples=cases(60))
@given(conversations(), ORTHODOX, CUTS)
def test_nothing_that_may_be_seen_is_held_back(replies: list[Reply], server: Server, cuts: list[int]) -> None:
    """Chunk by chunk, what is out is what the client may have."""
    joiner = Joiner(HIDDEN)
    out, seen = b"", b""
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        for piece in pieces(reply, server):
            out += joiner.feed(piece.raw)
            seen += piece.raw
            one, other = gathered(out), gathered(seen)
            for name in ("content", "reasoning_content"):
                assert one.get(name, "") == other.get(name, "")
            if not n and not joiner.hides and not any(map(joiner._is_open, joiner.speech.made)):
                assert out == seen
    for part in cut(stream(replies[0], server), cuts):
        assert isinstance(joiner.feed(part), bytes)


ODD = st.one_of(
    st.sampled_from(
        [
            b"data: {\n\n", b"data: []\n\n", b"data: 3\n\n", b"\n\n", b"\r\n", b"\xff\xfe\n\n", b"data: \xe4\n\n",
            b'data: {"choices": 3}\n\n', b'data: {"choices": [3]}\n\n', b'data: {"choices": [{}, {}]}\n\n',
            b'data: {"choices": [{"delta": 3}]}\n\n', b'data: {"choices": [{"index": 1, "delta": {}}]}\n\n',
            b'data: {"choices": [{"delta": {"tool_calls": 3, "content": 4}}]}\n\n',
            b'data: {"choices": [{"delta": {"tool_calls": [3]}}]}\n\n',
            b'data: {"choices": [{"delta": {"tool_calls": [{"index": [], "function": {"name": 7}}]}}]}\n\n',
            b'data: {"choices": [{"delta": {"reasoning_details": [3, {"type": []}]}}]}\n\n',
            b'data: {"choices": [{"delta": {"novel": 1}, "finish_reason": []}]}\n\n',
            b'data: {"usage": {"completion_tokens": "x"}, "choices": []}\n\n',
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
    seen = build(0, said(replies[0])["content"], shown(replies), COST)
    parts = [piece.raw for piece in pieces(seen, server)]
    for place, garbage in odd:
        parts.insert(place % (len(parts) + 1), garbage)
    whole = b"".join(parts)
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
@given(conversations(), ORTHODOX)
def test_a_leak_shows_every_hidden_call_once(replies: list[Reply], server: Server) -> None:
    last = [made for made in calls(replies[-1]) if is_hidden(made)]
    assume(last)
    out, joiner = b"", Joiner(HIDDEN)
    for n, reply in enumerate(replies):
        if n:
            joiner.proceed()
        out += joiner.feed(stream(reply, server))
    out += joiner.leak() + joiner.finish()
    assert spoken(said(put_together(out))["tool_calls"]) == spoken([*shown(replies), *last])
    assert spoken(said(joined(replies, HIDDEN, leaks=True))["tool_calls"]) == spoken([*shown(replies), *last])
    assert (joiner.leak(), joiner.hides) == (b"", False)


@MANY
@given(conversations(1), SERVERS, CUTS)
def test_what_was_streamed_is_what_was_said(replies: list[Reply], server: Server, cuts: list[int]) -> None:
    """The streamed and the whole reply are read alike, and sent back with the model's own values."""
    message, made = said(replies[0]), calls(replies[0])
    streamed, whole = run(replies, server, cuts)[1].speech, Speech.whole(replies[0])
    first = {each["id"] for each in made[:1]}
    for speech in (streamed, whole):
        assert speech.id == replies[0]["id"]
        assert (speech.closed, speech.failed, speech.intact) == (True, False, True)
        assert speech.waits is bool(made)
        assert [(c.id, c.name, c.arguments) for c in speech.calls] == [
            (id, name, json.loads(arguments)) for id, name, arguments in spoken(made)
        ]
        if speech is whole or server.reports:
            assert speech.usage == read_usage(replies[0]["usage"])
        blocks = speech.round({}).blocks
        sent = json.loads(chat_blocks.message(blocks) or "{}")
        content = message["content"] if (message["content"] or "").strip() else None
        assert sent.get("content") == content
        assert sent.get("tool_calls", []) == made
        if sent:
            assert sent.get("reasoning_content") == message.get("reasoning_content")
        without = speech.round({}, without=first).blocks
        assert [raw for raw in blocks if chat_blocks.piece(raw).call not in first] == list(without)
        behind = [chat_blocks.piece(raw).call for raw in speech.round({}, behind=first).blocks]
        assert [id for id in behind if id] == [each["id"] for each in [*made[1:], *made[:1]]]


@settings(MANY, max_examples=cases(40))
@given(conversations(3), ORTHODOX, CUTS)
def test_the_vendors_library_reads_it(replies: list[Reply], server: Server, cuts: list[int]) -> None:
    out, _ = run(replies, server, cuts)
    assume(not server.style.noise)

    def provider(request: httpx2.Request) -> httpx2.Response:
        del request
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=iter(cut(out, cuts)))

    http = openai.DefaultHttpxClient(transport=httpx2.MockTransport(provider))
    client = openai.OpenAI(api_key="k", http_client=http, max_retries=0)
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "x"}]) as read:
        message = read.get_final_completion().choices[0].message
    assert (message.content or "") == texts(replies, "content")
    made = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []]
    assert made == spoken(shown(replies))


def event_of(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'c', 'choices': [choice], **more})}\n\n".encode()


def heard(*deltas: dict[str, Any], finish: str = "tool_calls") -> Speech:
    speech = Speech()
    for data in [*(event_of(delta) for delta in deltas), event_of({}, finish)]:
        for one in sse.Reader().feed(data):
            speech.take(one)
    return speech


def piece(**function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "h", "function": function}]}


RECALL = piece(name=HIDDEN, arguments='{"page": "a"}')


DEEP = "[" * 100_000


@pytest.mark.parametrize("arguments", ['{"page": "a', "[]", "3", "", DEEP], ids=["cut", "list", "3", "none", "deep"])
def test_a_call_that_no_request_could_hold_is_not_kept(arguments: str) -> None:
    speech = heard(piece(name=HIDDEN, arguments=arguments))
    assert [each.id for each in speech.calls] == ["h"]
    with pytest.raises(ValueError, match=r"."):
        speech.round({"h": "{}"})


def test_a_tool_of_the_clients_may_be_called_with_nothing() -> None:
    assert chat_blocks.piece(heard(piece(name="now")).round({}).blocks[0]).name == "now"


@pytest.mark.parametrize("made", [[call("h")] * 2, [call("")], [call("h", "")]], ids=["twice", "no id", "no name"])
def test_calls_that_cannot_be_told_apart_are_not_kept(made: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Speech.whole(build(0, None, made, COST)).round({})


def test_characters_in_halves_are_put_together() -> None:
    halves = [{"content": "\ud83d"}, {"content": "\ude00"}]
    assert heard(*halves).round({}).blocks == ('{"content":"😀"}',)
    with pytest.raises(ValueError, match=r"."):
        heard(halves[0]).round({})


@pytest.mark.parametrize(
    ("finish", "delta", "waits"),
    [
        ("tool_calls", RECALL, True), ("stop", RECALL, True), ("stop", piece(name=HIDDEN, arguments="{"), False),
        ("length", RECALL, False), ("content_filter", RECALL, False), ("stop", {"content": "x"}, False),
        ("error", RECALL, False),
    ],
)  # fmt: skip
def test_how_it_finished_says_whether_it_waits(finish: str, delta: dict[str, Any], waits: bool) -> None:
    speech = heard(delta, finish=finish)
    assert (speech.waits, speech.closed, speech.failed) == (waits, True, finish == "error")


@pytest.mark.parametrize(
    "lost",
    [
        {"refusal": "no"}, {"audio": {"id": "a"}}, {"annotations": [{}]}, {"function_call": {"name": "f"}},
        {"content": [{"type": "text"}]}, {"tool_calls": [3]}, {"tool_calls": {"a": 1}},
        {"tool_calls": [{"index": 0, "signed": 1}, {"index": 0, "signed": 2}]}, piece(name=HIDDEN, novel="x"),
        {"reasoning_details": [{"type": "reasoning.novel"}]},
    ],
)  # fmt: skip
def test_what_was_not_understood_is_told(lost: dict[str, Any]) -> None:
    assert not heard(lost).intact


def test_what_says_nothing_is_understood() -> None:
    assert heard({"refusal": None, "audio": None, "annotations": [], "function_call": None, "tool_calls": None}).intact


def test_what_a_call_carries_besides_goes_back() -> None:
    signed = {"google": {"thought_signature": "s"}}
    speech = heard({"tool_calls": [{**RECALL["tool_calls"][0], "extra_content": signed}]})
    assert json.loads(speech.round({}).blocks[0])["extra_content"] == signed


TEXT = {"type": "reasoning.text", "format": "f", "index": 0}
SEALED = {"type": "reasoning.encrypted", "data": "d", "index": 0}


def test_reasoning_details_are_run_together_up_to_a_signature() -> None:
    told = [
        {**TEXT, "text": "Let"}, {**TEXT, "text": " me."}, {**TEXT, "signature": "s"}, {**TEXT, "text": "More"},
        {"type": "reasoning.summary", "summary": "a", "index": 0}, {"type": "reasoning.summary", "summary": "b"},
        {**SEALED, "id": "1"}, {**SEALED, "id": "2"},
    ]  # fmt: skip
    speech = heard(*({"reasoning_details": [each]} for each in told))
    assert speech.intact
    assert chat_blocks.piece(speech.round({}).blocks[0]).value == [
        {**TEXT, "text": "Let me.", "signature": "s"}, {**TEXT, "text": "More"},
        {"type": "reasoning.summary", "summary": "ab", "index": 0}, {**SEALED, "id": "1"}, {**SEALED, "id": "2"},
    ]  # fmt: skip
    assert not heard(*({"reasoning_details": [{**SEALED, "id": "1"}]} for _ in range(2))).intact


def test_reasoning_details_of_several_rounds_are_numbered_on() -> None:
    details = {"reasoning_details": [{**TEXT, "text": "hm", "signature": "s"}]}
    joiner, out = Joiner(HIDDEN), b""
    for n in range(2):
        if n:
            joiner.proceed()
        out += joiner.feed(event_of(details, object="x") + event_of(RECALL, object="x") + event_of({}, "tool_calls"))
    numbered = [{**details["reasoning_details"][0], "index": n} for n in range(2)]
    given = [c["choices"][0]["delta"].get("reasoning_details", []) for c in chunks(out)]
    assert [each for some in given for each in some] == numbered
    reply = build(0, None, [call("h")], COST)
    said(reply).update(details)
    assert said(joined([reply, reply], HIDDEN))["reasoning_details"] == numbered


def test_content_in_parts_is_shown_behind_what_was_said() -> None:
    reply = build(1, None, [], COST)
    said(reply)["content"] = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "b"}]
    assert not Speech.whole(reply).intact
    content = said(joined([build(0, "a", [call("h")], COST), reply], HIDDEN))["content"]
    assert content == [{"type": "text", "text": "a"}, *said(reply)["content"]]


def test_an_error_in_a_chunk_passes_and_is_told() -> None:
    joiner = Joiner(HIDDEN)
    joiner.feed(event_of(RECALL))
    broken = event_of({"content": ""}, "error", error={"code": 502, "message": "gone"})
    assert joiner.feed(broken) == broken
    assert joiner.speech.failed


def test_a_hidden_name_that_goes_on_is_not_understood() -> None:
    joiner = Joiner(HIDDEN)
    assert joiner.feed(event_of(piece(name=HIDDEN))) == b""
    joiner.feed(event_of(piece(name="er")))
    assert not joiner.speech.intact
    leaked = chunks(b"".join([joiner.leak()]).replace(b'"id":"c"', b'"id":"c","object":"x"'))
    assert [c["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] for c in leaked] == [HIDDEN, "er"]


def test_a_name_that_the_hidden_one_begins_with_waits_for_the_first_argument() -> None:
    joiner = Joiner(HIDDEN)
    begun, going = event_of(piece(name="mmu")), event_of(piece(arguments="{"))
    assert joiner.feed(begun) == b""
    assert joiner.feed(going) == begun + going


def test_a_name_that_comes_with_every_piece_is_said_once() -> None:
    speech = heard(piece(name=HIDDEN, arguments="{"), piece(name=HIDDEN, arguments="}"))
    assert [(made.name, made.arguments) for made in speech.calls] == [(HIDDEN, {})]


def test_one_chunk_with_a_hidden_call_and_others_is_taken_apart() -> None:
    joiner = Joiner(HIDDEN)
    made = [{"index": n, **call(f"c{n}", name)} for n, name in enumerate(["Read", HIDDEN, "Bash"])]
    both = event_of({"role": "assistant", "content": "Both.", "tool_calls": made}, "tool_calls", object="x", usage=COST)
    (seen,) = chunks(joiner.feed(both))
    choice = seen["choices"][0]
    assert (choice["finish_reason"], "usage" in seen) == (None, False)
    assert choice["delta"]["content"] == "Both."
    assert [(each["index"], each["id"]) for each in choice["delta"]["tool_calls"]] == [(0, "c0"), (1, "c2")]
    (end,) = chunks(joiner.finish())
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"], end["usage"]) == ({}, "tool_calls", COST)


def test_an_event_beyond_all_bounds_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addon.wire.joining.LARGEST_EVENT", 1000)
    joiner = Joiner(HIDDEN)
    data = b": small\n\ndata: " + b"x" * 2000 + b"\n\n: more\n\n"
    out = b"".join(joiner.feed(part) for part in cut(data, [1]))
    assert out + joiner.rest() == data
    assert (joiner.blind, joiner.speech.intact) == (True, False)


def test_a_cost_in_money_is_summed() -> None:
    replies = [build(n, "x", [call(f"h{n}")], {**COST, "cost": 0.25}) for n in range(2)]
    assert joined(replies, HIDDEN)["usage"] == {
        "prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20, "cost": 0.5,
    }  # fmt: skip


def test_what_a_failed_request_becomes() -> None:
    own = {"error": {"type": "api_error", "message": "ü\nx"}, "request_id": "r"}
    (read,) = sse.Reader().feed(error_event(json.dumps(own).encode(), 500))
    assert json.loads(read.data) == own
    for body, status, kind in ((b"<html>", 503, "server_error"), (b"", 0, "server_error"), (b"[]", 500, "api_error")):
        assert json.loads(failure(body, status))["error"]["type"] == kind


@pytest.mark.parametrize("choices", [None, [], [{}], [{"message": 3}], [3], [{"message": {}}, {"message": {}}]])
def test_a_completion_without_a_message_is_no_answer(choices: Any) -> None:
    speech = Speech.whole({"id": "m", "choices": choices})
    assert (speech.closed, speech.calls) == (False, [])


def test_every_way_of_sending_calls_is_known() -> None:
    replies = [build(0, None, [call("h"), call("r", "Read", '{"a": 1}')], COST)]
    for how in HOW:
        out, joiner = run(replies, Server(how=how), [])
        assert joiner.hides
        assert spoken(gathered(out)["tool_calls"]) == [("r", "Read", '{"a": 1}')]


@settings(MANY, max_examples=cases(20))
@given(USAGE)
def test_usage_of_one_round_is_the_servers(usage: dict[str, Any]) -> None:
    assert joined([build(0, "x", [], usage)], HIDDEN)["usage"] == usage
