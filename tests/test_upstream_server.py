"""The provider on a socket, as the vendor's own client and a bare one see it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.upstream import Request, Upstream
from tests.upstream.direct import TOOL, text, user

MODEL = "claude-opus-4-8"
TOOLS: list[Any] = [TOOL]
HELLO: list[Any] = [user("hello")]
HEADERS = {"x-api-key": "secret", "anthropic-version": "2023-06-01", "content-type": "application/json"}
CALL = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "Read",
    "input": {"path": "ä" * 60, "lines": [1, 2], "whole": True},
}
THOUGHT = {"type": "thinking", "thinking": "one moment, " * 20}
ANSWER: dict[str, Any] = {"content": [THOUGHT, text("Let me read “it”. " * 9), CALL]}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def client(up: Upstream, script: str = "", retries: int = 0, **headers: str) -> anthropic.Anthropic:
    own = {f"x-upstream-{name.replace('_', '-')}": value for name, value in headers.items()}
    if script:
        own["x-upstream-script"] = script
    return anthropic.Anthropic(base_url=up.url, api_key="secret", max_retries=retries, default_headers=own)


def raw(
    up: Upstream, path: str, body: bytes | None = None, method: str = "POST", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=20)
    try:
        connection.request(method, path, body, {**HEADERS, **{k.replace("_", "-"): v for k, v in headers.items()}})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def control(up: Upstream, path: str, body: Any = None) -> dict[str, Any]:
    status, _, data = raw(
        up, path, None if body is None else json.dumps(body).encode(), "GET" if body is None else "POST"
    )
    assert status == 200, data
    answer: dict[str, Any] = json.loads(data)
    return answer


def simple(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}], **more}


def test_the_default_answer(up: Upstream) -> None:
    message = client(up).messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert message.stop_reason == "end_turn"
    assert [block.type for block in message.content] == ["text"]
    assert message.usage.input_tokens == up.log[0].usage["input_tokens"] > 0
    assert message.usage.output_tokens > 0


def test_streamed_and_whole_are_the_same_message(up: Upstream) -> None:
    up.script("s", [ANSWER])
    arguments: dict[str, Any] = {"model": MODEL, "max_tokens": 10, "tools": [TOOL], "messages": HELLO}
    whole = client(up, "s").messages.create(**arguments)
    with client(up, "s").messages.stream(**arguments) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert streamed.stop_reason == whole.stop_reason == "tool_use"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert whole.content[2].to_dict()["input"] == CALL["input"]
    assert [record.stream for record in up.log] == [False, True]


def test_the_stream_on_the_wire(up: Upstream) -> None:
    up.script("s", [ANSWER])
    status, headers, data = raw(
        up, "/v1/messages?beta=true", json.dumps(simple(stream=True)).encode(), x_upstream_script="s"
    )
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["request-id"] == "req_00000000"
    events = [dict(line.split(": ", 1) for line in event.split("\n")) for event in data.decode().strip().split("\n\n")]
    names = [event["event"] for event in events]
    assert names[0:3] == ["message_start", "content_block_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    assert names.count("content_block_start") == names.count("content_block_stop") == 3
    loaded = [json.loads(event["data"]) for event in events]
    assert [part["type"] for part in loaded] == names
    kinds = [part["delta"]["type"] for part in loaded if part["type"] == "content_block_delta"]
    assert kinds.count("signature_delta") == 1
    assert kinds.count("input_json_delta") > 2
    pieces = [part["delta"].get("partial_json", "") for part in loaded if part["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == CALL["input"]
    assert loaded[0]["message"]["usage"]["input_tokens"] == loaded[-2]["usage"]["input_tokens"] > 0
    assert loaded[-2]["usage"]["output_tokens"] == up.log[0].usage["output_tokens"]


def test_a_tool_loop_and_the_turn_a_reply_belongs_to(up: Upstream) -> None:
    up.script("s", [ANSWER, {"content": [text("It says x.")]}])
    speaker = client(up, "s", bound="force", session="loop")
    messages: list[Any] = [*HELLO]
    first = speaker.messages.create(model=MODEL, max_tokens=10, tools=TOOLS, messages=messages)
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]},
    ]
    for _ in range(2):
        last = speaker.messages.create(model=MODEL, max_tokens=10, tools=TOOLS, messages=messages)
        assert last.content[0].to_dict()["text"] == "It says x."
    assert up.invalid == 0
    assert [record.turn for record in up.log] == [0, 1, 1]
    chosen = client(up, "s", turn="1").messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert chosen.content[0].to_dict()["text"] == "It says x."


def test_a_script_that_ends_or_does_not_exist_says_so(up: Upstream) -> None:
    up.script("s", [ANSWER])
    for script, turn, wording in (("s", "1", "has 1 replies, none for turn 1"), ("t", "0", "no script named 't'")):
        with pytest.raises(anthropic.NotFoundError, match=wording):
            client(up, script, turn=turn).messages.create(model=MODEL, max_tokens=10, messages=HELLO)


def test_a_callable_script_sees_the_request(up: Upstream) -> None:
    seen: list[Request] = []

    def reply(request: Request) -> dict[str, Any]:
        seen.append(request)
        return {"content": [text(f"you said {request.body['messages'][0]['content'][0]['text']}")], "output_tokens": 3}

    up.script("echo", reply)
    message = client(up, "echo", session="me").messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert message.content[0].to_dict()["text"] == "you said hello"
    assert message.usage.output_tokens == 3
    assert (seen[0].label, seen[0].turn, seen[0].attempt) == ("me", 0, 0)


def test_errors_come_first_and_the_clients_retry_gets_the_answer(up: Upstream) -> None:
    error = {"status": 529, "headers": {"retry-after-ms": "1"}, "times": 2}
    up.script("s", [{"error": error, "then": ANSWER}])
    message = client(up, "s", retries=2).messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert message.stop_reason == "tool_use"
    assert [record.status for record in up.log] == [529, 529, 200]
    sums = up.totals()
    assert (sums.requests, sums.errors, sums.invalid) == (3, 2, 0)


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.APIStatusError),
    ],
)
def test_scripted_errors_have_the_real_shape(up: Upstream, status: int, kind: str, raised: type[Exception]) -> None:
    up.script("s", [{"error": {"status": status, "message": "as told"}}])
    with pytest.raises(raised) as caught:
        client(up, "s").messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert isinstance(caught.value, anthropic.APIStatusError)
    assert caught.value.body == {
        "type": "error",
        "error": {"type": kind, "message": "as told"},
        "request_id": "req_00000000",
    }
    assert caught.value.response.headers["request-id"] == "req_00000000"
    assert up.invalid == 0


def test_a_broken_rule_is_answered_400_in_the_real_shape_and_counted(up: Upstream) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client(up).messages.create(model=MODEL, max_tokens=10, messages=[{"role": "user", "content": ""}])
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"] == {
        "type": "invalid_request_error",
        "message": "messages.0: user messages must have non-empty content",
    }
    assert up.invalid == up.totals().invalid == 1
    assert up.log[0].violation == caught.value.body["error"]["message"]


def test_a_stream_cut_in_the_middle_and_whole_at_the_second_try(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "cut_after_events": 5, "times": 1}])
    body = json.dumps(simple(stream=True)).encode()
    with pytest.raises(http.client.IncompleteRead) as cut:
        raw(up, "/v1/messages", body, x_upstream_script="s")
    assert cut.value.partial.count(b"event: ") == 5
    assert b"message_stop" in raw(up, "/v1/messages", body, x_upstream_script="s")[2]
    assert [record.dollars > 0 for record in up.log] == [True, True]


def test_a_whole_answer_cut_in_the_middle(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "cut_after_events": 1}])
    with pytest.raises(http.client.IncompleteRead):
        raw(up, "/v1/messages", json.dumps(simple()).encode(), x_upstream_script="s")


def test_a_stream_that_fails_with_an_error_event(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "fail_after_events": 3}])
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        client(up, "s").messages.stream(model=MODEL, max_tokens=10, messages=HELLO) as stream,
    ):
        stream.get_final_message()


def test_a_gate_holds_the_rest_of_a_stream_back(up: Upstream) -> None:
    up.script("s", [{**ANSWER, "stall": {"after_events": 2, "gate": "go"}}])
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=20)
    body = json.dumps(simple(stream=True))
    connection.request("POST", "/v1/messages", body, {**HEADERS, "x-upstream-script": "s"})
    response = connection.getresponse()
    first = response.readline()
    assert first == b"event: message_start\n"
    assert not up.gate("go").is_set()
    control(up, "/_/gate", {"name": "go"})
    assert b"message_stop" in response.read()
    connection.close()


def test_bad_scripts_are_refused_when_registered(up: Upstream) -> None:
    for reply, wording in (
        ({"contents": []}, "contents"),
        ({}, "needs `content`"),
        ({"error": {}}, "numeric `status`"),
        ({"content": [], "stall": {"second": 1}}, "second"),
        ({"error": {"status": 500}, "then": {}}, "needs `content`"),
    ):
        with pytest.raises(ValueError, match=wording):
            up.script("s", [reply])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_answered_400(up: Upstream, body: bytes) -> None:
    status, _, data = raw(up, "/v1/messages", body)
    assert status == 400
    assert json.loads(data)["error"]["type"] == "invalid_request_error"
    assert up.log[0].body == body


def test_other_doors_are_closed(up: Upstream) -> None:
    body = json.dumps(simple()).encode()
    assert raw(up, "/v1/models", method="GET")[0] == 404
    assert raw(up, "/v1/messages", method="GET")[0] == 405
    assert raw(up, "/v1/messages", body, x_api_key="")[0] == 401
    assert raw(up, "/v1/messages", body, anthropic_version="")[0] == 400
    assert raw(up, "/v1/messages", body, x_upstream_clock="noon")[0] == 400
    assert raw(up, "/v1/messages", body, x_upstream_bytes_per_token="0")[0] == 400
    assert raw(up, "/v1/messages", body, authorization="Bearer x", x_api_key="")[0] == 200
    assert len(up.log) == 7


def test_credentials_are_not_kept(up: Upstream) -> None:
    client(up).messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert "secret" not in repr(up.log[0].headers)
    assert up.log[0].headers["anthropic-version"]
    assert "secret" not in json.dumps(control(up, "/_/log"))


def test_counting_tokens(up: Upstream) -> None:
    count = client(up).messages.count_tokens(model=MODEL, messages=HELLO)
    message = client(up).messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert count.input_tokens == message.usage.input_tokens
    assert up.totals().requests == 1


def test_gzip_both_ways_and_chunks(up: Upstream) -> None:
    plain = json.dumps(simple()).encode()
    packed = gzip.compress(plain)
    status, headers, data = raw(up, "/v1/messages", packed, content_encoding="gzip", accept_encoding="gzip")
    assert status == 200
    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(data))["type"] == "message"
    assert up.log[0].body == packed
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=20)
    connection.request("POST", "/v1/messages", iter([plain[:10], plain[10:]]), HEADERS, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["type"] == "message"
    assert up.log[1].body == plain
    connection.close()


def test_many_requests_on_one_connection(up: Upstream) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=20)
    sockets = set()
    for stream in (False, True, False, True):
        connection.request("POST", "/v1/messages", json.dumps(simple(stream=stream)), HEADERS)
        response = connection.getresponse()
        sockets.add(id(connection.sock))
        assert response.status == 200
        response.read()
    assert len(sockets) == 1
    connection.close()


def test_a_large_body_is_taken_and_one_over_the_limit_refused(up: Upstream) -> None:
    for size, status in ((31_000_000, 200), (33_000_000, 413)):
        body = simple(messages=[{"role": "user", "content": "x" * size}])
        assert raw(up, "/v1/messages", json.dumps(body).encode())[0] == status
    assert up.invalid == 0


def test_a_request_that_ends_in_the_middle_is_none(up: Upstream) -> None:
    """Whoever sent it was killed, and nobody is there to be answered."""
    with socket.create_connection(("127.0.0.1", up.port), timeout=20) as half:
        half.sendall(b'POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"model":')
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1) == b""
    assert up.log == []


def test_parallel_requests_are_all_answered_and_numbered(up: Upstream) -> None:
    answers: list[int] = []

    def one() -> None:
        answers.append(raw(up, "/v1/messages", json.dumps(simple(stream=True)).encode())[0])

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 20
    assert [record.n for record in up.log] == list(range(20))


def test_driven_from_another_process(up: Upstream) -> None:
    control(up, "/_/script", {"name": "hi", "replies": [{"content": [text("hi")]}]})
    assert control(up, "/_/script") == {"scripts": ["hi"]}
    control(up, "/_/clock", {"now": 1000})
    assert control(up, "/_/clock", {"advance": 5})["now"] == 1005
    control(up, "/_/warm", {"session": "a", "upto": "tools"})
    raw(up, "/v1/messages", json.dumps(simple()).encode(), x_upstream_session="a", x_upstream_script="hi")
    records = control(up, "/_/log?label=a")["records"]
    assert [(record["time"], record["label"], record["status"]) for record in records] == [(1005, "a", 200)]
    assert base64.b64decode(control(up, "/_/body?n=0")["base64"]) == json.dumps(simple()).encode()
    assert control(up, "/_/totals?label=a")["requests"] == 1
    assert control(up, "/_/totals?label=b")["requests"] == 0
    assert raw(up, "/_/nothing", method="GET")[0] == 404
    assert raw(up, "/_/script", b'{"name": 1}')[0] == 400
    control(up, "/_/reset", {})
    assert control(up, "/_/log") == {"records": [], "next": 0}


def test_only_so_many_bodies_are_kept() -> None:
    with Upstream(keep_bodies=1) as up:
        for _ in range(2):
            raw(up, "/v1/messages", json.dumps(simple()).encode())
        assert up.log[1].body
        with pytest.raises(LookupError):
            _ = up.log[0].body


def test_tls_under_the_providers_name() -> None:
    with Upstream(tls=True) as up:
        context = ssl.create_default_context(cafile=str(up.ca_file))
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", up.port), 20), server_hostname="api.anthropic.com"
        ) as connection:
            assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        own = anthropic.DefaultHttpxClient(verify=context)
        speaker = anthropic.Anthropic(base_url=up.url, api_key="x", http_client=own)
        assert speaker.messages.create(model=MODEL, max_tokens=10, messages=HELLO).stop_reason == "end_turn"
        assert up.ca_file.stat().st_mode & 0o077 == 0
        folder = up.ca_file.parent
    assert not folder.exists()


def test_stopping_frees_the_port_and_ends_open_connections() -> None:
    with Upstream() as up:
        connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=20)
        connection.request("POST", "/v1/messages", json.dumps(simple()), HEADERS)
        connection.getresponse().read()
        port = up.port
    assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    with Upstream(port=port) as again:
        assert raw(again, "/v1/messages", json.dumps(simple()).encode())[0] == 200


def test_a_port_in_use_is_said_plainly(up: Upstream) -> None:
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "tests.upstream", "--port", str(up.port)]
    failed = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"cannot listen on port {up.port}: ")


def test_by_hand() -> None:
    root = Path(__file__).resolve().parent.parent
    server = subprocess.Popen([sys.executable, "-m", "tests.upstream"], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        speaker = anthropic.Anthropic(base_url=url, api_key="x")
        assert speaker.messages.create(model=MODEL, max_tokens=10, messages=HELLO).stop_reason == "end_turn"
    finally:
        server.terminate()
        assert server.wait(20) == 0
        if server.stdout:
            server.stdout.close()
