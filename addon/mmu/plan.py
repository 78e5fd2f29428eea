"""The plan for one request: what of the transcript goes out as it is, what is replaced, and what must be stored first.

`plan` is the whole decision and a pure function of its arguments: the request, the lines known of its conversation, the
time and the policy. The proxy, the tests and the lab call it alike. It never changes what was sent before, except at an
epoch; if its new splices cannot be made durable, `Plan.replay` is what goes out instead.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from addon.mmu import pressure
from addon.mmu.admit import fold, resident
from addon.mmu.clear import UNCLEARABLE, clearable
from addon.mmu.cut import SINCE, cut
from addon.mmu.evict import (
    Epoch,
    Occasion,
    Policy,
    Size,
    dead,
    epoch,
    last_signed,
    reasoning_to_drop,
    time_to_live,
    victims,
)
from addon.mmu.excerpt import Shows, excerpt, shows
from addon.mmu.fault import Fault, faults, unserved
from addon.mmu.handle import handle
from addon.mmu.head import head_tokens, shortened
from addon.mmu.outlook import CREDIT, UNKNOWN, Outlook, credit
from addon.mmu.page import NAME, Page, asked, page_id
from addon.mmu.quotes import last_quoted
from addon.mmu.schema_fault import refused
from addon.mmu.schemas import ANCHOR, Stub
from addon.mmu.view import (
    TAIL,
    TOOL,
    Change,
    Descent,
    Entry,
    Line,
    Reasoning,
    Splice,
    Table,
    View,
    edits,
    line,
    page_table,
    shown,
    spelling_of,
    standing,
)
from addon.mmu.wishes import Span
from addon.mmu.workingset import uses
from addon.wire.conversation import Conversation, Kind, text_digest
from addon.wire.scan import splice
from addon.wire.subject import same
from addon.wire.usage import Usage


@dataclass(slots=True)
class Plan:
    """What to send for a request, and what to store before it is sent."""

    line: Line
    table: Table
    view: View
    """The line after this request. Its `requests` is one more than the store's."""
    replay: Mapping[str, Splice]
    """The splices that stood before, by anchor."""
    splices: Mapping[str, Splice]
    """The splices that stand now: `replay` with `new`."""
    new: list[Splice] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    epoch: Epoch | None = None
    """The occasion that was used; None where nothing was evicted."""
    collapse: Span | None = None
    """A span for which the model's own summary is to stand from this request on; it is then planned anew."""
    before: tuple[Conversation, Plan] | None = None
    """Where such a summary is new: the request without it, with the replay only."""
    odd: int = 0
    """Results left alone because their JSON spelling could not be rebuilt."""

    @property
    def birth(self) -> bool:
        """Whether the line is a new one."""
        return self.view.requests == 1

    def count(self, change: Change) -> int:
        """How many new splices are of a kind."""
        return sum(s.change is change for s in self.new)


def rewrite(conversation: Conversation, table: Table, splices: Mapping[str, Splice]) -> bytes:
    """The body with the splices applied; every other byte is the client's own."""
    return splice(conversation.text, edits(conversation, table, splices)).encode("utf-8")


class _Draft:
    """Splices being added on top of those that stand."""

    def __init__(self, conversation: Conversation, table: Table, parent: View | None) -> None:
        known: Mapping[str, Splice] = parent.splices if parent is not None else {}
        self.refused = frozenset(parent.state.get("refused", ()) if parent is not None else ())
        self.credit = credit(parent)
        self.conversation = conversation
        self.table = table
        self.known = known
        self.request = table.requests
        self.splices = standing(known, table)
        self.new: dict[str, Splice] = {}
        self.pages: list[Page] = []
        self.odd = 0
        tools = (a.removeprefix(TOOL) for a, s in self.splices.items() if s.change is Change.TOOL)
        self.tool = next(tools, "")
        """The tool that gives pages back, if one was added."""

    def add(self, entry: Entry, change: Change, text: str, needs: tuple[str, ...] = ()) -> None:
        """Replace an entry's text. Left alone when the client's literal could not be rebuilt from it."""
        spelled = spelling_of(self.conversation, entry)
        if spelled is None:
            self.odd += 1
            return
        standing = self.splices.get(entry.anchor)
        if entry.block.error and (change is Change.ANSWER or (standing is not None and standing.pardons)):
            spelled += "!"
        self.pages.append(Page(entry.page, entry.block.text, "result", entry.subject.label))
        self._put(entry.anchor, change, entry.page, text, spelled, needs)

    def evict(self, entry: Entry) -> None:
        """Replace an entry by the handle of the page that stands in the view."""
        page, stands = entry.page, entry.block.text
        found = self.splices.get(entry.anchor)
        if found is not None and found.change in (Change.SERVE, Change.ANSWER) and found.text is not None:
            stands = found.text
            page = page_id(text_digest(stands))
            self.pages.append(Page(page, stands, "result", entry.subject.label))
        self.add(entry, Change.EVICT, handle(page, entry.subject, stands, self.tool))

    def clear(self, entry: Entry) -> None:
        """Leave it to the provider to show a placeholder for an entry. What is sent of it stays."""
        found, spelled = self.splices.get(entry.anchor), spelling_of(self.conversation, entry) or "utf8"
        text = None if found is None else found.text
        self.pages.append(Page(entry.page, entry.block.text, "result", entry.subject.label))
        self._put(entry.anchor, Change.CLEAR, entry.page, text, spelled, ())

    def willing(self, chosen: list[Entry]) -> list[Entry]:
        """Without those whose eviction the provider has refused."""
        return [e for e in chosen if e.anchor not in self.refused]

    @property
    def signed(self) -> bool:
        """Whether signed reasoning is sent."""
        return last_signed(self.table.reasoning, self.splices) >= 0

    def lacks(self, tool: Offer | None) -> bool:
        """Whether a tool may be added, and has not been."""
        if tool is None or not self.table.tools or tool.name in self.table.tools:
            return False
        return TOOL + tool.name not in self.known

    def offer(self, tool: Offer) -> None:
        """Add a tool behind the client's own."""
        self._put(TOOL + tool.name, Change.TOOL, "", tool.definition, "utf8", ())
        self.tool = tool.name

    def shorten(self, stub: Stub) -> None:
        """Let a stub stand for a tool's definition."""
        self.pages.append(Page(stub.page, stub.full, "schema", stub.name))
        self._put(stub.anchor, Change.STUB, stub.page, stub.text, "utf8", ())

    def raw(self, reasoning: Reasoning) -> str:
        """What removing a reasoning block takes out of the text."""
        start, end = reasoning.cut or (0, 0)
        return self.conversation.text[start:end]

    def drop(self, reasoning: Reasoning) -> None:
        """Remove a reasoning block."""
        self.pages.append(Page(reasoning.page, self.raw(reasoning), "reasoning", "reasoning"))
        self._put(reasoning.anchor, Change.DROP, reasoning.page, None, "utf8", ())

    def _put(
        self, anchor: str, change: Change, page: str, text: str | None, spelled: str, needs: tuple[str, ...]
    ) -> None:
        before = self.known.get(anchor)
        generation = 0 if before is None else before.generation + 1
        new = Splice(anchor, generation, change, page, text, spelled, needs, self.request)
        self.splices[anchor] = self.new[anchor] = new


def _is_bound(conversation: Conversation, parent: View | None) -> bool:
    return conversation.bound or (parent is not None and bool(parent.state.get("bound")))


def _reply(draft: _Draft, arrived: list[Entry], answers: Mapping[str, str]) -> None:
    """Put the answers in place of the client's refusals of a tool that this line has been offered."""
    if not any(anchor.startswith(TOOL) for anchor in draft.known):
        return
    for entry in arrived:
        text = answers.get(entry.block.call)
        if text is not None and entry.anchor not in draft.known and not entry.block.part:
            draft.add(entry, Change.ANSWER, text)


def _admit(draft: _Draft, arrived: list[Entry], seen: list[Fault], policy: Policy, size: Size) -> None:
    """Fold what just arrived or page it in part, and serve what the client said was unchanged or showed a preview of,
    and the definition of a tool behind a refusal of its arguments.

    What is served is a fault: it is added to those `seen` already.
    """
    entries = draft.table.entries
    shown = [e for e in entries if e.message >= draft.table.forgotten]
    order = {e.anchor: n for n, e in enumerate(shown)}
    for entry in arrived:
        if entry.anchor in draft.splices or entry.anchor in draft.known or entry.anchor not in order:
            continue
        if entry.recalled:
            continue  # asked for in full, so it comes in full
        refusal = refused(entry, draft.conversation, draft.splices)
        if refusal is not None:
            since = draft.splices[refusal.anchor].request
            seen.append(Fault(refusal.page, refusal.anchor, entry.arrival - since))
            draft.add(entry, Change.SERVE, refusal.text)
            continue
        earlier = shown[: order[entry.anchor]]
        missing = unserved(entry, earlier, draft.splices, draft.conversation)
        if missing is not None:
            before = [e for e in entries if e.arrival < draft.request]
            if not faults([entry], before, draft.splices):
                seen.append(Fault(missing.page, missing.anchor, entry.arrival - missing.arrival))
            draft.add(entry, Change.SERVE, missing.block.text)
            continue
        folded = fold(entry, resident(earlier, draft.splices)) if policy.folds else None
        if folded is not None:
            draft.add(entry, Change.FOLD, folded.text, folded.needs)
            for needed in folded.needs:  # a reference names their pages, so they can be asked for
                source = draft.table.by_anchor[needed]
                draft.pages.append(Page(source.page, source.block.text, "result", source.subject.label))
        elif policy.excerpts:
            _page_in_part(draft, entry, earlier, policy, size)


def _page_in_part(draft: _Draft, entry: Entry, earlier: Sequence[Entry], policy: Policy, size: Size) -> None:
    """Let an oversized output arrive in part, unless it was asked for again: then the part was not enough."""
    block = entry.block
    if not draft.tool or shows(entry.subject) is not Shows.OUTPUT or len(block.text) < policy.excerpt_over:
        return
    tokens = size(block.text, block.digest)
    if tokens < policy.excerpt_over:
        return
    if any(same(e.subject, entry.subject) and shown(e, draft.splices) is not e.block.text for e in earlier):
        return
    room = len(block.text) * policy.excerpt_room // tokens
    found = excerpt(entry.page, entry.subject, block.text, room=room, tool=draft.tool, error=block.error)
    if found is not None:
        draft.add(entry, Change.EXCERPT, found.text)


def _newer(one: Splice, other: Splice) -> bool:
    return one.generation > other.generation


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that may be added to the client's: its name and its definition in JSON."""

    name: str
    definition: str


def _evict(
    draft: _Draft,
    occasion: Epoch,
    policy: Policy,
    size: Size,
    bound: bool,
    offer: Offer | None,
    *,
    collapsed: bool,
) -> bool:
    """Evict what is dead. Returns whether anything left.

    When enough has left comes the tool that gives it back. Tools head the prefix, so this is the moment: it is written
    again anyway, and a conversation that never evicts never pays for a tool it cannot use. Other sessions may keep the
    head of the prefix warm, and with another tool in it that is given up; so what has left must outweigh the head, and
    then no later cold start costs more than the client's own would. Bound reasoning would not stand a new tool, so
    there it waits until none is sent.
    """
    floor = last_signed(draft.table.reasoning, draft.splices) if bound else -1
    # A quote buys a page a few requests. Where epochs are rare it would be rented until the next, which does not pay.
    often = occasion.occasion is Occasion.UNCACHED
    used = uses(draft.table, last_quoted(draft.conversation, draft.table) if often else ())
    chosen = draft.willing(victims(draft.table, used, draft.splices, occasion.start, policy, size, floor))
    drops: list[Reasoning] = []
    if floor >= 0:
        removable = reasoning_to_drop(draft.conversation, draft.table, occasion, draft.splices)
        if removable:
            more = draft.willing(victims(draft.table, used, draft.splices, occasion.start, policy, size))
            lost = [r for r in removable if r.anchor not in draft.splices]
            # Reasoning cannot be recalled, so it is only given up for pages that weigh more than it does.
            spare = {e.anchor for e in chosen}
            freed = sum(size(e.block.text, e.block.digest) for e in more if e.anchor not in spare)
            if collapsed or freed > sum(size(draft.raw(r), None) for r in lost):
                chosen, drops = more, lost
    for reasoning in drops:
        draft.drop(reasoning)
    table = draft.table
    if chosen and occasion.start == 0 and draft.lacks(offer) and not (bound and draft.signed):
        gone = {a for a, s in draft.splices.items() if s.change is Change.EVICT} | {e.anchor for e in chosen}
        freed = sum(size(e.block.text, e.block.digest) for e in table.entries if e.anchor in gone)
        if offer is not None and freed > 2 * (head_tokens(draft.conversation, size) + size(offer.definition, None)):
            draft.offer(offer)
    for entry in chosen:
        draft.evict(entry)
    return bool(chosen)


def _clear(draft: _Draft, occasion: Epoch, policy: Policy, size: Size) -> bool:
    """Have the provider clear what may not be evicted for the signed reasoning behind it. Returns whether there was
    anything."""
    table, splices = draft.table, draft.splices
    if not draft.tool or not draft.signed or table.forgotten or occasion.start:
        return False
    gone = dead(table, uses(table), splices, 0, policy)

    def goes(entry: Entry) -> bool:
        found = splices.get(entry.anchor)
        if entry.anchor in draft.refused or spelling_of(draft.conversation, entry) is None:
            return False
        if found is not None and found.change not in (Change.FOLD, Change.EXCERPT):
            return False  # what is sent of it is no part of what the client has, so the page would not tell it
        if gone[entry.anchor]:
            return True
        if table.requests - entry.arrival < policy.file_age:
            return False
        return entry.block.error or size(shown(entry, splices), None) < policy.least

    chosen = clearable(draft.conversation, table, splices, goes, size)
    for entry in chosen:
        draft.clear(entry)
    return bool(chosen)


CLEARS = (Occasion.COLD, Occasion.UNCACHED)
"""Occasions at which what the provider clears may change: those that begin at the head."""


def _shorten(
    draft: _Draft,
    kin: Sequence[View],
    now: Outlook,
    size: Size,
    offer: Offer | None,
    state: Mapping[str, Any],
    *,
    cached: bool,
) -> None:
    """Let stubs stand for tools, where the head of the prompt is written anyway, and add the tool that gives their
    definitions back. `kin` are the other lines of the same session."""
    if any(anchor.startswith(ANCHOR) for anchor in draft.known):
        return
    alike = {a for view in kin for a, s in view.splices.items() if s.change in (Change.STUB, Change.TOOL)}
    found, warm = shortened(draft.conversation, draft.table, alike, now, draft.credit, size, state, cached=cached)
    for each in found:
        draft.shorten(each)
    if found and offer is not None and draft.lacks(offer) and (not warm or TOOL + offer.name in warm):
        draft.offer(offer)


def _cut(draft: _Draft, found: Line, policy: Policy, size: Size, now: Outlook, bound: bool) -> Epoch | None:
    """A cut through a warm cache, where one pays."""
    parent = found.parent
    if parent is None or found.how is not Descent.CONTINUED:
        return None
    floor = last_signed(draft.table.reasoning, draft.splices) if bound else -1
    return cut(draft.conversation, draft.table, draft.splices, parent, found.seen, floor, policy, size, now)


def _collapsible(draft: _Draft, occasion: Epoch, size: Size, *, bound: bool) -> Span | None:
    """The span that the model wishes collapsed, if this is a moment for it, nothing is lost by it, and it pays."""
    table, conversation = draft.table, draft.conversation
    span = table.span
    if span is None or span.start < occasion.start or table.forgotten or conversation.clears:
        return None
    inside = conversation.messages[span.start : span.end]
    if any(block.kind is Kind.OTHER for message in inside for block in message.blocks):
        return None  # an image is no text that could be kept as a page
    # Whatever stands behind it gets another place, so reasoning that was removed there must be removed anew.
    behind = any(r.message >= span.end for r in table.reasoning)
    if bound and behind and reasoning_to_drop(conversation, table, occasion, draft.splices) is None:
        return None
    weight = sum(size(shown(e, draft.splices), None) for e in table.entries if span.start <= e.message < span.end)
    weight += sum(
        size(conversation.text[message.start + block.start : message.start + block.end], None)
        for message in inside
        for block in message.blocks
        if block.kind in (Kind.TEXT, Kind.CALL)
    )
    return span if weight > 2 * size(span.summary, None) + LEAST_COLLAPSED else None


LEAST_COLLAPSED = 400
"""Tokens that collapsing a span must free at least, beside twice its summary."""


def _seen_before(conversation: Conversation, found: Line) -> set[int]:
    """Indexes of messages the provider has been sent on this line."""
    seen = set(range(found.seen))
    if found.parent is not None and found.how is not Descent.DIVERGED:
        tail = set(found.parent.state.get("tail", ()))
        seen |= {n for n, m in enumerate(conversation.messages) if m.digest.hex() in tail}
    return seen


def _recalls(conversation: Conversation, seen: Container[int]) -> int:
    """How many pages the model has asked for by id in messages that are new."""
    new = (m for n, m in enumerate(conversation.messages) if n not in seen)
    calls = (b for m in new for b in m.blocks if b.kind is Kind.CALL and b.name == NAME)
    return sum(len(asked(call.arguments)) for call in calls)


def _next_view(
    conversation: Conversation,
    table: Table,
    found: Line,
    splices: Mapping[str, Splice],
    fresh_id: str,
    now: float,
    felt: Mapping[str, Any],
    *,
    changed: bool,
) -> View:
    parent = found.parent
    same = parent is not None and found.how is not Descent.DIVERGED
    state: dict[str, Any] = dict(parent.state) if parent is not None else {}
    state["pressure"] = felt
    models = {**state.get("models", {}), conversation.model: now}
    state["models"] = dict(sorted(models.items(), key=lambda item: item[1])[-4:])
    if conversation.ttl is not None or "ttl" not in state:
        state["ttl"] = conversation.ttl
    if conversation.bound and table.requests:
        state["bound"] = True  # for good: what a model of that kind has signed may come back to it
    if changed or not same:
        state[SINCE] = len(conversation.messages)
    digests = conversation.digests
    if conversation.messages:
        last = conversation.messages[-1].digest.hex()
        state["tail"] = [*[d for d in state.get("tail", []) if d != last], last][-TAIL:]
    digests = conversation.digests
    if same and parent is not None:
        if found.how is Descent.REPEATED and len(parent.digests) > len(digests):
            digests = parent.digests
        return replace(parent, requests=parent.requests + 1, digests=digests, last_at=now, splices=splices, state=state)
    state.pop("hands_off", None)
    state.pop(CREDIT, None)  # it was another line's
    return View(fresh_id, 1, digests, now, splices, state)


def plan(
    conversation: Conversation,
    known: Sequence[View],
    now: float,
    policy: Policy,
    size: Size,
    fresh_id: str,
    *,
    compacting: bool = False,
    offer: Offer | None = None,
    answers: Mapping[str, str] = MappingProxyType({}),
    relayed: Mapping[str, Splice] = MappingProxyType({}),
    collapsed: bool = False,
    clears: bool = False,
    outlook: Outlook = UNKNOWN,
) -> Plan:
    """Decide what is sent for a request.

    `known` are the lines that start alike or share the session; `now` is the time of the request in epoch seconds;
    `size` gives tokens of a text; `fresh_id` names the line if it turns out to be a new one; `compacting` says that the
    client asks for a summary of the conversation, which is no moment to take anything out of it. `offer` is a tool that
    may be added; `answers` are the answers to calls of it, by call id. `relayed` are the hidden exchanges, by anchor,
    that have been put back into the conversation already, and the summaries that stand in it; `collapsed` says that one
    of those is new; `clears` that the provider can be asked to clear old results. `outlook` is what is known beyond the
    request.
    """
    table = page_table(conversation)
    found = line(conversation, table, known)
    draft = _Draft(conversation, table, found.parent)
    replayed = dict(draft.splices)
    out = Plan(found, table, View(fresh_id), replayed, draft.splices)
    parent = found.parent
    felt = parent.state.get("pressure", pressure.CALM) if parent is not None else pressure.CALM

    if not (parent is not None and parent.state.get("hands_off")):
        bound = _is_bound(conversation, parent)
        if found.how is not Descent.REPEATED:
            # Only the tail: what stands before the model's last answer has been sent before, if not by this proxy.
            seen = _seen_before(conversation, found)
            arrived = [e for e in table.entries if e.arrival == table.requests and e.message not in seen]
            out.faults = faults(arrived, [e for e in table.entries if e.arrival < table.requests], replayed)
            _reply(draft, arrived, answers)
            if policy.name != "fifo" and not conversation.clears:
                _admit(draft, arrived, out.faults, policy, size)
            missed = len(out.faults) + _recalls(conversation, seen)
            felt = pressure.step(felt, missed, len(conversation.text))
            policy = policy.under(pressure.scale(felt))
        occasion = None if compacting else epoch(conversation, found, now, policy)
        if occasion is None and policy.cuts and policy.name != "fifo" and not compacting:
            occasion = _cut(draft, found, policy, size, outlook, bound)
        first = found.how is Descent.FIRST
        if policy.stubs and policy.name != "fifo" and not compacting and not (bound and draft.signed):
            writes = occasion is not None and occasion.start == 0 and occasion.occasion is not Occasion.EDIT
            kin = [view for view in known if view is not parent] if first else []
            cached = conversation.ttl is not None or (parent is not None and time_to_live(parent) is not None)
            if first or writes:
                state = parent.state if parent is not None else {}
                _shorten(draft, kin, outlook, size, offer, state, cached=cached)
        if occasion is not None:
            policy = policy.at(occasion.occasion)
        acts = occasion is not None and (policy.evicts or occasion.occasion in (Occasion.CUT, Occasion.EVERY))
        if acts and occasion is not None and _evict(draft, occasion, policy, size, bound, offer, collapsed=collapsed):
            out.epoch = occasion
        clears = clears and bound and not (parent is not None and parent.state.get(UNCLEARABLE))
        if acts and occasion is not None and clears and occasion.occasion in CLEARS:
            out.epoch = occasion if _clear(draft, occasion, policy, size) else out.epoch
        if occasion is not None and not collapsed:
            out.collapse = _collapsible(draft, occasion, size, bound=bound)

    inherited = dict(draft.known)
    if found.how is Descent.DIVERGED:
        inherited = {a: s for a, s in draft.known.items() if a in replayed or s.change is Change.ORIGINAL}
    # One that a sister line brought, or that could not be stored when it was made, is this line's from now on.
    draft.new.update((a, s) for a, s in relayed.items() if (k := draft.known.get(a)) is None or _newer(s, k))
    inherited.update(relayed)
    inherited.update(draft.new)
    out.new, out.pages, out.odd = list(draft.new.values()), draft.pages, draft.odd
    out.splices = draft.splices
    out.view = _next_view(conversation, table, found, inherited, fresh_id, now, felt, changed=out.epoch is not None)
    return out


def without_new(plan: Plan) -> Plan:
    """The same request with the replay only, for when the new splices could not be stored or broke a rule."""
    dropped = {s.anchor for s in plan.new}
    kept = {a: s for a, s in plan.view.splices.items() if a not in dropped}
    kept.update((a, s) for a, s in plan.replay.items())
    return replace(plan, splices=plan.replay, new=[], pages=[], epoch=None, view=replace(plan.view, splices=kept))


def before_drops(plan: Plan) -> Iterator[Plan]:
    """The replay as it was before reasoning was last dropped, before it was dropped the time before, and so on.

    Branches of a conversation share a line's splices. What one dropped when its turn had ended, another that is in the
    middle of that turn must still send; and what left together with it, for that reasoning is bound to it.
    """
    epochs = {s.request for s in plan.replay.values() if s.change is Change.DROP}
    together = (Change.DROP, Change.EVICT, Change.TOOL, Change.STUB)
    for last in sorted(epochs, reverse=True):
        kept = {a: s for a, s in plan.replay.items() if s.request < last or s.change not in together}
        yield replace(without_new(plan), splices=kept)


REFUSED = 256
"""How many anchors whose eviction was refused a line remembers."""


def poison(
    view: View, anchors: Sequence[str], request: int, replay: Mapping[str, Splice] = MappingProxyType({})
) -> tuple[list[Splice], dict[str, Any]]:
    """Take splices back: splices to record, and what to add to the line's state.

    At an anchor where something stood in `replay` that stands again, for that is what the provider has seen; elsewhere
    the client's own text does. Neither is tried again.
    """
    back: list[Splice] = []
    for anchor in anchors:
        bad = view.splices[anchor]
        before = replay.get(anchor)
        if before is not None:
            back.append(replace(before, generation=bad.generation + 1, request=request))
        else:
            original = replace(bad, change=Change.ORIGINAL, text=None, needs=(), request=request)
            back.append(replace(original, generation=bad.generation + 1))
    refused = [*view.state.get("refused", ()), *(a for a in anchors if a in replay)][-REFUSED:]
    return back, {"refused": refused} if refused else {}


CACHEABLE = 8192
"""Tokens of a prompt that every provider would cache if it cached anything."""


def told(view: View, usage: Usage) -> dict[str, Any]:
    """What a response's usage adds to a line's state: whether it is cached, and for how long it really was.

    Many providers do not report what they write, so a line's first request, which finds nothing to read, says nothing.
    """
    state: dict[str, Any] = {}
    if usage.written_hour:
        state["told"] = 3600.0
    elif usage.written and not usage.untold:
        state["told"] = 300.0
    if usage.read or usage.written or usage.written_hour:
        state["cached"] = True
    elif usage.prompt >= CACHEABLE and view.requests > 1 and not view.state.get("cached"):
        state["cached"] = False
    return {k: v for k, v in state.items() if view.state.get(k) != v}
