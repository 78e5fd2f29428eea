"""What makes a generateContent request valid, for `rules.broken`.

Sources: Google's pages on function calling and thought signatures; what the servers answer where turns do not fit
("Please ensure that function call turn comes immediately after a user turn or after a function response turn", "...
that the number of function response parts is equal to the number of function call parts of the function call turn").
That a function's response is an object is seen to where it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from addon.wire.conversation import Conversation, Kind, Message
from addon.wire.rules import Rule


def _calls(message: Message) -> Counter[tuple[str, str]]:
    return Counter((b.call, b.name) for b in message.blocks if b.kind is Kind.CALL)


def _answers(message: Message) -> Counter[tuple[str, str]]:
    return Counter((b.call, b.name) for b in message.blocks if b.call and b.kind is not Kind.CALL and not b.part)


def calls_are_answered(conversation: Conversation) -> Iterator[str]:
    """As many answers as calls, each to a call of its function, in the content right behind; and to nothing else."""
    pending: Counter[tuple[str, str]] = Counter()
    for index, message in enumerate(conversation.messages):
        if _answers(message) != pending:
            yield f"contents.{index}: calls and answers do not pair"
        pending = _calls(message)
    if pending:
        yield "the end: calls without an answer"


def answers_stand_alone(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if _answers(message) and not all(block.call for block in message.blocks):
            yield f"contents.{index}: answers beside something else"


def calls_follow_the_user(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if _calls(message) and (not index or conversation.messages[index - 1].role == "assistant"):
            yield f"contents.{index}: calls that do not stand behind the user's turn"


def calls_are_the_models(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        kinds = {b.kind for b in message.blocks}
        wrong = {Kind.RESULT} if message.role == "assistant" else {Kind.CALL, Kind.REASONING}
        if kinds & wrong:
            yield f"contents.{index}: not what a {message.role} says"


def contents_have_parts(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if not message.blocks:
            yield f"contents.{index}: no parts"


def texts_say_something(conversation: Conversation) -> Iterator[str]:
    """The user's; the model's may be what a stream was cut into."""
    for index, message in enumerate(conversation.messages):
        if message.role == "user" and any(b.kind is Kind.TEXT and not b.text.strip() for b in message.blocks):
            yield f"contents.{index}: empty text"


def the_user_is_first_and_last(conversation: Conversation) -> Iterator[str]:
    for where, index in (("first", 0), ("last", -1)):
        if conversation.messages[index].role == "assistant":
            yield f"the {where} content is the model's"


def tools_have_names_of_their_own(conversation: Conversation) -> Iterator[str]:
    seen: set[str] = set()
    for index, tool in enumerate(conversation.tools):
        if not tool.name or tool.name in seen:
            yield f"tools.{index}: no name, or one that comes twice"
        seen.add(tool.name)


RULES: tuple[Rule, ...] = (
    calls_are_answered,
    answers_stand_alone,
    calls_follow_the_user,
    calls_are_the_models,
    contents_have_parts,
    texts_say_something,
    the_user_is_first_and_last,
    tools_have_names_of_their_own,
)
