"""Cost against faults as an SVG: every policy a point, the points of a curve joined.

Cost has a logarithmic axis, as policies halve and double it; faults per request have a square-root axis, as most
policies lie close to none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log, sqrt

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 50, 60
COLOURS = ("#0b6bcb", "#c0392b", "#2e8540", "#8e44ad", "#b7791f", "#127a7a", "#555555")
SHARES = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 150, 200, 300, 400)
FAULTS = (0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


@dataclass(frozen=True, slots=True)
class Dot:
    """`faults` per request; `share` in per cent."""

    name: str
    faults: float
    share: float


def figure(title: str, upwards: str, curves: Mapping[str, Sequence[Dot]], levels: Mapping[str, float]) -> str:
    """`upwards` says what the shares are of. `levels` are shares drawn as lines across, by name: yardsticks that have
    no faults to speak of."""
    dots = [dot for curve in curves.values() for dot in curve]
    shares = [*(dot.share for dot in dots), *levels.values(), 100]
    axes = _Axes(min(shares) * 0.95, max(shares) * 1.05, max([dot.faults for dot in dots] + [0.01]) * 1.1)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="28" font-size="16">{escape(title)}</text>',
        *axes.drawn(upwards),
    ]
    legend = TOP + 10
    taken: list[tuple[float, float, float]] = []
    for number, (name, share) in enumerate(levels.items()):
        dashes = ("6 4", "2 3", "10 3 2 3")[number % 3]
        y = axes.y(share)
        out.append(_line(LEFT, y, WIDTH - RIGHT, y, "#222222", dashes))
        out.append(_line(WIDTH - RIGHT + 14, legend - 4, WIDTH - RIGHT + 34, legend - 4, "#222222", dashes))
        out.append(f'<text x="{WIDTH - RIGHT + 40}" y="{legend}">{escape(name)} ({share:.0f} %)</text>')
        legend += 20
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(axes.x(dot.faults), axes.y(dot.share), dot) for dot in curve]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for x, y, dot in places:
            told = escape(f"{dot.name}: {dot.share:.1f} %, {dot.faults:.4f} faults per request")
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{told}</title></circle>')
            if len(curve) > 1 and (spot := _spot(x, y, dot.name, taken)) is not None:
                at = f'x="{spot[0]:.1f}" y="{spot[1]:.1f}"'
                out.append(f'<text {at} font-size="10" fill="{colour}">{escape(dot.name)}</text>')
        out.append(f'<circle cx="{WIDTH - RIGHT + 24}" cy="{legend - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 40}" y="{legend}">{escape(name)}</text>')
        legend += 20
    return "\n".join([*out, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class _Axes:
    low: float
    high: float
    most: float

    def x(self, faults: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * sqrt(faults / self.most)

    def y(self, share: float) -> float:
        up = log(share / self.low) / log(self.high / self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up

    def drawn(self, upwards: str) -> list[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        out = []
        for share in SHARES:
            if self.low <= share <= self.high:
                y = self.y(share)
                out.append(_line(LEFT, y, right, y, "#222222" if share == 100 else "#dddddd"))
                out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share}</text>')
        for faults in FAULTS:
            if faults <= self.most:
                x = self.x(faults)
                out.append(_line(x, TOP, x, bottom, "#eeeeee"))
                out.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{faults:g}</text>')
        out += [_line(LEFT, bottom, right, bottom, "#222222"), _line(LEFT, TOP, LEFT, bottom, "#222222")]
        middle, half = (LEFT + right) / 2, (TOP + bottom) / 2
        out.append(f'<text x="{middle}" y="{HEIGHT - 18}" text-anchor="middle">reference faults per request</text>')
        out.append(
            f'<text x="18" y="{half}" text-anchor="middle" transform="rotate(-90 18 {half})">{escape(upwards)}</text>'
        )
        return out


def _spot(x: float, y: float, name: str, taken: list[tuple[float, float, float]]) -> tuple[float, float] | None:
    """Where a dot's name stands clear of the names before it; None where it would not, as the dot tells it as well."""
    wide = 6.0 * len(name)
    for left, base in ((x + 6, y - 5), (x + 6, y + 12), (x - 6 - wide, y - 5), (x - 6 - wide, y + 12)):
        clear = all(abs(base - at) >= 10 or left >= end or left + wide <= start for start, end, at in taken)
        if clear and left >= LEFT:
            taken.append((left, left + wide, base))
            return left, base
    return None


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "") -> str:
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{style}/>'
