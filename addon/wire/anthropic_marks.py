"""Cache marks for a request that has none: where they may stand, and where they serve best.

The provider writes and reads the prompt's cache at marks only. A mark reads the longest start of the prompt that ended
at a mark before, if that lies within the 20 blocks that end with it. So of the four that are allowed three are set:
one ends the head (tools and instructions), which other conversations of the same client share; one stands where the
last request's stood, so that it is found however much has come since; one ends the last message. The fourth is left to
whoever carries the response on.

A mark is a member of a block, and changes neither its meaning nor its hash. Reasoning and blank texts take none, and
blocks of kinds that are not known here are left alone. A string has no members, so it becomes the list of one text that
it is short for. Source: Anthropic, "Prompt caching" (what can be cached, how automatic prefix checking works).
"""

from __future__ import annotations

from collections.abc import Mapping

from addon.wire.anthropic import BILLING
from addon.wire.conversation import Conversation
from addon.wire.read import list_of
from addon.wire.scan import Edit, Field, fields

MARK = ',"cache_control":{"type":"ephemeral"}'
LIFETIME = 300.0
"""Seconds for which that is cached."""

_CARRIERS = frozenset({"text", "image", "document", "search_result", "tool_use", "tool_result"})
_SPEAKERS = frozenset({"user", "assistant"})

_blocks = list_of(lambda text, at: fields(text, at, {}))


def unasked(conversation: Conversation) -> bool:
    """Whether a client leaves alone what has to be asked for. Other vendors' models, behind gateways that speak this
    API, cache unasked or not at all."""
    silent = not conversation.breakpoints and "cache_control" not in conversation.places
    return silent and "claude" in conversation.model.lower()


def place(conversation: Conversation, seen: int = 0, *, tail: bool = True) -> list[Edit]:
    """The edits that mark a request which has no mark: the head, and with `tail` the end of the first `seen` messages
    and of all of them. Fewer, or none, where nothing can carry one."""
    found = _head(conversation)
    if tail:
        before, last = _end(conversation, seen), _end(conversation, len(conversation.messages))
        found += last if before == last else [*before, *last]
    return found


def count(edits: list[Edit]) -> int:
    """How many marks they set."""
    return sum(MARK in text for _, _, text in edits)


def _head(conversation: Conversation) -> list[Edit]:
    text = conversation.text
    if "system" in conversation.places:
        marked = _last(text, *conversation.places["system"])
        if marked:
            return marked
    for tool in reversed(conversation.tools):
        members, _ = fields(text, tool.start, {})
        if "cache_control" not in members and not members.get("defer_loading", (False,))[0]:
            return [_member(tool.end)]
    return []


def _end(conversation: Conversation, messages: int) -> list[Edit]:
    """A mark on the last block that can carry one among the first messages."""
    for message in reversed(conversation.messages[:messages]):
        if message.role in _SPEAKERS:
            members, _ = fields(conversation.text, message.start, {})
            marked = _last(conversation.text, *members["content"][1:])
            if marked:
                return marked
    return []


def _last(text: str, start: int, end: int) -> list[Edit]:
    """A mark on the last block of a content that stands there."""
    got, _ = _blocks(text, start)
    if isinstance(got, str):
        if not got.strip() or got.startswith(BILLING):
            return []
        return [(start, start, '[{"type":"text","text":'), (end, end, MARK + "}]")]
    for members, _, behind in reversed(got if isinstance(got, list) else []):
        if _carries(members):
            return [_member(behind)]
    return []


def _member(behind: int) -> Edit:
    """One member more for the object that ends there."""
    return behind - 1, behind - 1, MARK


def _carries(members: Mapping[str, Field]) -> bool:
    kind, words = (members.get(key, (None,))[0] for key in ("type", "text"))
    if kind not in _CARRIERS or "cache_control" in members:
        return False
    return kind != "text" or (isinstance(words, str) and bool(words.strip()) and not words.startswith(BILLING))
