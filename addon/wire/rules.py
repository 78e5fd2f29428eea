"""What makes a Messages request valid, checked on what is about to be sent.

Not a validator of clients: a request may break a rule that is not known here, or one that has since been relaxed, and
that is between the client and the provider. The rules guard against *our own* edits, so what counts is the difference:
`broken(original, rewritten)` lists the rules the rewritten request breaks and the original did not.

Sources: the Messages API reference, "Tool use", "Prompt caching", "Preserved thinking".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from addon.wire.conversation import Block, Conversation, Kind, Message

BREAKPOINTS = 4

type Rule = Callable[[Conversation], Iterator[str]]
"""Yields one line for every place that breaks the rule."""


def calls_are_answered(conversation: Conversation) -> Iterator[str]:
    """Every tool call is answered in the next message, and results answer a call of the message before."""
    pending: set[str] = set()
    for index, message in enumerate(conversation.messages):
        answered = {b.call for b in message.blocks if b.call and b.kind is not Kind.CALL}
        if message.role == "user":
            if pending - answered:
                yield f"messages.{index}: calls without a result"
            if answered - pending:
                yield f"messages.{index}: results without a call"
            pending = set()
        elif message.role == "assistant":
            if pending:
                yield f"messages.{index}: calls without a result"
            pending = {b.call for b in message.blocks if b.kind is Kind.CALL}


def results_stand_first(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        other = False
        for block in message.blocks:
            if block.kind is Kind.RESULT and other:
                yield f"messages.{index}: result behind other content"
            other = other or (block.kind in (Kind.TEXT, Kind.OTHER) and not block.call)


def texts_say_something(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        for block in message.blocks:
            if block.kind is Kind.TEXT and not block.text.strip():
                yield f"messages.{index}: empty text"


def messages_have_content(conversation: Conversation) -> Iterator[str]:
    for index, message in enumerate(conversation.messages):
        if not message.blocks:
            yield f"messages.{index}: no content"


def roles_are_in_order(conversation: Conversation) -> Iterator[str]:
    if conversation.messages and conversation.messages[0].role != "user":
        yield "messages.0: not the user's"


def system_messages_stand_between(conversation: Conversation) -> Iterator[str]:
    """One at a time, last or before an answer."""
    for index, message in enumerate(conversation.messages):
        if message.role != "system":
            continue
        before, after = conversation.messages[max(index - 1, 0) : index], conversation.messages[index + 1 : index + 2]
        if any(m.role == "system" for m in before) or any(m.role != "assistant" for m in after):
            yield f"messages.{index}: system message out of place"


def calls_come_once(conversation: Conversation) -> Iterator[str]:
    seen: set[str] = set()
    for index, message in enumerate(conversation.messages):
        for block in message.blocks:
            if block.kind is Kind.CALL:
                if block.call in seen:
                    yield f"messages.{index}: a call's id comes twice"
                seen.add(block.call)


def breakpoints_are_few(conversation: Conversation) -> Iterator[str]:
    if conversation.breakpoints > BREAKPOINTS:
        yield f"{conversation.breakpoints} cache breakpoints"


RULES: tuple[Rule, ...] = (
    calls_are_answered,
    results_stand_first,
    texts_say_something,
    messages_have_content,
    roles_are_in_order,
    system_messages_stand_between,
    calls_come_once,
    breakpoints_are_few,
)


def _skeleton(message: Message, ours: AbstractSet[str]) -> tuple[str, list[tuple[Kind, str, bool, int]]]:
    """What a rewrite may never change about a message: roles, the order of its blocks, ids, error flags."""
    blocks = (b for b in message.blocks if b.kind is not Kind.REASONING)
    return message.role, [(b.kind, b.call, b.error and b.call not in ours, b.part) for b in blocks]


def _others(message: Message) -> list[bytes]:
    return [b.digest for b in message.blocks if b.kind not in (Kind.RESULT, Kind.REASONING)]


def _reasoning(conversation: Conversation) -> list[list[Block]]:
    return [[b for b in message.blocks if b.kind is Kind.REASONING] for message in conversation.messages]


def _current_turn(conversation: Conversation) -> int:
    """Index of the last user message that is not only tool results: where the current turn begins."""
    for index in range(len(conversation.messages) - 1, -1, -1):
        message = conversation.messages[index]
        if message.role == "user" and any(b.kind is Kind.TEXT for b in message.blocks):
            return index
    return 0


def _changes(
    original: Conversation, rewritten: Conversation, ours: AbstractSet[str], marks: int
) -> Iterator[str]:
    """What a rewrite must leave as it was, whatever the provider would say."""
    before_names, names = ([t.name for t in side.tools] for side in (original, rewritten))
    added = names[len(before_names) :]
    if names[: len(before_names)] != before_names or len(set(added) - set(before_names)) != len(added):
        yield "tools changed, or one came twice"
    if len(original.messages) != len(rewritten.messages):
        yield "messages added or lost"
        return
    if [b.digest for b in original.instructions] != [b.digest for b in rewritten.instructions]:
        yield "instructions changed"
    if original.breakpoints + marks != rewritten.breakpoints:
        yield "cache breakpoints changed"
    for index, (before, after) in enumerate(zip(original.messages, rewritten.messages, strict=True)):
        if before.digest == after.digest:
            continue
        if _skeleton(before, ours) != _skeleton(after, ours):
            yield f"messages.{index}: blocks changed their order, ids or flags"
        if _others(before) != _others(after):
            yield f"messages.{index}: more than tool results changed"
    turn = _current_turn(original)
    kept, had = _reasoning(rewritten), _reasoning(original)
    if [[b.digest for b in m] for m in kept[turn:]] != [[b.digest for b in m] for m in had[turn:]]:
        yield "reasoning of the current turn changed"
    # Reasoning of finished turns may go, oldest first; a gap in the middle is refused.
    earlier, before_it = ([b.digest for m in side[:turn] for b in m] for side in (kept, had))
    if earlier != before_it[len(before_it) - len(earlier) :]:
        yield "a gap in the reasoning of finished turns"


def worsened(original: Conversation, expanded: Conversation, rules: Sequence[Rule] = RULES) -> list[str]:
    """Rules that are broken in more places than they were, one line each. For rewrites that add messages."""
    found: list[str] = []
    for rule in rules:
        before, now = list(rule(original)), list(rule(expanded))
        if len(now) > len(before):
            found.append(now[-1])
    return found


def broken(
    original: Conversation,
    rewritten: Conversation,
    ours: AbstractSet[str] = frozenset(),
    rules: Sequence[Rule] = RULES,
    *,
    marks: int = 0,
) -> list[str]:
    """Rules that the rewritten request breaks and the original did not, one line each; empty when it may be sent.

    `ours` are ids of calls to a tool that the client does not have: its refusal of them may give way to an answer.
    `rules` are those of the API. `marks` is how many cache marks were added.
    """
    found = list(_changes(original, rewritten, ours, marks))
    for rule in rules:
        if breaks := list(rule(rewritten)):
            found.extend((Counter(breaks) - Counter(rule(original))).elements())
    return found
