"""Several answers of the model shown as one, in Gemini's API.

When the model calls a tool that only we have, its answer ends there for the provider but not for the client: the call
is taken out of the chunk it came in, and what the model says once it has its result is joined on. Nothing that the
client may see is held back, except how an answer with a hidden call finished and what it cost; and as long as no call
was hidden, what goes out is what came in, byte for byte.

Chunks add up to an answer by their order alone, so those of later rounds keep the `responseId` that they came with, and
with it all of their bytes. A call that comes in pieces is never hidden: the client refuses it, and is answered as by
patch.

A chunk that is not understood passes as it came. The answer can then not be sent back to the provider as it was
received; `intact` says so, and `leak` shows the client what was hidden.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from addon.wire import sse
from addon.wire.gemini_speech import Speech, called, candidate, in_pieces, loaded, parts, response
from addon.wire.joining import Joining
from addon.wire.usage import Usage

OVERLOADED = 503
PING = b"\r\n\r\n"
"""An event of nothing. Google's SDKs take every line that is neither data nor empty for the JSON of an error, comments
too, and some of them read up to the next two line ends."""

_SUMMED = ("candidatesTokenCount", "thoughtsTokenCount")
"""What a report counts of every round by itself; its other figures are the last round's."""
_TOTAL = ("promptTokenCount", "toolUsePromptTokenCount", *_SUMMED)
_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
"""The vendor's names for statuses."""


def listen() -> Speech:
    """For the events of a stream."""
    return Speech()


def whole(message: Mapping[str, Any]) -> Speech:
    """From an answer that was not streamed."""
    return Speech.whole(message)


def joiner(hidden: str) -> Joiner:
    """For a stream; `hidden` is the tool whose calls the client is not shown."""
    return Joiner(hidden)


class Joiner(Joining[Speech]):
    """The client's side of a stream. `hidden` is the tool whose calls it is not shown."""

    def __init__(self, hidden: str) -> None:
        super().__init__(hidden, Speech)
        self.spent: list[Usage] = []
        """What the provider reported of the rounds before."""
        self._reports: list[Mapping[str, Any]] = []
        """The same in its own words."""
        self._out_of_sight: list[dict[str, Any]] = []
        """Chunks as they would be with the hidden calls alone."""
        self._closing: list[tuple[bytes, dict[str, Any]]] = []
        """Chunks that say how it finished, in bytes and as data."""

    @property
    def rounds(self) -> int:
        """How many rounds are behind."""
        return len(self.spent)

    @property
    def hides(self) -> bool:
        """Whether a call of this round is being hidden."""
        return bool(self._out_of_sight)

    def _pass(self, raw: bytes) -> bytes:
        event = sse.read(raw)
        if event is None:
            return raw
        data = loaded(event.data)
        if not isinstance(data, dict):
            self.speech.intact = False
            return raw
        self.speech.hear(data)
        if self.speech.failed:
            return raw
        chosen = candidate(data)
        given = parts(chosen)
        hidden = [part for part in given if _is_hidden(part, self._hidden)]
        if hidden:
            self._out_of_sight.append(_with(data, hidden))
        if not self.rounds and not self.hides:
            return raw
        if chosen is None:
            if not self._closing or "usageMetadata" not in response(data):
                return raw
            self._closing.append((raw, data))
            return b""
        shown = [part for part in given if not _is_hidden(part, self._hidden)]
        if chosen.get("finishReason"):
            ends = _with(data, [], ends=True)
            self._closing.append((_event(ends) if given else raw, ends if given else data))
            return _event(_with(data, shown)) if shown else b""
        if not hidden:
            return raw
        return _event(_with(data, shown)) if shown else b""

    def proceed(self) -> None:
        """The round was answered; what is fed from now on is what the model says next."""
        self.spent.append(self.speech.usage or Usage())
        self._reports.append(self.speech.report or {})
        self._listen_anew()
        self._out_of_sight, self._closing = [], []

    def leak(self) -> bytes:
        """Show what was hidden of this round after all."""
        out, self._out_of_sight = self._out_of_sight, []
        return b"".join(map(_event, out))

    def fail(self, body: bytes, status: int) -> bytes:
        """An error of the provider's as what ends the stream."""
        return error_event(body, status)

    def finish(self) -> bytes:
        """The closing chunks. They tell the client the whole output, and the input of the last round: that is what its
        context has grown to."""
        out, self._closing = self._closing, []
        return b"".join(self._summed(raw, data) for raw, data in out)

    def _summed(self, raw: bytes, data: dict[str, Any]) -> bytes:
        report = response(data).get("usageMetadata")
        if not self.rounds or not isinstance(report, dict):
            return raw
        return _event(_within(data, usageMetadata=joined_report([*self._reports, report])))


def _is_hidden(part: Mapping[str, Any], hidden: str) -> bool:
    call = called(part)
    return call is not None and call.get("name") == hidden and not in_pieces(part)


def _within(data: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """A response with other members, None for none; wrapped where it was."""
    inner = response(data)
    made = {name: value for name, value in {**inner, **members}.items() if value is not None or name not in members}
    return made if inner is data else {**data, "response": made}


def _with(data: Mapping[str, Any], shown: Sequence[Any], *, ends: bool = False) -> dict[str, Any]:
    """A response with these parts. Only what `ends` an answer says how it finished and what it cost."""
    chosen = candidate(data) or {}
    said = {name: value for name, value in (chosen.get("content") or {}).items() if name != "parts"}
    made = {**chosen, "content": {"parts": list(shown), **said} if shown else said}
    if ends:
        return _within(data, candidates=[made])
    made.pop("finishReason", None)
    return _within(data, candidates=[made], usageMetadata=None)


def joined_report(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A usage report of several rounds: all their output, and the input of the last."""
    last = dict(reports[-1])
    if len(reports) == 1:
        return last
    last.pop("candidatesTokensDetails", None)  # of one round alone
    for name in _SUMMED:
        if (total := sum(_number(report, name) for report in reports)) or name in last:
            last[name] = total
    if "totalTokenCount" in last:
        last["totalTokenCount"] = sum(_number(last, name) for name in _TOTAL)
    return last


def _number(report: Mapping[str, Any], name: str) -> int:
    got = report.get(name)
    return got if isinstance(got, int) else 0


def joined(messages: Sequence[Mapping[str, Any]], hidden: str, *, leaks: bool = False) -> dict[str, Any]:
    """Whole responses as one: the last, with the parts of all but for the calls of the tool that is hidden; those of
    the last one are shown if it `leaks`, behind everything else as in a stream."""
    said = [parts(candidate(message)) for message in messages]
    shown = [part for each in said for part in each if not _is_hidden(part, hidden)]
    if leaks:
        shown += [part for part in said[-1] if _is_hidden(part, hidden)]
    last = messages[-1]
    made = _with(last, shown, ends=True) if candidate(last) is not None else dict(last)
    reports = [response(message).get("usageMetadata") or {} for message in messages]
    return _within(made, usageMetadata=joined_report(reports)) if reports[-1] else made


def failure(body: bytes = b"", status: int = 0) -> str:
    """The JSON of an error: the provider's own, where its answer was one; else that it broke off."""
    told = loaded(body.decode("utf-8", "replace"))
    told = told[0] if isinstance(told, list) and told else told
    if not isinstance(told, dict) or not isinstance(told.get("error"), dict):
        code = 503 if status in (0, 529) else status
        message = f"The answer broke off ({status or 'cut'})."
        told = {"error": {"code": code, "message": message, "status": _STATUS.get(code, "UNKNOWN")}}
    return json.dumps(told, separators=(",", ":"))


def error_event(body: bytes, status: int) -> bytes:
    """An error answer of the provider as an event of the stream that the client is reading."""
    return f"data: {failure(body, status)}\r\n\r\n".encode("utf-8", "surrogatepass")


def _event(data: Mapping[str, Any]) -> bytes:
    """In ASCII: some SDKs take U+2028 and its like inside of the JSON for the end of a line."""
    return f"data: {json.dumps(data, separators=(',', ':'))}\r\n\r\n".encode()
