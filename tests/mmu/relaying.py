"""Relayed recalls in a played session: the pager that a relay talks to, its response, and the way back for a check."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from addon.call import Call
from addon.keeper import Name
from addon.mmu.page import NAME
from addon.mmu.view import Change, Splice, View, pages_of
from addon.recall import patch
from addon.recall.answer import Ask
from addon.recall.relay import Ends, Relay
from addon.wire import exchange
from addon.wire.anthropic_reply import Joiner, joined
from addon.wire.conversation import Conversation
from tests.agent.transport import assemble, events
from tests.upstream import message

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
        return call.api.parse(body)


def respond(
    relay: Relay, first: Body, ask: Callable[[bytes], Body], *, broken: bool
) -> tuple[Body | None, bytes]:
    """The message that the client is shown, and the last body that was sent for it. A `broken` response ends when the
    model should have gone on; the client has nothing then."""
    joiner = Joiner(NAME)
    stream, body, answers = b"", b"", [first]
    while True:
        stream += joiner.feed(b"".join(map(message.encode, message.events(answers[-1]))))
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
    shown = assemble(events(iter(stream.split(b"\n"))))
    assert shown["content"] == joined(answers, NAME)["content"]
    return shown, body


def withdrawn(messages: list[Body], splices: Iterable[Splice]) -> list[Body]:
    """The client's messages again: what hidden exchanges put in is taken out, and their rounds are one message."""
    made = [exchange.load(splice.text or "") for splice in splices]
    hidden = {call for one in made for round_ in one.rounds for call in round_.results}
    out: list[Body] = []
    goes_on = False
    for one in messages:
        content = one["content"]
        if isinstance(content, list):
            content = [b for b in content if b.get("id", b.get("tool_use_id")) not in hidden]
        answers = one["role"] == "user" and content != one["content"]
        if answers and not content:
            goes_on = True
        elif goes_on and one["role"] == "assistant":
            out[-1] = {**out[-1], "content": [*out[-1]["content"], *content]}
            goes_on = False
        else:
            out.append({**one, "content": content})
            goes_on = False
    return out


def recalled(splices: Iterable[Splice]) -> dict[str, str]:
    """The results in hidden exchanges, by call id."""
    found = [json.loads(r) for s in splices for one in exchange.load(s.text or "").rounds for r in one.results.values()]
    return {one["tool_use_id"]: one["content"] for one in found}
