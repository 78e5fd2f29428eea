"""What a single content block must look like, by its type and the role it stands under."""

from __future__ import annotations

import re
from typing import Any

from tests.upstream.violation import Violation

TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")

# Blocks of server-side tools are opaque here: their fields change often and must come back as they were.
OPAQUE = frozenset(
    {
        "advisor_tool_result", "bash_code_execution_tool_result", "browser_state", "code_execution_tool_result",
        "compaction", "container_upload", "fallback", "mcp_tool_listing", "mcp_tool_result", "mcp_tool_use",
        "server_tool_use", "text_editor_code_execution_tool_result", "tool_addition", "tool_removal",
        "tool_search_tool_result", "web_fetch_tool_result", "web_search_tool_result",
    }
)  # fmt: skip
FIELDS = {
    "text": frozenset({"text", "citations", "cache_control"}),
    "image": frozenset({"source", "cache_control", "transformations"}),
    "document": frozenset({"source", "title", "context", "citations", "cache_control"}),
    "search_result": frozenset({"source", "title", "content", "citations", "cache_control"}),
    # cache_control on reasoning is refused with the other markers
    "thinking": frozenset({"thinking", "signature", "cache_control"}),
    "redacted_thinking": frozenset({"data", "cache_control"}),
    "tool_use": frozenset({"id", "name", "input", "caller", "toolset_name", "cache_control"}),
    "tool_result": frozenset({"tool_use_id", "content", "is_error", "cache_control"}),
    "tool_reference": frozenset({"tool_name", "cache_control"}),
}
REQUIRED: dict[str, dict[str, type]] = {
    "text": {"text": str},
    "image": {"source": dict},
    "document": {"source": dict},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
    "tool_reference": {"tool_name": str},
    "server_tool_use": {"id": str, "name": str, "input": dict},
    "mcp_tool_use": {"id": str, "name": str, "input": dict},
}
CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
ASSISTANT_ONLY = CALLS | {"thinking", "redacted_thinking", "compaction"}
IN_RESULT = frozenset({"text", "image", "document", "search_result", "tool_reference", "browser_state"})
IN_SYSTEM = frozenset({"text", "tool_addition", "tool_removal"})
KIND_NAMES: dict[type, str] = {str: "string", dict: "dictionary"}


def fields(path: str, block: dict[str, Any]) -> None:
    """Known and required fields, and their types."""
    kind = block["type"]
    known = FIELDS.get(kind)
    for name in block if known is not None else ():
        if name != "type" and known is not None and name not in known:
            raise Violation(f"{path}.{kind}.{name}", "Extra inputs are not permitted")
    for name, wanted in REQUIRED.get(kind, {}).items():
        if name not in block:
            raise Violation(f"{path}.{kind}.{name}", "Field required")
        if not isinstance(block[name], wanted):
            raise Violation(f"{path}.{kind}.{name}", f"Input should be a valid {KIND_NAMES[wanted]}")


def check(path: str, block: Any, role: str, tools: frozenset[str]) -> None:
    """One block of a message. Raises Violation."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS.keys() | OPAQUE or kind == "tool_reference":
        raise Violation(path, f"Input tag '{kind}' found using 'type' does not match any of the expected tags")
    fields(path, block)
    message = path.partition(".content")[0]
    if role == "system" and kind not in IN_SYSTEM:
        raise Violation(path, f"`{kind}` blocks are not permitted in system messages")
    if role == "user" and kind in ASSISTANT_ONLY:
        raise Violation(path, f"`{kind}` blocks can only be in `assistant` messages", form=message)
    if role == "assistant" and kind == "tool_result":
        raise Violation(path, "`tool_result` blocks can only be in `user` messages", form=message)
    if kind in CALLS and not TOOL_ID.fullmatch(block["id"]):
        raise Violation(f"{path}.{kind}.id", "String should match pattern '^[a-zA-Z0-9_-]+$'")
    if kind == "thinking" and not block["signature"]:
        raise Violation(f"{path}.thinking.signature", "Field required")
    if kind == "tool_result":
        _result(path, block, tools)
    if kind == "tool_search_tool_result":
        _references(path, block, tools)


def _result(path: str, block: dict[str, Any], tools: frozenset[str]) -> None:
    content = block.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Violation(f"{path}.tool_result.content", "Input should be a valid string or list")
    for at, part in enumerate(content):
        here = f"{path}.tool_result.content.{at}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in IN_RESULT:
            raise Violation(here, f"Input tag '{kind}' found using 'type' does not match any of the expected tags")
        fields(here, part)
        if kind == "text" and not part["text"]:
            raise Violation(here, "text content blocks must be non-empty", form="messages")
        if kind == "tool_reference":
            _reference(here, part["tool_name"], tools)


def _references(path: str, block: dict[str, Any], tools: frozenset[str]) -> None:
    content = block.get("content")
    found = content.get("tool_references") if isinstance(content, dict) else None
    for at, part in enumerate(found if isinstance(found, list) else []):
        _reference(f"{path}.content.tool_references.{at}", part.get("tool_name"), tools)


def _reference(path: str, name: Any, tools: frozenset[str]) -> None:
    if name not in tools:
        raise Violation(path, f"Tool reference '{name}' not found in available tools")
