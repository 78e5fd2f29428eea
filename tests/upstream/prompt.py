"""A request as the provider's caches and signatures see it: one line of blocks, tools, then system, then messages.

A provider does not compare request bodies, it compares prefixes of this line. Some spellings never matter and are
levelled here, once: `cache_control` markers (clients move them every turn), a string where a list with one text block
would do, the order of a block's own fields and fields that are null (SDKs choose them), and the text of Claude Code's
billing block (another value in every request). Everything else does: the order of keys inside a tool's input or
schema, roles, where a message begins, an added space. A deferred tool stands where it is referenced, not at the head.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

Tools = dict[str, dict[str, Any]]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

BILLING = "x-anthropic-billing-header:"
THINKING = frozenset({"thinking", "redacted_thinking"})


@dataclass(frozen=True, slots=True)
class Position:
    """One block of the line. `size` is the UTF-8 length of its JSON without markers; `ttl` is "5m", "1h" or None."""

    path: str
    part: str
    kind: str
    digest: bytes
    size: int
    ttl: str | None
    signature: str | None

    @property
    def is_thinking(self) -> bool:
        return self.kind in THINKING

    def tokens(self, bytes_per_token: float) -> int:
        return math.ceil(self.size / bytes_per_token)


def as_blocks(content: Any) -> list[Any]:
    """The blocks of a `content` or `system` value in either spelling; an absent value has none."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content) if isinstance(content, list) else [content]


def level(block: Any) -> Any:
    """A block without markers and null fields, its own fields in one order, nested content as a list."""
    if not isinstance(block, dict):
        return block
    kept = {key: block[key] for key in sorted(block) if key != "cache_control" and block[key] is not None}
    if kept.get("type") == "tool_result" and "content" in kept:
        kept["content"] = [level(part) for part in as_blocks(kept["content"])]
    return kept


def referenced(block: Any, deferred: Tools) -> list[Any]:
    """The definitions of the deferred tools that a block calls into the prompt, at any depth, in order."""
    if isinstance(block, list):
        return [tool for part in block for tool in referenced(part, deferred)]
    if not isinstance(block, dict):
        return []
    if block.get("type") == "tool_reference":
        tool = deferred.get(str(block.get("tool_name")))
        return [level(tool)] if tool else []
    return referenced(block.get("content"), deferred) + referenced(block.get("tool_references"), deferred)


def canonical(value: Any) -> bytes:
    return _encode(value).encode("utf-8", "surrogatepass")


def marker(block: Any) -> str | None:
    control = block.get("cache_control") if isinstance(block, dict) else None
    if not isinstance(control, dict):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"


def position(path: str, part: str, prefix: str, block: Any, deferred: Tools | None = None) -> Position:
    """`prefix` is what the block's place adds to its identity: the role, and whether it opens a message."""
    plain = level(block)
    text = canonical(plain)
    called = referenced(block, deferred) if deferred else []
    if called:
        text += canonical(called)
    size = len(text)
    kind = str(plain.get("type", "custom")) if isinstance(plain, dict) else "unknown"
    if part == "system" and isinstance(plain, dict) and str(plain.get("text", "")).startswith(BILLING):
        text = BILLING.encode()
    signature = None
    if kind in THINKING and isinstance(plain, dict):
        signature = str(plain.get("signature" if kind == "thinking" else "data", ""))
    digest = hashlib.blake2b(prefix.encode() + b"\0" + text, digest_size=16).digest()
    return Position(path, part, kind, digest, size, marker(block), signature)


def deferred_tools(body: dict[str, Any]) -> Tools:
    """The tools that are declared but not in the prompt until something references them, by name."""
    tools = [tool for tool in body.get("tools") or [] if isinstance(tool, dict) and tool.get("defer_loading")]
    return {str(tool.get("name")): tool for tool in tools}


def message_positions(index: int, role: str, blocks: list[Any], deferred: Tools | None = None) -> list[Position]:
    """The positions of one message. Thinking does not count as its opening: taking it away moves nothing else."""
    found = []
    opening = "first"
    for at, block in enumerate(blocks):
        here = position(f"messages.{index}.content.{at}", "messages", f"{role} {opening}", block, deferred)
        found.append(here)
        if not here.is_thinking:
            opening = "next"
    return found


def prompt(body: dict[str, Any]) -> list[Position]:
    """The line of a valid request body."""
    line: list[Position] = []
    deferred = deferred_tools(body)
    for at, tool in enumerate(body.get("tools") or []):
        if not (isinstance(tool, dict) and tool.get("defer_loading")):
            line.append(position(f"tools.{at}", "tools", "tool", tool))
    for at, block in enumerate(as_blocks(body.get("system"))):
        line.append(position(f"system.{at}", "system", "system", block))
    for index, message in enumerate(body.get("messages") or []):
        blocks = as_blocks(message.get("content"))
        line.extend(message_positions(index, str(message.get("role")), blocks, deferred))
    return line


def chain(line: list[Position], salts: dict[str, bytes] | None = None) -> list[bytes]:
    """For every position the digest of the whole line up to and with it; `salts` go in where a part begins."""
    links = []
    state = hashlib.blake2b(digest_size=16)
    part = ""
    for here in line:
        if here.part != part:
            part = here.part
            state.update(b"\1" + part.encode() + (salts or {}).get(part, b""))
        state.update(here.digest)
        links.append(state.digest())
    return links
