"""What makes a Messages request valid, as strictly as any provider of this API has been seen to enforce it.

`check` raises `Violation` at the first rule broken; messages name the path of the offence the way the provider does,
because clients read them. The rules of signed reasoning that need memory are in binding.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tests.upstream import blocks, clearing, pairing
from tests.upstream.models import Model, model_of
from tests.upstream.prompt import BILLING, as_blocks
from tests.upstream.violation import Violation

MAX_BREAKPOINTS = 4

# Generous on purpose: what the vendor's SDK of November 2026 can send, and nothing else.
FIELDS = frozenset(
    {
        "billing_policy", "cache_control", "compaction", "container", "context_management", "diagnostics",
        "fallback_credit_token", "fallbacks", "inference_geo", "max_tokens", "mcp_servers", "messages", "metadata",
        "model", "output_config", "output_format", "service_tier", "speed", "stop_sequences", "stream", "system",
        "temperature", "thinking", "thread", "tool_choice", "tools", "top_k", "top_p", "user_profile_id",
    }
)  # fmt: skip
NOT_COUNTED = {"max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature", "top_k", "top_p"}
COUNT_FIELDS = FIELDS - NOT_COUNTED

# Body field -> beta, by the start of its name, that must come in `anthropic-beta`.
BETA_FIELDS = {
    "context_management": ("context-management-", "compact-2026-01-12"),
    "compaction": ("compact-2026-09-04",),
    "mcp_servers": ("mcp-client-",),
}
EDIT_BETAS = {
    "clear_tool_uses_20250919": "context-management-2025-06-27",
    "clear_thinking_20251015": "context-management-2025-06-27",
    "compact_20260112": "compact-2026-01-12",
}
BINDING_BETA = "thinking-binding-controls-2026-08-01"
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
TOOL_FIELDS = frozenset(
    {
        "allowed_callers", "cache_control", "defer_loading", "description", "eager_input_streaming", "input_examples",
        "input_schema", "name", "strict", "type",
    }
)  # fmt: skip


def check(body: dict[str, Any], betas: Collection[str], *, counting: bool = False, allow_prefill: bool = False) -> None:
    """Raise Violation at the first broken rule. `betas` are the values of the `anthropic-beta` header; `counting` is
    for the token-counting endpoint, which wants fewer fields; `allow_prefill` lets an assistant message come last."""
    _top_level(body, betas, counting)
    model = model_of(body["model"])
    _thinking(body, model, betas)
    _sampling(body, model)
    _context_management(body, betas)
    tools = _tools(body)
    _tool_choice(body, model, tools)
    _system(body)
    _messages(body, model, allow_prefill)
    for index, message in enumerate(body["messages"]):
        for at, block in enumerate(message["content"] if isinstance(message["content"], list) else []):
            blocks.check(f"messages.{index}.content.{at}", block, message["role"], tools)
    _non_empty(body["messages"])
    _system_role(body["messages"])
    pairing.check(body["messages"])
    _markers(body)


def _top_level(body: dict[str, Any], betas: Collection[str], counting: bool) -> None:
    known = COUNT_FIELDS if counting else FIELDS
    for name in body:
        wanted = BETA_FIELDS.get(name)
        if name not in known or (wanted and not any(beta.startswith(wanted) for beta in betas)):
            raise Violation(name, "Extra inputs are not permitted")
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise Violation(name, "Field required")
    if not isinstance(body["model"], str) or not body["model"]:
        raise Violation("model", "Input should be a valid string")
    if not isinstance(body["messages"], list):
        raise Violation("messages", "Input should be a valid list")
    for name in ("output_config", "metadata"):
        if not isinstance(body.get(name), dict | None):
            raise Violation(name, "Input should be an object")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise Violation("stream", "Input should be a valid boolean")
    if not counting:
        _max_tokens(body)


def _max_tokens(body: dict[str, Any]) -> None:
    limit = body["max_tokens"]
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise Violation("max_tokens", "Input should be a valid integer")
    if limit < 0:
        raise Violation("max_tokens", "Input should be greater than or equal to 0")
    choice = body.get("tool_choice")
    forced = isinstance(choice, dict) and choice.get("type") in {"any", "tool"}
    thinks = isinstance(body.get("thinking"), dict) and body["thinking"].get("type") != "disabled"
    if limit == 0 and (body.get("stream") or forced or thinks):
        raise Violation("max_tokens", "0 is only for filling the cache: not with stream, thinking or a forced tool")


def _thinking(body: dict[str, Any], model: Model, betas: Collection[str]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in {"enabled", "disabled", "adaptive"}:
        raise Violation("thinking", "Input tag should be one of: 'adaptive', 'disabled', 'enabled'")
    kind = thinking["type"]
    known = {"type", "display", "block_binding"} | ({"budget_tokens"} if kind == "enabled" else set())
    for name in thinking:
        if name not in known or (name == "block_binding" and BINDING_BETA not in betas):
            raise Violation(f"thinking.{kind}.{name}", "Extra inputs are not permitted")
    _block_binding(thinking.get("block_binding"), f"thinking.{kind}.block_binding")
    if kind == "disabled" and model.always_thinks:
        raise Violation("thinking", f"thinking cannot be disabled on {body['model']}", labelled=False)
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise Violation("thinking.enabled.budget_tokens", "Input should be greater than or equal to 1024")
        if budget >= body.get("max_tokens", budget + 1):
            raise Violation("", "`max_tokens` must be greater than `thinking.budget_tokens`", labelled=False)


def _block_binding(value: Any, path: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or set(value) - {"prefix_mismatch_behavior"}:
        raise Violation(path, "Extra inputs are not permitted")
    if value.get("prefix_mismatch_behavior") not in {None, "error", "drop_block"}:
        raise Violation(f"{path}.prefix_mismatch_behavior", "Input should be 'error' or 'drop_block'")


def _sampling(body: dict[str, Any], model: Model) -> None:
    if model.free_sampling:
        return
    for name, default in (("temperature", 1), ("top_p", None), ("top_k", None)):
        if body.get(name) not in {None, default}:
            raise Violation("", f"`{name}` may only be set to its default on {body['model']}.", labelled=False)


def _context_management(body: dict[str, Any], betas: Collection[str]) -> None:
    managed = body.get("context_management")
    if managed is None:
        return
    if body.get("compaction") is not None:
        raise Violation("", "`compaction` cannot be combined with `context_management`.", labelled=False)
    if not isinstance(managed, dict) or set(managed) - {"edits"} or not isinstance(managed.get("edits", []), list):
        raise Violation("context_management", "Input should be an object with a list of edits")
    for at, edit in enumerate(managed.get("edits", [])):
        kind = edit.get("type") if isinstance(edit, dict) else None
        if EDIT_BETAS.get(str(kind)) not in betas:
            raise Violation(f"context_management.edits.{at}", f"Input tag '{kind}' is not available with these betas")
        if kind == "clear_thinking_20251015" and at:
            raise Violation("context_management.edits", "`clear_thinking_20251015` must be the first edit")
        if kind == clearing.TYPE:
            clearing.check(f"context_management.edits.{at}", edit)


def _tools(body: dict[str, Any]) -> frozenset[str]:
    """The names of all tools, deferred ones included."""
    tools = body.get("tools")
    if tools is None:
        return frozenset()
    if not isinstance(tools, list):
        raise Violation("tools", "Input should be a valid list")
    names: set[str] = set()
    for at, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise Violation(f"tools.{at}", "Input should be an object")
        _tool(f"tools.{at}", tool)
        name = str(tool.get("name") or f"{tool.get('type')}:{tool.get('mcp_server_name')}")
        if name in names:
            raise Violation("tools", "Tool names must be unique.")
        names.add(name)
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise Violation("tools", "At least one tool must have defer_loading set to false")
    return frozenset(names)


def _tool(path: str, tool: dict[str, Any]) -> None:
    kind = str(tool.get("type") or "custom")
    if kind != "mcp_toolset" and not (isinstance(tool.get("name"), str) and TOOL_NAME.fullmatch(tool["name"])):
        raise Violation(f"{path}.{kind}.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
    if kind == "custom":
        for name in tool:
            if name not in TOOL_FIELDS:
                raise Violation(f"{path}.custom.{name}", "Extra inputs are not permitted")
        schema = tool.get("input_schema")
        if schema is None:
            raise Violation(f"{path}.custom.input_schema", "Field required")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise Violation(f"{path}.custom.input_schema.type", "Input should be 'object'")
    if tool.get("defer_loading"):
        if tool.get("cache_control"):
            raise Violation(path, "Tools with defer_loading=true cannot have cache_control set")
        if kind.startswith("tool_search_tool"):
            raise Violation(path, "The tool search tool cannot be deferred")


def _tool_choice(body: dict[str, Any], model: Model, tools: frozenset[str]) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in {"auto", "any", "tool", "none"}:
        raise Violation("tool_choice", "Input tag should be one of: 'any', 'auto', 'none', 'tool'")
    if not tools:
        raise Violation("tool_choice", "tool_choice may only be specified while providing tools")
    if kind == "tool" and choice.get("name") not in tools:
        raise Violation("tool_choice", f"Tool '{choice.get('name')}' not found in provided tools", labelled=False)
    if kind not in {"any", "tool"}:
        return
    thinking = body.get("thinking")
    manual = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    if manual or not model.forced_tools:
        raise Violation("", "Thinking may not be enabled when tool_choice forces tool use.", labelled=False)


def _system(body: dict[str, Any]) -> None:
    system = body.get("system")
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise Violation("system", "Input should be a valid string or list")
    for at, block in enumerate(system):
        path = f"system.{at}"
        if not isinstance(block, dict) or block.get("type") != "text":
            raise Violation(f"{path}.type", "Input should be 'text'")
        blocks.fields(path, block)
        if not block.get("text"):
            raise Violation(path, "text content blocks must be non-empty", form="system")
        if at and str(block["text"]).startswith(BILLING):
            raise Violation(path, "the billing block must be the first system block")


def _messages(body: dict[str, Any], model: Model, allow_prefill: bool) -> None:
    messages = body["messages"]
    if not messages:
        raise Violation("messages", "at least one message is required")
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        if not isinstance(message, dict):
            raise Violation(path, "Input should be an object")
        for name in message:
            if name not in {"role", "content"}:
                raise Violation(f"{path}.{name}", "Extra inputs are not permitted")
        role = message.get("role")
        if role not in {"user", "assistant", "system"}:
            raise Violation(f"{path}.role", "Input should be 'user', 'assistant' or 'system'")
        if role == "system" and not model.system_role:
            raise Violation(path, "role 'system' is not supported on this model")
        if "content" not in message:
            raise Violation(f"{path}.content", "Field required")
        if not isinstance(message["content"], str | list):
            raise Violation(f"{path}.content", "Input should be a valid string or list")
    spoken = [message for message in messages if message["role"] != "system"]
    if messages[0]["role"] != "user":
        raise Violation("messages", 'first message must use the "user" role')
    last = spoken[-1]
    if last["role"] == "assistant" and not allow_prefill and not pairing.is_paused(last):
        raise Violation(
            "", "This model does not support assistant message prefill. The conversation must end with a user message.",
            labelled=False,
        )  # fmt: skip


def _non_empty(messages: list[dict[str, Any]]) -> None:
    for index, message in enumerate(messages):
        content = message["content"]
        if not content:
            raise Violation(f"messages.{index}", f"{message['role']} messages must have non-empty content")
        for block in as_blocks(content):
            if block.get("type") != "text":
                continue
            if not block["text"]:
                raise Violation("messages", "text content blocks must be non-empty")
            if not block["text"].strip():
                raise Violation("messages", "text content blocks must contain non-whitespace text")


def _system_role(messages: list[dict[str, Any]]) -> None:
    for index, message in enumerate(messages):
        if message["role"] != "system":
            continue
        path = f"messages.{index}"
        before = messages[index - 1]
        after = messages[index + 1] if index + 1 < len(messages) else None
        if before["role"] == "system" or (before["role"] == "assistant" and not pairing.is_paused(before)):
            raise Violation(path, "a system message must follow a user message or a server tool result")
        if after is not None and after["role"] != "assistant":
            raise Violation(path, "a system message must be last or come before an assistant message")


def _markers(body: dict[str, Any]) -> None:
    """Every `cache_control` in prompt order: how many, where, how long."""
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for part in ("tools", "system"):
        value = body.get(part)
        for at, block in enumerate(value if isinstance(value, list) else []):
            found.extend(_marked(f"{part}.{at}", block))
    for index, message in enumerate(body["messages"]):
        for at, block in enumerate(message["content"] if isinstance(message["content"], list) else []):
            found.extend(_marked(f"messages.{index}.content.{at}", block))
    automatic = body.get("cache_control")
    if automatic is not None:
        _last_marker(body, automatic)
        found.append(("cache_control", automatic, {}))
    short = False
    for path, control, block in found:
        _marker(path, control)
        if block.get("type") in {"thinking", "redacted_thinking"}:
            raise Violation(f"{path}.{block['type']}.cache_control", "Extra inputs are not permitted")
        if block.get("type") == "text" and not str(block.get("text", "")).strip():
            raise Violation(path, "cache_control cannot be set for empty text blocks")
        if control.get("ttl") == "1h" and short:
            late = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
            raise Violation(f"{path}.cache_control.ttl", late)
        short = short or control.get("ttl", "5m") == "5m"
    if len(found) > MAX_BREAKPOINTS:
        many = f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(found)}."
        raise Violation("", many, labelled=False)


def _last_marker(body: dict[str, Any], automatic: Any) -> None:
    """The automatic breakpoint stands on the last block; a marker already there must ask for the same lifetime."""
    last = as_blocks(body["messages"][-1]["content"])[-1]
    own = last.get("cache_control")
    if isinstance(own, dict) and isinstance(automatic, dict) and own.get("ttl", "5m") != automatic.get("ttl", "5m"):
        raise Violation("cache_control", "the last block has a cache_control with another ttl")


def _marker(path: str, control: Any) -> None:
    inner = "cache_control" if path == "cache_control" else f"{path}.cache_control"
    if not isinstance(control, dict) or control.get("type") != "ephemeral":
        raise Violation(f"{inner}.type", "Input should be 'ephemeral'")
    for name in control:
        if name not in {"type", "ttl", "scope"}:
            raise Violation(f"{inner}.{name}", "Extra inputs are not permitted")
    if control.get("ttl", "5m") not in {"5m", "1h"}:
        raise Violation(f"{inner}.ttl", "Input should be '5m' or '1h'")


def _marked(path: str, block: Any) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    if not isinstance(block, dict):
        return []
    here = [(path, block["cache_control"], block)] if block.get("cache_control") is not None else []
    inner = block.get("content")
    for at, part in enumerate(inner if block.get("type") == "tool_result" and isinstance(inner, list) else []):
        here = [*_marked(f"{path}.content.{at}", part), *here]
    return here
