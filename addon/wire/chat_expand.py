"""Exchanges that the client was not shown, put back where the provider saw them (Chat Completions).

The client holds one assistant message for what were several rounds: their texts run together, and the calls of the
last. It is taken apart again: each round but the last becomes a message with its hidden calls, as it was sent when the
response was carried on, with a tool message for each result behind it. The last stays the client's own; it keeps only
the text that is its, and hidden calls that were made beside the client's stand in it again, with their results before
the client's. Clients trim and split text, so white space is not compared. Where a message says something else, it is
another message, and nothing is put in. The blocks of a round are those of `chat_blocks`.

Reasoning is the difficult part: DeepSeek and Moonshot want `reasoning_content` back with every call, be it empty, Groq
refuses it, OpenRouter wants `reasoning_details` back unchanged; clients know what they talk to. So hidden rounds carry
what the client's own calls carry. Before it has made any, they carry what those ask for who refuse to go without it.
This is decided once, before a round is kept (`fitted`), since what was sent must be sent again. The last round has what
the client sends with it.

No cache mark is put on anything: most servers of this API cache unasked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from addon.wire.chat_blocks import Piece, member, message, piece, words
from addon.wire.conversation import Conversation, Kind, Message
from addon.wire.exchange import Exchange, Round
from addon.wire.read import parts
from addon.wire.reply import Call
from addon.wire.scan import Edit, Field, fields, splice

SAYS_MUCH = 80
"""Characters of text that are hardly ever said twice in the same place."""

WANTED = ("reasoning_content", "reasoning_details")
"""Reasoning that somebody wants back with a call."""


def _bare(text: str) -> str:
    """A text without white space: clients trim, and join with blanks or newlines."""
    return "".join(text.split())


class _Held:
    """A message as the client holds it."""

    def __init__(self, conversation: Conversation, held: Message) -> None:
        self.raw = conversation.text[held.start : held.end]
        self.members: dict[str, Field] = fields(self.raw, 0, {"content": parts, "tool_calls": parts})[0]
        self.calls = [piece(self.raw[b.start : b.end]) for b in held.blocks if b.kind is Kind.CALL]
        self.text = "".join(b.text for b in held.blocks if b.kind is Kind.TEXT)
        self.reasons = [b.name for b in held.blocks if b.kind is Kind.REASONING]
        content = self.members.get("content", (None,))[0]
        texts = sum(b.kind is Kind.TEXT for b in held.blocks)
        self.plain = not isinstance(content, list) or len(content) == texts
        """Whether all of its content is text."""

    def value(self, name: str) -> Any:
        _, start, end = self.members[name]
        return json.loads(self.raw[start:end])

    def edited(self, values: Mapping[str, str]) -> str:
        """With other values for some of its members."""
        places = ((self.members[name][1:], value) for name, value in values.items() if name in self.members)
        return splice(self.raw, [(start, end, value) for (start, end), value in places])


def _pieces(rounds: Iterable[Round]) -> list[list[Piece]]:
    return [[piece(raw) for raw in round_.blocks] for round_ in rounds]


def _signatures(details: Any) -> set[str]:
    found = details if isinstance(details, list) else []
    signed = (part.get("signature") or part.get("data") for part in found if isinstance(part, dict))
    return {str(each) for each in signed if each}


def _last(held: _Held, exchange: Exchange) -> str | None:
    """The message to send for the last round, "" for none; None when this is not what the exchange was shown as."""
    rounds = _pieces(exchange.rounds)
    hidden = {call for round_ in exchange.rounds for call in round_.results}
    shown = [p for blocks in rounds for p in blocks if p.call not in hidden]
    calls = [p.call for p in shown if p.call]
    if not held.plain or not _signed(held) <= {s for p in shown if p.reasons for s in _signatures(p.value)}:
        return None
    if not exchange.finished:
        return _rest(held, words(shown)) if not calls else None
    if _bare(held.text) != _bare(words(shown)) or [p.call for p in held.calls] != calls:
        return None
    last = rounds[-1]
    values = _calls(held, last, hidden)
    if len(rounds) > 1:
        values |= _reasoning(held, last)
        if any(_bare(words(blocks)) for blocks in rounds[:-1]):
            values["content"] = json.dumps(words(last), ensure_ascii=False) if words(last) else "null"
    return held.edited(values) if any(not p.reasons for p in last) else ""


def _signed(held: _Held) -> set[str]:
    return _signatures(held.value("reasoning_details")) if "reasoning_details" in held.reasons else set()


def _calls(held: _Held, last: Sequence[Piece], hidden: set[str]) -> dict[str, str]:
    """The value of `tool_calls`, where it is not the client's own: with hidden ones in it, or with what the model
    called where the client has made another of it, not knowing the tool."""
    own = {p.call: p for p in held.calls}
    made = [own[p.call] if p.call in own and own[p.call].name == p.name else p for p in last if p.call]
    return {} if made == held.calls else {"tool_calls": f"[{','.join(p.raw for p in made)}]"}


def _reasoning(held: _Held, last: Sequence[Piece]) -> dict[str, str]:
    """The last round's where the client holds that of all, run together."""
    own = {p.member: p.value for p in last if p.reasons}
    return {
        name: json.dumps(own.get(name, [] if name == "reasoning_details" else ""), ensure_ascii=False)
        for name in held.reasons
    }


def _rest(held: _Held, said: str) -> str | None:
    """What the client holds behind the rounds of an unfinished exchange, with which its message must begin."""
    if not _bare(said):
        return None  # nothing tells that this message began with the exchange
    if held.text.startswith(said):
        text = held.text[len(said) :]
    else:
        if not _bare(held.text).startswith(_bare(said)):
            return None
        text = held.text
        for _ in _bare(said):
            text = text.lstrip()[1:]
    if not text.strip() and not held.calls:
        return ""
    values = {"content": json.dumps(text, ensure_ascii=False) if text.strip() else "null"}
    return held.edited({**values, **_reasoning(held, ())})


def says_much(exchange: Exchange) -> bool:
    """Whether the shown part can hardly be another message's: it has a call, signed reasoning, or enough words."""
    hidden = {call for round_ in exchange.rounds for call in round_.results}
    shown = [p for blocks in _pieces(exchange.rounds) for p in blocks if p.call not in hidden]
    certain = any(p.call or (p.reasons and _signatures(p.value)) for p in shown)
    return certain or len(_bare(words(shown))) >= SAYS_MUCH


def expand(
    conversation: Conversation, exchanges: Mapping[int, Sequence[tuple[str, Exchange]]]
) -> tuple[str, list[str]]:
    """The request's text with exchanges put back, and the names of those that were.

    `exchanges` gives, by message index, the named ones that may belong to that message; the first that fits is taken.
    """
    edits: list[Edit] = []
    done: list[str] = []
    for index, candidates in sorted(exchanges.items()):
        asked = conversation.messages[index]
        held = _Held(conversation, asked)
        for name, exchange in candidates:
            last = _last(held, exchange)
            if last is not None:
                edits.append((asked.start, asked.end, ",".join(_laid_out(exchange, last))))
                done.append(name)
                break
    return splice(conversation.text, edits), done


def _laid_out(exchange: Exchange, last: str) -> list[str]:
    """The messages of an exchange, the last round's given."""
    if not exchange.finished:
        return [*_rounds(exchange.rounds), *([last] if last else [])]
    return [*_rounds(exchange.rounds[:-1]), *([last] if last else []), *exchange.rounds[-1].results.values()]


def _rounds(rounds: Iterable[Round]) -> list[str]:
    """Rounds and their results as messages."""
    return [raw for round_ in rounds for raw in (message(round_.blocks), *round_.results.values())]


def result(call: Call, text: str) -> str:
    """The JSON of what answers a call."""
    made = {"role": "tool", "tool_call_id": call.id, "content": text}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def carried_on(sent: Conversation, rounds: Sequence[Round], *, room: int) -> bytes:
    """The request that was sent, with rounds and their results behind it: what asks the model to go on.

    `room` for cache marks is of no use here.
    """
    del room
    end = sent.places["messages"][1] - 1
    return splice(sent.text, [(end, end, "".join(f",{raw}" for raw in _rounds(rounds)))]).encode("utf-8")


def fitted(sent: Conversation, round_: Round) -> Round:
    """A round with the reasoning that this conversation carries with calls."""
    calling = [
        {block.name for block in each.blocks if block.kind is Kind.REASONING}
        for each in sent.messages
        if any(block.kind is Kind.CALL for block in each.blocks)
    ]
    carried = set().union(*calling) if calling else set(WANTED)
    pieces = [piece(raw) for raw in round_.blocks]
    kept = [p.raw for p in pieces if not p.reasons or p.member in carried]
    always = bool(calling) and all("reasoning_content" in names for names in calling)
    if always and not any(p.member == "reasoning_content" for p in pieces):
        kept.insert(0, member("reasoning_content", ""))
    return replace(round_, blocks=tuple(kept))
