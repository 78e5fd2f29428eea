"""A Responses request as the model sees it: tools, the shape of the answer, instructions, then item after item.

Spellings that do not matter are levelled: ids, status, marks and null fields, a string where a list with one part would
do. From GPT-6.2 on `instructions` are for one turn and stand behind all items
(developers.openai.com/api/docs/guides/keep-prefix-unchanged).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.upstream.chat_cache import plain
from tests.upstream.chat_models import model_of
from tests.upstream.prompt import canonical
from tests.upstream.responses_items import Item, items

MODEL = frozenset(
    {
        "apply_patch_call", "code_interpreter_call", "compaction", "computer_call", "custom_tool_call",
        "file_search_call", "function_call", "image_generation_call", "local_shell_call", "mcp_approval_request",
        "mcp_call", "mcp_list_tools", "multi_agent_call", "multi_agent_call_output", "program", "program_output",
        "reasoning", "shell_call", "tool_search_call", "web_search_call",
    }
)  # fmt: skip
IN_PARTS = frozenset({"message", "function_call_output", "custom_tool_call_output"})
INSTRUCTIONS = ("system", "developer")


def is_model(item: Item) -> bool:
    """Whether the model (or the vendor, for it) said this."""
    if item["type"] == "message":
        return bool(item["role"] == "assistant")
    return item["type"] in MODEL or (item["type"] == "tool_search_output" and item.get("execution") == "server")


def answers(found: list[Item]) -> int:
    """How many answers of the model are in there; what it said without anything between is one."""
    said = [is_model(item) for item in found]
    return sum(here and not before for here, before in zip(said, [False, *said], strict=False))


def level(item: Item) -> Item:
    """An item without its spelling."""
    bare = {name: value for name, value in plain(item).items() if name not in {"id", "status"}}
    for name in ("content", "output"):
        if item["type"] in IN_PARTS and name in bare:
            bare[name] = _parts(bare[name], "output_text" if item.get("role") == "assistant" else "input_text")
    return bare


def _parts(content: Any, kind: str) -> list[Item]:
    if isinstance(content, str):
        return [{"text": content, "type": kind}]
    return [{k: v for k, v in plain(part).items() if v or k not in {"annotations", "logprobs"}} for part in content]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The pieces of a prompt: what stands before the items, a piece for each of them, what stands behind."""

    head: list[bytes]
    items: list[bytes]
    tail: list[bytes]

    @property
    def line(self) -> list[bytes]:
        return [*self.head, *self.items, *self.tail]


def prompt(body: dict[str, Any], found: list[Item]) -> Prompt:
    """The prompt of a valid body with these items."""
    tools = [canonical(plain(tool)) for tool in body.get("tools") or []]
    shape = (body.get("text") or {}).get("format")
    told = [canonical(body["instructions"])] if body.get("instructions") else []
    last = model_of(body["model"]).bound
    head = [*tools, *([canonical(shape)] if shape else []), *([] if last else told)]
    return Prompt(head, [canonical(level(item)) for item in found], told if last else [])


def start(body: dict[str, Any], upto: str | int, ratio: float) -> bytes:
    """The prompt's text up to the end of "tools" (Codex has them in an item), of "system" or of a number of tokens."""
    found = items(body["input"])
    pieces = prompt(body, found)
    if isinstance(upto, int):
        return b"".join(pieces.line)[: int(upto * ratio)]
    tools = len(body.get("tools") or [])
    added = next((n for n, item in enumerate(found) if item["type"] != "additional_tools"), len(found))
    if upto == "tools":
        return b"".join(pieces.line[: tools + (added if tools == len(pieces.head) else 0)])
    told = next((n for n, item in enumerate(found[added:]) if item.get("role") not in INSTRUCTIONS), 0)
    return b"".join(pieces.line[: len(pieces.head) + added + told])
