"""What a request weighs and costs, with and without mitmmu. Counted after the fact, off the request's path.

What was billed is the provider's own report at known prices. What would have been billed nobody reports, so it is
derived from that report and from nothing else, as follows.

A prompt is billed in up to four stretches, in this order: read from the cache, written to it for an hour, written for a
while, fresh. mitmmu's splices stand at places of that line, and each would have been so many tokens longer (an evicted
page) or shorter (a page put back). Had nothing been spliced, the same stretches would have ended at the same places of
the client's own transcript. So every boundary that the provider reports is moved by what the splices before it saved,
and the same prices apply. Whatever the provider did (cooled early, kept longer, warmed a head for another session)
holds for the untouched prompt too, for it would have done so with that one; without splices both bills are the same to
the token. What was read cold is cold in both; a page evicted at a cold epoch saves a write then, and rent (a read) on
every warm turn from then on.

Three things the report cannot tell, because they would have gone otherwise:

- A prefix that mitmmu changed while it was warm was written again, and would have been read. How much the untouched
  transcript had in the cache is remembered of the line (`Past`), for the time that the provider keeps it, and as far
  as the client itself left its history as it was. That is read in the untouched bill, at least.
- A tool added to the head of the prompt, or shortened there, gives up the head that other sessions keep warm. What the
  line's first request read, before anything was changed, is taken to be warm ever after.
- A prompt that splices made too short to be cached. Its untouched self reads what `Past` has, and pays the rest at the
  plain price, though it may have paid for writing it.

A response that was carried on would have come in one piece, as long as its last part. Everything else of it, the
recalls included, is the price of having evicted.

A refresh of the cache (`mmu.keepalive`) is a loss when it is made. Where a request then reads what by the clock had
expired without it, the untouched prompt is written there, but for the head that other sessions keep warm.

Where the client asks for no caching and mitmmu does, nothing would have been cached: the untouched prompt is fresh from
end to end. What splices saved of it they saved at that price; the rest is what the marks have brought, or have cost.

In doubt the untouched bill is the smaller one, and nothing is claimed that rests on a guess: where the weight is not
exact (an image), or it is not known what a changed prefix had in the cache, only losses are counted; where the prices
or the usage are not known, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from addon.mmu.evict import gone_after, time_to_live
from addon.mmu.plan import Plan
from addon.mmu.price import Rates
from addon.mmu.tokens import Counter
from addon.mmu.view import DIGEST, TOOL, Change, Descent, Line, Splice, Table, shown
from addon.wire.conversation import Conversation, Kind, Message
from addon.wire.usage import Usage

OPAQUE = 4000
"""Characters above which a block of an unknown kind counts as an image or document, whose weight is not its text."""

STATE = "untouched"
"""What a line's state calls its `Past`."""
REFRESHED = "refreshed"
"""And when its cache was last refreshed, in epoch seconds."""


class Action(StrEnum):
    """What made a difference to the bill."""

    FOLD = "fold"
    EXCERPT = "excerpt"
    EVICT = "evict"
    STUB = "stub"
    """Definitions of tools, shortened."""
    COLLAPSE = "collapse"
    RECALL = "recall"
    """Pages put back, and the exchanges in which they were asked for."""
    TOOL = "tool"
    CARRIED = "carried"
    """Requests that carried a response on."""
    MARK = "mark"
    """Cache marks for a client that sets none: what was sent, at its price without them."""
    KEEPALIVE = "keepalive"
    """Requests that kept a cache warm, and what was read of it when it would have expired without them."""
    OTHER = "other"
    """What is left: a warm prefix that was written again, a price cliff that was not crossed."""


_ACTIONS: Mapping[Change, Action] = {
    Change.FOLD: Action.FOLD,
    Change.EXCERPT: Action.EXCERPT,
    Change.EVICT: Action.EVICT,
    Change.CLEAR: Action.EVICT,
    Change.SERVE: Action.RECALL,
    Change.ANSWER: Action.RECALL,
}


@dataclass(frozen=True, slots=True)
class Part:
    """A place of the prompt where the client's own differs."""

    at: int
    """Tokens before it, as sent."""
    saved: int
    """Tokens by which the client's own is longer."""
    action: Action
    pages: tuple[str, ...] = ()
    """What was taken out, and behind it what that was folded into: it reads alike."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Tokens before calibration."""

    sent: int
    """Of the whole request as it was sent."""
    exact: bool
    """Whether every block could be counted; only then may the figures calibrate the counter."""
    parts: tuple[Part, ...] = ()
    seen: int = 0
    """Of what the provider has been sent before, as it was sent now."""
    fed: int = 0
    """Of what the client has added behind it."""
    thought: bool = False
    """Whether reasoning stands behind it, which is not counted."""
    arrived: tuple[str, ...] = ()
    """Pages behind it that stand there in full."""

    @property
    def saved(self) -> int:
        """By which the client's own request was heavier."""
        return sum(part.saved for part in self.parts)


def weigh(
    conversation: Conversation,
    table: Table,
    splices: Mapping[str, Splice],
    counter: Counter,
    client: Conversation | None = None,
    seen: int = 0,
) -> Weight:
    """Weigh a request that went out with these splices. Texts already counted cost a look-up.

    `client` is the request as it came, where messages were put into it or taken out before it was planned; `seen` is
    how many first messages had been sent before.
    """
    parts: list[Part] = []
    at = 0
    stubs = {place: s for a, s in splices.items() if s.change is Change.STUB for place in table.schemas.get(a, ())}
    for tool in conversation.tools:
        weight = counter.count(conversation.text[tool.start : tool.end])
        stub = stubs.get((tool.start, tool.end))
        if stub is not None and stub.text is not None:
            stands = counter.count(stub.text)
            parts.append(Part(at, weight - stands, Action.STUB, (stub.page,)))
            weight = stands
        at += weight
    for anchor, splice in splices.items():
        if anchor.startswith(TOOL) and splice.text is not None:
            weight = counter.count(splice.text)
            parts.append(Part(at, -weight, Action.TOOL))
            at += weight
    at += sum(counter.count(block.text, block.digest) for block in conversation.instructions)
    replaced = {}
    for entry in table.entries:
        found = splices.get(entry.anchor)
        if found is not None and (found.text is not None or found.change is Change.CLEAR):
            replaced[entry.message, entry.block.start] = entry, found
    exact = True
    arrived = tuple(e.page for e in table.entries if e.message >= seen and shown(e, splices) is e.block.text)
    thought = False
    fed, upto, seen_at = 0, at, at
    before = dict(_reworked(conversation, client, counter))
    for number, message in enumerate(conversation.messages):
        if number in before:
            saved = before[number]
            parts.append(Part(upto, saved, Action.COLLAPSE if saved > 0 else Action.RECALL))
        begun = upto
        for start, tokens in _blocks(conversation, message, counter):
            if tokens is None:
                exact = False
            elif (number, start) in replaced:
                entry, made = replaced[number, start]
                stands = counter.count(shown(entry, splices))
                pages = entry.page, *(needed.rpartition(":")[2] for needed in made.needs)
                parts.append(Part(upto, tokens - stands, _ACTIONS[made.change], pages))
                upto += stands
            else:
                upto += tokens
        if number < seen:
            seen_at = upto
        elif message.role == "assistant":
            thought = thought or any(block.kind is Kind.REASONING for block in message.blocks)
        else:
            fed += upto - begun
    return Weight(upto, exact, tuple(parts), seen_at if seen else 0, fed, thought, arrived)


def _blocks(conversation: Conversation, message: Message, counter: Counter) -> Iterator[tuple[int, int | None]]:
    """Where each block of a message starts and what it weighs, None for one that cannot be counted."""
    for block in message.blocks:
        if block.kind in (Kind.TEXT, Kind.RESULT):
            yield block.start, counter.count(block.text, block.digest)
            continue
        raw = conversation.text[message.start + block.start : message.start + block.end]
        if block.kind is Kind.OTHER and len(raw) > OPAQUE:
            yield block.start, None
        elif block.kind is not Kind.REASONING:
            yield block.start, counter.count(raw, block.digest)


def _reworked(conversation: Conversation, client: Conversation | None, counter: Counter) -> list[tuple[int, int]]:
    """Where messages differ from the client's: from which message on, and by how much the client's are heavier."""
    if client is None or client is conversation:
        return []

    def named(side: Conversation) -> list[bytes]:
        return [side.digests[at : at + DIGEST] for at in range(0, len(side.digests), DIGEST)]

    def tokens(side: Conversation, start: int, end: int) -> int:
        return sum(t or 0 for message in side.messages[start:end] for _, t in _blocks(side, message, counter))

    matcher = SequenceMatcher(None, named(client), named(conversation), autojunk=False)
    return [
        (to, tokens(client, one, two) - tokens(conversation, to, end))
        for kind, one, two, to, end in matcher.get_opcodes()
        if kind != "equal"
    ]


@dataclass(frozen=True, slots=True)
class Past:
    """What a line's last request left, for the untouched bill of its next."""

    model: str
    messages: int
    """It had so many."""
    prompt: int
    """Tokens of it, as sent."""
    output: int
    """Tokens of its answer, what carried it on included."""
    warm: int
    """Tokens of the untouched transcript that the provider would have in its cache."""
    shared: int
    """Tokens that the line's first request read: what other sessions keep warm."""


def past(state: Mapping[str, Any]) -> Past | None:
    """From a line's state."""
    held = state.get(STATE)
    return Past(*held) if isinstance(held, list) and len(held) == 6 else None


def remembered(conversation: Conversation, line: Line, usage: Usage, more: Sequence[Usage], entry: Entry) -> list[Any]:
    """What a line's state keeps of a request, as `past` reads it."""
    before = past(line.parent.state) if line.parent is not None else None
    shared = before.shared if before is not None else usage.read if line.how is Descent.FIRST else 0
    output = usage.output + sum(each.output for each in more)
    return [conversation.model, len(conversation.messages), usage.prompt, output, entry.warm, shared]


@dataclass(frozen=True, slots=True)
class Standing:
    """What else decides how the untouched request would have been billed."""

    before: Past | None = None
    continues: bool = False
    """It begins with exactly the messages of the line's last request."""
    changed: bool = False
    """What had been sent before was sent otherwise."""
    alive: bool = False
    """By the clock, the provider would still have had what it was sent."""
    told: bool = True
    """What the line's last request left is known, if there was one: it may not have been booked yet."""
    asked: bool = True
    """The client's request says what is cached; else the provider caches unasked all that is long enough."""
    caches: bool = True
    """Not known to cache nothing."""
    head_given_up: bool = False
    """A tool that was added stands in the head."""
    marked: bool = False
    """Whatever is cached was asked for by mitmmu."""
    kept: bool = False
    """By the clock, only refreshes have kept it in the cache."""
    lifetime: float = 0.0
    """Seconds for which it is cached."""


ALONE = Standing()
"""Of a request of which nothing else is known."""


def standing(
    conversation: Conversation, plan: Plan, sent: Mapping[str, Splice], *, marked: bool = False
) -> Standing:
    """From a plan, and the splices and cache marks that the request really went out with."""
    line = plan.line
    before = past(line.parent.state) if line.parent is not None else None
    if before is not None and before.model != conversation.model:
        before = replace(before, warm=0, prompt=0, messages=-1)
    entries, ours = plan.table.by_anchor, plan.replay
    moved = [a for a in sent.keys() | ours.keys() if sent.get(a) is not ours.get(a)]
    changed = line.seen > 0 and any(a not in entries or entries[a].message < line.seen for a in moved)
    changed = changed or plan.before is not None
    # What a client goes back to was cached as it stood then, and may stand otherwise now.
    changed = changed or (line.how is Descent.DIVERGED and bool(sent))
    ttl = time_to_live(line.parent) if line.parent is not None else None
    return Standing(
        before,
        continues=before is not None and line.how is Descent.CONTINUED and line.seen == before.messages,
        changed=changed,
        told=line.parent is None or (before is not None and line.seen <= before.messages),
        alive=ttl is not None and plan.view.last_at - line.used_at <= ttl,
        asked=conversation.breakpoints > 0,
        caches=conversation.ttl is not None and time_to_live(plan.view) is not None,
        head_given_up=any(s.change in (Change.TOOL, Change.STUB) for s in sent.values()),
        marked=marked,
        kept=_kept(line, plan.view.last_at, ttl),
        lifetime=ttl or 0.0,
    )


def _kept(line: Line, now: float, ttl: float | None) -> bool:
    """Whether a line would have gone cold, had its cache not been refreshed."""
    if line.parent is None or ttl is None:
        return False
    last = line.parent.last_at
    return line.parent.state.get(REFRESHED, 0.0) > last and now - last > gone_after(ttl)


@dataclass(frozen=True, slots=True)
class Entry:
    """A request in the ledger. Dollars, and tokens as the provider counts them."""

    billed: float = 0.0
    untouched: float = 0.0
    prompt: int = 0
    saved: int = 0
    by: Mapping[Action, float] = field(default_factory=dict)
    """What each action saved; their sum is `untouched - billed`."""
    known: bool = False
    """Whether what was saved could be derived. If not, nothing is claimed."""
    warm: int = 0
    """Tokens of the untouched transcript that are in the provider's cache from now on."""


def untouched(
    weight: Weight, usage: Usage, gains: Sequence[float], here: Standing, least: int
) -> tuple[Usage, list[int]]:
    """How the client's own prompt would have been billed, and where each part of the weight would have stood in it.

    `gains` are what the parts have saved in the provider's tokens, `least` the tokens below which a prompt is not
    cached.
    """
    places = _places(weight, usage, here)

    def moved(boundary: float) -> int:
        return max(0, round(boundary + sum(g for place, g in zip(places, gains, strict=True) if place < boundary)))

    total = max(0, round(usage.prompt + sum(gains)))
    read = min(moved(usage.read), total)
    hour = min(max(moved(usage.read + usage.written_hour), read), total)
    written = min(max(moved(usage.read + usage.written_hour + usage.written), hour), total)
    before = here.before
    if here.marked:
        read = hour = written = 0
    elif before is not None:
        short = before.prompt - usage.read
        if here.continues and not (here.changed or here.asked) and usage.read and 0 < short < STEP:
            read = max(read, min(moved(before.prompt) - short, total))
        if here.changed and here.alive:
            upto = total if here.continues else moved(weight.seen * usage.prompt / max(weight.sent, 1))
            read = max(read, min(before.warm, upto, total))
        if here.head_given_up:
            read = max(read, min(before.shared, total))
        shortened = here.caches and not written and usage.prompt < least <= total
        if shortened and here.alive:
            read = max(read, min(before.warm, total))
    hour, written = max(hour, read), max(written, hour, read)
    split = replace(usage, read=read, written_hour=hour - read, written=written - hour, fresh=total - written)
    return split, [min(moved(place), total) for place in places]


def cooled(usage: Usage, here: Standing) -> Usage:
    """The same prompt where no refresh had kept it warm: what was read is written, but for what others read as well."""
    shared = min(usage.read, here.before.shared if here.before is not None else 0)
    if not here.kept or usage.read == shared:
        return usage
    again = usage.read - shared
    if here.lifetime >= 3600:
        return replace(usage, read=shared, written_hour=usage.written_hour + again)
    return replace(usage, read=shared, written=usage.written + again)


STEP = 2048
"""Tokens by which what is read may end before what was sent: providers that cache unasked do so in steps of 128, or of
this. The untouched prompt would have been read to within a step of its end as well, whatever stands in that step."""


def measured(weight: Weight, usage: Usage, here: Standing) -> tuple[int, int] | None:
    """What a turn has added, in the provider's tokens and in ours; None where that cannot be told.

    Tokenizers differ by the kind of text, and what splices take out is what tools gave. So our tokens are compared
    with the provider's where tools give something, and a page weighs what it weighed when it came: between two
    requests of a line, of which the second only adds to the first. Reasoning cannot be counted; where the model has
    reasoned, what it was billed for its answer is taken away on both sides.
    """
    before = here.before
    if before is None or not here.continues or here.changed or not weight.exact or not before.prompt:
        return None
    theirs, ours = usage.prompt - before.prompt, weight.sent - weight.seen
    if weight.thought:
        theirs, ours = theirs - before.output, weight.fed
    return (theirs, ours) if ours >= LEAST_MEASURED and 0.5 <= theirs / ours <= 3.0 else None


LEAST_MEASURED = 100
"""Tokens below which a comparison is mostly about what stands around them."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The provider's tokens over ours, as measured: sums of both, of which each new measurement lets a little fade."""

    theirs: float = 0.0
    ours: float = 0.0

    def and_then(self, found: tuple[int, int]) -> Scale:
        return Scale(self.theirs * FADES + found[0], self.ours * FADES + found[1])

    def factor(self, otherwise: float) -> float:
        """The ratio, or another while little has been measured."""
        return self.theirs / self.ours if self.ours >= ENOUGH_MEASURED else otherwise


FADES = 0.98
ENOUGH_MEASURED = 2000


def _places(weight: Weight, usage: Usage, here: Standing) -> list[float]:
    """Where the weight's parts stand, in the provider's tokens.

    The request before is a landmark: its prompt, as the provider counted it, ended where this one's news begin.
    """
    before, sent = here.before, max(weight.sent, 1)
    mark = before.prompt if before is not None and here.continues and not here.changed else 0
    if not 0 < mark < usage.prompt or not 0 < weight.seen < sent:
        return [part.at * usage.prompt / sent for part in weight.parts]
    head, tail = mark / weight.seen, (usage.prompt - mark) / (sent - weight.seen)
    return [
        part.at * head if part.at < weight.seen else mark + (part.at - weight.seen) * tail for part in weight.parts
    ]


def bill(
    weight: Weight,
    usage: Usage,
    more: Sequence[Usage],
    rates: Rates,
    here: Standing = ALONE,
    factor: Callable[[Part], float] = lambda part: 1.0,
) -> Entry:
    """The entry of a request. `usage` is what was reported of it, `more` of the requests that carried it on; `factor`
    gives the provider's tokens over ours."""
    exact = weight.exact and (here.told or not (here.changed and here.alive))
    parts = weight.parts if exact else ()
    gains = [part.saved * factor(part) for part in parts]
    split, places = untouched(replace(weight, parts=parts), usage, gains, here, rates.minimum)
    warm, split = split, cooled(split, here)
    end = split.read + split.written_hour + split.written
    unsaid = not (usage.written or usage.written_hour or here.asked)
    short = usage.prompt < rates.minimum and usage.fresh == usage.prompt
    if here.caches and (unsaid or short):
        end = split.prompt if split.prompt >= rates.minimum else 0
    saved = split.prompt - usage.prompt
    if not rates.known:
        return Entry(prompt=usage.prompt, saved=saved, warm=end)
    billed = rates.cost(usage) + sum(map(rates.cost, more))
    alone = replace(split, output=more[-1].output if more else usage.output)
    would = rates.cost(alone)
    rate = rates.at(split.prompt)
    by: dict[Action, float] = dict.fromkeys(Action, 0.0)
    for part, gain, place in zip(parts, gains, places, strict=True):
        by[part.action] += gain * _price(rate, warm, place)
    if here.marked:
        cold = cooled(usage, here)
        by[Action.MARK] = rates.cost(Usage(fresh=usage.prompt)) - rates.cost(replace(cold, output=0))
        by[Action.KEEPALIVE] = rates.cost(cold) - rates.cost(usage)
    else:
        by[Action.KEEPALIVE] = rates.cost(split) - rates.cost(warm)
    by[Action.CARRIED] = (alone.output - usage.output) * rate.output - sum(map(rates.cost, more))
    by[Action.OTHER] += would - billed - sum(by.values())
    return Entry(billed, would, usage.prompt, saved, by, exact, end)


def _price(rate: Rates, split: Usage, place: float) -> float:
    """Dollars per token at a place of the prompt."""
    stretches = (rate.read, split.read), (rate.written_hour, split.written_hour), (rate.written, split.written)
    for price, length in stretches:
        if place < length:
            return price
        place -= length
    return rate.fresh
