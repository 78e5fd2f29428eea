"""Exchanges that the client was not shown, put back where the provider saw them (Responses).

The client holds a run of items for what were several rounds. Each hidden call goes back to where it stood in the run,
and its result behind the items of its round. Items that the client kept stay in its own bytes. Clients differ in what
they keep: some leave out ids, or reasoning, or run texts together; where the items do not match one by one but say the
same, the provider's own are taken. Where they say something else it is another answer, and nothing is put in.

The provider refuses a named item without the reasoning right before it, and knows it by its id. So a hidden call goes
with the reasoning that led to it, whether the client keeps any or not; and where an item of the provider's is taken
without its reasoning, it goes without its id. Reasoning that is neither sealed nor stored cannot be sent at all.
No cache mark is put on anything: the provider caches unasked.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from addon.wire.conversation import Conversation, Message
from addon.wire.exchange import Exchange, Round
from addon.wire.reply import Call
from addon.wire.responses import CALLS
from addon.wire.scan import Edit, fields, items, splice

SAYS_MUCH = 80
"""Characters of text that are hardly ever said twice in the same place."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """An item, the client's or the provider's, by what tells it from others."""

    kind: str
    raw: str
    text: str = ""
    call: str = ""
    name: str = ""
    seal: str = ""
    """What is known of reasoning."""
    whole: bool = True
    """Not reasoning of which only the provider's store knows the content."""

    @property
    def reasons(self) -> bool:
        return self.kind == "reasoning"

    @property
    def speaks(self) -> bool:
        return self.kind == "message"

    def is_like(self, other: _Piece) -> bool:
        mine, theirs = ((p.kind, _bare(p.text), p.call, p.seal) for p in (self, other))
        return mine == theirs


def _bare(text: str) -> str:
    """A text without white space: clients trim, and join with blanks or newlines."""
    return "".join(text.split())


def _piece(raw: str) -> _Piece:
    item: dict[str, Any] = json.loads(raw)
    kind = str(item.get("type") or "message")
    if kind == "message":
        content = item.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        return _Piece(kind, raw, text="".join(str(p.get("text") or p.get("refusal") or "") for p in parts))
    if kind == "reasoning":
        sealed = str(item.get("encrypted_content") or "")
        return _Piece(kind, raw, seal=sealed or str(item.get("id") or ""), whole=bool(sealed))
    if kind in CALLS:
        return _Piece(kind, raw, call=str(item.get("call_id") or ""), name=str(item.get("name") or ""))
    return _Piece(kind, raw, seal=str(item.get("id") or raw))


def _held(conversation: Conversation, message: Message) -> list[_Piece]:
    """The items of a run as the client holds them."""
    run = f"[{conversation.text[message.start : message.end]}]"
    found, _ = items(run, 0, lambda text, at: fields(text, at, {}))
    return [_piece(run[start:end]) for _, start, end in found]


def _unnamed(piece: _Piece) -> _Piece:
    item = json.loads(piece.raw)
    item.pop("id", None)
    return replace(piece, raw=json.dumps(item, ensure_ascii=False, separators=(",", ":")))


def _stored(conversation: Conversation) -> bool:
    """Whether the provider keeps what it says: it does unless it was told not to."""
    return conversation.options.get("store") is not False


def _leading(pieces: Sequence[_Piece], hidden: Container[str], *, stored: bool) -> list[bool]:
    """For each item, whether it is reasoning that leads to a hidden call and can be sent."""
    out: list[bool] = []
    leads = False
    for piece in reversed(pieces):
        leads = leads and (stored or piece.whole) if piece.reasons else piece.call in hidden
        out.append(piece.reasons and leads)
    return out[::-1]


def _laid_out(held: Sequence[_Piece], exchange: Exchange, *, stored: bool) -> list[list[_Piece]] | None:
    """The items to send for each round, hidden ones included; None when this is not the answer they were shown as."""
    exact = _matched(held, exchange, stored=stored)
    return exact if exact is not None else _retold(held, exchange, stored=stored)


def _matched(held: Sequence[_Piece], exchange: Exchange, *, stored: bool) -> list[list[_Piece]] | None:
    """Item by item. Reasoning may be missing; behind an unfinished exchange more may stand."""
    out: list[list[_Piece]] = []
    at = met = 0
    for round_ in exchange.rounds:
        out.append([])
        made = [_piece(raw) for raw in round_.blocks]
        torn = False
        for piece, leads in zip(made, _leading(made, round_.results, stored=stored), strict=True):
            own = None
            if piece.call not in round_.results and at < len(held) and piece.is_like(held[at]):
                own = held[at]
                met, at = met + 1, at + 1
            elif not piece.reasons and piece.call not in round_.results:
                return None
            sent = own is not None or leads or not piece.reasons
            if sent:
                out[-1].append(_kept(own, piece, torn=torn))
            torn = not sent
    rest = list(held[at:])
    if exchange.finished:
        return out if not rest else None
    if not met:
        return None  # nothing tells that this answer began with the exchange
    return [*out, rest]


def _kept(held: _Piece | None, made: _Piece, *, torn: bool) -> _Piece:
    """The client's item, unless it has none or has changed it: trimmed a text, which is then not what stands before
    later reasoning for the provider, or made another of a call, not knowing the tool. `torn` from its reasoning the
    provider's own has no id."""
    if held is not None and (held.name, held.text) == (made.name, made.text):
        return held
    return _unnamed(made) if torn else made


def _retold(held: Sequence[_Piece], exchange: Exchange, *, stored: bool) -> list[list[_Piece]] | None:
    """As a whole: the same words and the same calls, in messages of the client's own making."""
    rounds = [([_piece(raw) for raw in r.blocks], r.results) for r in exchange.rounds]
    shown = [piece for made, results in rounds for piece in made if piece.call not in results]
    if not exchange.finished or any(not (p.speaks or p.call or p.reasons) for p in [*shown, *held]):
        return None
    if _told(shown) != _told(held) or not _seals(held) <= _seals(shown):
        return None
    reasons = any(p.reasons for p in held)
    calls = {p.call: p for p in held if p.call}
    out: list[list[_Piece]] = []
    for made, results in rounds:
        out.append([])
        torn = False
        for piece, leads in zip(made, _leading(made, results, stored=stored), strict=True):
            sent = not piece.reasons or reasons or leads
            if sent:
                out[-1].append(_kept(calls.get(piece.call), piece, torn=torn))
            torn = not sent
    return out


def _seals(pieces: Iterable[_Piece]) -> set[str]:
    return {p.seal for p in pieces if p.reasons}


def _told(pieces: Iterable[_Piece]) -> tuple[str, list[str]]:
    known = list(pieces)
    return _bare("".join(p.text for p in known)), [p.call for p in known if p.call]


def says_much(exchange: Exchange) -> bool:
    """Whether the shown part can hardly be another answer's: it has a call, reasoning, or enough words."""
    pieces = [p for r in exchange.rounds for p in map(_piece, r.blocks) if p.call not in r.results]
    return any(p.call or p.seal for p in pieces) or sum(len(_bare(p.text)) for p in pieces) >= SAYS_MUCH


def expand(
    conversation: Conversation, exchanges: Mapping[int, Sequence[tuple[str, Exchange]]]
) -> tuple[str, list[str]]:
    """The request's text with exchanges put back, and the names of those that were.

    `exchanges` gives, by message index, the named ones that may belong to that message; the first that fits is taken.
    """
    edits: list[Edit] = []
    done: list[str] = []
    for index, candidates in sorted(exchanges.items()):
        message = conversation.messages[index]
        held = _held(conversation, message)
        for name, exchange in candidates:
            laid_out = _laid_out(held, exchange, stored=_stored(conversation))
            if laid_out is not None:
                edits.append((message.start, message.end, ",".join(_run(laid_out, exchange))))
                done.append(name)
                break
    return splice(conversation.text, edits), done


def _run(laid_out: Sequence[Sequence[_Piece]], exchange: Exchange) -> Iterator[str]:
    """The items of each round and its results; what stands behind an unfinished exchange has none."""
    for said, round_ in zip_longest(laid_out, exchange.rounds):
        yield from (piece.raw for piece in said)
        if round_ is not None:
            yield from round_.results.values()


def result(call: Call, text: str) -> str:
    """The JSON of what answers a call."""
    made = {"type": "function_call_output", "call_id": call.id, "output": text}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def _sendable(round_: Round, *, stored: bool) -> Iterator[str]:
    """The items of a round as they are sent back when it was said just now."""
    torn = False
    for piece in map(_piece, round_.blocks):
        if piece.reasons and not (stored or piece.whole):
            torn = True
        else:
            yield _kept(None, piece, torn=torn).raw
            torn = False


def carried_on(sent: Conversation, rounds: Sequence[Round], *, room: int) -> bytes:
    """The request that was sent, with rounds and their results behind it: what asks the model to go on.

    `room` for cache marks is of no use here.
    """
    del room
    stored = _stored(sent)
    behind = [raw for round_ in rounds for raw in (*_sendable(round_, stored=stored), *round_.results.values())]
    start, end = sent.places["input"]
    if sent.text[start] == "[":
        return splice(sent.text, [(end - 1, end - 1, "".join(f",{raw}" for raw in behind))]).encode("utf-8")
    prompt = f'{{"role":"user","content":{sent.text[start:end]}}}'
    return splice(sent.text, [(start, end, f"[{','.join([prompt, *behind])}]")]).encode("utf-8")
