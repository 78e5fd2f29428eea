"""What makes a Chat Completions request valid, as strictly as any server of this API has been seen to enforce it.

`check` raises `Violation` at the first rule broken. Fields are those that the vendor's SDK of November 2026 can send,
without the functions of before tools, and what DeepSeek and OpenRouter want back in an assistant message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.upstream import chat_pairing, chat_tools, openai_validity
from tests.upstream.chat_models import Model, model_of
from tests.upstream.openai_validity import BREAKPOINT
from tests.upstream.violation import Violation

FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages",
        "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "response_format",
        "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature",
        "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
BY_ROLE = {
    "system": frozenset({"content", "name"}),
    "developer": frozenset({"content", "name"}),
    "user": frozenset({"content", "name"}),
    "assistant": frozenset(
        {
            "content", "name", "refusal", "audio", "tool_calls", "annotations", "reasoning_content", "reasoning",
            "reasoning_details",
        }
    ),
    "tool": frozenset({"content", "tool_call_id"}),
}  # fmt: skip
PARTS = {
    "system": {"text"},
    "developer": {"text"},
    "user": {"text", "image_url", "input_audio", "file"},
    "assistant": {"text", "refusal"},
    "tool": {"text"},
}
KINDS: dict[str, type] = {"text": str, "refusal": str, "image_url": dict, "input_audio": dict, "file": dict}
TYPES: dict[type, tuple[str, ...]] = {
    bool: ("stream", "store", "parallel_tool_calls", "logprobs"),
    dict: ("metadata", "stream_options", "response_format", "prompt_cache_options"),
    str: ("prompt_cache_key", "user", "safety_identifier", "reasoning_effort"),
}
STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})
CACHE_OPTIONS = frozenset({"mode", "ttl"})


def check(body: dict[str, Any], *, allow_prefill: bool = False) -> None:
    """Raise Violation at the first broken rule. `allow_prefill` lets an assistant message come last."""
    _top_level(body)
    model = model_of(body["model"])
    _limits(body, model)
    openai_validity.caching(body, model, CACHE_OPTIONS, ("30m",))
    chat_tools.check(body, model)
    for index, message in enumerate(body["messages"]):
        _message(f"messages[{index}]", message)
    openai_validity.breakpoints("messages", _parts(body["messages"]), model)
    chat_pairing.check(body["messages"])
    if body["messages"][-1]["role"] == "assistant" and not allow_prefill:
        raise Violation("messages", "the conversation must not end with an assistant message")


def _top_level(body: dict[str, Any]) -> None:
    openai_validity.known(body, FIELDS)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Violation("messages", "expected an array with minimum length 1")
    openai_validity.typed(body, TYPES)
    if body.get("n") not in {None, 1}:
        raise Violation("n", "this server gives one answer")
    openai_validity.stream_options(body, STREAM_OPTIONS)


def _limits(body: dict[str, Any], model: Model) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        openai_validity.limit(name, body.get(name), 1)
    if body.get("max_tokens") is not None and (model.reasons or body.get("max_completion_tokens") is not None):
        raise Violation("max_tokens", "not supported with this model. Use 'max_completion_tokens' instead.")
    openai_validity.sampling(body, model)


def _message(path: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise Violation(path, "expected an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in BY_ROLE:
        raise Violation(f"{path}.role", f"Invalid value: '{role}'. Supported: {', '.join(BY_ROLE)}")
    for name in message:
        if name != "role" and name not in BY_ROLE[role]:
            raise Violation(f"{path}.{name}", "Unknown parameter")
    for name in ("name", "refusal", "reasoning_content", "reasoning"):
        if not isinstance(message.get(name), str | None):
            raise Violation(f"{path}.{name}", "expected a string")
    if role == "tool" and not (isinstance(message.get("tool_call_id"), str) and message["tool_call_id"]):
        raise Violation(f"{path}.tool_call_id", "Missing required parameter")
    if message.get("tool_calls") is not None:
        chat_tools.calls(f"{path}.tool_calls", message["tool_calls"])
    _content(path, message, role)


def _content(path: str, message: dict[str, Any], role: str) -> None:
    content = message.get("content")
    says_else = any(message.get(name) for name in ("tool_calls", "refusal", "audio"))
    if content is None:
        if role != "assistant" or not says_else:
            raise Violation(f"{path}.content", "expected a string or an array of parts, got null")
        return
    if isinstance(content, str):
        # A tool may have printed nothing, and a model that calls need not speak.
        if not content.strip() and not (role == "tool" or says_else):
            raise Violation(f"{path}.content", "expected text that is not blank")
        return
    if not isinstance(content, list) or not content:
        raise Violation(f"{path}.content", "expected a string or an array of parts with minimum length 1")
    for at, part in enumerate(content):
        _part(f"{path}.content[{at}]", part, PARTS[role])


def _part(path: str, part: Any, kinds: set[str]) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in kinds:
        raise Violation(f"{path}.type", f"Invalid value: '{kind}'. Supported: {', '.join(sorted(kinds))}")
    for name in part:
        if name not in {"type", kind, BREAKPOINT}:
            raise Violation(f"{path}.{name}", "Unknown parameter")
    if not isinstance(part.get(kind), KINDS[kind]):
        raise Violation(f"{path}.{kind}", "Missing required parameter, or of the wrong type")
    if kind == "text" and not part["text"].strip():
        raise Violation(f"{path}.text", "expected text that is not blank")


def _parts(messages: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, message in enumerate(messages):
        content = message.get("content")
        for at, part in enumerate(content if isinstance(content, list) else []):
            yield f"messages[{index}].content[{at}]", part
