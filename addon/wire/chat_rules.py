"""What makes a Chat Completions request valid, for `rules.broken`.

Sources: OpenAI's reference and guide on function calling; what its servers answer where calls and tool messages do not
pair ("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'",
"messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"). Servers that translate to
another API refuse empty texts, and a tool of a shape that they do not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from addon.wire.conversation import Conversation, Kind
from addon.wire.rules import Rule


def calls_are_answered(conversation: Conversation) -> Iterator[str]:
    """Every call is answered once, by the tool messages right behind its own; those answer nothing else."""
    pending: set[str] = set()
    for index, message in enumerate(conversation.messages):
        if message.role == "tool":
            answered = {b.call for b in message.blocks if b.call and b.kind is not Kind.CALL}
            if answered - pending:
                yield f"messages.{index}: a result without a call"
            pending -= answered
            continue
        if pending:
            yield f"messages.{index}: calls without a result"
        pending = {b.call for b in message.blocks if b.kind is Kind.CALL}
    if pending:
        yield "the end: calls without a result"


def calls_are_the_models(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if message.role != "assistant" and any(b.kind in (Kind.CALL, Kind.REASONING) for b in message.blocks):
            yield f"messages.{index}: calls or reasoning of a {message.role}"


def texts_say_something(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        for block in message.blocks:
            if block.kind in (Kind.TEXT, Kind.RESULT) and not block.text.strip():
                yield f"messages.{index}: empty text"


def messages_have_content(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if all(block.kind is Kind.REASONING for block in message.blocks):
            yield f"messages.{index}: no content"


def tools_have_names(conversation: Conversation) -> Iterator[str]:
    """One that is spelled as another API has it would have none here."""
    for index, tool in enumerate(conversation.tools):
        if not tool.name:
            yield f"tools.{index}: no name"


RULES: tuple[Rule, ...] = (
    calls_are_answered,
    calls_are_the_models,
    texts_say_something,
    messages_have_content,
    tools_have_names,
)
