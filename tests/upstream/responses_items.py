"""What a single item of `input` must look like, by its type.

Fields are those that the vendor's SDK of November 2026 can send. The work of the vendor's own tools is opaque here, but
its types must be known.
"""

from __future__ import annotations

from typing import Any

from tests.upstream.chat_tools import NAME, is_object
from tests.upstream.openai_validity import BREAKPOINT
from tests.upstream.violation import Violation

Item = dict[str, Any]

OPAQUE = frozenset(
    {
        "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "computer_call", "computer_call_output",
        "configuration_update", "file_search_call", "image_generation_call", "local_shell_call",
        "local_shell_call_output", "mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools",
        "multi_agent_call", "multi_agent_call_output", "program", "program_output", "shell_call", "shell_call_output",
        "tool_search_call", "tool_search_output", "web_search_call",
    }
)  # fmt: skip
COMMON = frozenset({"type", "id", "agent"})
FIELDS = {
    "message": frozenset({"role", "content", "status", "phase"}),
    "function_call": frozenset({"call_id", "name", "arguments", "namespace", "status", "caller", "async"}),
    "function_call_output": frozenset({"call_id", "output", "status", "name", "namespace", "caller"}),
    "custom_tool_call": frozenset({"call_id", "name", "input", "namespace", "status", "caller", "async"}),
    "custom_tool_call_output": frozenset({"call_id", "output", "status", "name", "caller"}),
    "reasoning": frozenset({"summary", "content", "encrypted_content", "status"}),
    "additional_tools": frozenset({"role", "tools"}),
    "agent_message": frozenset({"author", "recipient", "content"}),
    "compaction": frozenset({"encrypted_content"}),
    "compaction_trigger": frozenset(),
    "item_reference": frozenset(),
}
REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "message": {"role": str, "content": (str, list)},
    "function_call": {"call_id": str, "name": str, "arguments": str},
    "function_call_output": {"call_id": str, "output": (str, list)},
    "custom_tool_call": {"call_id": str, "name": str, "input": str},
    "custom_tool_call_output": {"call_id": str, "output": (str, list)},
    "reasoning": {"summary": list},
    "additional_tools": {"role": str, "tools": list},
    "agent_message": {"author": str, "recipient": str, "content": list},
    "compaction": {"encrypted_content": str},
    "item_reference": {"id": str},
}
PREFIXES = {
    "message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs", "compaction": "cmp",
}  # fmt: skip
MOST = 64
"""The longest `call_id`, in characters."""

INPUTS = frozenset({"input_text", "input_image", "input_file"})
PARTS = {
    "user": INPUTS,
    "system": INPUTS,
    "developer": INPUTS,
    "assistant": frozenset({"output_text", "refusal"}),
}
PART_FIELDS = {
    "input_text": frozenset({"text", BREAKPOINT}),
    "input_image": frozenset({"detail", "file_id", "image_url", BREAKPOINT}),
    "input_file": frozenset({"detail", "file_id", "file_data", "file_url", "filename", BREAKPOINT}),
    "output_text": frozenset({"text", "annotations", "logprobs"}),
    "refusal": frozenset({"refusal"}),
    "summary_text": frozenset({"text"}),
    "reasoning_text": frozenset({"text"}),
    "encrypted_content": frozenset({"encrypted_content"}),
}
ONE_OF = {"input_image": ("image_url", "file_id"), "input_file": ("file_id", "file_data", "file_url")}
TEXTS = {
    "input_text": "text", "output_text": "text", "summary_text": "text", "reasoning_text": "text",
    "refusal": "refusal", "encrypted_content": "encrypted_content",
}  # fmt: skip


def items(given: Any) -> list[Any]:
    """The items of an `input` in either spelling, each with the type that goes without saying."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [_named(item) for item in given]


def _named(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("type") is not None:
        return item
    return {**item, "type": "message" if "role" in item or "content" in item else "item_reference"}


def check(path: str, item: Any) -> None:
    """Raise Violation at the first thing wrong with an item on its own."""
    kind = item.get("type") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS.keys() | OPAQUE:
        raise Violation(f"{path}.type", f"Invalid value: '{kind}'. Supported: {', '.join(sorted(FIELDS))}")
    if not isinstance(item.get("id"), str | None):
        raise Violation(f"{path}.id", "expected a string")
    prefix = PREFIXES.get(kind)
    if prefix and item.get("id") is not None and not item["id"].startswith(f"{prefix}_"):
        raise Violation(f"{path}.id", f"Invalid value: '{item['id']}'. Expected an ID that begins with '{prefix}'.")
    if kind in OPAQUE:
        return
    for name in item:
        if name not in COMMON | FIELDS[kind]:
            raise Violation(f"{path}.{name}", "Unknown parameter")
    for name, wanted in REQUIRED.get(kind, {}).items():
        if not isinstance(item.get(name), wanted):
            raise Violation(f"{path}.{name}", "Missing required parameter, or of the wrong type")
    _inside(path, item, kind)


def _inside(path: str, item: Item, kind: str) -> None:
    if "call_id" in FIELDS[kind] and not 1 <= len(item["call_id"]) <= MOST:
        raise Violation(f"{path}.call_id", f"expected a string of 1 to {MOST} characters")
    if kind in {"function_call", "custom_tool_call"} and not NAME.fullmatch(item["name"]):
        raise Violation(f"{path}.name", f"expected a string that matches '^{NAME.pattern}$'")
    if kind == "function_call" and not is_object(item["arguments"]):
        raise Violation(f"{path}.arguments", "expected a JSON object in a string")
    if kind == "message":
        _message(path, item)
    elif kind in {"function_call_output", "custom_tool_call_output"}:
        _parts(f"{path}.output", item["output"], INPUTS, blank=True)
    elif kind == "agent_message":
        _parts(f"{path}.content", item["content"], frozenset({"input_text", "input_image", "encrypted_content"}))
    elif kind == "additional_tools" and item["role"] != "developer":
        raise Violation(f"{path}.role", "Invalid value. Supported: 'developer'")
    elif kind == "reasoning":
        for name, allowed in (("summary", "summary_text"), ("content", "reasoning_text")):
            for at, part in enumerate(item.get(name) or []):
                _part(f"{path}.{name}[{at}]", part, frozenset({allowed}), blank=True)


def _message(path: str, item: Item) -> None:
    role = item["role"]
    if role not in PARTS:
        raise Violation(f"{path}.role", f"Invalid value: '{role}'. Supported: {', '.join(PARTS)}")
    if item.get("phase") is not None and (role != "assistant" or item["phase"] not in {"commentary", "final_answer"}):
        raise Violation(f"{path}.phase", "only 'commentary' or 'final_answer', of an assistant")
    _parts(f"{path}.content", item["content"], PARTS[role])


def _parts(path: str, content: Any, kinds: frozenset[str], *, blank: bool = False) -> None:
    if isinstance(content, str):
        if not blank and not content.strip():
            raise Violation(path, "expected text that is not blank")
        return
    if not content:
        raise Violation(path, "expected a string or an array of parts with minimum length 1")
    for at, part in enumerate(content):
        _part(f"{path}[{at}]", part, kinds, blank)


def _part(path: str, part: Any, kinds: frozenset[str], blank: bool) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in kinds:
        raise Violation(f"{path}.type", f"Invalid value: '{kind}'. Supported: {', '.join(sorted(kinds))}")
    for name in part:
        if name != "type" and name not in PART_FIELDS[kind]:
            raise Violation(f"{path}.{name}", "Unknown parameter")
    said = TEXTS.get(kind)
    if said and not isinstance(part.get(said), str):
        raise Violation(f"{path}.{said}", "Missing required parameter, or of the wrong type")
    if said and not blank and not part[said].strip():
        raise Violation(f"{path}.{said}", "expected text that is not blank")
    if kind in ONE_OF and not any(isinstance(part.get(name), str) and part[name] for name in ONE_OF[kind]):
        raise Violation(path, f"one of {', '.join(ONE_OF[kind])} is required")
