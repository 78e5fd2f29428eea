"""A request as units for the simulated cache: head, tools, instructions, messages, in the provider's tokens."""

from __future__ import annotations

from dataclasses import dataclass

from addon.audit.recorded import counted
from addon.audit.scaled import Scale
from addon.audit.simulated import Unit, Units
from addon.audit.woven import deferred
from addon.mmu.tokens import Counter
from addon.wire.conversation import Conversation, Message, text_digest


@dataclass(frozen=True, slots=True)
class Prompt:
    units: Units
    head: int
    """How many units stand before the messages."""
    tools: tuple[tuple[int, str], ...]
    """Which of them are tools, and their names."""


class Scales:
    """Weighs the requests of a session, each message once."""

    def __init__(self, counter: Counter, scale: Scale) -> None:
        self._counter, self.scale = counter, scale
        self._messages: dict[bytes, int] = {}

    def weigh(self, conversation: Conversation, known: int = 0) -> Prompt:
        """Reasoning, images and documents weigh nothing, as elsewhere. `known`: tokens, in ours, of a head that was
        recorded and does not stand in the body."""
        before = self.scale.head + self.scale(known)
        units = [Unit("head", before)] if before else []
        tools: list[tuple[int, str]] = []
        for tool in conversation.tools:
            text = conversation.text[tool.start : tool.end]
            if not deferred(text):
                digest = text_digest(text)
                tools.append((len(units), tool.name))
                units.append(Unit(digest, self.scale(self._counter.count(text, digest))))
        for block in conversation.instructions:
            units.append(Unit(block.digest, self.scale(self._counter.count(block.text, block.digest))))
        head = len(units)
        units += [Unit(m.digest, self._message(conversation, m), len(m.blocks)) for m in conversation.messages]
        return Prompt(units, head, tuple(tools))

    def _message(self, conversation: Conversation, message: Message) -> int:
        tokens = self._messages.get(message.digest)
        if tokens is None:
            tokens = self.scale(counted(conversation.text, message, self._counter).weight)
            self._messages[message.digest] = tokens
        return tokens
