"""The line of blocks of a request (tests.upstream.prompt), with what a known request says alike taken from there.

Requests of a session are alike but for their ends, and what a proxy sends is like what the client sent. So each message
is held against the one at its place, and only what differs is hashed anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from benchmarks.compare import Body
from benchmarks.traces import Json
from tests.upstream.prompt import Position, as_blocks, message_positions, position


@dataclass(frozen=True, slots=True)
class Laid:
    """`parts` are tools, system and then every message, as they are said and as positions."""

    parts: tuple[tuple[Json, list[Position]], ...]

    @property
    def line(self) -> list[Position]:
        return list(chain.from_iterable(positions for _, positions in self.parts))


def lay(body: Body, known: Laid | None = None) -> Laid:
    """The same line as `prompt(body)`, for bodies that defer no tools."""
    old = known.parts if known is not None else ()
    parts: list[tuple[Json, list[Position]]] = []
    for at, said in enumerate(_said(body)):
        same = at < len(old) and old[at][0] == said
        parts.append((said, old[at][1] if same else _positions(at, said)))
    return Laid(tuple(parts))


def _said(body: Body) -> Iterator[Json]:
    yield body.get("tools") or []
    yield as_blocks(body.get("system"))
    yield from body["messages"]


def _positions(at: int, said: Json) -> list[Position]:
    if at == 0:
        return [position(f"tools.{n}", "tools", "tool", tool) for n, tool in enumerate(said)]
    if at == 1:
        return [position(f"system.{n}", "system", "system", block) for n, block in enumerate(said)]
    return message_positions(at - 2, str(said["role"]), as_blocks(said["content"]))
