"""A response that is one JSON array in pieces passes as it comes, and is heard when it is whole."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import tflow

from addon.hooks import Mitmmu
from addon.listen import Copy, Observer
from addon.watch.metrics import Metrics
from addon.wire import gemini
from addon.wire.usage import Usage

CHUNKS = [{"candidates": [], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": n}} for n in (1, 7)]
BODY = json.dumps(CHUNKS, indent=1).encode()
COST = Usage(fresh=5, output=7, untold=True)
FRAMED, PIECES = (f"/v1beta/models/gemini-2.5-pro:streamGenerateContent{query}" for query in ("?alt=sse", ""))


def call(path: str = PIECES) -> Any:
    read = gemini.parse(b'{"contents":[{"parts":[{"text":"hi"}]}]}', path=path)
    return SimpleNamespace(api=gemini, conversation=read, usage=None, offered=False, relays=False)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("gzipped", [False, True])
def test_pieces_pass_untouched_and_the_whole_is_heard(size: int, gzipped: bool) -> None:
    under_way, metrics = call(), Metrics()
    copy = Copy(under_way, metrics, gzipped=gzipped)
    body = gzip.compress(BODY) if gzipped else BODY
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert [copy(piece) for piece in pieces] == pieces
    assert under_way.usage is None
    assert copy(b"") == []
    assert under_way.usage == COST


@pytest.mark.parametrize(("body", "gzipped", "limit"), [(b"[", False, 99), (b"x", True, 99), (BODY, False, 20)])
def test_what_cannot_be_heard_passes_too(body: bytes, gzipped: bool, limit: int) -> None:
    under_way = call()
    copy = Copy(under_way, Metrics(), gzipped=gzipped, limit=limit)
    assert [copy(body), copy(body), copy(b"")] == [body, body, []]
    assert under_way.usage is None


@pytest.mark.parametrize(
    ("path", "kind", "status", "encoding", "stream"),
    [
        (PIECES, "application/json; charset=UTF-8", 200, "identity", Copy),
        (PIECES, "application/json", 200, "gzip", Copy),
        (PIECES, "application/json", 200, "br", bool),
        (PIECES, "application/json", 400, "identity", None),
        (PIECES, "text/event-stream", 200, "identity", Observer),
        (FRAMED, "text/event-stream", 200, "identity", Observer),
        (FRAMED, "application/json", 200, "identity", None),
    ],
)
def test_only_pieces_that_are_no_events_are_copied(
    path: str, kind: str, status: int, encoding: str, stream: type | None
) -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.response.status_code = status
    flow.response.headers.update({"content-type": kind, "content-encoding": encoding})
    flow.mmu = call(path)  # type: ignore[attr-defined]
    Mitmmu().responseheaders(flow)
    assert type(flow.response.stream or None) is (stream or type(None))
