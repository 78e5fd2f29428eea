"""Bodies of requests: which API they speak, and how they become sessions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from addon.audit.bodies import spoken
from tests.audit.make import Json, measured, read, write
from tests.audit.test_claude_code import prompts

USER = {"role": "user", "content": "¤"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"model": "claude-opus-4-5", "messages": [USER], "max_tokens": 1}, "messages"),
        ({"model": "m", "system": "s", "messages": [USER]}, "messages"),
        ({"model": "m", "messages": [USER], "tools": [{"name": "f", "input_schema": {}}]}, "messages"),
        ({"model": "m", "messages": [USER, USE]}, "messages"),
        ({"model": "m", "messages": [USER]}, "chat"),
        ({"model": "anthropic/claude-opus", "messages": [{"role": "system", "content": "s"}, USER]}, "chat"),
        ({"model": "anthropic/claude-opus", "messages": [USER], "tools": [FUNCTION]}, "chat"),
        ({"model": "m", "input": "hello"}, "responses"),
        ({"model": "m", "input": [USER]}, "responses"),
        ({"contents": [{"role": "user", "parts": [{"text": "¤"}]}]}, "gemini"),
        ({"model": "m", "request": {"contents": []}}, "gemini"),
        ({"messages": []}, None),
        ({"messages": ["hello"]}, None),
        ({"input": "hello"}, None),
        ({}, None),
    ],
)
def test_apis(body: Json, name: str | None) -> None:
    api = spoken(body)
    assert (None if api is None else api.NAME) == name


def grown(count: int, api: str) -> list[Json]:
    """Bodies of one conversation: every answer weighs 2, every question 3."""
    talk: list[Json] = []
    for n in range(count):
        talk.append({"role": "user", "content": f"¤¤¤ {n}"})
        talk.append({"role": "assistant", "content": f"¤¤ {n}"})
    said = [talk[: 2 * n + 1] for n in range(count)]
    if api == "gemini":
        roles = {"assistant": "model", "user": "user"}
        return [
            {"contents": [{"role": roles[m["role"]], "parts": [{"text": m["content"]}]} for m in messages]}
            for messages in said
        ]
    field = "input" if api == "responses" else "messages"
    return [{"model": "claude" if api == "messages" else "gpt", field: messages} for messages in said]


@pytest.mark.parametrize("api", ["messages", "chat", "responses", "gemini"])
def test_one_body_a_line(api: str, tmp_path: Path) -> None:
    [session], skipped = read(write(tmp_path / "b.jsonl", grown(3, api)))
    assert session.client == api
    assert prompts(session) == [[3, 8, 13]]
    figures = measured(session)
    assert (figures.sent, figures.unique, figures.static) == (24, 13, 6)
    assert not skipped


def test_one_body_a_file_spread_over_lines_and_packed(tmp_path: Path) -> None:
    first, second, third = (json.dumps(body, indent=2).encode() for body in grown(3, "chat"))
    (tmp_path / "1.json").write_bytes(first)
    (tmp_path / "2.json.gz").write_bytes(gzip.compress(second))
    (tmp_path / "3.json.zst").write_bytes(zstandard.compress(third))
    [session], skipped = read(tmp_path)
    assert prompts(session) == [[3, 8, 13]]
    assert not skipped


def test_another_history_is_another_line(tmp_path: Path) -> None:
    bodies = grown(3, "chat")
    edited = json.loads(json.dumps(bodies[2]))
    edited["messages"][2]["content"] = "¤ edited"
    [session], _ = read(write(tmp_path / "b.jsonl", [*bodies, edited]))
    assert prompts(session) == [[3, 8, 13], [11]]
    # The edited message and the two behind it are new.
    assert measured(session).unique == 13 + 1 + 2 + 3


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "config.json", [{"setting": 1}])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "broken.json.zst").write_bytes(zstandard.compress(b"{" * 1000)[:-5])
    body = {"model": "gpt", "messages": [{"role": "user", "content": 7}]}
    found, skipped = read(write(tmp_path / "one.jsonl", [*grown(1, "chat"), body]), tmp_path)
    assert [prompts(session) for session in found] == [[[3]]]
    assert skipped["files of other kinds"] == 4
    assert skipped["requests not understood"] == 1


def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    whole = write(tmp_path / "b.jsonl", grown(40, "chat")).read_bytes()
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(whole)[:-30])
    [session], skipped = read(packed)
    assert 30 < session.requests <= 40
    assert skipped["files damaged, read up to there"] == 1
