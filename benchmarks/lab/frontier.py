"""How many faults buy how much room: rules for who leaves, on content-free skeletons of recorded sessions.

Only sizes, times and the recorded needs are known here, so nothing is billed: a rule is judged by the share of all
result bytes in all requests that it keeps out, and by the needs that it leaves unmet. A result that was missed comes
back and counts as just used. Errors never leave. The rules are those that run live, with the page table replaced by
what a skeleton tells:

- `fifo`: so many requests after its arrival, from 500 bytes on (`addon.mmu.evict`, `fifo`);
- `access`: so many requests after its last use, fewer for what is no file; what an edit quoted in the last 20 requests
  stays (`addon.mmu.workingset`; edits of what was not read are not told by a skeleton);
- `cold`: the same, but only when the provider's cache has expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from addon.mmu.evict import SLACK
from addon.mmu.workingset import PIN
from benchmarks.skeletons import Answered, Cleared, Need, Received, Skeleton
from benchmarks.traces import Json

AGES = (1, 2, 4, 8, 16, 32, 64)
FILES_TO_OUTPUTS = 3 / 8
"""An output's age where a file's is one: mitmmu's own 3 and 8."""
RULES = ("fifo", "access", "cold")
LEAST = 500


@dataclass(slots=True)
class Point:
    """A rule with an age, over many sessions. `kept_out` of `offered` are bytes of results, counted in every request;
    `evicted_in_requests` counts results like that, `evicted` once."""

    rule: str
    age: int
    requests: int = 0
    offered: int = 0
    kept_out: int = 0
    evicted: int = 0
    evicted_in_requests: int = 0
    faults: int = 0

    def as_json(self) -> dict[str, Json]:
        return {
            "rule": self.rule,
            "age": self.age,
            "requests": self.requests,
            "kept_out": self.kept_out / self.offered if self.offered else 0.0,
            "evicted": self.evicted,
            "evicted_in_requests": self.evicted_in_requests,
            "faults": self.faults,
        }


@dataclass(slots=True)
class _Page:
    size: int
    file: bool
    name: str
    used: int
    fixed: bool
    pinned: int = -PIN
    """The last request that edited it."""
    gone: bool = False
    counted: bool = False


def frontier(sessions: Iterable[Skeleton]) -> list[Point]:
    """Every rule at every age."""
    points = [Point(rule, age) for rule in RULES for age in AGES]
    for session in sessions:
        for number, segment in enumerate(session.segments):
            needs: dict[int, list[Need]] = {}
            for need in session.needs:
                if need.segment == number:
                    needs.setdefault(need.request, []).append(need)
            steps = list(_steps(segment))
            for point in points:
                _play(point, steps, needs)
    return points


@dataclass(slots=True)
class _Step:
    """One request: the results that arrived since the last one, those that the client cleared, and whether the cache
    was cold."""

    arrived: list[_Page]
    cleared: list[int]
    cold: bool


def _steps(segment: Sequence[object]) -> Iterator[_Step]:
    calls: list[tuple[str, str]] = []
    arrived: list[_Page] = []
    cleared: list[int] = []
    request, ttl = 0, 300.0
    sent: float | None = None  # not every recording tells the time
    last: float | None = None
    for event in segment:
        match event:
            case Received():
                sent = event.at
                for result in event.results:
                    kind, name = ("", "") if result.call is None else calls[result.call]
                    fixed = result.error or result.size < LEAST
                    arrived.append(_Page(result.size, kind == "file", name, request, fixed))
            case Cleared():
                cleared += event.results
            case Answered():
                if event.usage and (event.usage.write_1h or event.usage.write_5m):
                    ttl = 3600.0 if event.usage.write_1h else 300.0
                cold = last is not None and sent is not None and sent - last > ttl + max(SLACK, ttl / 8)
                last = sent
                yield _Step(arrived, cleared, cold)
                calls += [(call.kind, call.page) for call in event.calls]
                arrived, cleared, request = [], [], request + 1


def _play(point: Point, steps: Sequence[_Step], needs: Mapping[int, Sequence[Need]]) -> None:
    pages: list[_Page] = []
    for now, step in enumerate(steps):
        for page in step.arrived:
            if point.rule != "fifo" and page.file:
                for other in pages:
                    if other.name == page.name:
                        other.used = now
            pages.append(_Page(page.size, page.file, page.name, now, page.fixed))
        for number in step.cleared:
            pages[number].fixed, pages[number].size, pages[number].gone = True, 0, False
        point.requests += 1
        for page in pages:
            if not page.gone and not page.fixed and (point.rule != "cold" or step.cold):
                page.gone = _old(point, page, now)
                point.evicted += page.gone and not page.counted
                page.counted = page.counted or page.gone
            point.offered += page.size
            point.kept_out += page.size * page.gone
            point.evicted_in_requests += page.gone
        for need in needs.get(now, ()):
            page = pages[need.page]
            if page.gone:
                point.faults += 1
                page.gone, page.used = False, now
            if point.rule != "fifo":
                page.used = now
                page.pinned = now if need.why == "edit" else page.pinned


def _old(point: Point, page: _Page, now: int) -> bool:
    outputs = max(1, round(point.age * FILES_TO_OUTPUTS))
    age = point.age if point.rule == "fifo" or page.file else outputs
    return now - page.used >= age and now - page.pinned >= PIN
