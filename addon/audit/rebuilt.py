"""A recorded session as the requests that its client sent, in the spelling of its API.

Bodies that were recorded come back as they were. Of a transcript they are built anew: what the user's side said between
two answers is one message, results first, and the whole asks for caching, for as long as the provider reported that it
wrote. System prompt, tools and cache marks within are not in the file and not in the body.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from addon.audit import codex
from addon.audit.recorded import Readings, Request, Session, Turn, unpack
from addon.wire import anthropic, responses
from addon.wire.api import Api
from addon.wire.clients import Purpose
from addon.wire.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    line: int
    """Index of its line in the session."""
    recorded: Request
    api: Api
    conversation: Conversation
    purpose: Purpose = Purpose.MAIN
    project: str = ""


@dataclass(slots=True)
class _Open:
    """A line as far as it was sent."""

    body: bytes = b""
    turns: int = 0
    messages: list[str] = field(default_factory=list)
    hour: bool = False


def requests(session: Session) -> Iterator[Asked]:
    """The requests of a session in the order in which they were made. Raises Malformed."""
    lines = {id(line): n for n, line in enumerate(session.lines)}
    opened = [_Open() for _ in session.lines]
    readings = Readings()
    for line, request in session.in_order():
        number = lines[id(line)]
        here = opened[number]
        if (sent := request.sent) is not None:
            here.body = unpack(sent.packed, here.body)
            conversation = readings.read(sent.api, here.body, sent.path)
            yield Asked(number, request, sent.api, conversation, sent.purpose, sent.project)
            continue
        if request.usage is not None and (request.usage.written or request.usage.written_hour):
            here.hour = request.usage.written_hour > 0
        api, spelled = (responses, _responses) if session.client == codex.CLIENT else (anthropic, _messages)
        here.messages += spelled(line.turns[here.turns : request.turns])
        here.turns = request.turns
        body = _body(api, request, here).encode("utf-8")
        purpose = Purpose.SUBAGENT if session.sub else Purpose.MAIN
        yield Asked(number, request, api, readings.read(api, body), purpose)


def _body(api: Api, request: Request, here: _Open) -> str:
    said = f"[{','.join(here.messages)}]"
    if api is responses:
        return f'{{"model":{json.dumps(request.model)},"store":false,"input":{said}}}'
    mark = json.dumps({"type": "ephemeral", **({"ttl": "1h"} if here.hour else {})})
    return f'{{"model":{json.dumps(request.model)},"cache_control":{mark},"messages":{said}}}'


def _responses(turns: Sequence[Turn]) -> list[str]:
    """The items of turns."""
    return [item for turn in turns for item in turn.parts]


def _messages(turns: Sequence[Turn]) -> list[str]:
    """The messages of turns. A request ends before an answer, so no message goes on in the next one."""
    found: list[tuple[str, list[str]]] = []
    for turn in turns:
        if turn.message.role != "assistant" and found and found[-1][0] == turn.message.role:
            found[-1][1].extend(turn.parts)
        else:
            found.append((turn.message.role, list(turn.parts)))
    return [
        f'{{"role":{json.dumps(role)},"content":[{",".join(sorted(parts, key=_is_no_result))}]}}'
        for role, parts in found
    ]


def _is_no_result(part: str) -> bool:
    return '"type":"tool_result"' not in part or bool(json.loads(part).get("type") != "tool_result")
