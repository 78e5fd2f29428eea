"""What the provider says a request cost, in its own tokens, spelled alike for every API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one response. The four input counts are disjoint; their sum is the whole prompt."""

    fresh: int = 0
    """Input at full price, neither read from nor written to the cache."""
    read: int = 0
    written: int = 0
    """Written to the cache at its shorter time to live."""
    written_hour: int = 0
    output: int = 0
    untold: bool = False
    """The report does not say for how long was written."""

    @property
    def prompt(self) -> int:
        return self.fresh + self.read + self.written + self.written_hour

    def updated(self, later: Usage) -> Usage:
        """A later report of the same response. It may leave out the input counts, or only how long was written for."""
        if not later.prompt:
            return Usage(self.fresh, self.read, self.written, self.written_hour, later.output)
        if later.written_hour:
            return later
        hour = min(self.written_hour, later.written)
        return Usage(later.fresh, later.read, later.written - hour, hour, later.output)
