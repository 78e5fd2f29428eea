"""Relayed recalls in a played session: the pager that a relay talks to, and its response."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from addon.call import Call
from addon.keeper import Name
from addon.mmu.page import NAME
from addon.mmu.view import Change, Splice, View, pages_of
from addon.recall import patch
from addon.recall.answer import Ask
from addon.recall.relay import Ends, Relay
from addon.wire.conversation import Conversation
from tests.mmu.spellings import Spelling

type Body = dict[str, Any]


class Lines(Protocol):
    """What a session knows: its lines, the pages, and the exchanges that no line has."""

    lines: dict[str, View]
    pages: dict[str, str]
    loose: dict[str, dict[str, Splice]]


def drive[T](work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


class Pager:
    """Keeps exchanges in the session's lines; while there is an outage, aside from them."""

    def __init__(self, there: Lines, through: Callable[[View], View], *, outage: bool) -> None:
        self.there = there
        self.through = through
        self.outage = outage
        self.anchor = ""

    async def answers(
        self,
        name: Name,
        conversation: Conversation,
        splices: Mapping[str, Splice],
        asks: Mapping[str, Ask],
        standing: Mapping[str, str],
    ) -> dict[str, patch.Answered]:
        del name, conversation
        own = pages_of(splices)
        texts = {page: text for page, text in self.there.pages.items() if page in own}
        return {call: patch.answered(ask, texts, standing) for call, ask in asks.items()}

    async def keep(self, call: Call, anchor: str, text: str | None) -> bool:
        view = self.there.lines[call.plan.view.id]
        self.anchor = anchor
        held = view.splices.get(anchor)
        change = Change.RELAY if text is not None else Change.ORIGINAL
        made = Splice(anchor, 0 if held is None else held.generation + 1, change, "", text)
        if self.outage:
            self.there.loose.setdefault(view.id, {})[anchor] = replace(made, generation=made.generation + 1)
            return False
        after = replace(view, requests=view.requests + 1, splices={**view.splices, anchor: made})
        self.there.lines[view.id] = self.through(after)
        return True

    def sent(self, call: Call, body: bytes) -> Conversation:
        return call.api.parse(body, path=call.conversation.path)


def respond(
    relay: Relay, spelling: Spelling, first: Body, ask: Callable[[bytes], Body], *, broken: bool
) -> tuple[Body | None, bytes]:
    """The answer that the client is shown, and the last body that was sent for it. A `broken` response ends when the
    model should have gone on; the client has nothing then."""
    reply = relay.way.reply
    joiner = reply.joiner(NAME)
    stream, body, answers = b"", b"", [first]
    while True:
        stream += joiner.feed(spelling.streamed(answers[-1]))
        what = drive(relay.after(joiner.speech))
        if isinstance(what, Ends):
            break
        if broken:
            return None, what.body
        body = what.body
        answers.append(ask(body))
        joiner.proceed()
    assert not what.leak
    stream += joiner.finish()
    shown = spelling.assembled(stream)
    assert spelling.said(shown) == spelling.said(reply.joined(answers, NAME))
    return shown, body
