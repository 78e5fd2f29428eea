"""Answers stream through: nothing is held back, nothing is added, and a broken stream looks as broken as it is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.transport import Refused, assemble, events, spell
from tests.e2e.world import MESSAGES, Mode, World, world

HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "test-key"}


@pytest.fixture(scope="module", params=["regular", "reverse"])
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    mode: Mode = request.param
    with world(tmp_path_factory.mktemp("world"), mode) as found:
        yield found


def ask(connection: http.client.HTTPConnection, script: str, **more: str) -> http.client.HTTPResponse:
    body: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 16, "stream": True}
    body["messages"] = [{"role": "user", "content": "hello"}]
    connection.request("POST", MESSAGES, spell(body), HEADERS | {"x-upstream-script": script} | more)
    return connection.getresponse()


def test_the_first_event_arrives_before_the_last_is_sent(there: World) -> None:
    content = [{"type": "text", "text": "The first words. " * 20}, {"type": "text", "text": "The last."}]
    there.up.script("gated", [{"content": content, "stall": {"after_events": 3, "gate": "go"}}])
    with there.connection() as connection:
        stream = events(ask(connection, "gated"))
        first = next(stream)
        assert first["type"] == "message_start"
        # the provider waits for this; a proxy that waited for the end would never have let us get here
        there.up.gate("go").set()
        rest = list(stream)
    assert rest[-1]["type"] == "message_stop"
    assert assemble(iter([first, *rest]))["content"] == content


def test_a_request_that_is_signed_is_left_alone_and_its_answer_streams(there: World) -> None:
    content = [{"type": "text", "text": "The first words. " * 20}]
    there.up.script("signed", [{"content": content, "stall": {"after_events": 3, "gate": "signed"}}])
    with there.connection() as connection:
        stream = events(ask(connection, "signed", authorization="AWS4-HMAC-SHA256 Credential=any, Signature=any"))
        first = next(stream)
        there.up.gate("signed").set()
        assert assemble(iter([first, *stream]))["content"] == content
    assert there.proxy.metrics()['mmu_passed_through_total{reason="signed"}'] == 1


def test_a_cut_stream_is_cut_for_the_client_too(there: World) -> None:
    there.up.script("cut", [{"content": [{"type": "text", "text": "never finished " * 9}], "cut_after_events": 3}])
    with there.connection() as connection, pytest.raises((EOFError, http.client.IncompleteRead, ConnectionError)):
        assemble(events(ask(connection, "cut")))


def test_an_error_in_the_stream_reaches_the_client(there: World) -> None:
    there.up.script("fails", [{"content": [{"type": "text", "text": "some words"}], "fail_after_events": 3}])
    with there.connection() as connection, pytest.raises(Refused, match="overloaded_error"):
        assemble(events(ask(connection, "fails")))


def test_an_error_reaches_the_client_word_for_word(there: World) -> None:
    message = "messages.0.content.0: a very particular complaint"
    error = {"status": 400, "type": "invalid_request_error", "message": message, "headers": {"x-should-retry": "false"}}
    there.up.script("refused", [{"error": error}])
    before = len(there.up.log)
    with there.connection() as connection:
        response = ask(connection, "refused")
        told = json.loads(response.read())
    assert (response.status, told["error"]["message"], response.headers["x-should-retry"]) == (400, message, "false")
    assert len(there.up.log) == before + 1, "an untouched request was sent twice"


def test_a_plain_answer_after_a_stream_on_the_same_connection(there: World) -> None:
    there.up.script("short", [{"content": [{"type": "text", "text": "short"}]}])
    with there.connection() as connection:
        response = ask(connection, "short")
        assert assemble(events(response))["content"][0]["text"] == "short"
        response.read()
        connection.request("GET", "/_/totals")
        assert connection.getresponse().status == 200
