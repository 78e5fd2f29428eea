"""What the provider charges and enforces per model family: a dated table, dollars per million tokens.

A family matches by its name inside the model's name; the longest match wins, so `claude-opus-5-5` is not
`claude-opus-5`. Figures marked `assumed` are not published and stand for the nearest family.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

AS_OF = "2026-11"


@dataclass(frozen=True, slots=True)
class Model:
    """Prices per million tokens; `minimum` tokens below which nothing is cached; `bound` reasoning; other limits."""

    family: str
    input: float
    write_5m: float
    write_1h: float
    read: float
    output: float
    minimum: int = 1024
    bound: bool = False
    system_role: bool = True
    forced_tools: bool = True
    always_thinks: bool = False
    free_sampling: bool = True
    assumed: bool = False


def _model(family: str, input_: float, output: float, read: float = 0.10, **more: int | bool) -> Model:
    return Model(family, input_, input_ * 1.25, input_ * 2, input_ * read, output, **more)  # type: ignore[arg-type]


_NEWEST: dict[str, int | bool] = {
    "minimum": 512, "bound": True, "forced_tools": False, "always_thinks": True, "free_sampling": False,
}  # fmt: skip

TABLE = (
    _model("claude-fable-5-2", 10, 50, 0.025, **_NEWEST, assumed=True),
    _model("claude-fable-5-1", 10, 50, 0.025, **_NEWEST),
    _model("claude-fable-5", 10, 50, minimum=512, free_sampling=False),
    _model("claude-mythos-5-2", 10, 50, 0.025, **_NEWEST, assumed=True),
    _model("claude-mythos-5-1", 10, 50, 0.025, **_NEWEST, assumed=True),
    _model("claude-mythos-5", 10, 50, minimum=512, free_sampling=False, assumed=True),
    _model("claude-opus-5-5", 4, 20, 0.05, **_NEWEST),
    _model("claude-opus-5", 5, 25, minimum=512, free_sampling=False),
    _model("claude-sonnet-5-5", 2, 10, 0.05, minimum=512, bound=True, free_sampling=False),
    _model("claude-sonnet-5", 2, 10, system_role=False, free_sampling=False),
    _model("claude-haiku-5-5", 1, 5, 0.05, minimum=512, bound=True, free_sampling=False, assumed=True),
    _model("claude-opus-4-8", 5, 25, free_sampling=False),
    _model("claude-opus-4-7", 5, 25, minimum=2048, system_role=False, free_sampling=False),
    _model("claude-opus-4-6", 5, 25, minimum=4096, system_role=False),
    _model("claude-opus-4-5", 5, 25, minimum=4096, system_role=False),
    _model("claude-opus-4", 15, 75, system_role=False),
    _model("claude-sonnet-4", 3, 15, system_role=False),
    _model("claude-haiku-4-5", 1, 5, minimum=4096, system_role=False),
    _model("claude-3", 3, 15, minimum=2048, system_role=False, assumed=True),
)

OTHER = _model("other", 3, 15, assumed=True)


def model_of(name: str) -> Model:
    """The family a model name belongs to; unknown names are charged like `OTHER` and not bound."""
    plain = re.sub(r"[._@/]", "-", name.lower())
    found = [row for row in TABLE if row.family in plain]
    return max(found, key=lambda row: len(row.family)) if found else OTHER


def dollars(model: Model, *, fresh: int, write_5m: int, write_1h: int, read: int, output: int) -> float:
    """The bill of one request; all arguments are tokens, `fresh` is input that the cache has no part in."""
    return (
        fresh * model.input
        + write_5m * model.write_5m
        + write_1h * model.write_1h
        + read * model.read
        + output * model.output
    ) / 1e6
