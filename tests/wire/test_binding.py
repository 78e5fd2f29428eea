"""Which models bind their reasoning, by name."""

from __future__ import annotations

from addon.wire.binding import binds_reasoning

FREE = (
    "gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini", "gpt-4-turbo", "gpt-4.1", "gpt-5", "gpt-5-codex", "gpt-5.6",
    "gpt-5.3-codex", "gpt-6", "gpt-6-astra", "gpt-6.1-sol", "openai/gpt-5.1", "openai/gpt-oss-120b:free",
    "o3", "o4-mini", "o1-pro", "chatgpt-4o-latest", "codex-mini-latest", "anthropic/claude-opus-4.8",
    "claude-sonnet-4-5",
)  # fmt: skip
BOUND = (
    "gpt-6.2", "gpt-6.2-astra", "gpt-6.10", "gpt-6.3", "gpt-7", "gpt-50", "openai/gpt-6.2-sol", "GPT-6.2", "o5",
    "anthropic/claude-opus-5.5", "claude-fable-5-1", "x-ai/grok-5", "unheard-of", "",
)  # fmt: skip


def test_models_from_gpt_6_2_on_bind_and_unknown_ones_are_taken_to() -> None:
    assert [model for model in FREE if binds_reasoning(model)] == []
    assert [model for model in BOUND if not binds_reasoning(model)] == []
