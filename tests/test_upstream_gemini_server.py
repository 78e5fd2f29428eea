"""The strict Gemini upstream on a socket, as a bare client and the vendor's own see it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.upstream import Upstream
from tests.upstream.gemini_direct import FUNCTION, MODEL, THIRD, address, model, request, result, user

if TYPE_CHECKING:
    from google.genai import Client, types
    from google.genai.models import Models

HELLO = request(user("hello"))
ARGUMENTS: dict[str, Any] = {"path": "ä" * 60, "lines": [1, 2], "whole": True}
CALL = {"type": "tool_use", "id": "call_1", "name": "Read", "input": ARGUMENTS}
THOUGHT = {"type": "thinking", "thinking": "one moment, " * 20}
SAID = "Let me read “it”. " * 9
ANSWER: dict[str, Any] = {"content": [THOUGHT, {"type": "text", "text": SAID}, CALL, {**CALL, "id": "call_2"}]}
WORDS: dict[str, Any] = {"content": [{"type": "text", "text": SAID}]}
STREAMED = {"sse": "?alt=sse", "array": ""}


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def raw(up: Upstream, path: str, body: dict[str, Any] = HELLO, **headers: str) -> http.client.HTTPResponse:
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    key = {} if "key=" in path else {"x-goog-api-key": "secret"}
    sent = {"content-type": "application/json", **key, **own}
    response: http.client.HTTPResponse = urllib.request.urlopen(
        urllib.request.Request(up.url + path, json.dumps(body).encode(), sent)
    )
    return response


def streamed(name: str, form: str) -> str:
    return f"/v1beta/models/{name}:streamGenerateContent{STREAMED[form]}"


def decoded(data: bytes, form: str) -> list[dict[str, Any]]:
    if form == "array":
        elements: list[dict[str, Any]] = json.loads(data)
        return elements
    assert data.endswith(b"\r\n\r\n")
    events = data.split(b"\r\n\r\n")[:-1]
    assert all(event.startswith(b"data: ") for event in events)
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def parts(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]


def joined(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of one text put together again, a signature that came behind them in its place."""
    whole: list[dict[str, Any]] = []
    for piece in pieces:
        last = whole[-1] if whole else {}
        if "text" in piece and "text" in last and piece.get("thought") == last.get("thought"):
            whole[-1] = {**last, **piece, "text": last["text"] + piece["text"]}
        else:
            whole.append(piece)
    return whole


@pytest.mark.parametrize("form", STREAMED)
@pytest.mark.parametrize("name", [MODEL, THIRD])
@pytest.mark.parametrize("reply", [ANSWER, WORDS], ids=["calls", "words"])
def test_a_stream_has_the_same_content(up: Upstream, reply: dict[str, Any], name: str, form: str) -> None:
    up.script("s", [reply])
    whole = json.load(raw(up, address(name), x_upstream_script="s"))
    response = raw(up, streamed(name, form), x_upstream_script="s")
    kind = "text/event-stream; charset=utf-8" if form == "sse" else "application/json; charset=UTF-8"
    assert response.headers["content-type"] == kind
    chunks = decoded(response.read(), form)
    pieces = parts(chunks)
    assert joined(pieces) == whole["candidates"][0]["content"]["parts"]
    assert all(len(chunk["candidates"][0]["content"]["parts"]) == 1 for chunk in chunks)
    assert len(pieces) > 3
    finishes = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
    assert finishes == [None] * (len(finishes) - 1) + ["STOP"]
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
    totals = [chunk["usageMetadata"]["totalTokenCount"] for chunk in chunks]
    assert totals == sorted(totals)
    assert len(set(totals)) > 3
    if reply is ANSWER:
        assert "thoughtsTokenCount" in chunks[0]["usageMetadata"]
        assert "candidatesTokenCount" not in chunks[0]["usageMetadata"]
    assert {chunk["usageMetadata"]["promptTokenCount"] for chunk in chunks} == {
        whole["usageMetadata"]["promptTokenCount"]
    }
    assert len({(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks}) == 1
    assert [record.stream for record in up.log] == [False, True]
    assert up.log[0].dollars == up.log[1].dollars


def test_a_signature_comes_behind_the_words_it_belongs_to(up: Upstream) -> None:
    up.script("s", [WORDS])
    pieces = parts(decoded(raw(up, streamed(THIRD, "sse"), x_upstream_script="s").read(), "sse"))
    assert set(pieces[-1]) == {"text", "thoughtSignature"}
    assert pieces[-1]["text"] == ""
    assert not any("thoughtSignature" in piece for piece in pieces[:-1])
    up.script("t", [{"content": []}])
    assert len(decoded(raw(up, streamed(THIRD, "array"), x_upstream_script="t").read(), "array")) == 1


@pytest.mark.parametrize("form", STREAMED)
def test_what_was_streamed_can_be_sent_back(up: Upstream, form: str) -> None:
    up.script("s", [ANSWER, WORDS])
    pieces = parts(decoded(raw(up, streamed(THIRD, form), x_upstream_script="s").read(), form))
    back = user(result(identity="call_2"), result(identity="call_1"))
    for said in (pieces, joined(pieces)):
        grown = request(user("hello"), model(*said), back)
        answer = json.load(raw(up, address(THIRD), grown, x_upstream_script="s"))
        assert answer["candidates"][0]["content"]["parts"][0]["text"] == SAID
    assert up.invalid == 0


@pytest.mark.parametrize("form", STREAMED)
def test_streams_break_where_the_script_says(up: Upstream, form: str) -> None:
    up.script("s", [{**WORDS, "cut_after_events": 2, "times": 1}])
    cut = raw(up, streamed(MODEL, form), x_upstream_script="s")
    with pytest.raises(http.client.IncompleteRead) as caught:
        cut.read()
    assert caught.value.partial.count(b'"candidates"') == 2
    assert len(decoded(raw(up, streamed(MODEL, form), x_upstream_script="s").read(), form)) > 2
    for after in (0, 2):
        up.script("f", [{**WORDS, "fail_after_events": after}])
        *good, failure = decoded(raw(up, streamed(MODEL, form), x_upstream_script="f").read(), form)
        assert len(good) == after
        assert (failure["error"]["code"], failure["error"]["status"]) == (503, "UNAVAILABLE")


def test_a_stalled_stream_waits_for_its_gate(up: Upstream) -> None:
    up.script("s", [{**WORDS, "stall": {"after_events": 1, "gate": "g"}, "delay_ms": 1}])
    response = raw(up, streamed(MODEL, "sse"), x_upstream_script="s")
    assert b"Let me" in response.readline()
    up.gate("g").set()
    assert response.read().count(b"data: ") > 2


def test_credentials_are_a_header_or_a_parameter(up: Upstream) -> None:
    bare: Any = urllib.request.Request(up.url + address(MODEL), json.dumps(HELLO).encode(), method="POST")
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        urllib.request.urlopen(bare)
    assert json.load(caught.value)["error"]["status"] == "UNAUTHENTICATED"
    assert raw(up, address(MODEL) + "?key=secret").status == 200
    assert raw(up, address(MODEL)).status == 200
    seen = json.dumps([record.as_dict() for record in up.log])
    assert "secret" not in seen


def test_the_certificate_is_good_for_the_host() -> None:
    with Upstream(tls=True) as up:
        certificate = x509.load_pem_x509_certificate(up.ca_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "generativelanguage.googleapis.com" in names.get_values_for_type(x509.DNSName)


# The vendor's own client


@pytest.fixture
def genai() -> Any:
    return pytest.importorskip("google.genai", reason="google-genai is not installed: its client is NOT tested")


@pytest.fixture
def models(genai: Any, up: Upstream) -> Iterator[Callable[..., Models]]:
    """Makes the part of a client that asks; a client that nobody holds closes itself."""
    held: list[Client] = []

    def make(script: str = "", version: str = "v1beta", attempts: int = 1) -> Models:
        options = genai.types.HttpOptions(
            base_url=up.url,
            api_version=version,
            headers={"x-upstream-script": script} if script else {},
            retry_options=genai.types.HttpRetryOptions(attempts=attempts, initial_delay=0.01, max_delay=0.02),
        )
        held.append(genai.Client(api_key="secret", http_options=options))
        return held[-1].models

    yield make
    for client in held:
        client.close()


def settings(genai: Any) -> types.GenerateContentConfig:
    t = genai.types
    made: types.GenerateContentConfig = t.GenerateContentConfig(
        system_instruction="Be good.",
        temperature=0.5,
        max_output_tokens=1000,
        tools=[
            t.Tool(
                function_declarations=[
                    t.FunctionDeclaration(
                        name=FUNCTION["name"], parameters_json_schema=FUNCTION["parametersJsonSchema"]
                    ),
                    t.FunctionDeclaration(
                        name="Grep",
                        description="d",
                        parameters=t.Schema(type=t.Type.OBJECT, properties={"a": t.Schema(type=t.Type.STRING)}),
                    ),
                ]
            ),
            t.Tool(google_search=t.GoogleSearch()),
        ],
        tool_config=t.ToolConfig(function_calling_config=t.FunctionCallingConfig(mode="AUTO")),
        thinking_config=t.ThinkingConfig(include_thoughts=True),
        safety_settings=[t.SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="BLOCK_NONE")],
        automatic_function_calling=t.AutomaticFunctionCallingConfig(disable=True),
    )
    return made


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("name", [MODEL, THIRD])
def test_the_client_plays_a_round(
    genai: Any, models: Callable[..., Models], up: Upstream, name: str, version: str
) -> None:
    up.script("s", [ANSWER, WORDS])
    ask, t = models("s", version), genai.types
    first = ask.generate_content(model=name, contents="hello", config=settings(genai))
    assert [made.args for made in first.function_calls or []] == [ARGUMENTS, ARGUMENTS]
    assert first.candidates is not None
    said = first.candidates[0].content
    assert said is not None
    assert said.parts is not None
    assert (said.parts[0].thought, said.parts[1].text) == (True, SAID)
    assert (said.parts[2].thought_signature is not None) is (name == THIRD)
    back = [
        t.Part(function_response=t.FunctionResponse(id=made.id, name=made.name, response={"output": "x"}))
        for made in first.function_calls or []
    ]
    contents = [t.UserContent("hello"), said, t.UserContent(back)]
    second = ask.generate_content(model=name, contents=contents, config=settings(genai))
    assert second.text == SAID
    assert second.usage_metadata is not None
    assert second.usage_metadata.cached_content_token_count is None
    assert (second.model_version, second.response_id) == (name, "resp_00000001")
    assert up.invalid == 0
    assert [record.turn for record in up.log] == [0, 1]


@pytest.mark.parametrize("name", [MODEL, THIRD])
def test_the_client_streams_and_sends_back_what_it_got(
    genai: Any, models: Callable[..., Models], up: Upstream, name: str
) -> None:
    up.script("s", [ANSWER, WORDS, WORDS])
    ask, t = models("s"), genai.types
    contents = [t.UserContent("hello")]
    for _ in range(3):
        got = list(ask.generate_content_stream(model=name, contents=contents, config=settings(genai)))
        assert len(got) > 3
        assert "".join(chunk.text or "" for chunk in got) == SAID
        made = [part for chunk in got for part in chunk.candidates[0].content.parts]  # type: ignore[index,union-attr]
        calls = [part.function_call for part in made if part.function_call]
        assert [call.args for call in calls] == [ARGUMENTS] * (2 if len(contents) == 1 else 0)
        contents.append(t.Content(role="model", parts=made))
        responses = [t.FunctionResponse(id=call.id, name=call.name, response={"output": "x"}) for call in calls]
        contents.append(t.UserContent([t.Part(function_response=each) for each in responses] or "go on"))
    assert up.invalid == 0
    assert all(record.stream for record in up.log)


def test_the_client_raises_what_it_knows(genai: Any, models: Callable[..., Models], up: Upstream) -> None:
    up.script("s", [{"error": {"status": 429, "message": "slow"}, "then": WORDS}])
    with pytest.raises(genai.errors.ClientError) as caught:
        models("s").generate_content(model=MODEL, contents="hello")
    assert (caught.value.code, caught.value.status, caught.value.message) == (429, "RESOURCE_EXHAUSTED", "slow")
    up.reset()
    up.script("s", [{"error": {"status": 503}, "then": WORDS}])
    assert models("s", attempts=2).generate_content(model=MODEL, contents="hello").text == SAID
    assert [record.status for record in up.log] == [503, 200]
    with pytest.raises(genai.errors.ClientError, match="not blank"):
        models().generate_content(model=MODEL, contents=" ")
    assert up.invalid == 1
    up.script("f", [{**WORDS, "fail_after_events": 2}])
    failing = models("f").generate_content_stream(model=MODEL, contents="hello")
    assert [chunk.text for chunk in (next(failing), next(failing))] == [SAID[:48], SAID[48:96]]
    with pytest.raises(genai.errors.ServerError, match="overloaded"):
        next(failing)
    with pytest.raises(genai.errors.ServerError, match="UNAVAILABLE"):
        models("f").generate_content(model=MODEL, contents="hello")
    up.script("c", [{**WORDS, "cut_after_events": 1}])
    with pytest.raises(Exception, match=r"peer closed|incomplete|Connection"):
        list(models("c").generate_content_stream(model=MODEL, contents="hello"))


def test_the_client_sees_what_was_read_from_the_cache(models: Callable[..., Models], up: Upstream) -> None:
    ask = models()
    first, second = (
        ask.generate_content(model=MODEL, contents="x" * 10_000).usage_metadata,
        ask.generate_content(model=MODEL, contents="x" * 10_000).usage_metadata,
    )
    assert first is not None
    assert second is not None
    assert (first.cached_content_token_count, second.prompt_token_count) == (None, first.prompt_token_count)
    assert second.cached_content_token_count == up.log[1].usage["cache_read_input_tokens"] > 2000
    assert up.log[1].dollars < up.log[0].dollars
