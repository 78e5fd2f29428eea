"""What a prompt costs under a provider's way of charging, computed on its line of blocks.

- `anthropic`: prefixes that end at a cache mark are kept for the lifetime it asks for; the recorded model's prices.
- `openai`: every prefix is kept unasked for half an hour, and found in steps of 128 tokens; GPT-5.6's prices, where
  writing costs 1.25 and reading 0.10 of the input (OpenAI, "Prompt caching").
- `uncached`: nothing is kept, every token is paid in full in every request; the recorded model's prices.

Whoever plans sees what the live proxy would see: no marks where the client of such a provider sends none, the lifetime
that is known of the model, and the usage that the provider reports.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from addon.mmu.price import Rates
from addon.wire.conversation import Conversation
from addon.wire.retention import kept
from benchmarks.compare import Body
from benchmarks.traces import Json
from tests.upstream import chat_models, models
from tests.upstream.cache import Cache, Split, breakpoints
from tests.upstream.prompt import Position, chain

OPENAI = "gpt-5.6"
STEP = 128
STEPS_FROM = 1024


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per token."""

    fresh: float
    read: float
    write_5m: float
    write_1h: float
    output: float

    def bill(self, split: Split, output: int) -> float:
        """Dollars of one request with an answer of `output` tokens."""
        return (
            split.fresh * self.fresh
            + split.read * self.read
            + split.write_5m * self.write_5m
            + split.write_1h * self.write_1h
            + output * self.output
        )

    def write(self, ttl: str) -> float:
        """What a token costs the first time, where the client asks for a lifetime of `ttl`."""
        return self.write_1h if ttl == "1h" else self.write_5m


@dataclass(frozen=True, slots=True)
class Tariff:
    """`marks`: the client sends cache marks. `model` takes the place of the recorded one, "" for none."""

    name: str
    marks: bool = False
    model: str = ""
    keeps: bool = True

    def body(self, body: dict[str, Json]) -> dict[str, Json]:
        """The request as a client of this provider sends it."""
        if self.model:
            body = {**body, "model": self.model}
        return body if self.marks else _unmarked(body)

    def understood(self, read: Conversation) -> Conversation:
        """The request as the live proxy understands one to this provider."""
        return read if self.marks or not self.keeps else replace(read, ttl=kept(self.model))

    def rates(self, model: str) -> Rates:
        """What the live proxy takes a model's prices to be: those of caching, for it cannot know that there is none."""
        known = replace(self, keeps=True).prices(model)
        least = STEPS_FROM if self.model else models.model_of(model).minimum
        return Rates(known.fresh, known.read, known.write_5m, known.write_1h, known.output, least)

    def prices(self, model: str) -> Prices:
        """Of a model, which is the tariff's own where it has one."""
        if self.model:
            row = chat_models.model_of(self.model)
            each = (row.input, row.read, row.write, row.write, row.output)
        else:
            found = models.model_of(model)
            each = (found.input, found.read, found.write_5m, found.write_1h, found.output)
            if not self.keeps:
                each = (found.input, found.input, found.input, found.input, found.output)
        return Prices(*(price / 1e6 for price in each))


TARIFFS = {
    tariff.name: tariff
    for tariff in (Tariff("anthropic", marks=True), Tariff("openai", model=OPENAI), Tariff("uncached", keeps=False))
}


class Account:
    """One account at a provider: serves prompts in the order of their times and splits each by how it is charged."""

    def __init__(self, tariff: Tariff, model: str, bytes_per_token: float) -> None:
        self.tariff = tariff
        self.bytes_per_token = bytes_per_token
        self.prices = tariff.prices(model)
        self.minimum = STEPS_FROM if tariff.model else models.model_of(model).minimum
        self.cache = Cache()
        self.kept: dict[bytes, float] = {}

    def serve(self, line: list[Position], now: float, more: Collection[int] = ()) -> Split:
        """`more` are positions at which a mark stands besides the client's."""
        tokens = [here.tokens(self.bytes_per_token) for here in line]
        if self.tariff.marks:
            marks = breakpoints(line, None)
            marks.update((at, marks[max(marks)]) for at in more if at not in marks)
            return self.cache.serve(chain(line), tokens, marks, now, self.minimum)
        if not self.tariff.keeps:
            return Split(sum(tokens), 0, 0, 0)
        return self._unasked(chain(line), tokens, now)

    def _unasked(self, links: Sequence[bytes], tokens: Sequence[int], now: float) -> Split:
        total = sum(tokens)
        if total < self.minimum:
            return Split(total, 0, 0, 0)
        read = 0
        for link, size in zip(links, tokens, strict=True):
            if self.kept.get(link, 0.0) <= now:
                break
            read += size
        read = read // STEP * STEP
        self.kept.update((link, now + chat_models.HALF_HOUR) for link in links)
        read = read if read >= self.minimum else 0
        return Split(0, read, total - read, 0)


def _unmarked(body: Body) -> dict[str, Json]:
    def bare(block: Json) -> Json:
        if isinstance(block, dict) and "cache_control" in block:
            return {name: value for name, value in block.items() if name != "cache_control"}
        return block

    def content(value: Json) -> Json:
        return [bare(block) for block in value] if isinstance(value, list) else value

    return {
        **body,
        "system": content(body["system"]),
        "messages": [{**message, "content": content(message["content"])} for message in body["messages"]],
    }
