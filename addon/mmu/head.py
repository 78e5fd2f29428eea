"""The head of a prompt: which of its tools are shortened, and when.

Tools and instructions stand first, so a change there changes the whole prefix. It is made where the prefix is written
anyway: on a conversation's first request, and at an epoch that begins at the head. Even then it has a price, for other
sessions of the same client may keep the head warm: with S tokens of it warm, a stub set that saves E tokens costs
(w - r) x S - w x E at once, and earns r x E on every later request.

So a set that is warm itself is taken as it is: of the same session (before the client compacted), or of another one.
Else, on a first request, only a set that costs nothing is; for whether a second one follows is not known. At an epoch
the price may also be paid from the conversation's credit, where it is earned back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

from addon.mmu.outlook import Outlook, written
from addon.mmu.schemas import HABITS, Stub, stubs
from addon.mmu.view import Table
from addon.wire.conversation import Conversation


def shortened(
    conversation: Conversation,
    table: Table,
    kin: Set[str],
    now: Outlook,
    credit: float,
    size: Callable[[str, bytes | None], int],
    state: Mapping[str, object],
    *,
    cached: bool,
) -> tuple[list[Stub], frozenset[str]]:
    """The stubs that are to stand for tools from this request on; and the anchors of the warm set, if it is one.

    `kin` are the anchors of what stands in the tools of the same session's other lines, `cached` whether the provider
    caches at all; `state` is the line's.
    """
    alike = frozenset(kin) or now.head.stubbed
    if alike & table.schemas.keys():
        return [s for s in stubs(conversation, HABITS, frozenset(), size) if s.anchor in alike], alike
    found = stubs(conversation, table.requests, now.habits.used, size)
    if not found or not cached:
        return found, frozenset()
    shared = now.head.shared
    if shared is None:
        shared = head_tokens(conversation, size)
    if not shared:
        return found, frozenset()
    if now.rates is None:
        return [], frozenset()
    saved = sum(size(each.full, None) - size(each.text, None) for each in found)
    write, read = written(now.rates, conversation, state), now.rates.read
    cost = (write - read) * shared - write * saved
    if cost <= 0 or (table.requests and cost <= credit and cost < read * saved * now.habits.remaining(table.requests)):
        return found, frozenset()
    return [], frozenset()


def head_tokens(conversation: Conversation, size: Callable[[str, bytes | None], int]) -> int:
    """Tokens of tools and instructions."""
    tools = conversation.tools
    declared = conversation.text[tools[0].start : tools[-1].end] if tools else ""
    return size(declared, None) + sum(size(block.text, block.digest) for block in conversation.instructions)
