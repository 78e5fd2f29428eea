"""The policies that the lab compares. Those of one `curve` differ in one setting only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from addon.mmu.evict import Policy

NONE, FULL, FIFO, ONE = "none", "full", "fifo", "one action"
CLAIRVOYANT, FREE = "clairvoyant", "free"
WHOLE = "clairvoyant:whole"
AMONG = "full:among"
"""The full policy where the sessions that keep the head warm run through mitmmu too."""
SWITCHES = ("folds", "excerpts", "evicts", "cuts", "stubs")
AGES = (1, 2, 4, 8, 16, 32, 64)
PUBLISHED = "fifo:4:500"


@dataclass(frozen=True, slots=True)
class Named:
    """A policy, and the curve that it is a point of."""

    name: str
    curve: str
    policy: Policy


def policies() -> list[Named]:
    """No policy at all; the age rule; every action alone; the full policy with younger and older victims; and what
    could be done had the future been known."""
    among = Named(AMONG, AMONG, Policy())
    return [Named(NONE, NONE, switched()), *_age_rule(), *_alone(), *_full(), among, *foresight()]


def foresight() -> Iterator[Named]:
    """The yardsticks: with every action, with each alone, and what no planner could be better than."""
    yield Named(CLAIRVOYANT, CLAIRVOYANT, Policy())
    yield Named(WHOLE, CLAIRVOYANT, replace(Policy(), excerpts=False))
    for name in SWITCHES:
        yield Named(f"{CLAIRVOYANT}:{name}", CLAIRVOYANT, switched(name))
    yield Named(FREE, FREE, Policy())
    yield Named(f"{FREE}:whole", FREE, replace(Policy(), excerpts=False))


def switched(*on: str) -> Policy:
    """mitmmu with these actions and no other."""
    chosen: dict[str, Any] = {name: name in on for name in SWITCHES}
    return replace(Policy(), **chosen)


def _age_rule() -> Iterator[Named]:
    for age in AGES:
        yield Named(f"fifo:{age}:500", FIFO, Policy(name="fifo", fifo_age=age, fifo_bytes=500))


def _alone() -> Iterator[Named]:
    for name in SWITCHES:
        yield Named(name, ONE, switched(name))


def _full() -> Iterator[Named]:
    usual = Policy()
    seen: set[str] = set()
    for factor in (0.125, 0.25, 0.5, 1, 2, 4, 8):
        ages = {name: max(1, round(getattr(usual, name) * factor)) for name in ("file_age", "output_age")}
        if factor == 1:
            yield Named(FULL, FULL, usual)
        elif (name := f"full:{ages['file_age']}:{ages['output_age']}") not in seen:
            seen.add(name)
            yield Named(name, FULL, replace(usual, **ages))


def parsed(text: str) -> Named:
    """A policy by its name. ValueError says what names there are.

    One of `policies()`, `fifo:AGE:BYTES`, `full:FILE_AGE:OUTPUT_AGE`, or `NAME=VALUE,...`: the full policy with
    settings of its own.
    """
    for named in policies():
        if named.name == text:
            return named
    kind, *numbers = text.split(":")
    if kind == FIFO and len(numbers) == 2:
        return Named(text, FIFO, Policy(name="fifo", fifo_age=int(numbers[0]), fifo_bytes=int(numbers[1])))
    if kind == FULL and len(numbers) == 2:
        return Named(text, FULL, Policy(file_age=int(numbers[0]), output_age=int(numbers[1])))
    return Named(text, "own", replace(Policy(), **dict(_settings(text))))


def _settings(text: str) -> Iterator[tuple[str, Any]]:
    kinds = {field.name: type(getattr(Policy(), field.name)) for field in fields(Policy)}
    for setting in text.split(","):
        name, given, value = setting.partition("=")
        if not given or name not in kinds:
            raise ValueError(f"no policy {text!r}; its settings are {', '.join(sorted(kinds))}")
        if kinds[name] is bool:
            yield name, value.lower() in ("1", "true", "yes")
        else:
            yield name, kinds[name](value)
