"""Recall by relay: the model's call is answered inside the response, by carrying the exchange with the provider on.

The client sees one answer. For the provider there were several, so each hidden pair of call and result is made durable
before the result is sent, and from then on stands in every later request of the conversation (`replay.py`).

This file decides what follows a round; `relay_stream.py` and `relay_whole.py` do it, for the two kinds of response.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from addon.call import Call
from addon.keeper import Name
from addon.mmu.page import NAME
from addon.mmu.view import Splice, standing_pages
from addon.recall import replay
from addon.recall.answer import Ask, points_to, read
from addon.recall.patch import Answered, unavailable
from addon.watch.metrics import Metrics
from addon.wire import exchange
from addon.wire.apis import clearing
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange, Round
from addon.wire.reply import Relaying, Speech
from addon.wire.rules import BREAKPOINTS
from addon.wire.scan import splice

logger = logging.getLogger(__name__)

ROUNDS = 8
"""Times that a response is carried on with pages; once more with the word that there are no more, then no further."""
FEW = 4
"""The same where the client uses all cache marks itself: its next request finds its last one only so far behind."""
NO_MORE = "Too many pages were asked for in one go. Go on with what is here; more can be asked for in your next turn."
TOO_LONG = "This does not fit into the conversation. Ask for a part of it with `lines` or `grep`."
MENDABLE = (400, 413, 422)
"""Answers to a request to carry on that may be due to what was put into it."""
SHORT = 2000
"""Characters of an answer that cannot be why a request is too long."""


class Keeping(Protocol):
    """What of the pager is needed here."""

    async def answers(
        self,
        name: Name,
        conversation: Conversation,
        splices: Mapping[str, Splice],
        asks: Mapping[str, Ask],
        standing: Mapping[str, str],
    ) -> dict[str, Answered]: ...

    async def keep(self, call: Call, anchor: str, text: str | None) -> bool: ...

    def sent(self, call: Call, body: bytes) -> Conversation: ...


@dataclass(frozen=True, slots=True)
class Ends:
    """The response is complete."""

    leak: bool = False
    """Its hidden calls are to be shown to the client after all."""


@dataclass(frozen=True, slots=True)
class GoesOn:
    """The provider is asked with this body, and its answer carries the response on."""

    body: bytes


type Next = Ends | GoesOn


class Relay:
    """The rounds of one response. `way` is its API's, `body` the request as it was sent."""

    def __init__(self, call: Call, way: Relaying, body: bytes, pager: Keeping, metrics: Metrics) -> None:
        self.call = call
        self.way = way
        self.rounds: list[Round] = []
        """Those that were answered."""
        self._body = body
        self._pager = pager
        self._metrics = metrics
        self._texts: dict[str, str] = {}
        """The last round's answers, by call id."""
        self._whole: dict[str, frozenset[str]] = {}
        """The pages that each call's answer shows in full."""
        self._most = ROUNDS
        self._anchor = ""
        self._first_id = ""
        self._shown: dict[str, str] = {}
        self._looked = False

    async def after(self, speech: Speech) -> Next:
        """What follows when the model has spoken."""
        self._first_id = self._first_id or speech.id
        asks = {call.id: read(call.arguments) for call in speech.calls if call.name == NAME}
        others = [call for call in speech.calls if call.name != NAME]
        if not asks:
            await self._finish(speech)
            return Ends()
        if not speech.closed or not speech.waits:
            # Cut short in the middle of the call, by a limit most likely: there is nothing to answer.
            self._count("cut short")
            await self._finish(speech, without=asks)
            return Ends()
        if not speech.intact or len(self.rounds) > self._most:
            return await self.leak(speech, "too many" if speech.intact else "not understood")
        return await self._beside(speech, asks) if others else await self._on(speech, asks)

    async def leak(self, speech: Speech, why: str) -> Ends:
        """Show the client the calls of this round; it will refuse them, and be answered as by patch."""
        self._count(f"leaked: {why}")
        logger.warning("mitmmu: a recall reaches the client: %s", why)
        await self.remember(speech, behind=[call.id for call in speech.calls if call.name == NAME])
        return Ends(leak=True)

    async def remember(self, speech: Speech, *, behind: Collection[str] = ()) -> None:
        """Keep the calls of a round as they were made: some clients make others of what they do not know. Those in
        `behind` are shown after all else."""
        first = next((call.id for call in speech.calls if call.name == NAME), "")
        await self._end(speech, asks=first, behind=behind)

    async def refused(self, speech: Speech, status: int) -> Next:
        """What follows when the provider would not take the last round's results. `speech` is that round's, `status`
        one of MENDABLE."""
        self.rounds.pop()
        long = [call for call, text in self._texts.items() if len(text) > SHORT]
        if long:
            self._count("shortened")
            self._withdraw(long)
            return await self._ask(speech, {**self._texts, **dict.fromkeys(long, TOO_LONG)})
        return await self.leak(speech, f"refused with {status}")

    async def _on(self, speech: Speech, asks: dict[str, Ask]) -> Next:
        if len(self.rounds) == self._most:
            return await self._ask(speech, dict.fromkeys(asks, NO_MORE))
        return await self._ask(speech, await self._answers(asks))

    async def _ask(self, speech: Speech, texts: dict[str, str]) -> Next:
        sent = self._pager.sent(self.call, self._body)
        try:
            made = self.way.fitted(sent, self._round(speech, texts))
        except ValueError:
            return await self.leak(speech, "not understood")
        if not await self._keep([*self.rounds, made], speech, asks=next(iter(texts))):
            # What cannot be kept must not be shown: the provider would have seen what it might never see again.
            texts = {call: unavailable(Ask()).text for call in texts}
            self._withdraw(texts)
            made = self.way.fitted(sent, self._round(speech, texts))
            await self._keep([*self.rounds, made], speech, asks=next(iter(texts)))
        self.rounds.append(made)
        self._texts = texts
        room = BREAKPOINTS - sent.breakpoints
        self._most = ROUNDS if room > 0 else FEW
        body = self.way.expand.carried_on(sent, self.rounds, room=room)
        clears = clearing(self.call.api) if self.call.cleared else None
        if clears is not None:
            grown = self._pager.sent(self.call, body)
            body = splice(grown.text, clears.again(grown, self.call.cleared)).encode("utf-8")
        return GoesOn(body)

    async def _beside(self, speech: Speech, asks: dict[str, Ask]) -> Next:
        """The client runs its tools; the pages go to the provider together with their results."""
        try:
            made = self._round(speech, await self._answers(asks))
        except ValueError:
            return await self.leak(speech, "not understood")
        if not await self._keep([*self.rounds, made], speech, asks=next(iter(asks)), finished=True):
            made = self._round(speech, {call: unavailable(Ask()).text for call in asks})
            await self._keep([*self.rounds, made], speech, asks=next(iter(asks)), finished=True)
        self._count("beside")
        return Ends()

    async def _answers(self, asks: dict[str, Ask]) -> dict[str, str]:
        call = self.call
        if not self._looked:  # not before: most responses ask for nothing
            self._looked, self._shown = True, _resident(call)
        standing = dict(self._shown)
        answered = await self._pager.answers(call.name, call.conversation, call.plan.view.splices, asks, standing)
        for id, got in answered.items():
            self._metrics.add("mmu_recalls_total", result=got.result)
            if got.pages:
                self._metrics.add("mmu_faults_total", got.pages, kind="explicit")
            self._whole[id] = got.whole
            if got.result in ("served", "resident") and asks[id].whole:
                # Asked for once more it is pointed to, and whoever asks even then is given it.
                for page in asks[id].pages:
                    if page in standing:
                        self._shown.pop(page, None)
                    elif page in got.whole:
                        self._shown[page] = f"your recall of page {page}"
        return {call: got.text for call, got in answered.items()}

    def _withdraw(self, calls: Iterable[str]) -> None:
        """Something else is said to these calls, so what they would have shown cannot be pointed to."""
        for call in calls:
            for page in self._whole.pop(call, frozenset()):
                self._shown.pop(page, None)

    def _round(self, speech: Speech, texts: dict[str, str]) -> Round:
        calls = {call.id: call for call in speech.calls}
        return speech.round({id: self.way.expand.result(calls[id], text) for id, text in texts.items()})

    async def _finish(self, speech: Speech, *, without: Collection[str] = ()) -> None:
        if self.rounds:
            await self._end(speech, without=without)
            self._count("finished")

    async def _end(
        self, speech: Speech, *, asks: str = "", without: Collection[str] = (), behind: Collection[str] = ()
    ) -> None:
        """Keep the exchange as the client was shown it to its end."""
        rounds, known = list(self.rounds), speech.intact
        if known:
            try:
                rounds.append(speech.round({}, without=without, behind=behind))
            except ValueError:
                known = False
        if rounds:
            # Where it is not known what the client was shown at the end, it is its word that counts.
            await self._keep(rounds, speech, asks=asks, finished=known)
        elif self._anchor:
            await self._pager.keep(self.call, self._anchor, None)

    async def _keep(self, rounds: list[Round], speech: Speech, *, asks: str, finished: bool = False) -> bool:
        if not self._anchor:
            self._anchor = f"{replay.place(self.call.client or self.call.conversation)}:{asks}"
        ids = (self._first_id, speech.id) if finished else ("", "")
        text = exchange.dump(Exchange(tuple(rounds), finished, *ids))
        return await self._pager.keep(self.call, self._anchor, text)

    def _count(self, result: str) -> None:
        self._metrics.add("mmu_relays_total", result=result)


def _resident(call: Call) -> dict[str, str]:
    """Pages that an answer may point to. One that was pointed to before and is asked for again is given."""
    if call.conversation.clears:
        return {}  # the provider may have cleared what stands here
    found = standing_pages(call.plan.table, call.plan.splices)
    for entry in call.plan.table.entries:
        if entry.recalled:
            found.pop(points_to(entry.block.text), None)
    return found
