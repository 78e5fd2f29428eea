"""What makes a Responses request valid, as strictly as the vendor has been seen to enforce it, and more.

`check` raises `Violation` at the first rule broken. Fields are those that the vendor's SDK of November 2026 can send,
and what Codex says of itself. What needs the memory of earlier answers is in responses_minted.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.upstream import openai_validity, responses_items, responses_tools
from tests.upstream.chat_models import model_of
from tests.upstream.violation import Violation

FIELDS = frozenset(
    {
        "access_programs", "background", "background_options", "client_metadata", "context_management", "conversation",
        "image", "include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model",
        "moderation", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store",
        "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
        "truncation", "user",
    }
)  # fmt: skip
NOT_HERE = ("background", "conversation", "prompt")
TYPES: dict[type, tuple[str, ...]] = {
    bool: ("background", "parallel_tool_calls", "store", "stream"),
    dict: (
        "access_programs", "background_options", "client_metadata", "image", "metadata", "moderation",
        "prompt_cache_options", "reasoning", "stream_options", "text",
    ),
    list: ("context_management", "include", "tools"),
    str: (
        "instructions", "previous_response_id", "prompt_cache_key", "safety_identifier", "service_tier", "truncation",
        "user",
    ),
}  # fmt: skip
INSIDE = {
    "reasoning": frozenset({"context", "effort", "generate_summary", "mode", "summary"}),
    "text": frozenset({"format", "verbosity"}),
}
INCLUDES = frozenset(
    {
        "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
        "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content",
        "web_search_call.action.sources", "web_search_call.results",
    }
)  # fmt: skip
CACHE_OPTIONS = frozenset({"comparison_response_id", "mode", "ttl"})
LEAST_OUTPUT = 16


def check(body: dict[str, Any], *, allow_prefill: bool = False) -> list[dict[str, Any]]:
    """The items of `input`. Raises Violation at the first broken rule; `allow_prefill` lets an assistant message come
    last."""
    _top_level(body)
    model = model_of(body["model"])
    openai_validity.limit("max_output_tokens", body.get("max_output_tokens"), LEAST_OUTPUT)
    openai_validity.sampling(body, model)
    openai_validity.caching(body, model, CACHE_OPTIONS, ("30m", "12h"))
    responses_tools.check("tools", body.get("tools") or [])
    found = responses_items.items(body["input"])
    for at, item in enumerate(found):
        responses_items.check(f"input[{at}]", item)
        if item["type"] == "additional_tools":
            responses_tools.check(f"input[{at}].tools", item["tools"])
        if item["type"] == "compaction_trigger" and at != len(found) - 1:
            raise Violation(f"input[{at}]", "a compaction trigger must be the last item")
    responses_tools.choice(body.get("tool_choice"), responses_tools.declared(body, found))
    openai_validity.breakpoints("input", _parts(found), model)
    if found[-1].get("role") == "assistant" and not allow_prefill:
        raise Violation("input", "the conversation must not end with an assistant message")
    return found


def _top_level(body: dict[str, Any]) -> None:
    openai_validity.known(body, FIELDS)
    if not isinstance(body.get("input"), str | list) or not body["input"]:
        raise Violation("input", "expected a string or an array of items with minimum length 1")
    if isinstance(body["input"], str) and not body["input"].strip():
        raise Violation("input", "expected text that is not blank")
    openai_validity.typed(body, TYPES)
    for name in NOT_HERE:
        if body.get(name):
            raise Violation(name, "not supported here")
    for name, fields in INSIDE.items():
        for field in body.get(name) or {}:
            if field not in fields:
                raise Violation(f"{name}.{field}", "Unknown parameter")
    for wanted in body.get("include") or []:
        if wanted not in INCLUDES:
            raise Violation("include", f"Invalid value: '{wanted}'. Supported: {', '.join(sorted(INCLUDES))}")
    openai_validity.stream_options(body, frozenset({"include_obfuscation"}))


def _parts(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, item in enumerate(found):
        for name in ("content", "output"):
            for at, part in enumerate(item[name] if isinstance(item.get(name), list) else []):
                if isinstance(part, dict):
                    yield f"input[{index}].{name}[{at}]", part
