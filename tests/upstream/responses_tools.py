"""Declared tools in the words of Responses: functions are flat, and may stand in namespaces or in an item."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from tests.upstream.chat_tools import CUSTOM_FIELDS, FUNCTION_FIELDS, MOST, NAME, definition
from tests.upstream.violation import Violation

SHARED = {"allowed_callers", "async", "defer_loading"}
OWN = {"function": FUNCTION_FIELDS | SHARED | {"output_schema"}, "custom": CUSTOM_FIELDS | SHARED}
# The vendor's own tools; their settings are not looked into.
BUILT_IN = frozenset(
    {
        "apply_patch", "code_interpreter", "computer", "computer_use_preview", "file_search", "image_generation",
        "local_shell", "mcp", "programmatic_tool_calling", "shell", "tool_search", "web_search",
        "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
    }
)  # fmt: skip
NAMESPACE_FIELDS = {"type", "name", "description", "tools"}


def check(path: str, tools: Any) -> None:
    """Raise Violation for a tool that the server would not take, or two of one name."""
    if not isinstance(tools, list) or len(tools) > MOST:
        raise Violation(path, f"expected an array of at most {MOST} tools")
    names: set[str] = set()
    for at, tool in enumerate(tools):
        name = _tool(f"{path}[{at}]", tool)
        if name in names:
            raise Violation(f"{path}[{at}]", f"Duplicate tool name: {name}")
        if name:
            names.add(name)


def _tool(path: str, tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind in BUILT_IN:
        return ""
    if kind == "namespace":
        return _namespace(path, tool)
    if kind not in OWN:
        raise Violation(f"{path}.type", f"Invalid value: '{kind}'. Supported: 'function', 'custom', 'namespace', ...")
    stated = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return definition(path, stated, OWN[kind])


def _namespace(path: str, tool: dict[str, Any]) -> str:
    for field in tool:
        if field not in NAMESPACE_FIELDS:
            raise Violation(f"{path}.{field}", "Unknown parameter")
    name = tool.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Violation(f"{path}.name", f"expected a string that matches '^{NAME.pattern}$'")
    if not isinstance(tool.get("description"), str):
        raise Violation(f"{path}.description", "expected a string")
    check(f"{path}.tools", tool.get("tools"))
    return name


def choice(chosen: Any, names: Collection[str]) -> None:
    """Raise Violation for a `tool_choice` that is unknown or of a tool that is not declared."""
    if chosen is None or (isinstance(chosen, str) and chosen in {"none", "auto", "required"}):
        return
    kind = chosen.get("type") if isinstance(chosen, dict) else None
    if kind in BUILT_IN | {"allowed_tools"}:
        return
    if kind not in OWN:
        raise Violation("tool_choice", "Invalid value. Supported: 'none', 'auto', 'required', or an object")
    if chosen.get("name") not in names:
        raise Violation("tool_choice", f"Tool choice '{chosen.get('name')}' not found in 'tools' parameter.")


def declared(body: dict[str, Any], items: list[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    """Name -> type and namespace of the functions and custom tools that a valid request gives the model."""
    found: dict[str, tuple[str, str | None]] = {}
    added = [tool for item in items if item["type"] == "additional_tools" for tool in item["tools"]]
    for name, kind, space in _flat([*(body.get("tools") or []), *added], None):
        found.setdefault(name, (kind, space))
    return found


def _flat(tools: list[dict[str, Any]], space: str | None) -> Iterator[tuple[str, str, str | None]]:
    for tool in tools:
        if tool["type"] == "namespace":
            yield from _flat(tool["tools"], tool["name"])
        elif tool["type"] in OWN:
            yield tool["name"], tool["type"], space
