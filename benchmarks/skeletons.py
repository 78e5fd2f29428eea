"""Content-free skeletons of recorded sessions: sizes, times, usage and tool calls, for work on policies.

A session is a list of segments (one per stretch between client compactions); request k of a segment sees every event
before it. Sizes are bytes, times epoch seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.traces import BESIDE_CHECKOUT, Json, TraceDamaged, TracesMissing, Usage, lines_of


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: `page` names what it is about, `exact` the very call."""

    tool: str
    kind: str
    page: str
    exact: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and its answer."""

    at: float
    usage: Usage | None
    size: int
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A tool result; `call` is the index of its call in the segment if known, `content` a hash of its text."""

    call: int | None
    size: int
    error: bool
    content: str


@dataclass(frozen=True, slots=True)
class Received:
    """What the client sends on: user text and tool results."""

    at: float
    human: bool
    text_size: int
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Instructed:
    """System text."""

    at: float
    size: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """The client cleared these results (indices in the segment) by itself."""

    at: float
    results: tuple[int, ...]


SkeletonEvent = Answered | Received | Instructed | Cleared


@dataclass(frozen=True, slots=True)
class Need:
    """At `request` of `segment` the agent used its `page`-th tool result: why is "edit" or "reread"."""

    segment: int
    request: int
    page: int
    why: str
    overlap: float


@dataclass(frozen=True, slots=True)
class Skeleton:
    """One session without its content. `needs` is a lower bound of what the agent used again."""

    group: str
    name: str
    client: str
    model: str
    sub_agent: bool
    segments: tuple[tuple[SkeletonEvent, ...], ...]
    needs: tuple[Need, ...]


def skeletons(folder: Path | None = None) -> Iterator[Skeleton]:
    """Every skeleton in `folder`/skeletons.jsonl.zst. Raises TracesMissing, TraceDamaged."""
    path = (folder or BESIDE_CHECKOUT) / "skeletons.jsonl.zst"
    if not path.exists():
        raise TracesMissing(f"no recorded skeletons at {path}; name their folder with --traces DIR")
    for number, line in enumerate(lines_of(path), 1):
        try:
            yield _skeleton(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError) as problem:
            raise TraceDamaged(f"{path.name} line {number}: {problem!r}") from problem


def _skeleton(raw: dict[str, Json]) -> Skeleton:
    return Skeleton(
        group=raw["g"],
        name=str(raw["n"]),
        client=raw["client"],
        model=raw["model"],
        sub_agent=bool(raw["sub"]),
        segments=tuple(tuple(_event(event) for event in segment["ev"]) for segment in raw["segs"]),
        needs=tuple(Need(*need) for need in raw["needs"]),
    )


def _event(raw: list[Json]) -> SkeletonEvent:
    match raw:
        case ["A", at, usage, size, calls]:
            return Answered(at, _usage(usage) if usage else None, size, tuple(Call(*call) for call in calls))
        case ["U", at, human, size, results]:
            return Received(at, bool(human), size, tuple(Result(c, s, bool(e), h) for c, s, e, h in results))
        case ["S", at, size]:
            return Instructed(at, size)
        case ["P", at, results]:
            return Cleared(at, tuple(results))
        case _:
            raise ValueError(f"unknown event {raw[:1]}")


def _usage(raw: list[int]) -> Usage:
    uncached, output, read, write, write_1h = raw
    return Usage(uncached, read, write - (write_1h or 0), write_1h or 0, output)
