"""A managed request under way, from its plan to what the provider said of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from addon.keeper import Name
from addon.mmu.breakpoints import Extent, Head
from addon.mmu.plan import Plan
from addon.recall.patch import Answered
from addon.wire.api import Api
from addon.wire.conversation import Conversation
from addon.wire.usage import Usage


class PassThrough(Exception):
    """The request is forwarded as it came, for this reason. `project`: the folder it is for, where that is known."""

    def __init__(self, reason: str, project: str = "") -> None:
        super().__init__(reason)
        self.project = project


@dataclass(slots=True)
class Passed:
    """A request under way that is forwarded as it came. Nothing of it is kept but what it costs."""

    api: Api
    tenant: str
    project: str
    model: str
    """"" where its body cannot be read."""
    day: date
    usage: Usage | None = None
    transformed: bool = False


@dataclass(slots=True)
class Call:
    """A managed request under way."""

    api: Api
    name: Name
    conversation: Conversation
    """The request as it was planned."""
    plan: Plan
    original: bytes
    rewritten: bool
    """Whether what was accepted is not the original."""
    stored: bool
    answers: Mapping[str, Answered] = field(default_factory=dict)
    """Recalls that this request could answer, by call id."""
    client: Conversation | None = None
    """The request as the client sent it; None where that is `conversation`."""
    offered: bool = False
    """Whether the recall tool stands in it."""
    beside: bool = False
    """Whether it only repeats its conversation, for a summary or a title."""
    relays: bool = False
    """Whether a recall in its response is answered there, unseen by the client."""
    head_warm: bool = False
    """Whether its tools had been sent lately, as the client has them."""
    marked: Extent = Extent.NONE
    """How much of it carries cache marks of ours; the client then set none."""
    unmarked: bytes = b""
    """What would have been sent without them."""
    head: Head | None = None
    """Where it is remembered what such marks bring at the head."""
    cleared: int = 0
    """How many first tool uses the provider was asked to clear the results of."""
    uncleared: bytes = b""
    """What would have been sent without asking it to."""
    betas: str | None = None
    """What the header for it said before."""
    told_cleared: int | None = None
    """How many the provider says it has cleared."""
    transformed: bool = False
    """Whether the provider said that it dropped reasoning."""
    usage: Usage | None = None
    """What the provider reported of it."""
    more: list[Usage] = field(default_factory=list)
    """What it reported of the requests that carried its response on."""
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    """When it was planned, by the monotonic clock."""
