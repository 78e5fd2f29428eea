"""Recorded agent sessions as they were stored, with their text.

A trace is a list of events in the order of the recording. Nothing is repaired or generated here: `rebuild` does that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

Json = Any
Block = dict[str, Json]

BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "traces"


class TracesMissing(Exception):
    """There are no recorded sessions where they were looked for; the message names the folder."""


class TraceDamaged(Exception):
    """A recorded session cannot be read; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider reported for one request, in tokens; `uncached` input was neither read nor written."""

    uncached: int
    cache_read: int
    write_5m: int
    write_1h: int
    output: int

    @property
    def total(self) -> int:
        """All input tokens of the request."""
        return self.uncached + self.cache_read + self.write_5m + self.write_1h


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded message or act of the client, `at` epoch seconds; `prune`: results the client cleared."""

    role: str
    at: float
    blocks: tuple[Block, ...]
    usage: Usage | None
    compaction: bool
    prune: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """One recorded session."""

    name: str
    client: str
    model: str
    sub_agent: bool
    events: tuple[Event, ...]


def load(folder: Path | None = None, limit: int | None = None) -> list[Trace]:
    """The sessions in `folder`/full by file name, at most `limit`. Raises TracesMissing, TraceDamaged."""
    where = folder or BESIDE_CHECKOUT
    files = sorted(where.glob("full/*.json.zst"))
    if not files:
        raise TracesMissing(f"no recorded sessions in {where / 'full'}; name their folder with --traces DIR")
    return [_trace(path) for path in files[:limit]]


def lines_of(path: Path) -> Iterator[str]:
    """The text lines of a zstd file."""
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as plain:
        rest = b""
        while piece := plain.read(1 << 20):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.decode()
        if rest:
            yield rest.decode()


def _trace(path: Path) -> Trace:
    try:
        raw = json.loads("".join(lines_of(path)))
        return Trace(
            name=path.name.removesuffix(".json.zst"),
            client=raw["client"],
            model=raw["model"],
            sub_agent=raw["parent"] is not None,
            events=tuple(_event(event) for event in raw["events"]),
        )
    except (zstandard.ZstdError, ValueError, KeyError, TypeError) as problem:
        raise TraceDamaged(f"{path.name}: {problem!r}") from problem


def _event(raw: dict[str, Json]) -> Event:
    return Event(
        role=raw["role"],
        at=float(raw["t"]),
        blocks=tuple(raw["blocks"]),
        usage=_usage(raw["usage"]) if raw.get("usage") else None,
        compaction=bool(raw.get("compaction")),
        prune=tuple(raw.get("prune") or ()),
    )


def _usage(raw: dict[str, int]) -> Usage:
    write_1h = raw.get("cache_write_1h", 0)
    return Usage(
        uncached=raw["input"],
        cache_read=raw["cache_read"],
        write_5m=raw["cache_write"] - write_1h,
        write_1h=write_1h,
        output=raw["output"],
    )
