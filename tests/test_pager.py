"""What the pager makes of what a client tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from addon.call import Call, PassThrough
from addon.keeper import Memory
from addon.mmu.tokens import Counter
from addon.options import Settings
from addon.pager import Pager
from addon.watch.metrics import Metrics
from addon.wire import anthropic

HEADERS = {"user-agent": "claude-cli/2.1.330", "x-claude-code-session-id": "s", "x-api-key": "k"}
WHERE = {"role": "system", "content": " - Primary working directory: /w/app\n"}
LONG = "a line of output that will leave one day\n" * 200


def body(calls: int) -> bytes:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}, WHERE]
    for n in range(calls):
        use = {"type": "tool_use", "id": f"t{n}", "name": "Bash", "input": {"command": f"make {n}"}}
        result = {"type": "tool_result", "tool_use_id": f"t{n}", "content": f"{n}\n{LONG}"}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    return json.dumps({"model": "claude-opus-4-8", "max_tokens": 9, "messages": messages}).encode()


async def handle(pager: Pager, request: bytes, now: float, stated: str) -> tuple[Call, bytes]:
    headers = HEADERS | {"x-claude-code-request-class": stated}
    return await pager.handle(anthropic, request, headers, now, Settings(Path(), ""))


def pager() -> Pager:
    return Pager(Memory(), b"k" * 32, Metrics(), Counter())


async def test_what_a_client_tells_is_in_the_name() -> None:
    call, _ = await handle(pager(), body(1), 0, "main")
    assert (call.name.client, call.name.project, call.name.session) == ("claude-code", "/w/app", "s")


@pytest.mark.parametrize(("stated", "leaves"), [("main", True), ("compaction", False), ("auxiliary", False)])
async def test_nothing_leaves_for_what_only_repeats_the_conversation(stated: str, leaves: bool) -> None:
    here = pager()
    for calls in range(1, 30):
        await handle(here, body(calls), calls, "main")
    call, sent = await handle(here, body(30), 90_000, stated)
    assert (call.plan.epoch is not None) is leaves
    assert (b"[mmu page " in sent) is leaves


async def test_an_auxiliary_request_repeats_what_the_provider_knows() -> None:
    here = pager()
    for calls in range(1, 30):
        await handle(here, body(calls), calls, "main")
    _, evicted = await handle(here, body(30), 90_000, "main")
    _, sent = await handle(here, body(31), 90_001, "auxiliary")
    assert sent.count(b"[mmu page ") == evicted.count(b"[mmu page ") > 0


async def test_an_auxiliary_request_that_repeats_nothing_is_not_managed() -> None:
    with pytest.raises(PassThrough, match=r"^auxiliary$"):
        await handle(pager(), body(0), 0, "auxiliary")
    call, _ = await handle(pager(), body(0), 0, "main")
    assert not call.rewritten
