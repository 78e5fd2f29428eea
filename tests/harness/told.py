"""A mitmproxy addon for tests, loaded behind mitmmu: the provider is told, in a header, which process sends a request
and what mitmmu says of it."""

from __future__ import annotations

import os

from mitmproxy import http

TOLD = "x-told"


def request(flow: http.HTTPFlow) -> None:
    flow.request.headers[TOLD] = f"{os.getpid()} {flow.comment}"
