"""What providers of Chat Completions charge and enforce per model family: a dated table, dollars per million tokens.

A family matches at the start of the model's name, behind any `vendor/`; the longest match wins. Rows marked `assumed`
hold a figure that is not the provider's own: nobody's, or a third party's.
"""

from __future__ import annotations

from dataclasses import dataclass

AS_OF = "2026-11"

MINUTES, HALF_HOUR, DAY = 600.0, 1800.0, 86400.0


@dataclass(frozen=True, slots=True)
class Model:
    """Prices per million tokens; `lifetime` in seconds since the last use of a cached prefix. `explicit` takes
    breakpoints, `reasons` wants `max_completion_tokens` and fixed sampling, `functions` may be given tools in Chat
    Completions, `bound` drops reasoning behind a changed prefix."""

    family: str
    input: float
    read: float
    output: float
    write: float
    lifetime: float
    explicit: bool = False
    only_24h: bool = False
    reasons: bool = False
    functions: bool = True
    bound: bool = False
    assumed: bool = False


def _old(family: str, input_: float, read: float, output: float, **more: bool) -> Model:
    return Model(family, input_, read, output, input_, MINUTES, **more)


def _day(family: str, input_: float, output: float, read: float = 0.1, **more: bool) -> Model:
    """The models whose prompts are kept for a day where the organization does not forbid it."""
    return Model(family, input_, input_ * read, output, input_, DAY, **more)


def _newest(family: str, input_: float, output: float, read: float, **more: bool) -> Model:
    """From GPT-5.6 on writes are charged for, and half an hour is the least that a prefix is kept."""
    prices = (input_, input_ * read, output, input_ * 1.25)
    return Model(family, *prices, HALF_HOUR, explicit=True, only_24h=True, reasons=True, **more)


TABLE = (
    _old("gpt-4o", 2.5, 1.25, 10),
    _old("gpt-4o-mini", 0.15, 0.075, 0.6),
    _old("o1", 15, 7.5, 60, reasons=True),
    _old("o3", 2, 0.5, 8, reasons=True),
    _old("o4-mini", 1.1, 0.275, 4.4, reasons=True),
    _day("gpt-4.1", 2, 8, 0.25),
    _day("gpt-5", 1.25, 10, reasons=True),
    _day("gpt-5.1", 1.25, 10, reasons=True),
    _day("gpt-5.2", 1.75, 14, reasons=True),
    _day("gpt-5.4", 2.5, 15, reasons=True, assumed=True),
    _day("gpt-5.5", 5, 30, reasons=True, only_24h=True, assumed=True),
    _newest("gpt-5.6", 5, 30, 0.1, assumed=True),
    _newest("gpt-6", 5, 30, 0.1, assumed=True),
    _newest("gpt-6-astra", 8, 40, 0.1, functions=False, assumed=True),
    _newest("gpt-6.1", 5, 30, 0.05, assumed=True),
    _newest("gpt-6.2", 5, 30, 0.05, bound=True, assumed=True),
    _newest("gpt-6.2-astra", 8, 40, 0.05, functions=False, bound=True, assumed=True),
    Model("deepseek", 0.28, 0.028, 0.42, 0.28, 3 * 3600.0, assumed=True),
)

OTHER = _old("other", 2.5, 1.25, 10, assumed=True)


def model_of(name: str) -> Model:
    """The family a model name belongs to; unknown names are charged like `OTHER`."""
    plain = name.rsplit("/", 1)[-1].lower()
    found = [row for row in TABLE if plain.startswith(row.family)]
    return max(found, key=lambda row: len(row.family)) if found else OTHER


def dollars(model: Model, *, fresh: int, written: int, read: int, output: int) -> float:
    """The bill of one request; all arguments are tokens, the first three disjoint."""
    return (fresh * model.input + written * model.write + read * model.read + output * model.output) / 1e6
