"""mitmproxy's flow files: every request to an API that is managed, with what its response said that it cost."""

from __future__ import annotations

import json
from collections import Counter as Tally
from typing import BinaryIO

from mitmproxy import exceptions, http, io

from addon.audit.recorded import DAMAGE, Session
from addon.audit.woven import Weaver, called
from addon.mmu.tokens import Counter
from addon.wire import apis, clients, sse
from addon.wire.api import Api
from addon.wire.scan import Malformed
from addon.wire.usage import Usage


def read(
    stream: BinaryIO, name: str, counter: Counter, skipped: Tally[str], *, keep: bool = False
) -> list[Session]:
    """The sessions of one file. What is damaged ends it; requests to anything else are passed over. `keep`: with their
    bodies."""
    weaver = Weaver(counter, name, keep=keep)
    flows = iter(io.FlowReader(stream).stream())
    while True:
        try:
            flow = next(flows)
        except StopIteration:
            break
        except (exceptions.FlowReadException, *DAMAGE):
            skipped["files damaged, read up to there"] += 1
            break
        if isinstance(flow, http.HTTPFlow):
            _take(weaver, flow, skipped)
    return weaver.sessions()


def _take(weaver: Weaver, flow: http.HTTPFlow, skipped: Tally[str]) -> None:
    request = flow.request
    path = request.path.partition("?")[0]
    api = apis.spoken(path, {request.pretty_host, request.host}, trusted=True)
    if api is None or request.method != "POST":
        return
    if flow.response is not None and flow.response.status_code >= 400:
        skipped["requests refused by the provider"] += 1
        return
    try:
        conversation = weaver.read(api, request.get_content(strict=False) or b"", request.path)
    except Malformed:
        skipped["requests not understood"] += 1
        return
    answer = (flow.response.get_text(strict=False) or "") if flow.response is not None else ""
    told = clients.told({key.lower(): value for key, value in request.headers.items()}, conversation)
    weaver.add(
        api,
        conversation,
        named=told.session,
        client=told.client,
        at=request.timestamp_start,
        usage=_usage(api, answer),
        answered=called([tool.name for tool in conversation.tools], answer),
        url=f"https://{request.pretty_host}{path}",
        purpose=told.purpose,
        project=told.project,
    )


def _usage(api: Api, answer: str) -> Usage | None:
    if answer.lstrip()[:1] in ("{", "["):
        try:
            return api.whole_usage(json.loads(answer))
        except ValueError:
            return None
    found: Usage | None = None
    for event in sse.Reader().feed(answer.encode("utf-8", "replace") + b"\n\n"):
        found = api.stream_usage(event.name, event.data, found)
    return found
