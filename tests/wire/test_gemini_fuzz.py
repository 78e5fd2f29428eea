"""Gemini bodies as clients make them, damaged in every way: read to the byte, or malformed, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from addon.wire import gemini
from tests.effort import cases
from tests.mmu.sessions import spell
from tests.wire.damage import damaged, read_or_refused

BODY: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "Grüße"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"text": "I look.", "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "read_file", "args": {"file_path": "ä"}}, "thoughtSignature": "c2ln"},
                {"function_call": {"name": "read_file", "args": {"file_path": "ä"}}},
                {"functionCall": {"id": "c1", "name": "run_shell_command", "args": {"command": "ls"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "made-1", "name": "read_file", "response": {"output": "1\tone\n2\ttwo"}}},
                {"functionResponse": {"name": "read_file", "response": {"error": "no such file"}}},
                {"function_response": {"id": "c1", "name": "run_shell_command", "response": {"stdout": "a", "n": 1}}},
            ],
        },
        {"role": "model", "parts": [{"text": "Done."}, {"text": "", "thoughtSignature": "c2ln"}]},
        {"parts": {"text": "next"}},
    ],
    "systemInstruction": {"role": "user", "parts": [{"text": "Be good."}]},
    "tools": [
        {"functionDeclarations": [{"name": "read_file", "parametersJsonSchema": {"type": "object"}}]},
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {"temperature": 1, "candidateCount": 1, "thinkingConfig": {"includeThoughts": True}},
}
KEYS = [
    "role", "parts", "text", "thought", "thoughtSignature", "functionCall", "function_call", "functionResponse", "id",
    "name", "args", "response", "output", "error", "result", "functionDeclarations", "mode", "cachedContent", "request",
    "contents", "x",
]  # fmt: skip
PATH = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"


@settings(max_examples=cases(1500), deadline=None)
@given(damaged(BODY, KEYS), st.booleans(), st.integers(0, 3))
def test_a_damaged_body_is_read_to_the_byte_or_malformed(body: dict[str, Any], wrapped: bool, style: int) -> None:
    made = {"model": "gemini-2.5-pro", "request": body} if wrapped else body
    try:
        raw = spell(made, style)
    except UnicodeEncodeError:
        raw = spell(made, 1)
    event("read" if read_or_refused(gemini, raw, PATH) else "malformed")


@settings(max_examples=cases(500), deadline=None)
@given(st.integers(0, 1500), st.integers(0, 12), st.binary(max_size=6), st.integers(0, 3))
def test_damaged_bytes_are_read_to_the_byte_or_malformed(at: int, cut: int, put: bytes, style: int) -> None:
    raw = spell(BODY, style)
    at %= len(raw)
    read_or_refused(gemini, raw[:at] + put + raw[at + cut :], PATH)


def test_the_undamaged_body_is_read() -> None:
    for body in (BODY, {"request": BODY}):
        assert all(read_or_refused(gemini, spell(body, style), PATH) for style in range(4))
