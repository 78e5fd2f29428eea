"""What the model says in the Messages API, streamed or whole; and several of its answers shown as one.

When the model calls a tool that only we have, its answer ends there for the provider but not for the client: the call
is taken out, and what the model says once it has its result is joined on. The client must find one well-formed message:
one start, blocks numbered without a gap, one stop. Nothing that it may see is held back, except the closing events of
an answer with a hidden call in it and of those joined on; and as long as no call was hidden, what goes out is what came
in, byte for byte.

An event that is not understood passes as it came. If one of a block was lost on us, the answer cannot be sent back to
the provider as it was received; `intact` then says so, and `leak` shows the client what was hidden.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from addon.wire import sse
from addon.wire.anthropic import parse
from addon.wire.anthropic import usage as read_usage
from addon.wire.conversation import Kind
from addon.wire.exchange import Round
from addon.wire.joining import Joining
from addon.wire.reply import Call
from addon.wire.scan import Malformed, document, splice
from addon.wire.usage import Usage

_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


class Speech:
    """One answer of the model, put together from its events or taken from a whole message."""

    def __init__(self) -> None:
        self.id = ""
        self.stop_reason = ""
        self.closed = False
        self.failed = False
        self.intact = True
        self.transformed = False
        """Whether the provider said that it dropped reasoning."""
        self.usage: Usage | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}

    @classmethod
    def whole(cls, message: Mapping[str, Any]) -> Speech:
        """From a message that was not streamed."""
        made = cls()
        made.id = str(message.get("id", ""))
        made.stop_reason = str(message.get("stop_reason") or "")
        made.usage = read_usage(message.get("usage") or {})
        content = message.get("content")
        if isinstance(content, list) and all(isinstance(block, dict) for block in content):
            made._blocks = dict(enumerate(content))
            made.closed = True
        return made

    def take(self, event: sse.Event) -> None:
        """Take in an event of a stream."""
        try:
            data = json.loads(event.data)
        except ValueError:
            data = None
        if isinstance(data, dict):
            self.hear(str(data.get("type")), data)
        else:
            self.intact = False

    def hear(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take in an event."""
        if kind == "message_start":
            message = data.get("message")
            message = message if isinstance(message, dict) else {}
            self.id = str(message.get("id", ""))
            self.transformed = bool(message.get("input_transformations"))
            self._report(message.get("usage"))
        elif kind == "content_block_start":
            block = data.get("content_block")
            if isinstance(block, dict) and isinstance(data.get("index"), int):
                self._blocks[data["index"]] = dict(block)
            else:
                self.intact = False
        elif kind == "content_block_delta":
            self._add(data.get("index"), data.get("delta"))
        elif kind == "message_delta":
            delta = data.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str):
                self.stop_reason = delta["stop_reason"]
            self._report(data.get("usage"))
        elif kind == "message_stop":
            self.closed = True
        elif kind == "error":
            self.failed = True

    def _report(self, report: Any) -> None:
        if isinstance(report, dict):
            now = read_usage(report)
            self.usage = now if self.usage is None else self.usage.updated(now)

    def _add(self, index: Any, delta: Any) -> None:
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None or not isinstance(delta, dict):
            self.intact = False
            return
        kind = str(delta.get("type"))
        if kind == "input_json_delta":
            self._inputs.setdefault(index, []).append(str(delta.get("partial_json", "")))
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
        elif kind in ("text_delta", "thinking_delta", "signature_delta"):
            name = kind.removesuffix("_delta")
            block[name] = f"{block.get(name) or ''}{delta.get(name, '')}"
        else:
            self.intact = False

    @property
    def waits(self) -> bool:
        """Whether it ended to have its calls answered, and not because of a limit."""
        return self.stop_reason == "tool_use"

    @property
    def calls(self) -> list[Call]:
        """Calls that the client, or we, must answer."""
        found: list[Call] = []
        for index, block in sorted(self._blocks.items()):
            if block.get("type") == "tool_use":
                arguments = block.get("input")
                if raw := "".join(self._inputs.get(index, ())):
                    arguments = _loaded(raw)
                found.append(Call(str(block.get("id", "")), str(block.get("name", "")), arguments))
        return found

    def round(
        self, results: Mapping[str, str], *, without: Collection[str] = (), behind: Collection[str] = ()
    ) -> Round:
        """What was said, to be sent back, with the results of the hidden calls by id. Calls in `without` are left out,
        those in `behind` stand behind everything else.

        ValueError when a call's input is not whole, or when no request could hold what was said.
        """
        raw: list[str] = []
        late: list[str] = []
        for index, block in sorted(self._blocks.items()):
            if block.get("type") == "text" and not str(block.get("text", "")).strip():
                continue  # the provider makes such blocks, but does not take them back
            if block.get("id") in without:
                continue
            spelled = _spelled(block, "".join(self._inputs.get(index, ())))
            (late if block.get("id") in behind else raw).append(spelled)
        raw += late
        _check(raw)
        return Round(tuple(raw), results)


def _spelled(block: Mapping[str, Any], given: str) -> str:
    """A block's JSON, with a call's input as the model wrote it."""
    if block.get("type") not in _CALLS or not given:
        return json.dumps(block, ensure_ascii=False, separators=(",", ":"))
    rest = json.dumps({k: v for k, v in block.items() if k != "input"}, ensure_ascii=False, separators=(",", ":"))
    return f'{rest[:-1]},"input":{given}}}'


def _check(blocks: Sequence[str]) -> None:
    """ValueError for blocks that must not be kept: every later request would hold them, and could not be read."""
    message = f'{{"messages":[{{"role":"assistant","content":[{",".join(blocks)}]}}]}}'
    read = parse(message.encode("utf-8")).messages[0].blocks
    if any(block.kind is Kind.CALL and not isinstance(block.arguments, dict) for block in read):
        raise ValueError("a call's input is no object")


def _loaded(text: str) -> Any:
    """The value that a JSON text spells, None where it spells none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


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
        self._places: dict[int, int] = {}
        self._next = 0
        self._out_of_sight: dict[int, list[bytes]] = {}
        self._closing: list[bytes] = []

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
        data = _loaded(event.data)
        if not isinstance(data, dict):
            self.speech.intact = False
            return raw
        kind = str(data.get("type"))
        self.speech.hear(kind, data)
        if kind == "message_start":
            return b"" if self.rounds else raw
        if kind in ("message_delta", "message_stop"):
            if self.rounds or self.hides:
                self._closing.append(raw)
                return b""
            return raw
        if kind.startswith("content_block_") and isinstance(data.get("index"), int):
            return self._block(raw, kind, data)
        return raw

    def _block(self, raw: bytes, kind: str, data: Mapping[str, Any]) -> bytes:
        index = data["index"]
        if kind == "content_block_start":
            if index in self._places or index in self._out_of_sight:
                self.speech.intact = False
            block = data.get("content_block")
            if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name") == self._hidden:
                self._out_of_sight.setdefault(index, []).append(raw)
                return b""
            # Numbers are the provider's until a block is missing before them.
            place = self._places[index] = self._next if self.rounds or self.hides else index
            self._next = max(self._next, place + 1)
        elif index in self._out_of_sight:
            self._out_of_sight[index].append(raw)
            return b""
        return _renumbered(raw, index, self._places.get(index, index))

    def proceed(self) -> None:
        """The round was answered; what is fed from now on is what the model says next."""
        self.spent.append(self.speech.usage or Usage())
        self._listen_anew()
        self._places, self._out_of_sight, self._closing = {}, {}, []

    def leak(self) -> bytes:
        """Show what was hidden of this round after all."""
        out: list[bytes] = []
        for index, events in sorted(self._out_of_sight.items()):
            out += [_renumbered(raw, index, self._next) for raw in events]
            self._next += 1
        self._out_of_sight = {}
        return b"".join(out)

    def fail(self, body: bytes, status: int) -> bytes:
        """An error of the provider's as what ends the stream."""
        return error_event(body, status)

    def finish(self) -> bytes:
        """The closing events. They tell the client the whole output, and the input of the last round: that is what its
        context has grown to."""
        out, self._closing = self._closing, []
        if not self.rounds:
            return b"".join(out)
        return b"".join(self._summed(raw) for raw in out)

    def _summed(self, raw: bytes) -> bytes:
        event = sse.read(raw)
        data = json.loads(event.data) if event is not None else {}
        last = self.speech.usage
        if event is None or data.get("type") != "message_delta" or last is None:
            return raw
        report = data.get("usage")
        data["usage"] = joined_usage(report if isinstance(report, dict) else {}, self.spent, last)
        return _event(event.name, json.dumps(data, separators=(",", ":")))


def joined_usage(report: Mapping[str, Any], spent: Sequence[Usage], last: Usage) -> dict[str, Any]:
    """A usage report of several rounds: all their output, and the input of the last."""
    return {
        **report,
        "input_tokens": last.fresh,
        "cache_creation_input_tokens": last.written + last.written_hour,
        "cache_read_input_tokens": last.read,
        "output_tokens": last.output + sum(one.output for one in spent),
    }


def joined(messages: Sequence[Mapping[str, Any]], hidden: str, *, leaks: bool = False) -> dict[str, Any]:
    """Whole messages as one: the last, with the content of all but for the calls of the tool that is hidden; those of
    the last one are shown if it `leaks`, behind everything else as in a stream."""
    def is_hidden(block: Mapping[str, Any]) -> bool:
        return block.get("type") == "tool_use" and block.get("name") == hidden

    content = [block for message in messages for block in message["content"] if not is_hidden(block)]
    if leaks:
        content += filter(is_hidden, messages[-1]["content"])
    usages = [read_usage(message.get("usage") or {}) for message in messages]
    last = messages[-1]
    return {**last, "content": content, "usage": joined_usage(last.get("usage") or {}, usages[:-1], usages[-1])}


def failure(body: bytes = b"", status: int = 0) -> str:
    """The JSON of an error: the provider's own, where its answer was one; else that it broke off."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("error"), dict):
        kind = "overloaded_error" if status in (0, 503, 529) else "api_error"
        told = {"type": "error", "error": {"type": kind, "message": f"The answer broke off ({status or 'cut'})."}}
    return json.dumps(told, separators=(",", ":"))


def error_event(body: bytes, status: int) -> bytes:
    """An error answer of the provider as an event of the stream that the client is reading."""
    return _event("error", failure(body, status))


OVERLOADED = 529

PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def _event(name: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\n{lines}\n".encode("utf-8", "surrogatepass")


def _renumbered(raw: bytes, index: int, place: int) -> bytes:
    """The event with another block number; every other byte of its data is the provider's."""
    event = sse.read(raw)
    if index == place or event is None:
        return raw
    try:
        text, members = document(event.data.encode("utf-8"), {})
    except Malformed:  # readers disagree on what it says; this is what was understood
        return _event(event.name, json.dumps({**json.loads(event.data), "index": place}))
    _, start, end = members["index"]
    return _event(event.name, splice(text, [(start, end, str(place))]))
