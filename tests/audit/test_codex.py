"""Codex's rollouts: which requests are rebuilt from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.audit.make import Json, measured, read, stamp, write
from tests.audit.test_claude_code import prompts


def rollout(*payloads: tuple[str, Json]) -> list[Json]:
    return [
        {"timestamp": stamp(2_000_000 + n), "type": kind, "payload": payload}
        for n, (kind, payload) in enumerate(payloads)
    ]


def said(role: str, words: str) -> tuple[str, Json]:
    kind = "output_text" if role == "assistant" else "input_text"
    return "response_item", {"type": "message", "role": role, "content": [{"type": kind, "text": words}]}


def item(kind: str, **more: Any) -> tuple[str, Json]:
    return "response_item", {"type": kind, **more}


def counted(prompt: int) -> tuple[str, Json]:
    last = {"input_tokens": prompt, "cached_input_tokens": 10, "output_tokens": 2, "total_tokens": prompt + 2}
    return "event_msg", {"type": "token_count", "info": {"last_token_usage": last, "total_token_usage": last}}


META = ("session_meta", {"id": "x", "cwd": "/w", "base_instructions": {"text": "¤¤¤¤"}})
BEGIN: tuple[tuple[str, Json], ...] = (
    META,
    said("developer", "<permissions> ¤"),
    said("user", "¤¤"),
    ("event_msg", {"type": "user_message", "message": "¤¤"}),
    ("turn_context", {"model": "gpt-5.2-codex", "cwd": "/w"}),
    item("reasoning", summary=[], encrypted_content="¤¤¤"),
    item("function_call", name="exec_command", call_id="c1", arguments='{"cmd": "cat a.py"}'),
    item("function_call", name="exec_command", call_id="c2", arguments='{"cmd": "ls"}'),
    ("event_msg", {"type": "token_count", "info": None, "rate_limits": {}}),
    counted(100),
    item("function_call_output", call_id="c1", output="¤¤¤¤¤"),
    item("function_call_output", call_id="c2", output="¤"),
    said("assistant", "¤"),
    counted(120),
)


def test_what_the_model_did_in_a_row_is_one_answer(tmp_path: Path) -> None:
    [session], skipped = read(write(tmp_path / "2026" / "rollout-1.jsonl", rollout(*BEGIN)))
    assert prompts(session) == [[3, 9]]
    figures = measured(session)
    assert (figures.requests, figures.sent, figures.unique) == (2, 3 + 9 + 2 * 4, 9 + 4)
    # Instructions, and what stands before the first answer.
    assert figures.static == 4 + 3
    assert figures.reported == 220
    [first, second] = session.lines[0].requests
    assert (first.model, first.at) == ("gpt-5.2-codex", 2_000_002.0)
    assert second.usage is not None
    assert (second.usage.fresh, second.usage.read) == (110, 10)
    assert not skipped


def test_a_compaction_puts_another_history_in_place(tmp_path: Path) -> None:
    told = ("compacted", {"message": "", "replacement_history": [said("user", "¤¤¤¤¤")[1], said("assistant", "¤¤")[1]]})
    [session], _ = read(write(tmp_path / "r.jsonl", rollout(*BEGIN, told, said("user", "¤"), said("assistant", "¤"))))
    assert prompts(session) == [[3, 9], [8]]


def test_else_it_is_what_the_user_said_and_a_summary(tmp_path: Path) -> None:
    told = ("compacted", {"message": "¤¤¤¤¤"})
    [session], _ = read(write(tmp_path / "r.jsonl", rollout(*BEGIN, told, said("user", "¤"), said("assistant", "¤"))))
    assert prompts(session) == [[3, 9], [3 + 5 + 1]]


def test_damage_costs_the_damaged_line(tmp_path: Path) -> None:
    odd = item("function_call", name="f", arguments="{}"), ("response_item", "no item"), item("message", content=7)
    [session], skipped = read(write(tmp_path / "r.jsonl", rollout(META, *odd, *BEGIN[1:])))  # type: ignore[arg-type]
    assert prompts(session) == [[3, 9]]
    assert skipped == {"lines not understood": 3}
