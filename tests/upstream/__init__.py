"""A strict fake of Anthropic Messages and of OpenAI's two APIs, for tests and benchmarks. See README.md."""

from __future__ import annotations

from tests.upstream.log import Record, Totals
from tests.upstream.script import Request
from tests.upstream.server import Upstream

__all__ = ["Record", "Request", "Totals", "Upstream"]
