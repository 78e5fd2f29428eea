"""A mitmproxy addon: writes down what each request that carried a response on took, and how many tasks there were."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from mitmproxy import http

PARENT = "mmu_parent"
FILE = "continued.jsonl"


class Inside:
    def response(self, flow: http.HTTPFlow) -> None:
        if PARENT in flow.metadata and flow.response is not None:
            to = flow.server_conn
            seen: dict[str, Any] = {
                "asked": flow.request.timestamp_start,
                "started": to.timestamp_start,
                "connected": to.timestamp_tcp_setup,
                "secured": to.timestamp_tls_setup,
                "answered": flow.response.timestamp_start,
                "ended": flow.response.timestamp_end,
                "tasks": len(asyncio.all_tasks()),
            }
            with Path(FILE).open("a", encoding="ascii") as file:
                file.write(json.dumps(seen) + "\n")


addons = [Inside()]
