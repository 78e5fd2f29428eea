"""Whether a request is marked for the provider's cache, where its client marks nothing and nothing is cached unasked.

Writing costs a quarter more than plain input, reading saves nine tenths or more of it. So a prompt that comes back
within the cache's time to live is worth marking, and one that does not makes the call dearer. Nobody says which it will
be. It is the ski rental problem, and the rule is its usual answer, kept honest by what the provider reports:

- A line is not marked on its first request. Whether it goes on is only known when it does. When it has come back in
  time, it has paid in full for what it could have read; the price of writing, a quarter, is staked once it has.
- From then on there is a *purse*: what marks have saved on the line by the provider's own figures, less what they have
  cost. A line that came back in time is marked while its purse is not more than one whole write in debt; one that
  came back too late, only if the purse pays for writing it all again. So it is never in debt by more than two, and a
  provider that is asked to write and is never able to read (behind a gateway that spreads requests over accounts) is
  soon not asked any more.
- A first request is marked at the end of its head, if that very head has been sent shortly before: other conversations
  read it. What is behind it is new, and may never be sent again.

The purse is in tokens at the price of plain input, so that it needs no price list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from addon.mmu.ledger import past
from addon.mmu.price import Family, family, minimum
from addon.mmu.view import Descent, Line
from addon.wire.conversation import Conversation
from addon.wire.usage import Usage

PURSE = "purse"
"""What a line's state calls its purse; there once the line has been marked."""
REFUSED = "unmarkable"
"""Where the state says why a line is marked no more."""

DENSE = 3
"""Characters a token where no provider has counted. Few, as a mark on a prompt too short to be cached costs nothing."""
HEADS = 256


class Extent(StrEnum):
    """How much of a request is marked."""

    NONE = ""
    HEAD = "head"
    ALL = "all"


@dataclass(slots=True)
class Head:
    """What is known of tools and instructions that several conversations begin with."""

    at: float | None = None
    """When it was sent last, epoch seconds."""
    purse: float = 0.0


class Heads:
    """The heads that were sent lately."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Head] = OrderedDict()

    def of(self, key: Hashable) -> Head:
        """What is known of one."""
        head = self._known.setdefault(key, Head())
        self._known.move_to_end(key)
        if len(self._known) > HEADS:
            self._known.popitem(last=False)
        return head


def pays(purse: float, idle: float | None, price: float, lifetime: float) -> bool:
    """Whether to write. `idle` is the seconds since it was sent last, None where it never was; `price` is what writing
    it all costs more than sending it plainly."""
    if idle is None:
        return False
    return purse > -price if idle <= lifetime else purse >= price


def earned(usage: Usage, model: str) -> float:
    """What marks have saved on a request, by its report; less than nothing where they have cost more."""
    kin = family(model) or Family(1.0, 1.0, 1.0)
    spent = usage.written * (kin.written - 1) + usage.written_hour * (kin.written_hour - 1)
    return usage.read * (1 - kin.read) - spent


def extent(conversation: Conversation, line: Line, head: Head, now: float, lifetime: float) -> Extent:
    """How much of a request to mark that has no mark of the client's. `lifetime` is how long it would be cached."""
    model = conversation.model
    kin = family(model)
    if kin is None:
        return Extent.NONE
    dearer = kin.written - 1
    state = line.parent.state if line.parent is not None else {}
    if line.how is Descent.REPEATED and PURSE not in state:
        return Extent.NONE  # a retry tells nothing of whether it goes on
    begun = any(message.role == "assistant" for message in conversation.messages)
    if line.parent is None or not begun:
        tokens = head_size(conversation) // DENSE
        idle = None if head.at is None else now - head.at
        fits = tokens >= minimum(model) and pays(head.purse, idle, dearer * tokens, lifetime)
        return Extent.HEAD if fits else Extent.NONE
    if _closed(state):
        return Extent.NONE
    before = past(state)
    tokens = max(len(conversation.text) // DENSE, before.prompt if before is not None else 0)
    fits = tokens >= minimum(model) and pays(state.get(PURSE, 0.0), now - line.used_at, dearer * tokens, lifetime)
    return Extent.ALL if fits else Extent.NONE


def _closed(state: Mapping[str, Any]) -> bool:
    """Whether a line is not to be marked: it was refused, or the client has marked it itself, or the provider caches it
    without being asked."""
    if state.get("hands_off") or state.get(REFUSED):
        return True
    return PURSE not in state and (state.get("ttl") is not None or bool(state.get("cached")))


def head_size(conversation: Conversation) -> int:
    """Characters of tools and instructions."""
    tools = sum(tool.end - tool.start for tool in conversation.tools)
    return tools + sum(len(block.text) for block in conversation.instructions)


def head_name(conversation: Conversation) -> Hashable:
    """Equal for requests whose heads the provider takes for the same."""
    tools = tuple(hash(conversation.text[tool.start : tool.end]) for tool in conversation.tools)
    return conversation.model, tools, tuple(block.digest for block in conversation.instructions)
