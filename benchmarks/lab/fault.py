"""Reference faults: how often what the agent goes on to need is not in the request that it answers.

A need (`demand`) is a fault when what it needs stands nowhere in the request as it arrived, but in a result that
arrived changed. One result is asked for once per reply. Each fault is charged as a quote fault is (in
`benchmarks.quotes`): one more inference pass (the request read once more from the cache, the page written, a short
call), and the recalled copy is rented from then on, until the client compacts. That is too much for a file that the
agent reads again by itself, as the recording has that pass already; the charge is meant to be conservative, and is kept
by the sign, so that it can be told without them.

The same faults are told by two denominators, for published rates differ by them: evicted results counted anew in every
request that they are missing from, and evicted results counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.compare import Body, Change, result_text, strings
from benchmarks.lab.demand import Demand
from benchmarks.quotes import CALL_TOKENS, Rates
from benchmarks.rebuild import blocks_of, encode
from benchmarks.traces import Block


@dataclass(slots=True)
class Faults:
    """Of one session. `kinds` counts faults by the sign they showed in; `charges` are dollars."""

    bytes_per_token: float
    kinds: Counter[str] = field(default_factory=Counter)
    charges: dict[str, float] = field(default_factory=dict)
    evicted_in_requests: int = 0
    evicted: set[str] = field(default_factory=set)
    blind: int = 0
    """Tools that were called while no more than a stub of them arrived."""
    _recalled: dict[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def charge(self) -> float:
        """Dollars."""
        return sum(self.charges.values())

    def add(
        self,
        wanted: Sequence[Demand],
        arrived: Body,
        changes: Sequence[Change],
        evicted: Mapping[str, bool],
        context: int,
        rates: Rates,
    ) -> list[str]:
        """Counts one request of `context` tokens, whose reply has the needs `wanted`; returns the results asked for.

        `evicted` are the calls whose results are missing from it, and whether no more than a handle is left of each.
        """
        self.evicted_in_requests += len(evicted)
        self.evicted.update(evicted)
        for tokens, kind in self._recalled.values():
            self._pay(kind, tokens * rates.read)
        changed = {change.call: change for change in changes}
        asked: dict[str, str] = {}
        resident: str | None = None
        for demand in wanted:
            holders = [p for p in demand.pages if p in changed and demand.met(changed[p].sent)]
            if not holders or any(p in self._recalled or p in asked for p in demand.pages):
                continue
            if resident is None:
                resident = "\n".join(_resident(arrived, [page for page, whole in evicted.items() if whole]))
            if not demand.met(resident):
                asked[holders[-1]] = demand.kind
        for page, kind in asked.items():
            tokens = len(changed[page].sent.encode("utf-8", "replace")) / self.bytes_per_token
            self._pay(kind, context * rates.read + tokens * rates.write + CALL_TOKENS * rates.output)
            self._recalled[page] = tokens, kind
            self.kinds[kind] += 1
        return list(asked)

    def call(self, reply: Sequence[Block], sent: Body, arrived: Body, context: int, rates: Rates) -> None:
        """Charges the first call of every tool that arrived as a stub, as if its definition had been asked for before.

        It is no reference fault, as no result is missed.
        """
        if sent["tools"] == arrived["tools"]:
            return
        there = {tool["name"]: tool for tool in arrived["tools"]}
        full = {tool["name"]: tool for tool in sent["tools"] if tool != there.get(tool["name"])}
        called = {block["name"] for block in reply if block["type"] == "tool_use"}
        for name in sorted(called & full.keys() - self._recalled.keys()):
            tokens = len(encode(full[name])) / self.bytes_per_token
            self._pay("tool", context * rates.read + tokens * rates.write + CALL_TOKENS * rates.output)
            self._recalled[name] = tokens, "tool"
            self.blind += 1

    def _pay(self, kind: str, dollars: float) -> None:
        self.charges[kind] = self.charges.get(kind, 0.0) + dollars

    def restart(self) -> None:
        """The client compacted: nothing of the old context is rented any more."""
        self._recalled.clear()


def _resident(arrived: Body, handles: Collection[str]) -> Iterator[str]:
    """Every text of the messages. A handle does not count: it may keep a line, but nobody can edit from an outline."""
    for message in arrived["messages"]:
        for block in blocks_of(message):
            if block["type"] != "tool_result":
                yield from strings(block)
            elif block["tool_use_id"] not in handles:
                yield result_text(block)
