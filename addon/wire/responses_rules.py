"""What makes a Responses request valid, for `rules.broken`.

Sources: OpenAI's reference and guides on function calling and reasoning; what its servers answer where items do not
pair ("No tool output found for function call", "No tool call found for function call output", "... for custom tool
call output") and where reasoning stands alone ("Item 'rs_...' of type 'reasoning' was provided without its required
following item"). Servers that translate to another API refuse empty texts.
"""

from __future__ import annotations

from collections.abc import Iterator

from addon.wire.chat_rules import texts_say_something, tools_have_names
from addon.wire.conversation import Conversation, Kind
from addon.wire.rules import Rule


def calls_are_answered(conversation: Conversation) -> Iterator[str]:
    """Every call is answered once, by an item of its own kind behind it and before anybody speaks again. What the
    provider runs itself needs no answer."""
    pending: dict[str, bool] = {}
    for index, message in enumerate(conversation.messages):
        if message.role == "tool":
            for call, custom in {(b.call, b.custom) for b in message.blocks if b.call}:
                if pending.pop(call, None) is not custom:
                    yield f"messages.{index}: no tool call found for the output"
            continue
        if pending:
            yield f"messages.{index}: no tool output found for a call"
        pending = {b.call: b.custom for b in message.blocks if b.kind is Kind.CALL}
    if pending:
        yield "the end: no tool output found for a call"


def reasoning_is_followed(conversation: Conversation) -> Iterator[str]:
    """By what it led to, in the same answer."""
    for index, message in enumerate(conversation.messages):
        if message.blocks and message.blocks[-1].kind is Kind.REASONING:
            yield f"messages.{index}: reasoning without its required following item"


def messages_have_content(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if not message.blocks:
            yield f"messages.{index}: no content"


RULES: tuple[Rule, ...] = (
    calls_are_answered,
    reasoning_is_followed,
    texts_say_something,
    messages_have_content,
    tools_have_names,
)
