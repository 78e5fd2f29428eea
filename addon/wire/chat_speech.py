"""What the model says in Chat Completions, streamed or whole: one answer, put together.

Servers differ in how they stream a call. OpenAI numbers calls and sends id and name first and the arguments in pieces;
others send each call whole, repeat its id, leave the number out, or give all calls the number 0. So a piece belongs to
the call that has its number, unless it has another id; without a number, to the last one.

OpenRouter's `reasoning_details` come in pieces as well. Its own client runs together what follows on one another and is
of one type, as the number is 0 for all of them; a signature closes a detail. (OpenRouterTeam/ai-sdk-provider, #519)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from addon.wire import chat_blocks, sse
from addon.wire.chat import REASONING, parse, reported
from addon.wire.chat import usage as read_usage
from addon.wire.conversation import Kind
from addon.wire.exchange import Round
from addon.wire.reply import Call
from addon.wire.usage import Usage

DONE = "[DONE]"

_SAID = {"function": "arguments", "custom": "input"}
"""By the type of a call, where what it says stands."""
_RUNS_ON = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""By the type of a reasoning detail, the member that comes in pieces."""


class Made:
    """A call that the model makes. No two are equal."""

    def __init__(self) -> None:
        self.id = ""
        self.index: Any = None
        self.kind = "function"
        self.name = ""
        self.said: list[str] = []
        """What is said with it, in pieces: the arguments, most likely."""
        self.more: dict[str, Any] = {}
        self.whole: dict[str, Any] | None = None
        """As it came in an answer that was not streamed."""

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def arguments(self) -> Any:
        """Decoded; None where that is not possible."""
        if self.whole is not None:
            inner = self.whole.get(self.kind)
            given = inner.get(_SAID[self.kind]) if isinstance(inner, dict) else None
            return loaded(given) if isinstance(given, str) else given
        return loaded(self.text)

    @property
    def block(self) -> str:
        if self.whole is not None:
            return chat_blocks.call({k: v for k, v in self.whole.items() if k != "index"})
        inner = {"name": self.name, _SAID[self.kind]: _mended(self.text)}
        return chat_blocks.call({"id": self.id, "type": self.kind, self.kind: inner, **self.more})


class Speech:
    """One answer of the model, put together from its chunks or taken from a whole completion."""

    def __init__(self) -> None:
        self.id = ""
        self.finish_reason = ""
        self.closed = False
        self.failed = False
        self.intact = True
        self.transformed = False
        self.report: dict[str, Any] | None = None
        """The provider's own words on what it cost."""
        self.made: list[Made] = []
        self._texts: dict[str, list[str]] = {}
        self._details: list[dict[str, Any]] | None = None

    @classmethod
    def whole(cls, completion: Mapping[str, Any]) -> Speech:
        """From a completion that was not streamed."""
        made = cls()
        made._begin(completion)
        choice = made._choice(completion)
        message = choice.get("message") if choice is not None else None
        if choice is None or not isinstance(message, dict):
            return made
        for name, value in message.items():
            if name == "tool_calls" and isinstance(value, list) and all(isinstance(each, dict) for each in value):
                made.made = [_whole_call(each) for each in value]
            elif name == "reasoning_details" and isinstance(value, list):
                made._details = value
            else:
                made._add(name, value)
        made._finish(choice)
        made.closed = True
        return made

    @property
    def usage(self) -> Usage | None:
        return None if self.report is None else read_usage(self.report)

    def take(self, event: sse.Event) -> None:
        """Take in an event of a stream."""
        self.read(event)

    def read(self, event: sse.Event) -> tuple[dict[str, Any] | None, list[Made | None]]:
        """The same; returns the chunk, and which call each piece of a call in it belongs to."""
        if event.data.strip() == DONE:
            self.closed = True
            return None, []
        data = loaded(event.data)
        if not isinstance(data, dict):
            self.intact = False
            return None, []
        return data, self.hear(data)

    def hear(self, data: Mapping[str, Any]) -> list[Made | None]:
        """Take in a chunk."""
        self._begin(data)
        choice = self._choice(data)
        delta = choice.get("delta") if choice is not None else None
        touched: list[Made | None] = []
        if isinstance(delta, dict):
            for name, value in delta.items():
                if name == "tool_calls" and isinstance(value, list):
                    touched = [self._call(each) for each in value]
                elif name == "reasoning_details" and isinstance(value, list):
                    for each in value:
                        self._detail(each)
                else:
                    self._add(name, value)
        elif delta is not None:
            self.intact = False
        if choice is not None:
            self._finish(choice)
        return touched

    def _begin(self, data: Mapping[str, Any]) -> None:
        self.id = self.id or str(data.get("id") or "")
        self.failed = self.failed or bool(data.get("error"))
        self.report = reported(data) or self.report

    def _choice(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        choices = data.get("choices")
        if not choices:
            return None
        first = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        if isinstance(first, dict) and first.get("index", 0) == 0:
            return first
        self.intact = False
        return None

    def _finish(self, choice: Mapping[str, Any]) -> None:
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.finish_reason, self.closed = reason, True
            self.failed = self.failed or reason == "error"  # OpenRouter's

    def _add(self, name: str, value: Any) -> None:
        """A member that is no list of pieces. What is not known here matters only if it says something."""
        if name == "role" or value is None:
            return
        if isinstance(value, str) and (name == "content" or name in REASONING):
            self._texts.setdefault(name, []).append(value)
        elif value:
            self.intact = False

    def _call(self, piece: Any) -> Made | None:
        if not isinstance(piece, dict):
            self.intact = False
            return None
        id, index = piece.get("id"), piece.get("index")
        found = self.made[-1:] if index is None else [made for made in self.made if made.index == index][-1:]
        if not found or (id and found[0].id and id != found[0].id):
            found = [Made()]
            self.made += found
        made = found[0]
        made.index = index if made.index is None else made.index
        made.id = made.id or str(id or "")
        for name, value in piece.items():
            if name in _SAID and isinstance(value, dict):
                made.kind = name
                self._say(made, value, _SAID[name])
            elif name in ("id", "index", "type") or value is None:
                continue
            elif made.more.setdefault(name, value) != value:
                self.intact = False
        return made

    def _say(self, made: Made, inner: Mapping[str, Any], said: str) -> None:
        for name, value in inner.items():
            if value is None:
                continue
            if not isinstance(value, str) or name not in ("name", said):
                self.intact = False
            elif name == said:
                made.said.append(value)
            elif value != made.name:  # some servers say it with every piece
                made.name += value

    def _detail(self, piece: Any) -> None:
        self._details = [] if self._details is None else self._details
        if not isinstance(piece, dict):
            self.intact = False
            return
        last = self._details[-1] if self._details else {}
        kind = str(piece.get("type"))
        said = _RUNS_ON.get(kind)
        told = {name: value for name, value in piece.items() if value is not None}
        alike = all(last.get(name) in (None, value) for name, value in told.items() if name != said)
        if said is not None and last and alike and not last.get("signature"):
            last |= {**told, said: f"{last.get(said) or ''}{told.get(said, '')}"}
            return
        # An encrypted one is sent at once; a second piece of it, or a type that is not known, may be anything.
        again = piece.get("id") is not None and piece["id"] == last.get("id")
        if said is None and (kind != "reasoning.encrypted" or again):
            self.intact = False
        self._details.append(dict(piece))

    @property
    def waits(self) -> bool:
        """Whether it ended to have its calls answered, and not because of a limit. Some servers say `stop` of it."""
        if self.finish_reason == "tool_calls":
            return True
        whole = all(isinstance(made.arguments, dict) for made in self.made)
        return self.finish_reason in ("stop", "") and bool(self.made) and whole

    @property
    def calls(self) -> list[Call]:
        """Calls that the client, or we, must answer."""
        return [Call(made.id, made.name, made.arguments) for made in self.made]

    def round(
        self, results: Mapping[str, str], *, without: Collection[str] = (), behind: Collection[str] = ()
    ) -> Round:
        """What was said, in blocks as `chat_blocks` has them, with the results of the hidden calls by id. Calls in
        `without` are left out, those in `behind` stand behind everything else.

        ValueError when a call's arguments are not whole, or when no request could hold what was said.
        """
        texts = {name: _mended("".join(said)) for name, said in self._texts.items()}
        blocks = [chat_blocks.member(name, text) for name, text in texts.items() if name != "content"]
        if self._details:
            blocks.append(chat_blocks.member("reasoning_details", self._details))
        if texts.get("content", "").strip():
            blocks.append(chat_blocks.member("content", texts["content"]))
        calls = [made for made in self.made if made.id not in without]
        if len({made.id for made in calls}) < len(calls):
            raise ValueError("two calls with one id")
        for made in calls:
            # A tool without parameters may be called with nothing at all; ours has some.
            if not isinstance(made.arguments, dict) and (made.id in results or made.text.strip() or made.whole):
                raise ValueError("a call's arguments are no object")
        blocks += [made.block for made in sorted(calls, key=lambda made: made.id in behind)]
        _check(blocks)
        return Round(tuple(blocks), results)


def _whole_call(given: dict[str, Any]) -> Made:
    made = Made()
    made.whole = given
    made.id = str(given.get("id") or "")
    made.kind = "custom" if isinstance(given.get("custom"), dict) else "function"
    inner = given.get(made.kind)
    made.name = str(inner.get("name") or "") if isinstance(inner, dict) else ""
    return made


def _check(blocks: Collection[str]) -> None:
    """ValueError for blocks that must not be kept: every later request would hold them, and could not be read."""
    if spoken := chat_blocks.message(blocks):
        read = parse(f'{{"messages":[{spoken}]}}'.encode()).messages[0].blocks
        if any(block.kind is Kind.CALL and not block.name for block in read):
            raise ValueError("a call without a name")


def _mended(text: str) -> str:
    """A text whose characters may have come in halves, as two escapes in two pieces. ValueError for half a one."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")


def loaded(text: str) -> Any:
    """The value that a JSON text spells, None where it spells none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
