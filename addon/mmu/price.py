"""What a token costs, by model and place, in dollars.

Four prices go into every decision about a prompt: what it costs fresh, read from the provider's cache, written to it,
and what the answer costs. They are looked up in this order:

1. the user's own `prices.toml`, for contracts, gateways and models that nobody lists;
2. the table that the `genai-prices` library carries (its dated copy; nothing is fetched), by the host that was asked
   where that is a provider with prices of its own (OpenRouter, Azure), else by the model's name alone;
3. a stand-in, marked as not `known`.

What the table leaves out (the price of writing, mostly, because most providers do not charge for it) follows from the
family: FAMILIES holds each vendor's published multiples of the input price. A listed model without a price for reads,
of a family that is not here, pays them in full: its provider grants no discount.

The stand-in is the one that makes mitmmu act least. Dear writes and cheap reads mean that a changed prefix is earned
back latest, so an unknown model has the dearest writes and the cheapest reads that any vendor has. Its dollars are
Claude Sonnet 4's, but as they are a guess nothing is booked at them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from addon.wire.usage import Usage

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per token."""

    fresh: float
    """Input that the cache has no part in."""
    read: float
    written: float
    """Written to the cache for its shorter time to live, or for the only one there is."""
    written_hour: float
    output: float
    minimum: int = 1024
    """Tokens below which a prompt is not cached."""
    cliff: int | None = None
    """Tokens of a prompt above which the whole request is charged at `above`."""
    above: Rates | None = None
    known: bool = True
    """Whether these are somebody's prices, and no stand-in."""

    def at(self, prompt: int) -> Rates:
        """The rates of a request with a prompt of so many tokens."""
        if self.cliff is None or self.above is None or prompt <= self.cliff:
            return self
        return self.above.at(prompt)

    def cost(self, usage: Usage) -> float:
        """Dollars of one request."""
        rate = self.at(usage.prompt)
        return (
            usage.fresh * rate.fresh
            + usage.read * rate.read
            + usage.written * rate.written
            + usage.written_hour * rate.written_hour
            + usage.output * rate.output
        )


@dataclass(frozen=True, slots=True)
class Family:
    """Multiples of the input price."""

    read: float
    written: float
    written_hour: float


CLAUDE = Family(0.10, 1.25, 2.0)
FAMILIES: tuple[tuple[str, Family], ...] = (
    (r"claude-(?:fable|mythos)-5[.-][1-9](?!\d)", Family(0.025, 1.25, 2.0)),
    (r"claude-(?:opus|sonnet|haiku)-5[.-]5(?!\d)", Family(0.05, 1.25, 2.0)),
    (r"claude", CLAUDE),
    (r"gpt-6[.-][1-9]", Family(0.05, 1.25, 1.25)),
    (r"gpt-(?:5[.-][6-9]|[6-9])", Family(0.10, 1.25, 1.25)),
    (r"gpt-5", Family(0.10, 1.0, 1.0)),
    (r"gpt-4\.1|(?<![a-z0-9])o[34](?![a-z0-9])", Family(0.25, 1.0, 1.0)),
    (r"gpt-4o|(?<![a-z0-9])o1(?![a-z0-9])", Family(0.50, 1.0, 1.0)),
    (r"gemini", Family(0.10, 1.0, 1.0)),
    (r"deepseek", Family(0.02, 1.0, 1.0)),
    (r"grok", Family(0.25, 1.0, 1.0)),
    (r"kimi|qwen", Family(0.20, 1.0, 1.0)),
)
"""Patterns that occur in a model's name, the first one counts. Sources, as of November 2026: Anthropic, "Prompt
caching" and "Pricing"; OpenAI, "Prompt caching"; Google, "Context caching"; DeepSeek, "Models & pricing"; the rest as
routers list them."""

LEAST_ACTING = Family(0.02, 1.25, 2.0)
"""Of a model that nothing is known of: the cheapest reads and dearest writes there are."""
STAND_IN = (3.0, 15.0)
"""Dollars per million tokens of its input and output."""

MINIMUM: tuple[tuple[str, int], ...] = (
    (r"claude-(?:fable|mythos)-5|claude-opus-5|claude-(?:sonnet|haiku)-5[.-]5(?!\d)", 512),
    (r"claude-opus-4[.-]7", 2048),
    (r"claude-opus-4[.-][56]|claude-haiku-4[.-]5", 4096),
    (r"gemini-[\d.]+-pro", 4096),
)
"""Where it is not 1,024; the same sources."""

type Listed = Callable[[str, str, date], Mapping[str, Any] | None]
"""Looks up a model at a URL ("" for any) on a day. Dollars per million tokens by `input`, `read`, `write`,
`write_hour`, `output`, each a number, None, or a list of (tokens above which it counts, number) that begins at 0."""


@cache
def library() -> Listed:
    """The table of `genai-prices`. Importing it takes a few tenths of a second."""
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import TieredPrices

    table = get_snapshot()

    def steps(price: Any) -> Any:
        if isinstance(price, TieredPrices):
            return [(0, float(price.base)), *((tier.start, float(tier.price)) for tier in price.tiers)]
        return None if price is None else float(price)

    def find(model: str, url: str, day: date) -> Mapping[str, Any] | None:
        found = None
        # a router's name for a model that the table has not got there may end in the vendor's
        for name, place in ((model, url), (model, ""), (model.rpartition("/")[2], "")):
            try:
                _, found = table.find_provider_model(name, None, None, place or None)
                break
            except LookupError:
                continue
        if found is None:
            return None
        listed = found.get_prices(datetime.combine(day, time(12), UTC))
        return {
            "input": steps(listed.input_mtok),
            "read": steps(listed.cache_read_mtok),
            "write": steps(listed.cache_write_mtok),
            "write_hour": steps(listed.cache_write_1h_mtok),
            "output": steps(listed.output_mtok),
        }

    return find


@dataclass(frozen=True, slots=True)
class Override:
    """Prices of the user's own for models whose name matches a glob."""

    glob: str
    prices: Mapping[str, float]


_PRICES = frozenset({"input", "output", "read", "write", "write_hour"})
_MEMBERS = _PRICES | {"cliff", "above"}


def overrides(text: str) -> tuple[Override, ...]:
    """Read a prices.toml: a table per model glob, in dollars per million tokens; the first glob that matches counts.

        ["gpt-6.2*"]
        input = 5.0
        output = 30.0
        read = 0.25         # these four may be left out; they follow from the family
        write = 6.25
        write_hour = 6.25
        cliff = 272000      # and this, with what a request costs that is longer
        above = { input = 10.0, output = 45.0 }

    ValueError says what is wrong.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    return tuple(Override(glob.lower(), _checked(glob, table)) for glob, table in tables.items())


def _checked(glob: str, table: Any) -> dict[str, float]:
    if not isinstance(table, dict):
        raise ValueError(f'{glob!r} stands outside a table; prices stand below a line like ["{glob}*"]')
    flat: dict[str, float] = {}
    above = table.get("above", {})
    if "above" in table and "cliff" not in table:
        raise ValueError(f"[{glob!r}] has prices above a cliff, and no cliff")
    if not isinstance(above, dict) or above.keys() - _PRICES:
        raise ValueError(f"[{glob!r}] above: expected a table of {', '.join(sorted(_PRICES))}")
    named = [(key, value) for key, value in table.items() if key != "above"]
    named += [(f"above {key}", value) for key, value in above.items()]
    for key, value in named:
        if key.removeprefix("above ") not in _MEMBERS:
            raise ValueError(f"[{glob!r}] {key}: there are {', '.join(sorted(_MEMBERS))}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise ValueError(f"[{glob!r}] {key} = {value!r}: expected a number of dollars per million tokens")
        flat[key] = value
    wanted = ["input", "output", *(["above input", "above output"] if "cliff" in table else [])]
    if missing := [name for name in wanted if name not in flat]:
        raise ValueError(f"[{glob!r}] says nothing of {', '.join(missing)}")
    return flat


def family(model: str) -> Family | None:
    """What a model's name says of its multiples."""
    return next((found for pattern, found in FAMILIES if re.search(pattern, model.lower())), None)


def minimum(model: str) -> int:
    """Tokens below which a prompt is not cached."""
    return next((least for pattern, least in MINIMUM if re.search(pattern, model.lower())), 1024)


def rates(model: str, url: str, day: date, own: tuple[Override, ...], listed: Listed | None) -> Rates:
    """What a model costs where it was asked. `listed` is the table, None where there is none yet."""
    least = minimum(model)
    names = {model.lower(), model.lower().rpartition("/")[2]}
    for each in own:
        if any(fnmatchcase(name, each.glob) for name in names):
            return _own(model, each.prices, least)
    found = listed(model, url, day) if listed is not None else None
    if found is None or found["input"] is None or found["output"] is None:
        kin = family(model) or LEAST_ACTING
        return replace(_rates(*STAND_IN, None, None, None, kin, least), known=False)
    tiers = sorted({at for price in found.values() if isinstance(price, list) for at, _ in price} | {0})
    kin = family(model) or Family(1.0, 1.0, 1.0)

    def tier(rank: int) -> Rates:
        here = {name: _step(price, tiers[rank]) for name, price in found.items()}
        made = _rates(here["input"] or 0.0, here["output"] or 0.0, here["read"], here["write"], here["write_hour"],
                      kin, least)  # fmt: skip
        return made if rank + 1 == len(tiers) else replace(made, cliff=tiers[rank + 1], above=tier(rank + 1))

    return tier(0)


def _step(price: Any, at: int) -> float | None:
    """The price of a prompt of just more than so many tokens."""
    if isinstance(price, list):
        return float(max((start, each) for start, each in price if start <= at)[1])
    return None if price is None else float(price)


def _own(model: str, prices: Mapping[str, float], least: int) -> Rates:
    kin = family(model) or Family(1.0, 1.0, 1.0)

    def made(prefix: str) -> Rates:
        got = [prices.get(prefix + name) for name in ("read", "write", "write_hour")]
        return _rates(prices[prefix + "input"], prices[prefix + "output"], got[0], got[1], got[2], kin, least)

    if "cliff" not in prices:
        return made("")
    return replace(made(""), cliff=int(prices["cliff"]), above=made("above "))


def _rates(
    fresh: float, output: float, read: float | None, write: float | None, hour: float | None, kin: Family, least: int
) -> Rates:
    """From dollars per million; what is None follows from the family, and an hour costs no less than a while."""
    written = fresh * kin.written if write is None else write
    return Rates(
        fresh / MILLION,
        (fresh * kin.read if read is None else read) / MILLION,
        written / MILLION,
        (max(written, fresh * kin.written_hour) if hour is None else hour) / MILLION,
        output / MILLION,
        least,
    )
