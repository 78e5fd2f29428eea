"""How many bytes a token stands for in one recorded session, and how large the head is that was not recorded.

The provider's own token figures grow in a straight line with the bytes of the reconstructed messages: the slope is
tokens per byte, what stands at zero bytes is the unseen head (system prompt, tool schemas, the client's reminders). A
fall in the recorded tokens (a rewind or an unrecorded prune) ends the line: the longest stretch without one is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, linear_regression

FALL = 0.97
ENOUGH = 8


@dataclass(frozen=True, slots=True)
class Ratio:
    """`r2` tells how straight the line was; it is 0 where the default ratio had to stand in."""

    bytes_per_token: float
    head_tokens: int
    r2: float


def fit(points: Sequence[tuple[int, int]], default: float) -> Ratio:
    """The ratio of (message bytes, recorded input tokens) pairs of one segment, in order of the requests.

    `default` bytes per token where no stretch is long or straight enough, or its slope is not one that text can have.
    """
    stretch = max(_stretches(points), key=len, default=[])
    if len(stretch) >= ENOUGH:
        try:
            line = linear_regression([b for b, _ in stretch], [t for _, t in stretch])
            r2 = correlation([b for b, _ in stretch], [t for _, t in stretch]) ** 2
        except StatisticsError:
            r2 = 0.0
        else:
            if r2 > 0.9 and 1.5 < 1 / line.slope < 8 and line.intercept > 0:
                return Ratio(1 / line.slope, round(line.intercept), r2)
    first_bytes, first_tokens = points[0] if points else (0, 0)
    return Ratio(default, max(0, first_tokens - round(first_bytes / default)), 0.0)


def _stretches(points: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    stretches: list[list[tuple[int, int]]] = []
    highest = 0
    for point in points:
        if not stretches or point[1] < FALL * highest:
            stretches.append([])
            highest = 0
        stretches[-1].append(point)
        highest = max(highest, point[1])
    return stretches
