"""What Gemini models charge and enforce per family: a dated table, dollars per million tokens.

A family matches at the start of the model's name; the longest match wins. Rows marked `assumed` hold a figure that is
not the vendor's own. Prices are those of the paid tier for text. The least prompt that is cached is given as the
vendor's caching page gave it; other editions of that page say 2,048 for both 2.5 models.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2026-11"

# The vendor says "a short amount of time" and no more: assumed, in seconds since the last use.
LIFETIME = 300.0

LONG = 200_000


@dataclass(frozen=True, slots=True)
class Model:
    """Prices per million tokens. With `tiered` a prompt above LONG tokens pays double for its input and half as much
    again for the output, all of it. `minimum` tokens below which nothing is cached; `third` for the models from
    Gemini 3 on, which give ids to calls and want their thought signatures back."""

    family: str
    input: float
    output: float
    minimum: int
    tiered: bool = False
    third: bool = False
    assumed: bool = False

    @property
    def read(self) -> float:
        """The price of what was in the cache."""
        return self.input * 0.1


TABLE = (
    Model("gemini-2", 0.1, 0.4, 1024, assumed=True),
    Model("gemini-2.5-pro", 1.25, 10, 4096, tiered=True),
    Model("gemini-2.5-flash", 0.3, 2.5, 1024),
    Model("gemini-2.5-flash-lite", 0.1, 0.4, 1024, assumed=True),
    Model("gemini-3-pro", 2, 12, 4096, tiered=True, third=True),
    Model("gemini-3-flash", 0.5, 3, 1024, third=True),
    Model("gemini-3.1-pro", 2, 12, 4096, tiered=True, third=True),
    Model("gemini-3.1-flash-lite", 0.25, 1.5, 1024, third=True, assumed=True),
    Model("gemini-3.5-flash", 1.5, 9, 4096, third=True, assumed=True),
)

OTHER = Model("other", 2, 12, 4096, tiered=True, third=True, assumed=True)


def model_of(name: str) -> Model:
    """The family a model name belongs to; unknown names are taken for new ones: charged and checked like `OTHER`."""
    found = [row for row in TABLE if name.startswith(row.family)]
    return max(found, key=lambda row: len(row.family)) if found else OTHER


def dollars(model: Model, *, fresh: int, read: int, output: int) -> float:
    """The bill of one request; all arguments are tokens, `fresh` is input that was not read from the cache."""
    long = model.tiered and fresh + read > LONG
    taken = (fresh * model.input + read * model.read) * (2 if long else 1)
    return (taken + output * model.output * (1.5 if long else 1)) / 1e6
