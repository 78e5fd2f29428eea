"""What the model says in Responses, streamed or whole; and several of its answers shown as one.

An answer is a list of items, and every event of a stream but the first and the last ones belongs to one of them. When
the model calls a tool that only we have, its answer ends there for the provider but not for the client: the events of
that item are kept from it, and what the model says once it has its result is joined on. The client must find one
well-formed response: it begins once, its items and its events are numbered without a gap, and it ends once. Nothing
that it may see is held back, except how an answer with a hidden call in it ended; and as long as no call was hidden,
what goes out is what came in, byte for byte. Reasoning that led to a hidden call is shown like any other.

The end names the first answer, as the beginning did: OpenAI's SDK takes one name for another as an error. The provider
keeps its history under the last one's name, where it keeps any; but who goes on from there sends no history that a tool
could have been added to.

An event that is not understood passes as it came. If one of an item was lost on us, the answer cannot be sent back to
the provider as it was received; `intact` then says so, and `leak` shows the client what was hidden.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from addon.wire import sse
from addon.wire.exchange import Round
from addon.wire.joining import Joining
from addon.wire.openai_common import count
from addon.wire.openai_errors import failure as failure
from addon.wire.reply import Call
from addon.wire.responses import CALLS, parse
from addon.wire.responses import usage as read_usage
from addon.wire.usage import Usage

OVERLOADED = 503
PING = b": ping\n\n"

type Item = dict[str, Any]

_OPENING = ("response.created", "response.queued", "response.in_progress")
_CLOSING = ("response.completed", "response.incomplete")


def listen() -> Speech:
    """For the events of a stream."""
    return Speech()


def whole(message: Mapping[str, Any]) -> Speech:
    """From an answer that was not streamed."""
    made = Speech()
    output = message.get("output")
    if isinstance(output, list) and all(isinstance(item, dict) for item in output):
        made.items = dict(enumerate(output))
        made.end(message)
    return made


def joiner(hidden: str) -> Joiner:
    """For a stream; `hidden` is the tool whose calls the client is not shown."""
    return Joiner(hidden)


def _is_hidden(item: Mapping[str, Any], hidden: str) -> bool:
    return item.get("type") == "function_call" and item.get("name") == hidden and not item.get("namespace")


class Speech:
    """One answer of the model, put together from its events or taken from a whole response."""

    def __init__(self) -> None:
        self.id = ""
        self.status = ""
        self.closed = False
        self.failed = False
        self.intact = True
        self.transformed = False
        self.report: Mapping[str, Any] = {}
        """The provider's own words on what it cost."""
        self.items: dict[int, Item] = {}
        """Those that are done, by their place."""
        self._begun: set[int] = set()

    def take(self, event: sse.Event) -> None:
        """Take in an event of a stream."""
        data = loaded(event.data)
        if isinstance(data, dict):
            self.hear(str(data.get("type")), data)
        else:
            self.intact = False

    def hear(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take in an event."""
        response = data.get("response")
        if kind in _OPENING and isinstance(response, dict):
            self.id = str(response.get("id", ""))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            place, item = data.get("output_index"), data.get("item")
            if not isinstance(place, int) or not isinstance(item, dict):
                self.intact = False
            elif kind.endswith("added"):
                self._begun.add(place)
            else:
                self.items[place] = item
        elif kind in _CLOSING and isinstance(response, dict):
            self.intact = self.intact and self._begun <= self.items.keys()
            self.end(response)
        elif kind in ("response.failed", "error"):
            self.failed = True

    def end(self, response: Mapping[str, Any]) -> None:
        """Take in a response that is complete."""
        self.closed = True
        self.id = str(response.get("id", ""))
        self.status = str(response.get("status", ""))
        self.transformed = bool(response.get("input_transformations"))
        report = response.get("usage")
        self.report = report if isinstance(report, dict) else {}

    @property
    def usage(self) -> Usage | None:
        return read_usage(self.report) if self.report else None

    @property
    def waits(self) -> bool:
        """Whether it ended to have its calls answered, and not because of a limit."""
        return self.status == "completed"

    @property
    def calls(self) -> list[Call]:
        """Calls that the client, or we, must answer."""
        found: list[Call] = []
        for _, item in sorted(self.items.items()):
            kind = str(item.get("type"))
            if kind in CALLS and item.get("execution") != "server":
                name, said = CALLS[kind]
                given = item.get(said)
                arguments = loaded(given) if kind == "function_call" and isinstance(given, str) else given
                found.append(Call(str(item.get("call_id", "")), name or str(item.get("name", "")), arguments))
        return found

    def round(
        self, results: Mapping[str, str], *, without: Collection[str] = (), behind: Collection[str] = ()
    ) -> Round:
        """What was said, to be sent back, with the results of the hidden calls by id. Calls in `without` are left out,
        those in `behind` stand behind everything else.

        ValueError when no request could hold what was said.
        """
        said = [item for _, item in sorted(self.items.items()) if not _is_blank(item)]
        said = [item for item in said if item.get("call_id") not in without]
        late = [item for item in said if item.get("call_id") in behind]
        said = [*(item for item in said if item not in late), *late]
        if said and said[-1].get("type") == "reasoning":
            raise ValueError("reasoning without what it led to")
        raw = [_spelled(item) for item in said]
        if raw:  # every later request would hold them, and could not be read
            parse(f'{{"input":[{",".join(raw)}]}}'.encode())
        if not all(results):
            raise ValueError("a call without an id")
        return Round(tuple(raw), results)


def _is_blank(item: Item) -> bool:
    """A message that says nothing: the provider makes such, but does not take them back."""
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return False
    return all(part.get("type") == "output_text" and not str(part.get("text", "")).strip() for part in content)


def _spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def loaded(text: str) -> Any:
    """The value that a JSON text spells, None where it spells none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Joiner(Joining[Speech]):
    """The client's side of a stream. `hidden` is the tool whose calls it is not shown."""

    def __init__(self, hidden: str) -> None:
        super().__init__(hidden, Speech)
        self._reports: list[Mapping[str, Any]] = []
        """What the provider reported of the rounds before."""
        self._id = ""
        """By which the client knows the response."""
        self._number = -1
        """Of the last event that the client got."""
        self._places: dict[int, int] = {}
        self._next = 0
        self._shown: dict[int, Item] = {}
        """The items that the client got, of all rounds, by their place."""
        self._out_of_sight: dict[int, list[dict[str, Any]]] = {}
        self._closing: list[tuple[bytes, dict[str, Any]]] = []

    @property
    def rounds(self) -> int:
        """How many rounds are behind."""
        return len(self._reports)

    @property
    def hides(self) -> bool:
        """Whether a call of this round is being hidden."""
        return bool(self._out_of_sight)

    @property
    def _changes(self) -> bool:
        return bool(self.rounds or self.hides)

    def _pass(self, raw: bytes) -> bytes:
        event = sse.read(raw)
        if event is None:
            return raw
        data = loaded(event.data)
        if not isinstance(data, dict):
            self.speech.intact = False
            return raw
        kind = str(data.get("type"))
        self.speech.hear(kind, data)
        self._id = self._id or self.speech.id
        if kind in _OPENING and self.rounds:
            return b""
        if kind in _CLOSING and self._changes and isinstance(data.get("response"), dict):
            self._closing.append((raw, data))
            return b""
        if kind == "response.failed" and self.rounds and isinstance(data.get("response"), dict):
            data = {**data, "response": {**data["response"], "id": self._id}}
        place = data.get("output_index")
        return self._item(raw, kind, data, place) if isinstance(place, int) else self._numbered(raw, data)

    def _item(self, raw: bytes, kind: str, data: dict[str, Any], place: int) -> bytes:
        item = data.get("item")
        if kind == "response.output_item.added":
            if place in self._places or place in self._out_of_sight:
                self.speech.intact = False
            if isinstance(item, dict) and _is_hidden(item, self._hidden):
                self._out_of_sight.setdefault(place, []).append(data)
                return b""
            # Places are the provider's until an item is missing before them.
            self._places[place] = self._next if self._changes else place
            self._next = max(self._next, self._places[place] + 1)
        elif place in self._out_of_sight:
            self._out_of_sight[place].append(data)
            return b""
        if kind == "response.output_item.done" and isinstance(item, dict):
            if _is_hidden(item, self._hidden):
                self.speech.intact = False  # it was not known as such when it began
            self._shown[self._places.get(place, place)] = item
        shown = self._places.get(place, place)
        return self._numbered(raw, data if shown == place else {**data, "output_index": shown})

    def _numbered(self, raw: bytes, data: dict[str, Any]) -> bytes:
        """An event with the number that is next; its own bytes where nothing was changed yet."""
        number = data.get("sequence_number")
        if not self._changes:
            self._number = number if isinstance(number, int) else self._number
            return raw
        if not isinstance(number, int):
            return _event(data)
        self._number += 1
        return _event({**data, "sequence_number": self._number})

    def proceed(self) -> None:
        """The round was answered; what is fed from now on is what the model says next."""
        self._reports.append(self.speech.report)
        self._listen_anew()
        self._places, self._out_of_sight, self._closing = {}, {}, []

    def leak(self) -> bytes:
        """Show what was hidden of this round after all."""
        out: list[bytes] = []
        for _, events in sorted(self._out_of_sight.items()):
            for data in events:
                out.append(self._numbered(b"", {**data, "output_index": self._next}))
                if data.get("type") == "response.output_item.done" and isinstance(data.get("item"), dict):
                    self._shown[self._next] = data["item"]
            self._next += 1
        return b"".join(out)

    def fail(self, body: bytes, status: int) -> bytes:
        """An error of the provider's as what ends the stream, in both ways of saying so: clients know one or the
        other."""
        told = json.loads(failure(body, status))["error"]
        error = told if isinstance(told, dict) else {"message": str(told)}
        code = error.get("code") or error.get("type") or "server_error"
        said = {"code": code, "message": str(error.get("message", ""))}
        failed = {"id": self._id, "object": "response", "status": "failed", "error": said, "output": []}
        out: list[bytes] = []
        for data in ({"type": "error", **said, "param": None}, {"type": "response.failed", "response": failed}):
            self._number += 1
            out.append(_event({**data, "sequence_number": self._number}))
        return b"".join(out)

    def finish(self) -> bytes:
        """The closing event. It tells the client the whole output, and the input of the last round: that is what its
        context has grown to."""
        closing, self._closing = self._closing, []
        out: list[bytes] = []
        for raw, data in closing:
            response = {**data["response"], "id": self._id, "output": [item for _, item in sorted(self._shown.items())]}
            if usage := joined_usage([*self._reports, self.speech.report]):
                response["usage"] = usage
            out.append(self._numbered(raw, {**data, "response": response}))
        return b"".join(out)


def _event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data.get('type')}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def joined_usage(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A usage report of several rounds: all their output, and the input of the last."""
    last = dict(reports[-1])
    if not last:
        return last
    last["output_tokens"] = sum(count(report, "output_tokens") for report in reports)
    last["total_tokens"] = count(last, "input_tokens") + last["output_tokens"]
    if isinstance(details := last.get("output_tokens_details"), dict):
        thought = sum(count(report.get("output_tokens_details"), "reasoning_tokens") for report in reports)
        last["output_tokens_details"] = {**details, "reasoning_tokens": thought}
    return last


def joined(messages: Sequence[Mapping[str, Any]], hidden: str, *, leaks: bool = False) -> dict[str, Any]:
    """Whole responses as one: the last, with the items of all but for the calls of the tool that is hidden; those of
    the last one are shown if it `leaks`, behind everything else as in a stream."""
    output = [item for message in messages for item in message["output"] if not _is_hidden(item, hidden)]
    if leaks:
        output += [item for item in messages[-1]["output"] if _is_hidden(item, hidden)]
    usage = joined_usage([message.get("usage") or {} for message in messages])
    return {**messages[-1], "output": output, **({"usage": usage} if usage else {})}
