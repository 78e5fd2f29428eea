"""Declared tools, the choice among them, and the calls of an assistant message."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.upstream.chat_models import Model
from tests.upstream.violation import Violation

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MOST = 128
FUNCTION_FIELDS = {"name", "description", "parameters", "strict"}
CUSTOM_FIELDS = {"name", "description", "format"}


def check(body: dict[str, Any], model: Model) -> None:
    """Raise Violation for a tool or a choice that the server would not take."""
    tools = body.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) not in ({None, "none"} if name == "tool_choice" else {None}):
                raise Violation(name, "only allowed when 'tools' are specified")
        return
    if not isinstance(tools, list) or not 1 <= len(tools) <= MOST:
        raise Violation("tools", f"expected an array of 1 to {MOST} tools")
    if not model.functions:
        raise Violation("tools", f"{body['model']} takes no tools here. Use /v1/responses instead.")
    names: set[str] = set()
    for at, tool in enumerate(tools):
        name = _tool(f"tools[{at}]", tool)
        if name in names:
            raise Violation(f"tools[{at}]", f"Duplicate tool name: {name}")
        names.add(name)
    _choice(body.get("tool_choice"), names)


def _object(path: str, value: Any, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Violation(path, "expected an object")
    for name in value:
        if name not in known:
            raise Violation(f"{path}.{name}", "Unknown parameter")
    return value


def _tool(path: str, tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in {"function", "custom"}:
        raise Violation(f"{path}.type", f"Invalid value: '{kind}'. Supported: 'function', 'custom'")
    _object(path, tool, {"type", kind})
    return definition(f"{path}.{kind}", tool.get(kind), FUNCTION_FIELDS if kind == "function" else CUSTOM_FIELDS)


def definition(path: str, inner: Any, known: set[str]) -> str:
    """What a function or custom tool says of itself in these fields; its name. Raises Violation."""
    _object(path, inner, known)
    name = inner.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Violation(f"{path}.name", f"expected a string that matches '^{NAME.pattern}$'")
    if not isinstance(inner.get("description"), str | None):
        raise Violation(f"{path}.description", "expected a string")
    if not isinstance(inner.get("strict"), bool | None):
        raise Violation(f"{path}.strict", "expected a boolean")
    schema = inner.get("parameters", {"type": "object"})
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise Violation(f"{path}.parameters", f"Invalid schema for function '{name}': type must be 'object'")
    if not isinstance(schema.get("properties", {}), dict):
        raise Violation(f"{path}.parameters", f"Invalid schema for function '{name}': properties")
    return name


def _choice(choice: Any, names: set[str]) -> None:
    if choice is None or (isinstance(choice, str) and choice in {"none", "auto", "required"}):
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "allowed_tools":
        return
    if kind not in {"function", "custom"}:
        raise Violation("tool_choice", "Invalid value. Supported: 'none', 'auto', 'required', or an object")
    inner = choice.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else None
    if name not in names:
        raise Violation("tool_choice", f"Tool choice '{name}' not found in 'tools' parameter.")


def calls(path: str, made: Any) -> None:
    """The `tool_calls` of an assistant message. Raises Violation."""
    if not isinstance(made, list) or not made:
        raise Violation(path, "expected an array with minimum length 1")
    for at, call in enumerate(made):
        here = f"{path}[{at}]"
        kind = call.get("type") if isinstance(call, dict) else None
        if kind not in {"function", "custom"}:
            raise Violation(f"{here}.type", f"Invalid value: '{kind}'. Supported: 'function', 'custom'")
        _object(here, call, {"id", "type", kind})
        if not isinstance(call.get("id"), str) or not call["id"]:
            raise Violation(f"{here}.id", "Missing required parameter")
        said = "arguments" if kind == "function" else "input"
        inner = _object(f"{here}.{kind}", call.get(kind), {"name", said})
        if not isinstance(inner.get("name"), str) or not NAME.fullmatch(inner["name"]):
            raise Violation(f"{here}.{kind}.name", f"expected a string that matches '^{NAME.pattern}$'")
        if not isinstance(inner.get(said), str):
            raise Violation(f"{here}.{kind}.{said}", "expected a string")
        if kind == "function" and not is_object(inner["arguments"]):
            raise Violation(f"{here}.function.arguments", "expected a JSON object in a string")


def is_object(text: str) -> bool:
    """Whether a string holds a JSON object, as a call's arguments must."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
