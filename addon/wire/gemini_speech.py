"""What the model says in Gemini's API, streamed or whole: one answer, put together.

Every chunk of a stream is a response with the parts that came since the one before; calls stand in it whole. Where the
client has asked for arguments in pieces (`willContinue`), they are not put together, and the answer is not `intact`.
gemini-cli that is signed in with a Google account gets each response in a member `response`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from addon.wire import sse
from addon.wire.exchange import Round
from addon.wire.gemini import parse
from addon.wire.gemini import usage as read_usage
from addon.wire.gemini_blocks import content, named, run_together, spelled
from addon.wire.reply import Call
from addon.wire.usage import Usage


def response(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The response itself, which may be wrapped."""
    inner = data.get("response")
    return inner if isinstance(inner, dict) else data


def candidate(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was answered; None where nothing was, or not the one thing that was asked for."""
    found = response(data).get("candidates")
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        return None
    return found[0] if found[0].get("index", 0) == 0 else None


def parts(chosen: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The parts of what was answered. ValueError where they are none."""
    said = (chosen or {}).get("content") or {}
    found = said.get("parts") or [] if isinstance(said, dict) else None
    if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
        raise ValueError("an answer that is not made of parts")
    return found


def called(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """The call in a part."""
    got = part.get("functionCall")
    return got if isinstance(got, dict) else None


def in_pieces(part: Mapping[str, Any]) -> bool:
    """Whether a part is a piece of a call."""
    call = called(part)
    return call is not None and ("partialArgs" in call or "willContinue" in call or not call.get("name"))


class Speech:
    """One answer of the model, put together from its chunks or taken from a whole response."""

    def __init__(self) -> None:
        self.id = ""
        self.finish_reason = ""
        self.closed = False
        self.failed = False
        self.intact = True
        self.transformed = False
        self.report: dict[str, Any] | None = None
        """The provider's own words on what it cost so far."""
        self._parts: list[dict[str, Any]] = []

    @classmethod
    def whole(cls, message: Mapping[str, Any]) -> Speech:
        """From a response that was not streamed. One that does not say how it finished has, too."""
        made = cls()
        made.hear(message)
        made.closed = made.closed or (made.intact and candidate(message) is not None)
        return made

    @property
    def usage(self) -> Usage | None:
        return None if self.report is None else read_usage(self.report)

    def take(self, event: sse.Event) -> None:
        """Take in an event of a stream."""
        data = loaded(event.data)
        if isinstance(data, dict):
            self.hear(data)
        else:
            self.intact = False

    def hear(self, data: Mapping[str, Any]) -> None:
        """Take in a chunk."""
        inner = response(data)
        self.id = self.id or str(inner.get("responseId") or "")
        self.failed = self.failed or bool(data.get("error") or inner.get("error"))
        report = inner.get("usageMetadata")
        if isinstance(report, dict) and "promptTokenCount" in report:
            self.report = report
        blocked = inner.get("promptFeedback")
        if isinstance(blocked, dict) and blocked.get("blockReason"):
            self._finish(blocked["blockReason"])
        if not inner.get("candidates"):
            return
        chosen = candidate(data)
        try:
            found = parts(chosen)
        except ValueError:
            found, chosen = [], None
        if chosen is None or any(map(in_pieces, found)):
            self.intact = False
        self._parts += found
        if chosen is not None:
            self._finish(chosen.get("finishReason"))

    def _finish(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            self.finish_reason, self.closed = reason, True

    @property
    def waits(self) -> bool:
        """Whether it ended to have its calls answered, and not because of a limit. It has no word of its own."""
        return self.closed and self.finish_reason in ("STOP", "") and bool(self.calls)

    @property
    def calls(self) -> list[Call]:
        """Calls that the client, or we, must answer."""
        made = [call for part in self._parts if (call := called(part)) is not None]
        ids = zip(named(made), made, strict=True)
        return [Call(identity, str(call.get("name") or ""), call.get("args", {})) for identity, call in ids]

    def round(
        self, results: Mapping[str, str], *, without: Collection[str] = (), behind: Collection[str] = ()
    ) -> Round:
        """What was said, in blocks as `gemini_blocks` has them, with the results of the hidden calls by id. Calls in
        `without` are left out, those in `behind` stand behind everything else.

        ValueError when a call's arguments are no object, or when no request could hold what was said.
        """
        calls = self.calls
        if len({call.id for call in calls}) < len(calls):
            raise ValueError("two calls of one id")
        ids = iter([call.id for call in calls])
        blocks: list[str] = []
        late: list[str] = []
        for part in run_together(self._parts):
            identity = next(ids) if called(part) is not None else ""
            if not identity or identity not in without:
                (late if identity and identity in behind else blocks).append(spelled(part))
        blocks += late
        if any(not call.name or not isinstance(call.arguments, dict) for call in calls if call.id not in without):
            raise ValueError("a call without a name, or whose arguments are no object")
        _check(blocks)
        return Round(tuple(blocks), results)


def _check(blocks: list[str]) -> None:
    """ValueError for blocks that must not be kept: every later request would hold them, and could not be read."""
    parse(f'{{"contents":[{content("model", blocks)}]}}'.encode())


def loaded(text: str) -> Any:
    """The value that a JSON text spells, None where it spells none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
