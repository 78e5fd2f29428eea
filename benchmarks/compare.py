"""What a proxy did to a request, seen from outside: the body the client sent beside the body that arrived.

Nothing is asked of the proxy. A tool result that arrives changed the first time it is ever sent was *folded*; one that
had arrived whole before was *evicted*; one that arrives whole after it had been changed is *back*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.rebuild import blocks_of
from benchmarks.traces import Block, Json

Body = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Change:
    """A tool result that arrived with another text than it was sent with."""

    call: str
    sent: str
    arrived: str


@dataclass(frozen=True, slots=True)
class Difference:
    """`changes` in the order of the results; `stubs` tools arrived changed; `inserted` messages were never sent."""

    changes: tuple[Change, ...]
    whole: frozenset[str]
    stubs: int
    inserted: int


@dataclass(slots=True)
class Tally:
    """Counts over the requests of one session."""

    folds: int = 0
    evictions: int = 0
    back: int = 0
    stubs: int = 0
    inserted: int = 0
    _whole: set[str] = field(default_factory=set)
    _changed: set[str] = field(default_factory=set)

    def add(self, difference: Difference) -> int:
        """Counts one request; returns how many results were evicted in it."""
        changed = {change.call for change in difference.changes}
        evicted = changed & self._whole
        self.evictions += len(evicted)
        self.folds += len(changed - self._whole - self._changed)
        self.back += len(difference.whole & self._changed)
        self.stubs = max(self.stubs, difference.stubs)
        self.inserted = max(self.inserted, difference.inserted)
        self._changed = (self._changed | changed) - difference.whole
        self._whole = (self._whole | difference.whole) - changed
        return len(evicted)


def difference(sent: Body, arrived: Body) -> Difference:
    """Compares two bodies of one request; results are matched by their call id."""
    before, after = dict(results(sent)), dict(results(arrived))
    tools = {tool["name"]: tool for tool in arrived.get("tools", [])}
    return Difference(
        changes=tuple(
            Change(call, text, after.get(call, "")) for call, text in before.items() if after.get(call) != text
        ),
        whole=frozenset(call for call, text in before.items() if after.get(call) == text),
        stubs=sum(tools.get(tool["name"]) != tool for tool in sent.get("tools", [])),
        inserted=max(0, len(arrived["messages"]) - len(sent["messages"])),
    )


def results(body: Body) -> Iterator[tuple[str, str]]:
    """Call id and text of every tool result."""
    for message in body["messages"]:
        for block in blocks_of(message):
            if block["type"] == "tool_result":
                yield block["tool_use_id"], result_text(block)


def result_text(block: Block) -> str:
    content: str | list[Block] = block.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def strings(value: Json) -> Iterator[str]:
    """Every string inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
