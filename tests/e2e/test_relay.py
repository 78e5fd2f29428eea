"""Recall by relay, end to end through the vendor's SDK: the model gets its page, and the client sees one answer."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import pytest

from addon.recall.answer import NO_PAGE
from tests.agent.transport import assemble, events, spell
from tests.e2e.model import evicted, output
from tests.e2e.talk import BASH, Talk, recall, text
from tests.e2e.world import MESSAGES, Mode, World, blocks, head, relays_failed, until, world


def monotone(bodies: list[bytes]) -> bool:
    """Whether each request begins with all of the one before."""
    found = [(head_of(body), blocks(body)) for body in bodies]
    return all(b[0] == a[0] and b[1][: len(a[1])] == a[1] for a, b in pairwise(found))


def head_of(body: bytes) -> str:
    parsed = json.loads(body)
    return head(body) if "system" in parsed else json.dumps(parsed["tools"])


WAYS = [("regular", False), ("regular", True), ("reverse", False), ("upstream", False)]
EVERY_WAY = pytest.mark.parametrize(("mode", "http2"), WAYS, ids=["h1", "h2", "reverse", "upstream"])


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
@EVERY_WAY
def test_the_model_gets_its_pages_and_the_client_one_answer(
    tmp_path: Path, mode: Mode, http2: bool, stream: bool
) -> None:
    with world(tmp_path, mode) as there:
        talk = Talk(there, stream=stream, http2=http2)
        page = evicted(talk)
        start = len(talk.seen())

        # one recall, then another in the same answer, of which only lines are wanted
        said = talk.turn(
            [text("Let me see."), recall(page)], [recall(page, lines="3-4")], [text("It has 80 rows.")]
        )
        assert said == [text("Let me see."), text("It has 80 rows.")]
        assert talk.got.stop_reason == "end_turn"
        last = there.up.log[-1]
        assert last.usage is not None
        used = talk.got.usage
        assert used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens == sum(
            last.usage[k] for k in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        )
        assert used.output_tokens == sum(r.usage["output_tokens"] for r in talk.seen()[start:] if r.usage)
        first = talk.got.id
        if not stream:
            assert talk.got.id == f"msg_{last.n:08d}"

        # a recall beside a real call: the client runs its own, and the page goes along with the result
        talk.say("and the date?")
        said = talk.turn([text("Both."), recall(page, grep="row 7 "), BASH])
        assert [block["type"] for block in said] == ["text", "tool_use"]
        result = {"type": "tool_result", "tool_use_id": said[-1]["id"], "content": "Monday"}
        talk.messages.append({"role": "user", "content": [result]})
        assert talk.turn([text("Done.")]) == [text("Done.")]
        before = talk.results()
        assert list(before.values()) == [
            output(0),
            "3\trow 2 of output 0, in full\n4\trow 3 of output 0, in full",
            "\n".join(f"{n}\trow {n - 1} of output 0, in full" for n in range(6, 11)),
        ]

        # it says which message it was answered with last, as the provider knows it
        talk.extra = {"diagnostics": {"previous_message_id": first}}
        talk.say("and?")
        talk.turn([text("So.")])
        assert talk.last()["diagnostics"]["previous_message_id"] == f"msg_{last.n:08d}"
        talk.extra = {}

        # all of it stands in every later request, also after a crash in the middle of nothing
        there.proxy.kill()
        there.proxy.restart()
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert talk.results() == before
        assert monotone(talk.bodies()[start - 1 :])
        assert there.up.invalid == 0


@contextmanager
def asking(there: World, talk: Talk, then: list[dict[str, Any]]) -> Iterator[http.client.HTTPResponse]:
    """A streamed request over a bare connection; the model answers with the replies in `then`."""
    talk.now += 5
    talk.then = then
    body = {"model": talk.model, "max_tokens": 1000, "stream": True, "messages": talk.messages}
    body["tools"] = [{"name": n, "description": n, "input_schema": {"type": "object"}} for n in ("Bash", "Read")]
    clock = {"x-mmu-clock": str(talk.now), "x-upstream-clock": str(talk.now)}
    names = {"x-upstream-script": "recall", "x-upstream-session": "m", "anthropic-version": "2023-06-01"}
    with there.connection() as connection:
        connection.request("POST", MESSAGES, spell(body), clock | names | {"authorization": "Bearer test-key"})
        yield connection.getresponse()


def replies(talk: Talk, page: str, **second: Any) -> list[dict[str, Any]]:
    return [
        {"content": [*talk.thought(), text("Let me see."), recall(page)]},
        {"content": [text("It has rows. " * 9)], **second},
    ]


def to_provider(there: World) -> int:
    """Open connections to the provider."""
    port = f":{there.up.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(port) and line.split()[3] == "01" for line in lines)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="counts connections in /proc/net/tcp, which is not here")
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
@EVERY_WAY
def test_a_client_that_goes_away_in_between_lets_go_of_the_provider(
    tmp_path: Path, mode: Mode, http2: bool, stream: bool
) -> None:
    with world(tmp_path, mode) as there:
        talk = Talk(there, stream=stream, http2=http2)
        page = evicted(talk)
        talk.then = replies(talk, page, stall={"after_events": 3, "gate": "never"})
        with ThreadPoolExecutor(1) as aside:
            lost = aside.submit(talk.request)
            until(lambda: not talk.then, "the model was not asked to go on")
            until(lambda: to_provider(there) > 0, "nobody is listening to it")
            time.sleep(0.1)
            connections = to_provider(there)
            hang_up(talk)
            until(lambda: to_provider(there) < connections, "the provider is still being listened to")
            there.up.gate("never").set()
            assert lost.exception(30) is not None
        if stream:
            until(lambda: there.proxy.metrics().get('mmu_relays_total{result="client gone"}') == 1, "not counted")
        # the client asks again, and nothing of the first try is in the way
        again = Talk(there, stream=stream, http2=http2)
        again.messages, again.now = talk.messages, talk.now
        assert again.turn([text("Let me see."), recall(page)], [text("Rows.")])[-1] == text("Rows.")
        again.say("go on")
        again.turn([text("Yes.")])
        assert list(again.results().values()) == [output(0)]
        assert there.up.invalid == 0


def hang_up(talk: Talk) -> None:
    """Shut the connections of the client under it: another thread is waiting for them."""
    transports: list[Any] = [talk.http._transport, *talk.http._mounts.values()]
    pools = [transport._pool for transport in transports if transport is not None]
    for connection in (c for each in pools for c in each.connections):
        raw = connection._connection._network_stream.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)


OVERLOADED: dict[str, Any] = {"error": {"status": 529, "message": "Overloaded for a very particular reason"}}
ROWS: dict[str, Any] = {"content": [text("It has rows. " * 9)]}


@EVERY_WAY
def test_an_error_in_between_is_the_streams_own_error(tmp_path: Path, mode: Mode, http2: bool) -> None:
    with world(tmp_path, mode) as there:
        for n, broken in enumerate([OVERLOADED, {**ROWS, "cut_after_events": 4}, {**ROWS, "fail_after_events": 4}]):
            talk = Talk(there, stream=True, http2=http2)
            talk.messages = [{"role": "user", "content": f"begin {n}"}]
            page = evicted(talk, 100 * n)
            talk.then = [replies(talk, page)[0], broken]
            with pytest.raises(anthropic.APIStatusError) as caught:
                talk.request()
            # the other proxy waits for the whole answer, and says 502 of one that is cut
            kind = "api_error" if mode == "upstream" and "cut_after_events" in broken else "overloaded_error"
            assert kind in str(caught.value)
            if broken is OVERLOADED:
                assert "a very particular reason" in str(caught.value)
            relays_failed(there, n + 1)
            # agents ask again
            assert talk.turn([text("Let me see."), recall(page)], [text("Rows.")])[-1] == text("Rows.")
            talk.say("go on")
            talk.turn([text("Yes.")])
            assert list(talk.results().values()) == [output(100 * n)]
        assert there.up.invalid == 0


@EVERY_WAY
def test_a_plain_answer_that_cannot_be_carried_on_is_the_providers_error(
    tmp_path: Path, mode: Mode, http2: bool
) -> None:
    with world(tmp_path, mode) as there:
        for n, broken in enumerate([OVERLOADED, {**ROWS, "cut_after_events": 4}]):
            talk = Talk(there, stream=False, http2=http2)
            talk.messages = [{"role": "user", "content": f"begin {n}"}]
            page = evicted(talk, 100 * n)
            talk.then = [{"content": [*talk.thought(), recall(page)]}, broken]
            why = "a very particular reason" if n == 0 else "502" if mode == "upstream" else "broke off"
            with pytest.raises(anthropic.APIStatusError, match=why):
                talk.request()
            assert talk.turn([recall(page)], [text("Rows.")]) == [text("Rows.")]
        assert there.up.invalid == 0


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_a_page_that_does_not_fit_is_taken_back(tmp_path: Path, stream: bool) -> None:
    too_long = {"error": {"status": 400, "message": "prompt is too long: 200001 tokens > 200000 maximum"}}
    with world(tmp_path) as there:
        talk = Talk(there, stream=stream)
        page = evicted(talk)
        talk.then = [
            {"content": [*talk.thought(), text("Let me see."), recall(page)]},
            too_long,
            {"content": [text("Then not.")]},
        ]
        said = talk.request()
        assert said[-1] == text("Then not.")
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert [got.startswith("This does not fit") for got in talk.results().values()] == [True]
        assert there.up.invalid == 0


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_what_the_provider_refuses_for_good_reaches_the_client(tmp_path: Path, stream: bool) -> None:
    refused = {"error": {"status": 400, "message": "no"}}
    with world(tmp_path) as there:
        talk = Talk(there, stream=stream)
        page = evicted(talk)
        talk.then = [{"content": [*talk.thought(), text("Let me see."), recall(page)]}, refused, refused]
        said = talk.request()
        assert [b["type"] for b in said] == ["thinking", "text", "tool_use"]
        # the client refuses the call, and is corrected: recall by patch
        answer = {"type": "tool_result", "tool_use_id": said[-1]["id"], "content": "No such tool", "is_error": True}
        talk.messages.append({"role": "user", "content": [answer]})
        talk.turn([text("Thanks.")])
        assert list(talk.results().values()) == [output(0)]
        assert there.up.invalid == 0


def test_a_model_that_asks_and_asks_is_told_to_stop_and_then_stopped(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True)
        page = evicted(talk)
        start = len(talk.seen())
        talk.then = [{"content": [*talk.thought(), recall(page, lines=f"{n}")]} for n in range(1, 40)]
        said = talk.request()
        assert said[-1]["name"] == "mmu_recall"
        assert len(talk.seen()) - start == 10
        assert "Too many pages" in [*talk.results().values()][-1]
        assert there.up.invalid == 0


def test_what_is_unknown_is_said_and_what_stands_above_is_pointed_to(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True)
        page = evicted(talk)
        other = Talk(there, stream=True)
        other.messages = [{"role": "user", "content": "something else"}]
        foreign = evicted(other, 100)
        there.up.script("recall", lambda _: talk._next())
        talk.turn(
            [recall(page)], [recall(page)], [recall(page)], [recall(foreign)], [recall("x")], [recall(page, grep="(")],
            [text("Well.")],
        )  # fmt: skip
        talk.say("go on")
        talk.turn([text("Yes.")])
        got = list(talk.results().values())
        assert got[0] == got[2] == output(0)
        assert got[1].startswith(f"Page {page} stands above already")
        assert got[3].startswith(f"There is no page {foreign} here.")
        assert got[4] == NO_PAGE
        assert got[5].startswith("`grep` is not a pattern")
        assert there.up.invalid == 0


def test_a_recalled_page_leaves_when_the_working_set_lets_it(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model="claude-opus-4-8")
        page = evicted(talk)
        talk.turn([recall(page)], [text("Rows.")])
        talk.say("go on")
        talk.turn([text("Yes.")], idle=4000)
        assert list(talk.results().values()) == [output(0)], "let go too early"
        talk.messages.append({"role": "user", "content": "on"})
        for n in range(24):
            talk.call("Bash", {"command": f"later {n}"}, output(500 + n))
        talk.human(4000)
        talk.ask(text("Yes."))
        (left,) = talk.results().values()
        assert left.startswith(f"[mmu page {page}: Bash make 0, 80 lines")
        assert there.up.invalid == 0


def test_the_store_gone_is_said_and_the_agent_goes_on(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True)
        page = evicted(talk)
        lock = sqlite_lock(there)
        talk.turn([recall(page)], [text("Then not.")])
        lock.close()
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert [got.startswith("It cannot be read just now.") for got in talk.results().values()] == [True]
        there.proxy.kill()
        there.proxy.restart()
        before = talk.bodies()[-1]
        talk.say("on")
        talk.turn([text("Yes.")])
        assert monotone([before, talk.bodies()[-1]])
        assert there.up.invalid == 0


def sqlite_lock(there: World) -> Any:
    """Holds the write lock of the proxy's database."""
    import sqlite3

    connection = sqlite3.connect(there.proxy.home / "mmu.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_first_bytes_come_at_once_and_words_before_the_call_too(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True)
        page = evicted(talk)
        first, second = replies(talk, page)
        first["stall"] = {"after_events": 12, "gate": "words"}
        second["stall"] = {"after_events": 2, "gate": "page"}
        with asking(there, talk, [first, second]) as response:
            stream = events(response)
            seen = [next(stream)]
            assert seen[0]["type"] == "message_start"
            while "text_delta" not in str(seen[-1]):
                seen.append(next(stream))
            there.up.gate("words").set()
            there.up.gate("page").set()
            seen += list(stream)
        message = assemble(iter(seen))
        assert [b["text"] for b in message["content"] if b["type"] == "text"] == ["Let me see.", "It has rows. " * 9]


def test_what_a_fork_is_refused_stands_in_the_conversation_it_left(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model="claude-opus-4-8")
        page = evicted(talk)
        talk.turn([text("Let me see."), recall(page)], [text("It has 80 rows.")])
        shared = copy.deepcopy(talk.messages)
        for words in ("one way", "on"):
            talk.say(words)
            talk.turn([text("Yes.")])
        before = talk.bodies()[-1]

        fork = Talk(there, stream=True, model="claude-opus-4-8")
        fork.messages, fork.now = [*shared, {"role": "user", "content": "another"}], talk.now
        fork.then = [{"error": {"status": 400, "message": "not this one"}}, {"content": [text("Yes.")]}]
        fork.request()
        fork.say("go on")
        fork.turn([text("Yes.")])
        assert not fork.results()

        there.up.script("recall", lambda _: talk._next())
        talk.now = fork.now
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert monotone([before, talk.bodies()[-1]])
        assert list(talk.results().values()) == [output(0)]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_an_answer_got_at_the_second_try_is_carried_on_from_what_was_taken(tmp_path: Path, stream: bool) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=stream, model="claude-opus-4-8")
        page = evicted(talk)
        read = "\n".join(f"{n}\tline {n} of a file that is read twice" for n in range(1, 60))
        talk.call("Read", {"file_path": "a.py"}, read)
        talk.call("Read", {"file_path": "a.py"}, read)
        refused = {"error": {"status": 400, "message": "not this one"}}
        talk.then = [refused, {"content": [text("Let me see."), recall(page)]}, {"content": [text("Rows.")]}]
        said = talk.request()
        assert talk.bodies()[-1].count(b"line 50 of a file") == 2, "what was refused was sent again"
        if stream:  # it came in one piece, and is answered by patch
            answer = {"type": "tool_result", "tool_use_id": said[-1]["id"], "content": "No such tool", "is_error": True}
            talk.messages.append({"role": "user", "content": [answer]})
            assert talk.request()[-1] == text("Rows.")
        else:
            assert said == [text("Let me see."), text("Rows.")]
        talk.say("go on")
        talk.turn([text("Yes.")])
        assert list(talk.results().values()) == [output(0)]
        assert monotone(talk.bodies()[-3:])
        assert there.up.invalid == 0
        assert there.proxy.metrics()["mmu_failures_total"] == 0


def test_streams_that_mitmproxy_keeps_are_booked_like_any_other(tmp_path: Path) -> None:
    with world(tmp_path, store_streamed_bodies="true") as there:
        talk = Talk(there, stream=True)
        page = evicted(talk)
        before = there.proxy.metrics()["mmu_output_tokens_total"]
        assert talk.turn([text("Let me see."), recall(page)], [text("Rows.")])[-1] == text("Rows.")
        until(lambda: there.proxy.metrics()["mmu_output_tokens_total"] > before, "not booked")
        assert there.proxy.metrics()["mmu_failures_total"] == 0


HOUR = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize("automatic", [{"type": "ephemeral"}, None], ids=["automatic", "none"])
def test_no_cache_is_asked_for_where_the_client_asks_for_none(tmp_path: Path, automatic: Any) -> None:
    with world(tmp_path) as there:
        talk = Talk(there, stream=True, model="claude-opus-4-8")
        page = evicted(talk)

        def marked(body: dict[str, Any], headers: dict[str, str]) -> list[dict[str, Any]]:
            body["messages"][0]["content"] = [{**text("begin"), "cache_control": HOUR}]
            body["messages"][-1]["content"][-1].pop("cache_control")
            return talk._sdk({**body, **({"cache_control": automatic} if automatic else {})}, headers)

        talk.send = marked
        talk.turn([text("Let me see."), recall(page)], [text("Rows.")])
        assert "cache_control" not in json.dumps(talk.last()["messages"][1:])
        assert there.up.invalid == 0
