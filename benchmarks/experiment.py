"""What a replay is made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """`settings` are further mitmproxy options; `knobs` are fields of the policy, for the planner alone.

    `thinking` adds signed reasoning to the replies; `model` stands in for the recorded one. `traces` is the folder of
    the recorded sessions where it is not beside the checkout.
    """

    policy: str = "auto"
    settings: tuple[tuple[str, str], ...] = ()
    knobs: tuple[tuple[str, str], ...] = ()
    thinking: bool = False
    model: str = ""
    traces: Path | None = None
