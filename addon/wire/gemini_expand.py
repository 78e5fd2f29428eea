"""Exchanges that the client was not shown, put back where the provider saw them (Gemini).

The client holds one content of the model's for what were several rounds: their texts one behind the other, as the
pieces they came in or run together, and the calls of the last. It is taken apart again: each round but the last becomes
a content with its hidden calls, as it was sent when the response was carried on, and a content with their responses
behind it. The last stays the client's own: those of its parts that the rounds before did not say. Hidden calls that
were made beside the client's stand in it again, and their responses before the client's, as a content must have as many
responses as the one before it has calls, and nothing else. Clients trim and split text, so white space is not compared;
thoughts and signatures they may drop. Where a content says something else, it is another one, and nothing is put in.

From Gemini 3 on the first call of an answer bears the signature of all. If that was a hidden one beside the client's,
the client's have none; put back, the hidden one brings it. Where the content is not found again (its client has changed
it) the provider may refuse the client's call for want of a signature.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence

from addon.wire.conversation import Conversation, Kind, Message
from addon.wire.exchange import Exchange, Round
from addon.wire.gemini_blocks import Piece, content, made_up, named, piece, sealed, spelled, words
from addon.wire.reply import Call
from addon.wire.scan import Edit, fields, splice

SAYS_MUCH = 80
"""Characters of text that are hardly ever said twice in the same place."""

_WORDS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
_STAND_INS = {sealed(each) for word in _WORDS for each in (word, b64encode(word.encode()).decode())}
"""What clients write for a signature that they do not have."""


def _bare(text: str) -> str:
    return "".join(text.split())


class _Held:
    """A content as the client holds it."""

    def __init__(self, conversation: Conversation, held: Message) -> None:
        self.raw = conversation.text[held.start : held.end]
        self.pieces = [piece(self.raw[block.start : block.end]) for block in held.blocks]
        self.plain = all(block.kind is not Kind.RESULT and not block.part for block in held.blocks)

    def edited(self, parts: Sequence[str]) -> str:
        """With these parts; its own bytes where they are the same."""
        if list(parts) == [p.raw for p in self.pieces]:
            return self.raw
        _, start, end = fields(self.raw, 0, {})[0]["parts"]
        return splice(self.raw, [(start, end, f"[{','.join(parts)}]")])


class _Round:
    """The blocks of a round, by what the client was shown of them."""

    def __init__(self, made: Round) -> None:
        self.pieces = [piece(raw) for raw in made.blocks]
        ids = iter(named(p.call for p in self.pieces if p.call is not None))
        self.ids = [next(ids) if p.call is not None else "" for p in self.pieces]
        self.hides = [identity in made.results for identity in self.ids]
        self.shown = [p for p, hidden in zip(self.pieces, self.hides, strict=True) if not hidden]


def _rounds(exchange: Exchange) -> tuple[list[_Round], list[Piece]]:
    """The rounds, and all that the client was shown of them."""
    rounds = [_Round(made) for made in exchange.rounds]
    return rounds, [p for each in rounds for p in each.shown]


def _others(pieces: Iterable[Piece]) -> list[Piece]:
    """Images, code that was run, and whatever there may be."""
    return [p for p in pieces if p.text is None and p.call is None]


def _calls(pieces: Iterable[Piece]) -> list[Piece]:
    return [p for p in pieces if p.call is not None]


def _same_call(own: Piece, made: Piece) -> bool:
    """Whether a call of the client's is what the model called: by its id, else by what it says."""
    one, other = own.call or {}, made.call or {}
    if identity := other.get("id"):
        return bool(one.get("id") == identity)
    return bool(one.get("name") == other.get("name") and one.get("args", {}) == other.get("args", {}))


def _may_be(held: _Held, shown: Sequence[Piece]) -> bool:
    """Whether all that the content has beside its texts was shown with the exchange."""
    seals = {p.signature for p in shown} | _STAND_INS | {""}
    known = [p.value for p in _others(shown)]
    return (
        held.plain
        and all(p.signature in seals for p in held.pieces)
        and all(p.value in known for p in _others(held.pieces))
    )


def _last(held: _Held, exchange: Exchange) -> str | None:
    """The content to send for the last round, "" for none; None when this is not what the exchange was shown as."""
    rounds, shown = _rounds(exchange)
    if not _may_be(held, shown):
        return None
    said, own, calls = _bare(words(shown)), _calls(held.pieces), _calls(shown)
    if not exchange.finished:
        if calls or not said or not _bare(words(held.pieces)).startswith(said):
            return None
        return _content(held, _behind(held, shown))
    if _bare(words(held.pieces)) != said or len(own) != len(calls) or not all(map(_same_call, own, calls)):
        return None
    before = [p for each in rounds[:-1] for p in each.shown]
    return _content(held, _together(_behind(held, before), rounds[-1]))


def _content(held: _Held, parts: Sequence[str]) -> str:
    return held.edited(parts) if any(piece(raw).says for raw in parts) else ""


def _behind(held: _Held, before: Sequence[Piece]) -> list[str]:
    """The client's parts but for what these said."""
    exact: dict[bool, bool] = {}
    left: dict[bool, int] = {}
    for thought in (False, True):
        own, said = (words(pieces, thought=thought) for pieces in (held.pieces, before))
        exact[thought] = own.startswith(said)
        begins = exact[thought] or _bare(own).startswith(_bare(said))
        left[thought] = 0 if not begins else len(said) if exact[thought] else len(_bare(said))
    seals = {p.signature for p in before if p.signature}
    others = [p.value for p in _others(before)]
    out: list[str] = []
    for p in held.pieces:
        if p.text is None:
            if p.value in others:
                others.remove(p.value)
            else:
                out.append(p.raw)
            continue
        length = len(p.text) if exact[p.thought] else len(_bare(p.text))
        if not length and p.signature:
            out += [] if p.signature in seals else [p.raw]
        elif left[p.thought] and length <= left[p.thought]:
            left[p.thought] -= length
        else:
            out.append(_cut(p, left[p.thought], exact=exact[p.thought]))
            left[p.thought] = 0
    return out


def _cut(p: Piece, gone: int, *, exact: bool) -> str:
    """A text without its first characters; where it is not `exact`, white space does not count."""
    text = p.text or ""
    if not gone:
        return p.raw
    if exact:
        text = text[gone:]
    else:
        for _ in range(gone):
            text = text.lstrip()[1:]
    _, start, end = fields(p.raw, 0, {})[0]["text"]
    return splice(p.raw, [(start, end, spelled(text))])


def _together(own: Iterable[str], last: _Round) -> list[str]:
    """The client's parts with the hidden calls at their place among its own, and with what the model called where the
    client has made another of it, not knowing the tool."""
    made = [(p, hidden) for p, hidden in zip(last.pieces, last.hides, strict=True) if p.call is not None]
    out: list[str] = []
    for raw in own:
        call = piece(raw).call
        if call is not None:
            while made[0][1]:
                out.append(made.pop(0)[0].raw)
            its = made.pop(0)[0]
            raw = raw if call.get("name") == (its.call or {}).get("name") else its.raw
        out.append(raw)
    return out + [p.raw for p, hidden in made if hidden]


def says_much(exchange: Exchange) -> bool:
    """Whether the shown part can hardly be another content's: it has a call with an id, or enough words."""
    _, shown = _rounds(exchange)
    return any((p.call or {}).get("id") for p in shown) or len(_bare(words(shown))) >= SAYS_MUCH


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
            beside = list(exchange.rounds[-1].results.values()) if exchange.finished else []
            after = _before_the_clients(conversation, index + 1, beside)
            if last is None or after is None:
                continue
            before = exchange.rounds[:-1] if exchange.finished else exchange.rounds
            edits += [(asked.start, asked.end, ",".join([*_laid_out(before), *([last] if last else [])])), *after]
            done.append(name)
            break
    return splice(conversation.text, edits), done


def _before_the_clients(conversation: Conversation, index: int, results: Sequence[str]) -> list[Edit] | None:
    """How responses come to stand before those in the content at an index; None where it has none."""
    if not results:
        return []
    if index >= len(conversation.messages):
        return None
    held = conversation.messages[index]
    if not any(block.call and block.kind is not Kind.CALL for block in held.blocks):
        return None
    _, start, end = fields(conversation.text, held.start, {})[0]["parts"]
    added = ",".join(results)
    if conversation.text[start] == "[":
        return [(start + 1, start + 1, f"{added},")]
    return [(start, start, f"[{added},"), (end, end, "]")]


def _laid_out(rounds: Iterable[Round]) -> list[str]:
    """Rounds and their responses as contents."""
    return [
        raw
        for made in rounds
        for raw in (content("model", made.blocks), content("user", list(made.results.values())))
    ]


def result(call: Call, text: str) -> str:
    """The JSON of what answers a call, which names it where the API has given it an id."""
    identity = {} if made_up(call.id, call.name) else {"id": call.id}
    return spelled({"functionResponse": {**identity, "name": call.name, "response": {"output": text}}})


def carried_on(sent: Conversation, rounds: Sequence[Round], *, room: int) -> bytes:
    """The request that was sent, with rounds and their results behind it: what asks the model to go on.

    `room` for cache marks is of no use here.
    """
    del room
    end = sent.places["contents"][1] - 1
    return splice(sent.text, [(end, end, "".join(f",{raw}" for raw in _laid_out(rounds)))]).encode("utf-8")
