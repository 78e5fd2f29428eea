"""Ids for calls that have none.

Gemini 2.5 gives its calls no ids, and clients may make some up for the answers alone. A block is found again by the id
of its call, so such a call gets one from what it says, `NAME~HASH.N`: N equal ones stood before it. That is the same in
every later request, as long as the client does not take out what stood before. An answer gets the id of the call that
it answers: the one it names, else the next of its function that waits for one. Ids are part of what a message says, so
that asking the same again is something new.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import blake2b

from addon.wire.conversation import Block, Kind, Message

NO_ID = "~"
"""Begins what stands for the id of a call that has none; what it says follows, if it is the call itself."""


def identified(messages: list[Message]) -> list[Message]:
    """The messages with an id for every call, and for every answer that of its call. The same list where all have."""
    if not any(block.call.startswith(NO_ID) for message in messages for block in message.blocks):
        return messages
    equal: Counter[str] = Counter()
    waiting: list[Block] = []
    made: list[Message] = []
    for message in messages:
        if message.role == "assistant" and (not made or made[-1].role != "assistant"):
            waiting = []
        named = {block.call for block in message.blocks if block.kind is not Kind.CALL}
        blocks: list[Block] = []
        for block in message.blocks:
            if block.kind is Kind.CALL:
                if block.call.startswith(NO_ID):
                    says = block.name + block.call
                    block = replace(block, call=f"{says}.{equal[says]}")
                    equal[says] += 1
                waiting.append(block)
            elif block.call and block.part:
                block = replace(block, call=blocks[-1].call)  # it stands beside the text of the same answer
            elif block.call:
                block = replace(block, call=_answered(block, waiting, named))
            blocks.append(block)
        if blocks != message.blocks:
            over = message.digest + "\0".join(block.call for block in blocks).encode("utf-8", "surrogatepass")
            message = replace(message, blocks=blocks, digest=blake2b(over, digest_size=8).digest())
        made.append(message)
    return made


def _answered(answer: Block, waiting: list[Block], named: set[str]) -> str:
    """The id of the call that is answered, which then waits no more; the answer's own where there is none. What is
    `named` by any answer of the same message is left to that, and an id that no call has goes to one without."""
    ids = {call.call for call in waiting}
    made_up = not answer.call.startswith(NO_ID)

    def fits(call: Block) -> bool:
        if answer.call in ids:
            return call.call == answer.call
        had_none = call.call.startswith(call.name + NO_ID)
        return call.name == answer.name and call.call not in named and (had_none or not made_up)

    found = next(filter(fits, waiting), None)
    if found is None:
        return answer.call
    waiting.remove(found)
    return found.call
