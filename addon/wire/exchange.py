"""An exchange that the client was not shown: the model called a tool that only we have, and was answered.

What the client takes for one answer was several: the model spoke and called (a *round*), got its result, and spoke on.
The provider has seen those as messages of their own, and must see them again. So every block is kept in the very JSON
it was received as, together with the results that were sent; which of the calls were hidden follows from these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Round:
    """One answer of the model."""

    blocks: tuple[str, ...] = ()
    """The JSON of each block, in order."""
    results: Mapping[str, str] = field(default_factory=dict)
    """For each hidden call, by call id: the JSON of its result."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Rounds that the client was shown as one answer.

    Every round but the last was answered in a message of its own. A last round with results called the client's tools
    as well; its results stand beside the client's.
    """

    rounds: tuple[Round, ...]
    finished: bool
    """Whether the client was shown the end. Of an unfinished one, what came after the last round is not known."""
    shown_as: str = ""
    """The id of the message that the client believes it got, where that is not the last round's."""
    id: str = ""
    """The last round's."""


def dump(exchange: Exchange) -> str:
    """As JSON, for the store."""
    rounds = [{"blocks": list(r.blocks), "results": dict(r.results)} for r in exchange.rounds]
    made = {"rounds": rounds, "finished": exchange.finished, "shown_as": exchange.shown_as, "id": exchange.id}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def load(text: str) -> Exchange:
    """The inverse of `dump`. ValueError, KeyError or TypeError for anything else."""
    made: dict[str, Any] = json.loads(text)
    rounds = tuple(Round(tuple(r["blocks"]), dict(r["results"])) for r in made["rounds"])
    return Exchange(rounds, bool(made["finished"]), made["shown_as"], made["id"])
