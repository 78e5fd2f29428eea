"""Exchanges that the client was not shown, put back where the provider saw them (Messages API).

The client holds one assistant message for what were several rounds. It is taken apart again: each round gets its hidden
calls back, and the results follow it in a message of their own; results that stand beside the client's go into the
client's next message. Blocks that the client kept stay in its own bytes. Clients differ in what they keep: some drop
reasoning, some run all texts together; where the blocks do not match one by one but say the same, the provider's own
are taken. Where they say something else it is another message, and nothing is put in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addon.wire.anthropic import _content
from addon.wire.conversation import Conversation, Kind, Message
from addon.wire.exchange import Exchange, Round
from addon.wire.reply import Call
from addon.wire.scan import Edit, fields, splice

SAYS_MUCH = 80
"""Characters of text that are hardly ever said twice in the same place."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block, the client's or the provider's, by what tells it from others."""

    kind: Kind
    raw: str
    text: str = ""
    call: str = ""
    name: str = ""
    signature: str = ""
    other: str = ""

    def is_like(self, other: _Piece) -> bool:
        if self.kind is not other.kind:
            return False
        if self.kind is Kind.REASONING:
            return self.signature == other.signature
        return (_bare(self.text), self.call, self.other) == (_bare(other.text), other.call, other.other)


def _bare(text: str) -> str:
    """A text without white space: clients trim, and join with blanks or newlines."""
    return "".join(text.split())


def _piece(raw: str) -> _Piece:
    block: dict[str, Any] = json.loads(raw)
    kind = block.get("type")
    if kind == "text":
        return _Piece(Kind.TEXT, raw, text=str(block.get("text", "")))
    if kind == "tool_use":
        return _Piece(Kind.CALL, raw, call=str(block.get("id", "")), name=str(block.get("name", "")))
    if kind in ("thinking", "redacted_thinking"):
        return _Piece(Kind.REASONING, raw, signature=str(block.get("signature") or block.get("data") or ""))
    return _Piece(Kind.OTHER, raw, other=f"{kind} {block.get('id') or block.get('tool_use_id') or ''}")


def _held(conversation: Conversation, message: Message) -> list[_Piece]:
    """The blocks of a message as the client holds them, but for blank texts, which the provider would not take."""
    out: list[_Piece] = []
    for block in message.blocks:
        raw = conversation.text[message.start + block.start : message.start + block.end]
        if raw.startswith('"'):
            raw = f'{{"type":"text","text":{raw}}}'
        piece = _piece(raw)
        if piece.kind is not Kind.TEXT or piece.text.strip():
            out.append(piece)
    return out


def _laid_out(held: Sequence[_Piece], exchange: Exchange) -> list[list[_Piece]] | None:
    """The blocks to send for each round, hidden ones included; None when this is not the message they were shown as."""
    exact = _matched(held, exchange)
    return exact if exact is not None else _retold(held, exchange)


def _matched(held: Sequence[_Piece], exchange: Exchange) -> list[list[_Piece]] | None:
    """Block by block. Reasoning and blank text may be missing; behind an unfinished exchange more may stand."""
    out: list[list[_Piece]] = []
    at = met = 0
    for round_ in exchange.rounds:
        out.append([])
        for piece in map(_piece, round_.blocks):
            if piece.call in round_.results:
                out[-1].append(piece)
            elif at < len(held) and piece.is_like(held[at]):
                out[-1].append(_kept(held[at], piece))
                met += 1
                at += 1
            elif piece.kind is not Kind.REASONING:
                return None
    rest = list(held[at:])
    if exchange.finished:
        return out if not rest else None
    if not met:
        return None  # nothing tells that this message began with the exchange
    return [*out, rest]


def _kept(held: _Piece, made: _Piece) -> _Piece:
    """The client's block, unless the client has changed it: trimmed a text, which is then not what stands before later
    reasoning for the provider, or made another of a call, not knowing the tool."""
    return held if (held.name, held.text) == (made.name, made.text) else made


def _retold(held: Sequence[_Piece], exchange: Exchange) -> list[list[_Piece]] | None:
    """As a whole: the same words and the same calls, in blocks of the client's own making."""
    rounds = [[(_piece(raw), r) for raw in r.blocks] for r in exchange.rounds]
    shown = [piece for blocks in rounds for piece, r in blocks if piece.call not in r.results]
    if not exchange.finished or any(p.kind is Kind.OTHER for p in [*shown, *held]):
        return None
    if _told(shown) != _told(held) or not _signed(held) <= _signed(shown):
        return None
    reasons = any(p.kind is Kind.REASONING for p in held)
    calls = {p.call: p for p in held if p.kind is Kind.CALL}
    return [
        [_kept(calls.get(p.call, p), p) for p, _ in blocks if reasons or p.kind is not Kind.REASONING]
        for blocks in rounds
    ]


def _signed(pieces: Sequence[_Piece]) -> set[str]:
    return {p.signature for p in pieces if p.signature}


def _told(pieces: Sequence[_Piece]) -> tuple[str, list[str]]:
    return _bare("".join(p.text for p in pieces)), [p.call for p in pieces if p.call]


def says_much(exchange: Exchange) -> bool:
    """Whether the shown part can hardly be another message's: it has a call, reasoning, or enough words."""
    pieces = [p for r in exchange.rounds for p in map(_piece, r.blocks) if p.call not in r.results]
    return any(p.call or p.signature for p in pieces) or sum(len(_bare(p.text)) for p in pieces) >= SAYS_MUCH


def expand(
    conversation: Conversation, exchanges: Mapping[int, Sequence[tuple[str, Exchange]]]
) -> tuple[str, list[str]]:
    """The request's text with exchanges put back, and the names of those that were. Where the client says which answer
    it got last, it is made to name the last round of that.

    `exchanges` gives, by message index, the named ones that may belong to that message; the first that fits is taken.
    """
    edits: list[Edit] = []
    done: list[str] = []
    ids: dict[str, str] = {}
    for index, candidates in sorted(exchanges.items()):
        message = conversation.messages[index]
        held = _held(conversation, message)
        for name, exchange in candidates:
            laid_out = _laid_out(held, exchange)
            beside = _beside(conversation, index, exchange)
            if laid_out is not None and beside is not None:
                edits += [_taken_apart(conversation, message, exchange, laid_out), *beside]
                done.append(name)
                if exchange.id:
                    ids[exchange.shown_as] = exchange.id
                break
    return splice(conversation.text, [*edits, *_renamed(conversation, ids)]), done


def _renamed(conversation: Conversation, names: Mapping[str, str]) -> list[Edit]:
    """`names` gives, by the id that the client was shown, the last round's."""
    place = conversation.places.get("diagnostics")
    if place is None or not names or conversation.text[place[0]] != "{":
        return []
    members, _ = fields(conversation.text, place[0], {})
    value, start, end = members.get("previous_message_id", (None, 0, 0))
    name = names.get(value) if isinstance(value, str) else None
    return [(start, end, json.dumps(name))] if name else []


def _taken_apart(
    conversation: Conversation, message: Message, exchange: Exchange, laid_out: list[list[_Piece]]
) -> Edit:
    members, _ = fields(conversation.text, message.start, {"content": _content})
    _, start, end = members["content"]
    before, behind = conversation.text[message.start : start], conversation.text[end : message.end]
    said = [f"{before}[{','.join(p.raw for p in blocks)}]{behind}" if blocks else "" for blocks in laid_out]
    parts: list[str] = []
    for number, words in enumerate(said):
        parts += [words] if words else []
        if number < len(said) - 1:
            parts.append(_message(exchange.rounds[number].results.values()))
    return message.start, message.end, ",".join(parts)


def _message(results: Iterable[str]) -> str:
    return f'{{"role":"user","content":[{",".join(results)}]}}'


def _beside(conversation: Conversation, index: int, exchange: Exchange) -> list[Edit] | None:
    """Edits that put the last round's results into the client's next message; None when it has none to put them in."""
    results = exchange.rounds[-1].results if exchange.finished else {}
    if not results:
        return []
    if index + 1 >= len(conversation.messages):
        return None
    after = conversation.messages[index + 1]
    members, _ = fields(conversation.text, after.start, {"content": _content})
    content, start, _ = members["content"]
    if after.role != "user" or not isinstance(content, list) or not content:
        return None
    return [(start + 1, start + 1, ",".join(results.values()) + ",")]


def result(call: Call, text: str) -> str:
    """The JSON of what answers a call."""
    block = {"type": "tool_result", "tool_use_id": call.id, "content": text}
    return json.dumps(block, ensure_ascii=False, separators=(",", ":"))


_MARKS = {300.0: ',"cache_control":{"type":"ephemeral"}', 3600.0: ',"cache_control":{"type":"ephemeral","ttl":"1h"}'}


def carried_on(sent: Conversation, rounds: Sequence[Round], *, room: int) -> bytes:
    """The request that was sent, with rounds and their results behind it: what asks the model to go on.

    A cache mark is put on the last result where the client marks what it says last and `room` (how many marks more
    there may be) allows it, so that the next request finds the recalled page in the cache. A client that marks nothing
    there would pay for a cache that it never reads, and an automatic mark stands on the last block by itself.
    """
    marks: list[float] = []
    for message in sent.messages:
        marks = [] if message.role == "assistant" else [*marks, *message.marks]
    mark = _MARKS.get(marks[-1], "") if marks and room > 0 and "cache_control" not in sent.places else ""
    parts: list[str] = []
    for number, round_ in enumerate(rounds):
        results = list(round_.results.values())
        if mark and number == len(rounds) - 1:
            results[-1] = f"{results[-1][:-1]}{mark}}}"
        parts += [f'{{"role":"assistant","content":[{",".join(round_.blocks)}]}}', _message(results)]
    end = sent.places["messages"][1] - 1
    return splice(sent.text, [(end, end, "," + ",".join(parts))]).encode("utf-8")
