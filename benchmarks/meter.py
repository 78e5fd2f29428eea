"""The fake provider's bill without its server, for replays inside one process.

The same prompt line, cache and prices that the server uses, and in the same order; only HTTP is left out, and so are
the validity rules.
"""

from __future__ import annotations

from benchmarks.compare import Body
from benchmarks.measure import Served
from tests.upstream.cache import Cache, Split, breakpoints
from tests.upstream.models import dollars, model_of
from tests.upstream.prompt import Position, chain, prompt


class Meter:
    """One account at the provider."""

    def __init__(self, bytes_per_token: float) -> None:
        self.bytes_per_token = bytes_per_token
        self.cache = Cache()
        self.last: list[Position] = []

    def warm(self, body: Body, now: float) -> None:
        """Another session's request: leaves its prefixes in the cache and no bill."""
        self._serve(body, now)

    def bill(self, body: Body, now: float, output: int) -> Served:
        """Serves one request with an answer of `output` tokens."""
        line, split = self._serve(body, now)
        kept = 0
        for before, after in zip(self.last, line, strict=False):
            if before.digest != after.digest:
                break
            kept += before.size
        size = sum(here.size for here in self.last)
        self.last = line
        cost = dollars(
            model_of(body["model"]),
            fresh=split.fresh,
            write_5m=split.write_5m,
            write_1h=split.write_1h,
            read=split.read,
            output=output,
        )
        return Served(
            body=body,
            fresh=split.fresh,
            read=split.read,
            written=split.write_5m,
            written_hour=split.write_1h,
            output=output,
            dollars=cost,
            prefix_kept=kept / size if size else None,
        )

    def _serve(self, body: Body, now: float) -> tuple[list[Position], Split]:
        line = prompt(dict(body))
        tokens = [here.tokens(self.bytes_per_token) for here in line]
        minimum = model_of(body["model"]).minimum
        return line, self.cache.serve(chain(line), tokens, breakpoints(line, None), now, minimum)
