"""Several answers of the model shown as one, in Chat Completions.

When the model calls a tool that only we have, its answer ends there for the provider but not for the client: the call
is taken out of the chunks it came in, and what the model says once it has its result is joined on. The client must find
one well-formed completion: one id, one role, calls numbered without a gap, one end. Nothing that it may see is held
back, except how an answer with a hidden call finished, what it cost, and `[DONE]`; and as long as no call was hidden,
what goes out is what came in, byte for byte. Only while a call's name is not known yet everything waits for it.

Clients add up what stands in the chunks, so a role that came again would be said twice, and details of reasoning under
one number would be run together; both are kept apart here.

A chunk that is not understood passes as it came. The answer can then not be sent back to the provider as it was
received; `intact` says so, and `leak` shows the client what was hidden.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addon.wire import sse
from addon.wire.chat import REASONING, reported
from addon.wire.chat_speech import DONE, Made, Speech
from addon.wire.joining import Joining
from addon.wire.openai_errors import failure as failure
from addon.wire.usage import Usage

OVERLOADED = 503
PING = b": ping\n\n"

_SUMMED = ("completion_tokens", "cost")
"""What a report counts of every round by itself; its other figures are the last round's."""


def listen() -> Speech:
    """For the events of a stream."""
    return Speech()


def whole(message: Mapping[str, Any]) -> Speech:
    """From an answer that was not streamed."""
    return Speech.whole(message)


def joiner(hidden: str) -> Joiner:
    """For a stream; `hidden` is the tool whose calls the client is not shown."""
    return Joiner(hidden)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """An event of the stream, and what was understood of it."""

    raw: bytes
    ends: bool = False
    """It is the last."""
    data: dict[str, Any] | None = None
    touched: Sequence[Made | None] = ()
    """For each piece of a call in it, the call."""

    @property
    def choice(self) -> dict[str, Any] | None:
        """None where it has none, or not the one that was asked for."""
        choices = self.data.get("choices") if self.data is not None else None
        fits = isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict)
        return choices[0] if isinstance(choices, list) and fits else None


class Joiner(Joining[Speech]):
    """The client's side of a stream. `hidden` is the tool whose calls it is not shown."""

    def __init__(self, hidden: str) -> None:
        super().__init__(hidden, Speech)
        self.spent: list[Usage] = []
        """What the provider reported of the rounds before."""
        self._reports: list[Mapping[str, Any]] = []
        """The same in its own words."""
        self._id, self._role = "", False
        """What the client knows the completion by, and whether it has been told the role."""
        self._waiting: list[_Chunk] = []
        """Chunks behind one that begins a call whose name is not known yet, that one first."""
        self._places: dict[Made, int] = {}
        self._next = 0
        self._details, self._most = 0, 0
        """Where the numbers of this round's reasoning details begin, and those of the next one's."""
        self._out_of_sight: dict[Made, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        """The pieces of hidden calls, each with its chunk."""
        self._closing: list[tuple[bytes, dict[str, Any] | None]] = []

    @property
    def rounds(self) -> int:
        """How many rounds are behind."""
        return len(self.spent)

    @property
    def hides(self) -> bool:
        """Whether a call of this round is being hidden."""
        return bool(self._out_of_sight)

    @property
    def _changes(self) -> bool:
        return bool(self.rounds or self.hides)

    def rest(self) -> bytes:
        """What the stream ended with, if that was no whole event. Not asked for twice."""
        waiting, self._waiting = self._waiting, []
        return b"".join([*(chunk.raw for chunk in waiting), super().rest()])

    def _pass(self, raw: bytes) -> bytes:
        chunk = _Chunk(raw)
        try:
            event = sse.read(raw)
            if event is not None:
                chunk = _Chunk(raw, event.data.strip() == DONE, *self.speech.read(event))
        except (ValueError, KeyError, TypeError, RecursionError):
            self.speech.intact = False
        self._waiting.append(chunk)
        if any(map(self._is_open, self.speech.made)):
            return b""
        waiting, self._waiting = self._waiting, []
        return b"".join(map(self._shown, waiting))

    def _is_open(self, made: Made) -> bool:
        """Whether a call may still turn out to be a hidden one."""
        if self.speech.closed or self.speech.failed or not self.speech.intact:
            return False
        return made.name != self._hidden and self._hidden.startswith(made.name) and not (made.name and made.said)

    def _shown(self, chunk: _Chunk) -> bytes:
        """What the client gets of a chunk."""
        try:
            return self._sight(chunk)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.speech.intact = False
            return chunk.raw

    def _sight(self, chunk: _Chunk) -> bytes:
        self._id = self._id or self.speech.id
        data, choice = chunk.data, chunk.choice
        if chunk.ends or (data is not None and choice is None and reported(data) is not None):
            if not self._changes:
                return chunk.raw
            self._closing.append((chunk.raw, data))
            return b""
        if data is None or data.get("error"):
            return chunk.raw
        if choice is None:
            return self._spelled(chunk, data)
        given = choice.get("delta")
        delta = self._seen(given, chunk) if isinstance(given, dict) else given
        if not self._changes:
            return chunk.raw
        shown = {**data, "choices": [{**choice, "delta": delta}]}
        finish = choice.get("finish_reason")
        if finish is None:
            return self._spelled(chunk, shown) if _says(delta) or delta == given else b""
        ends = {**data, "choices": [{**choice, "delta": {}}]}
        self._closing.append((chunk.raw if not given else _event(ends), ends))
        if not _says(delta):
            return b""
        rest = {k: v for k, v in shown.items() if k not in ("usage", "x_groq")}
        return self._spelled(chunk, {**rest, "choices": [{**choice, "delta": delta, "finish_reason": None}]})

    def _seen(self, delta: dict[str, Any], chunk: _Chunk) -> dict[str, Any]:
        """What of a delta the client may see, as it is to see it."""
        out = {name: value for name, value in delta.items() if name != "role" or not self._role}
        self._role = self._role or "role" in delta
        if chunk.touched:
            calls = [self._piece(*each, chunk) for each in zip(delta["tool_calls"], chunk.touched, strict=True)]
            out["tool_calls"] = [piece for piece in calls if piece is not None]
            if not out["tool_calls"]:
                del out["tool_calls"]
        if details := delta.get("reasoning_details"):
            out["reasoning_details"] = [self._detail(each) for each in details]
        return out

    def _piece(self, piece: Any, made: Made | None, chunk: _Chunk) -> Any:
        """A piece of a call with the number that the client knows the call by; None where it is hidden."""
        if made is None:
            return piece
        if made.name == self._hidden and made not in self._places:
            assert chunk.data is not None
            self._out_of_sight.setdefault(made, []).append((chunk.data, piece))
            return None
        if made in self._out_of_sight:  # its name went on
            self.speech.intact = False
            self._out_of_sight[made].append((chunk.data or {}, piece))
            return None
        if made not in self._places:
            # Numbers are the provider's until a call is missing before them.
            own = made.index if isinstance(made.index, int) else self.speech.made.index(made)
            self._places[made] = self._next if self._changes else own
            self._next = max(self._next, self._places[made] + 1)
        place = self._places[made]
        return {**piece, "index": place} if self._changes and piece.get("index") != place else piece

    def _detail(self, detail: Any) -> Any:
        if not isinstance(detail, dict) or not isinstance(detail.get("index"), int):
            return detail
        place = detail["index"] + self._details
        self._most = max(self._most, place + 1)
        return {**detail, "index": place}

    def _spelled(self, chunk: _Chunk, data: dict[str, Any]) -> bytes:
        """The chunk with this data; its own bytes where that is the same."""
        shown = self._named(data)
        return chunk.raw if shown == chunk.data else _event(shown)

    def _named(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "id": self._id} if self.rounds and "id" in data else data

    def proceed(self) -> None:
        """The round was answered; what is fed from now on is what the model says next."""
        self.spent.append(self.speech.usage or Usage())
        self._reports.append(self.speech.report or {})
        self._listen_anew()
        self._waiting, self._places, self._out_of_sight, self._closing = [], {}, {}, []
        self._details = self._most

    def leak(self) -> bytes:
        """Show what was hidden of this round after all."""
        out: list[bytes] = []
        for pieces in self._out_of_sight.values():
            for data, piece in pieces:
                choice = {"index": 0, "delta": {"tool_calls": [{**piece, "index": self._next}]}, "finish_reason": None}
                rest = {k: v for k, v in data.items() if k not in ("usage", "x_groq")}
                out.append(_event(self._named({**rest, "choices": [choice]})))
            self._next += 1
        self._out_of_sight = {}
        return b"".join(out)

    def fail(self, body: bytes, status: int) -> bytes:
        """An error of the provider's as what ends the stream."""
        return error_event(body, status)

    def finish(self) -> bytes:
        """The closing chunks. They tell the client the whole output, and the input of the last round: that is what its
        context has grown to."""
        out, self._closing = self._closing, []
        return b"".join(raw if not self.rounds or data is None else _event(self._summed(data)) for raw, data in out)

    def _summed(self, data: dict[str, Any]) -> dict[str, Any]:
        data = self._named(data)
        for holder in (data, data.get("x_groq")):
            if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
                summed = joined_report([*self._reports, holder["usage"]])
                if holder is data:
                    return {**data, "usage": summed}
                return {**data, "x_groq": {**holder, "usage": summed}}
        return data


def _says(delta: Any) -> bool:
    return isinstance(delta, dict) and any(delta.values())


def joined_report(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A usage report of several rounds: all their output, and the input of the last."""
    last = dict(reports[-1])
    for name in _SUMMED:
        if name in last:
            last[name] = sum(filter(_is_number, (report.get(name) for report in reports)))
    spent = [report.get("completion_tokens_details") for report in reports]
    if isinstance(spent[-1], dict):
        known = [each for each in spent if isinstance(each, dict)]
        last["completion_tokens_details"] = {
            name: sum(filter(_is_number, (each.get(name) for each in known))) if _is_number(value) else value
            for name, value in known[-1].items()
        }
    if "total_tokens" in last:
        parts = (last.get(name) for name in ("prompt_tokens", "completion_tokens"))
        last["total_tokens"] = sum(filter(_is_number, parts))
    return last


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def joined(messages: Sequence[Mapping[str, Any]], hidden: str, *, leaks: bool = False) -> dict[str, Any]:
    """Whole completions as one: the last, with all that was said in any but for the calls of the tool that is hidden;
    those of the last one are shown if it `leaks`, behind everything else as in a stream."""

    def is_hidden(call: Mapping[str, Any]) -> bool:
        return bool(Speech.whole({"choices": [{"message": {"tool_calls": [call]}}]}).calls[0].name == hidden)

    said: list[Mapping[str, Any]] = [message["choices"][0]["message"] for message in messages]
    shown = {**said[-1]}
    calls = [call for each in said for call in each.get("tool_calls") or ()]
    shown["tool_calls"] = [call for call in calls if not is_hidden(call)]
    if leaks:
        shown["tool_calls"] += [call for call in said[-1].get("tool_calls") or () if is_hidden(call)]
    if not shown["tool_calls"]:
        del shown["tool_calls"]
    for name in ("content", *REASONING):
        given = [each[name] for each in said if each.get(name) is not None]
        if given:
            shown[name] = _together(given)
    last = messages[-1]
    made = {**last, "choices": [{**last["choices"][0], "message": shown}]}
    reports = [reported(message) or {} for message in messages]
    return {**made, "usage": joined_report(reports)} if isinstance(last.get("usage"), dict) else made


def _together(given: list[Any]) -> Any:
    """Texts as one, or lists with their numbered entries counted on."""
    if all(isinstance(each, str) for each in given):
        return "".join(given)
    out: list[Any] = []
    most = 0
    for each in given:
        start = most
        parts: list[Any] = [{"type": "text", "text": each}] if isinstance(each, str) else each
        for part in parts:
            numbered = isinstance(part, dict) and isinstance(part.get("index"), int)
            out.append({**part, "index": part["index"] + start} if numbered else part)
            most = max(most, start + part["index"] + 1) if numbered else most
    return out


def error_event(body: bytes, status: int) -> bytes:
    """An error answer of the provider as an event of the stream that the client is reading."""
    return f"data: {failure(body, status)}\n\n".encode("utf-8", "surrogatepass")


def _event(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
