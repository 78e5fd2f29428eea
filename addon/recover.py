"""After a refusal that a rewrite may have caused: send what was sent before, or the client's own, once; and learn."""

from __future__ import annotations

import logging

from mitmproxy import http

from addon.call import Call
from addon.listen import hear_whole
from addon.mmu.breakpoints import Extent
from addon.mmu.plan import rewrite, without_new
from addon.pager import Pager
from addon.resend import resend
from addon.watch import flowlist
from addon.wire.api import Clearing
from addon.wire.apis import clearing

logger = logging.getLogger(__name__)


async def recover(flow: http.HTTPFlow, call: Call, pager: Pager) -> None:
    """A refusal that our rewrite may have caused: try what the provider has seen before, or the client's own.

    Where nothing was replayed the original is tried. Where something was, the replay without what is new comes
    first: with bound reasoning the original is refused for certain, as it is not what that reasoning was made for.
    """
    assert flow.response is not None
    refusal = flow.response.get_text(strict=False) or ""
    sent = call.uncleared or call.unmarked or flow.request.raw_content or b""  # neither adds words
    longer = len(sent) > len(call.original)
    if not call.api.rewrite_may_have_caused(flow.response.status_code, refusal, longer=longer):
        return
    draft = call.plan
    conversation, replay = draft.before or (call.conversation, without_new(draft))
    tries: list[tuple[str, bytes]] = [("original", call.original)]
    if draft.new and (replay.replay or conversation.text != (call.client or call.conversation).text):
        tries.insert(0, ("replay", rewrite(conversation, replay.table, replay.replay)))
    alone = len(tries) == 1
    if call.marked:
        tries = [("same without cache marks", call.unmarked), *(t for t in tries if t[1] != call.unmarked)]
    clears = clearing(call.api) if call.cleared else None
    if clears is not None and clears.refuses(refusal):
        tries = [("same without clearing", call.uncleared), *(t for t in tries if t[1] != call.unmarked)]
    for what, body in tries:
        if clears is not None and body != call.unmarked:
            _take_back(flow, call, clears)
        answer = await resend(flow, body)
        if answer is None:
            break
        if answer.status_code < 400:
            pager.metrics.add("mmu_resent_total", result=f"{what} accepted")
            logger.error("mitmmu: the provider refused a rewrite and took the %s: %s", what, refusal[:500])
            flowlist.note(flow, f"refused, {what} sent")
            flow.request.content, flow.response = body, answer  # what carries this answer on begins with what was taken
            call.marked = Extent.NONE
            if what == "same without clearing":
                pager.unclear(call, refusal)
                call.cleared, call.rewritten = 0, body != call.original
                hear_whole(call, answer.headers.get("content-type", ""), answer.content or b"")
                return
            if body == call.unmarked:
                pager.unmark(call, refusal)
                call.rewritten = body != call.original
                hear_whole(call, answer.headers.get("content-type", ""), answer.content or b"")
                return
            call.cleared = 0
            new = [s.anchor for s in draft.new]
            await pager.poison(call, new if what == "replay" or alone else [], refusal)
            call.rewritten = what == "replay"
            if not call.rewritten:
                call.offered = call.relays = False
            call.conversation = conversation if call.rewritten else call.client or conversation
            call.plan = replay
            hear_whole(call, answer.headers.get("content-type", ""), answer.content or b"")
            return
        flow.response = answer
    pager.metrics.add("mmu_resent_total", result="refused")
    flowlist.note(flow, "refused, and so was the original")
    last = flow.response.get_text(strict=False) or ""
    if draft.new and call.api.refusal_text(last) != call.api.refusal_text(refusal):
        # Refused for different reasons: what was new is at fault for the first of them.
        await pager.poison(call, [s.anchor for s in draft.new], refusal)


def _take_back(flow: http.HTTPFlow, call: Call, clears: Clearing) -> None:
    """Let the header say what the client said."""
    if call.betas is None:
        flow.request.headers.pop(clears.HEADER, None)
    else:
        flow.request.headers[clears.HEADER] = call.betas
