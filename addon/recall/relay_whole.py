"""Relay in a response that is not streamed: it is held until the model has what it asked for."""

from __future__ import annotations

import json
import logging
from typing import Any

from mitmproxy import http

from addon.call import Call
from addon.carry_on import CANCEL
from addon.mmu.page import NAME
from addon.recall.relay import MENDABLE, Ends, GoesOn, Next, Relay
from addon.upstream import Lost, Upstream
from addon.watch.metrics import Metrics
from addon.wire.reply import Reply

logger = logging.getLogger(__name__)

REQUEST_ID = ("request-id", "x-request-id")
"""Headers by which a provider names an exchange."""

IDLE_SECONDS = 600.0
"""Silence after which no answer is expected any more; one that is not streamed is silent until it is there."""


class _Answer:
    """A whole answer of the provider."""

    def __init__(self, reply: Reply, response: http.Response) -> None:
        self.response = response
        self.message: dict[str, Any] = json.loads(response.content or b"")
        self.speech = reply.whole(self.message)


async def carry_on(flow: http.HTTPFlow, call: Call, relay: Relay, metrics: Metrics) -> None:
    """Answer the recalls in the flow's response, and put what the model says then in its place."""
    assert flow.response is not None
    reply = relay.way.reply
    first = _message(reply, flow.response)
    if first is None or not any(c.name == NAME for c in first.speech.calls):
        return
    answers = [first]
    call.usage = answers[0].speech.usage
    what = await relay.after(answers[0].speech)
    while isinstance(what, GoesOn):
        metrics.add("mmu_continuations_total")
        got = await _ask(flow, what.body)
        made = _message(reply, got) if got is not None and got.status_code == 200 else None
        if got is None or (got.status_code == 200 and made is None):
            metrics.add("mmu_relays_total", result="failed")
            flow.response = _failure(reply)
            return
        if made is not None:
            answers.append(made)
            if (spent := answers[-1].speech.usage) is not None:
                call.more.append(spent)
            what = await relay.after(answers[-1].speech)
            continue
        logger.warning("mitmmu: a request to carry on was answered %d", got.status_code)
        if got.status_code not in MENDABLE:
            metrics.add("mmu_relays_total", result="failed")
            flow.response = got
            return
        what = await relay.refused(answers[-1].speech, got.status_code)
    _show(reply, flow, answers, what)


def _message(reply: Reply, response: http.Response) -> _Answer | None:
    """The answer in a response that should hold one; None when it does not."""
    try:
        made = _Answer(reply, response)
    except (ValueError, TypeError, AttributeError):
        return None
    return made if made.speech.closed else None


async def _ask(flow: http.HTTPFlow, body: bytes) -> http.Response | None:
    upstream = Upstream(flow, body, "carries on")
    setattr(flow, CANCEL, upstream.close)
    try:
        async with upstream:
            return await upstream.whole(IDLE_SECONDS, IDLE_SECONDS)
    except (Lost, TimeoutError) as why:
        logger.warning("mitmmu: a response could not be carried on: %s", why or "it took too long")
        return None
    finally:
        delattr(flow, CANCEL)


def _show(reply: Reply, flow: http.HTTPFlow, answers: list[_Answer], what: Next) -> None:
    """Give the client its answer: all that was said, under the last one's name."""
    last = answers[-1]
    if isinstance(what, Ends) and what.leak:
        if len(answers) == 1:
            return
        shown = reply.joined([a.message for a in answers], NAME, leaks=True)
    else:
        shown = reply.joined([a.message for a in answers], NAME)
    assert flow.response is not None
    for header in REQUEST_ID:
        if (name := last.response.headers.get(header)) is not None:
            flow.response.headers[header] = name
    flow.response.headers.pop("content-encoding", None)
    flow.response.content = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _failure(reply: Reply) -> http.Response:
    return http.Response.make(reply.OVERLOADED, reply.failure(), {"content-type": "application/json"})
