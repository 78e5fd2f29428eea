"""Flow files of mitmproxy: whole requests, with their tools and what their responses say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mitmproxy import io
from mitmproxy.flow import Flow
from mitmproxy.http import HTTPFlow, Response
from mitmproxy.test import tflow

from tests.audit.make import Json, keeping, measured, read
from tests.audit.test_claude_code import prompts

TOOLS = [
    {"name": "Read", "description": "¤¤¤", "input_schema": {}},
    {"name": "Bash", "description": "¤¤¤¤¤", "input_schema": {}},
    {"name": "Web", "description": "¤¤¤¤¤¤¤", "input_schema": {}},
    {"name": "Later", "description": "¤¤¤¤¤¤¤¤¤", "input_schema": {}, "defer_loading": True},
]
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a"}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "¤¤"}]}


def asked(messages: list[Json], at: float, answer: Json | str, **headers: str) -> HTTPFlow:
    flow = tflow.tflow()
    flow.request.host, flow.request.path, flow.request.method = "api.anthropic.com", "/v1/messages?beta=true", "POST"
    for key, value in headers.items():
        flow.request.headers[key.replace("_", "-")] = value
    body = {"model": "claude-opus-4-5", "system": "¤¤¤¤¤¤¤¤¤¤", "tools": TOOLS, "messages": messages}
    flow.request.headers["content-encoding"] = "gzip"
    flow.request.content = json.dumps(body, ensure_ascii=False).encode()
    flow.request.timestamp_start = at
    text = answer if isinstance(answer, str) else json.dumps(answer)
    kind = "text/event-stream" if isinstance(answer, str) else "application/json"
    flow.response = Response.make(200, text.encode(), {"content-type": kind})
    return flow


def usage(fresh: int, **more: Any) -> Json:
    return {"type": "message", "usage": {"input_tokens": fresh, "output_tokens": 1}, **more}


def streamed(*events: Json) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def write(path: Path, *flows: Flow) -> Path:
    with path.open("wb") as file:
        writer = io.FlowWriter(file)
        for flow in flows:
            writer.add(flow)
    return path


def conversation() -> list[HTTPFlow]:
    user = {"role": "user", "content": "¤"}
    answer = streamed(
        {"type": "message_start", "message": usage(70)},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t2", "name": "Bash", "input": {}},
        },
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
    )
    return [asked([user], 100.0, usage(50)), asked([user, CALL, RESULT], 500.0, answer)]


def test_figures_by_hand(tmp_path: Path) -> None:
    [session], skipped = read(write(tmp_path / "f.mitm", *conversation()))
    assert prompts(session) == [[1, 3]]
    figures = measured(session)
    # 10 of system and 15 of tools stand in both; the deferred tool does not.
    assert (figures.sent, figures.unique) == (25 + 1 + 25 + 3, 25 + 3)
    assert figures.static == 25 + 1
    # Read was called in the transcript, Bash in the last answer, Web never.
    assert (figures.unused, figures.sent_declared) == (2 * 7, figures.sent)
    assert (figures.reported, figures.reported_requests) == (120, 2)
    # 400 s idle: all of the first request was sent again.
    assert (figures.cold, figures.cold_tokens, figures.timed) == ({300: 1, 3600: 0}, {300: 26, 3600: 0}, 1)
    assert not skipped


def test_the_folder_that_a_client_works_in(tmp_path: Path) -> None:
    told = "<env>\n - Primary working directory: /home/me/project\n</env>"
    flow = asked([{"role": "user", "content": told}], 1.0, usage(1), user_agent="claude-cli/2.1 (x)")
    [session] = keeping(write(tmp_path / "f", flow))
    [(_, request)] = session.in_order()
    assert request.sent is not None
    assert request.sent.project == "/home/me/project"


def test_sessions_that_clients_name(tmp_path: Path) -> None:
    user = {"role": "user", "content": "¤"}
    flows = [
        asked([user], 1.0, usage(1), x_claude_code_session_id="one", user_agent="claude-cli/2.1 (x)"),
        asked([user], 2.0, usage(1), x_claude_code_session_id="two", user_agent="claude-cli/2.1 (x)"),
        asked([user, CALL, RESULT], 3.0, usage(1), x_claude_code_session_id="one", user_agent="claude-cli/2.1 (x)"),
    ]
    found, _ = read(write(tmp_path / "f", *flows))
    assert {session.name: prompts(session) for session in found} == {"f#one": [[1, 3]], "f#two": [[1]]}
    assert {session.client for session in found} == {"claude-code"}


def test_what_is_no_answered_request_is_left_out(tmp_path: Path) -> None:
    other, raw = tflow.tflow(resp=True), tflow.ttcpflow()
    refused = asked([{"role": "user", "content": "¤"}], 1.0, usage(1))
    assert refused.response is not None
    refused.response.status_code = 529
    odd = asked([{"role": "user", "content": 7}], 1.0, usage(1))
    [session], skipped = read(write(tmp_path / "f", other, raw, refused, odd, *conversation()))
    assert session.requests == 2
    assert skipped == {"requests refused by the provider": 1, "requests not understood": 1}


def test_a_damaged_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "f", *conversation())
    path.write_bytes(path.read_bytes()[:-100])
    [session], skipped = read(path)
    assert session.requests == 1
    assert skipped == {"files damaged, read up to there": 1}
