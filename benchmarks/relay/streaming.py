"""A mitmproxy addon: passes streams on as they come, which mitmproxy by itself does not."""

from __future__ import annotations

from mitmproxy import http


class Streaming:
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None and flow.response.headers.get("content-type", "").startswith("text/event-stream"):
            flow.response.stream = True


addons = [Streaming()]
