"""When recordings begin, so that they can be read in the order in which they were made."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import exceptions, http
from mitmproxy.io import FlowReader

from addon.audit.claude_code import seconds
from addon.audit.recorded import DAMAGE
from addon.audit.sources import plain

LOOKED_THROUGH = 256 * 1024
"""Bytes of a transcript, from its beginning."""

_STAMP = re.compile(rb'"timestamp"\s*:\s*"([^"\\]{10,40})"')
"""As Claude Code and Codex write it, and never within a text of theirs: there the quotes are escaped."""


def in_time(files: Sequence[Path]) -> list[Path]:
    """The files by their first time, those that tell none last and as they were."""
    return sorted(files, key=_began)


def _began(path: Path) -> float:
    """Epoch seconds of the first time in a file."""
    try:
        with io.BufferedReader(io.FileIO(path)) as raw, plain(raw) as stream:
            if stream.peek(1)[:1].isdigit():
                flows = (flow for flow in FlowReader(stream).stream() if isinstance(flow, http.HTTPFlow))
                return next((flow.request.timestamp_start for flow in flows), float("inf"))
            stamps = (seconds(found.decode()) for found in _STAMP.findall(stream.read(LOOKED_THROUGH)))
            return next((at for at in stamps if at is not None), float("inf"))
    except (exceptions.FlowReadException, ValueError, *DAMAGE):
        return float("inf")
