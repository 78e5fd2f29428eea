"""What makes a Chat Completions request valid, as strictly as any server of this API has been seen to enforce it.

`check` raises `Violation` at the first rule broken. Fields are those that the vendor's SDK of November 2026 can send,
without the functions of before tools, and what DeepSeek and OpenRouter want back in an assistant message.
"""

from __future__ import annotations

from typing import Any

from tests.upstream import chat_pairing, chat_tools
from tests.upstream.chat_models import Model, model_of
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
BREAKPOINT = "prompt_cache_breakpoint"
MAX_BREAKPOINTS = 4


def check(body: dict[str, Any], *, allow_prefill: bool = False) -> None:
    """Raise Violation at the first broken rule. `allow_prefill` lets an assistant message come last."""
    _top_level(body)
    model = model_of(body["model"])
    _limits(body, model)
    _caching(body, model)
    chat_tools.check(body, model)
    for index, message in enumerate(body["messages"]):
        _message(f"messages[{index}]", message)
    _breakpoints(body, model)
    chat_pairing.check(body["messages"])
    if body["messages"][-1]["role"] == "assistant" and not allow_prefill:
        raise Violation("messages", "the conversation must not end with an assistant message")


def _top_level(body: dict[str, Any]) -> None:
    for name in body:
        if name not in FIELDS:
            raise Violation(name, f"Unrecognized request argument supplied: {name}", labelled=False)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Violation("model", "you must provide a model parameter", labelled=False)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Violation("messages", "expected an array with minimum length 1")
    for name in ("stream", "store", "parallel_tool_calls", "logprobs"):
        if not isinstance(body.get(name), bool | None):
            raise Violation(name, "expected a boolean")
    for name in ("metadata", "stream_options", "response_format", "prompt_cache_options"):
        if not isinstance(body.get(name), dict | None):
            raise Violation(name, "expected an object")
    for name in ("prompt_cache_key", "user", "safety_identifier", "reasoning_effort"):
        if not isinstance(body.get(name), str | None):
            raise Violation(name, "expected a string")
    if body.get("n") not in {None, 1}:
        raise Violation("n", "this server gives one answer")
    options = body.get("stream_options")
    if options is not None and not body.get("stream"):
        raise Violation("stream_options", "only allowed when 'stream' is enabled")
    if set(options or {}) - {"include_usage", "include_obfuscation"}:
        raise Violation("stream_options", "Unknown parameter")


def _limits(body: dict[str, Any], model: Model) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise Violation(name, "expected an integer of at least 1")
    if body.get("max_tokens") is not None and (model.reasons or body.get("max_completion_tokens") is not None):
        raise Violation("max_tokens", "not supported with this model. Use 'max_completion_tokens' instead.")
    for name in ("temperature", "top_p"):
        if model.reasons and body.get(name) not in {None, 1}:
            raise Violation(name, f"{body['model']} only supports the default (1)")


def _caching(body: dict[str, Any], model: Model) -> None:
    options = body.get("prompt_cache_options")
    if options is not None:
        if not model.explicit:
            raise Violation("prompt_cache_options", "not supported on this model")
        if set(options) - {"mode", "ttl"} or options.get("mode", "implicit") not in {"implicit", "explicit"}:
            raise Violation("prompt_cache_options", "Unknown parameter or mode")
        if options.get("ttl", "30m") != "30m":
            raise Violation("prompt_cache_options.ttl", "supported: '30m'")
    retention = body.get("prompt_cache_retention")
    if retention not in ({None, "24h"} if model.only_24h else {None, "24h", "in_memory"}):
        raise Violation("prompt_cache_retention", "not supported on this model")


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


def _breakpoints(body: dict[str, Any], model: Model) -> None:
    marks = [
        (f"messages[{index}].content[{at}].{BREAKPOINT}", part[BREAKPOINT])
        for index, message in enumerate(body["messages"])
        for at, part in enumerate(message.get("content") if isinstance(message.get("content"), list) else [])
        if BREAKPOINT in part
    ]
    for path, mark in marks:
        if not model.explicit:
            raise Violation(path, "not supported on this model")
        if not isinstance(mark, dict) or mark.get("mode") != "explicit" or set(mark) - {"mode", "ttl"}:
            raise Violation(path, "expected the mode 'explicit'")
        if mark.get("ttl", "30m") not in {"30m", "12h"}:
            raise Violation(f"{path}.ttl", "supported: '30m', '12h'")
    if len(marks) > MAX_BREAKPOINTS:
        raise Violation("messages", f"at most {MAX_BREAKPOINTS} cache breakpoints, found {len(marks)}")
