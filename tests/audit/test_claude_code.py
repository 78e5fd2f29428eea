"""Claude Code's transcripts: which requests are rebuilt from them."""

from __future__ import annotations

from pathlib import Path

from addon.audit.recorded import Session
from tests.audit.make import Claude, call, measured, read, text, write


def prompts(session: Session) -> list[list[int]]:
    """For each line, the tokens of each request's messages."""
    return [
        [sum(turn.weight for turn in line.turns[: request.turns]) for request in line.requests]
        for line in session.lines
    ]


def test_an_answer_was_asked_for_with_all_that_stood_before_it(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤¤¤")
    # One answer in three lines, with the result of its first call between them.
    log.says("m1", text("¤"), prompt=40)
    log.says("m1", call("t1", "Read", file_path="/w/a.py"), prompt=40)
    log.result("t1", "¤¤¤¤¤")
    log.says("m1", call("t2", "Bash", command="ls"), prompt=40)
    log.result("t2", "¤¤")
    log.says("m2", text("¤"), prompt=60)
    [session], skipped = read(write(tmp_path / "p" / "one.jsonl", log.lines))
    assert session.name == "p/one"
    assert prompts(session) == [[3, 11]]
    figures = measured(session)
    assert (figures.requests, figures.sent, figures.unique) == (2, 14, 11)
    assert (figures.reported, figures.reported_requests) == (100, 2)
    assert session.lines[0].requests[0].at == 1_000_001.0
    assert not skipped


def test_a_compaction_begins_anew(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤¤¤")
    log.says("m1", text("¤"))
    log.line("system", subtype="compact_boundary", content="Conversation compacted")
    log.user("¤¤ what was done", isCompactSummary=True, isVisibleInTranscriptOnly=True)
    log.says("m2", text("¤"))
    [session], _ = read(write(tmp_path / "one.jsonl", log.lines))
    assert prompts(session) == [[3], [2]]


def test_results_that_the_client_cleared_are_not_sent(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤¤¤")
    log.says("m1", call("t1", "Bash", command="ls"))
    log.result("t1", "¤" * 50)
    log.says("m2", text("¤"))
    log.line("system", subtype="microcompact_boundary", microcompactMetadata={"compactedToolIds": ["t1"]})
    log.user("¤")
    log.says("m3", text("¤"))
    [session], _ = read(write(tmp_path / "one.jsonl", log.lines))
    assert prompts(session) == [[3, 53], [5]]
    assert measured(session).unique == 55


def test_the_user_went_back(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    back = log.says("m1", text("¤"))
    log.user("¤¤¤¤¤¤")
    log.says("m2", text("¤"))
    log.last = back
    log.user("¤¤¤")
    log.says("m3", text("¤"))
    [session], _ = read(write(tmp_path / "one.jsonl", log.lines))
    assert prompts(session) == [[1, 8], [5]]
    # What both have is there once.
    assert measured(session).unique == 1 + 1 + 6 + 3


def test_what_only_looks_like_going_back(tmp_path: Path) -> None:
    log = Claude()
    first = log.user("¤")
    log.says("m1", text("¤"))
    log.user("¤¤")
    log.says("m2", text("¤"))
    log.last = first
    log.user("<reminder> ¤", isMeta=True)
    log.says("m3", text("¤"))
    log.line("system", subtype="compact_boundary")
    log.user("¤¤¤¤", isCompactSummary=True)
    log.says("m4", text("¤"))
    log.last = first  # no longer there to go back to
    log.user("¤")
    log.says("m5", text("¤"))
    [session], _ = read(write(tmp_path / "one.jsonl", log.lines))
    assert prompts(session) == [[1, 4, 6], [4, 6]]


def test_images_and_reasoning_weigh_nothing(tmp_path: Path) -> None:
    log = Claude()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "¤" * 5000}}
    log.user([text("¤"), image])
    log.says("m1", {"type": "thinking", "thinking": "¤¤¤", "signature": "¤"}, text("¤"))
    log.user("¤")
    log.says("m2", text("¤"))
    [session], _ = read(write(tmp_path / "one.jsonl", log.lines))
    assert prompts(session) == [[1, 3]]


def test_what_the_client_says_in_the_models_name_was_not_asked_for(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("e1", text("API Error ¤¤¤¤"), isApiErrorMessage=True)
    log.says("m1", text("¤"))
    [session], _ = read(write(tmp_path / "one.jsonl", log.lines))
    assert prompts(session) == [[1]]


def test_sub_agents_are_sessions_of_their_own(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", call("t1", "Task", prompt="look"))
    side = Claude("side", isSidechain=True)
    side.user("¤¤")
    side.says("n1", text("¤"))
    side.result("x", "¤¤¤¤")
    side.says("n2", text("¤"))
    named = Claude("named", isSidechain=True, agentId="abc")
    named.user("¤¤¤")
    named.says("o1", text("¤"))
    shown = Claude("shown")
    shown.user("¤¤¤¤")
    shown.says("p1", text("¤"))
    progress = [
        {"type": "progress", "data": {"type": "agent_progress", "agentId": "def", "message": line}}
        for line in shown.lines[1:]
    ]
    log.lines += side.lines[1:] + named.lines[1:] + progress
    log.result("t1", "¤¤")
    log.says("m2", text("¤"))
    found, skipped = read(write(tmp_path / "p" / "one.jsonl", log.lines))
    assert {session.name: prompts(session) for session in found} == {
        "p/one": [[1, 3]],
        "p/one/side-1": [[2, 7]],
        "p/one/abc": [[3]],
        "p/one/def": [[4]],
    }
    assert [session.sub for session in found] == [False, True, True, True]
    assert not skipped


def test_a_sub_agents_own_file(tmp_path: Path) -> None:
    log = Claude(isSidechain=True, agentId="abc")
    log.user("¤¤")
    log.says("m1", text("¤"))
    found, _ = read(write(tmp_path / "subagents" / "agent-abc.jsonl", log.lines[1:]))
    assert {session.name: prompts(session) for session in found} == {"subagents/agent-abc": [[2]]}


def test_a_copy_of_another_session_was_paid_for_there(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", text("¤"))
    write(tmp_path / "a.jsonl", log.lines)
    log.user("¤¤")
    log.says("m2", text("¤"))
    write(tmp_path / "b.jsonl", log.lines)
    found, _ = read(tmp_path)
    assert [prompts(session) for session in found] == [[[1]], [[4]]]


def test_damage_costs_the_damaged_line(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", text("¤"))
    log.user([{"type": "tool_result", "tool_use_id": 7, "content": "¤"}])
    log.line("user", message="no message")
    log.user("¤¤")
    log.says("m2", text("¤"))
    path = write(tmp_path / "one.jsonl", log.lines)
    path.write_bytes(b'{"type": "user", "mess\n' + path.read_bytes() + b'\xff\xfe\n{"type": "assistant", "mes')
    [session], skipped = read(path)
    assert prompts(session) == [[1, 4]]
    assert skipped == {"lines damaged": 3, "lines not understood": 2}
