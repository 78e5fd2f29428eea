"""Quote faults: what an eviction would have cost an agent that, in the recording, never felt it.

A recorded agent goes on to edit a file from the copy in its context. When that copy was evicted in the replay, the real
agent would have had to recall the page first: one more inference pass (the context read once more from the cache, the
page written, a short call), and the recalled copy is rented from then on. An edit counts when the longest line of the
text it quotes stands nowhere in the request that arrived, but in a page that was cut from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.compare import Body, Change, strings
from benchmarks.traces import Block

SHORTEST = 16
CALL_TOKENS = 150
# a handle may keep the very line that is looked for, but nobody can edit from an outline
HANDLE = "[mmu page "


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per token."""

    read: float
    write: float
    output: float


@dataclass(slots=True)
class QuoteFaults:
    """The quote faults of one segment of a session, as they come in, and their price in dollars."""

    bytes_per_token: float
    count: int = 0
    dollars: float = 0.0
    _recalled: dict[str, float] = field(default_factory=dict)

    def add(self, reply: Sequence[Block], arrived: Body, changes: Iterable[Change], context: int, rates: Rates) -> int:
        """Charges one request of `context` tokens and its recorded reply; returns how many pages were recalled for it.

        A page recalled once is taken to stay, and its rent is charged to this and every later request of the segment.
        """
        self.dollars += sum(self._recalled.values()) * rates.read
        missing = [change for change in changes if change.call not in self._recalled]
        needed = {page.call: page for page in _pages(reply, arrived, missing)}
        for page in needed.values():
            tokens = len(page.sent.encode("utf-8", "replace")) / self.bytes_per_token
            self.dollars += context * rates.read + tokens * rates.write + CALL_TOKENS * rates.output
            self._recalled[page.call] = tokens
        self.count += len(needed)
        return len(needed)

    def call(
        self, reply: Sequence[Block], sent: Body, arrived: Body, context: int, rates: Rates
    ) -> int:
        """Charges the first call of every tool that arrived as a stub, as if the model had to ask for its definition
        before; returns how many there were."""
        stubs = {
            t["name"]: len(json.dumps(t)) / self.bytes_per_token
            for t, there in zip(sent.get("tools", []), arrived.get("tools", []), strict=False)
            if t != there
        }
        called = {b["name"] for b in reply if b["type"] == "tool_use"} & stubs.keys() - self._recalled.keys()
        for name in called:
            self.dollars += context * rates.read + stubs[name] * rates.write + CALL_TOKENS * rates.output
            self._recalled[name] = stubs[name]
        self.count += len(called)
        return len(called)

    def restart(self) -> None:
        """The client compacted: nothing of the old context is rented any more."""
        self._recalled.clear()


def quoted_lines(reply: Iterable[Block]) -> Iterator[str]:
    """The longest line of every text that an edit in `reply` quotes, where it has SHORTEST characters."""
    for block in reply:
        if block["type"] == "tool_use":
            for text in _quoted(block["input"]):
                longest = max((line.strip() for line in text.splitlines()), key=len, default="")
                if len(longest) >= SHORTEST:
                    yield longest


def _quoted(arguments: Block) -> Iterator[str]:
    for edit in (arguments, *(e for e in arguments.get("edits") or () if isinstance(e, dict))):
        if isinstance(edit.get("old_string"), str):
            yield edit["old_string"]
    for text in strings(arguments):
        if "*** Begin Patch" in text:
            for hunk in text.split("\n@@"):
                lines = [line[1:] for line in hunk.split("\n")[1:] if line[:1] in ("-", " ")]
                yield "\n".join(lines)


def _pages(reply: Sequence[Block], arrived: Body, missing: list[Change]) -> Iterator[Change]:
    lines = list(quoted_lines(reply)) if missing else []
    if not lines:
        return
    resident = "\n".join(text for text in strings(arrived["messages"]) if not text.startswith(HANDLE))
    for line in lines:
        if line not in resident:
            holders = [change for change in missing if line in change.sent]
            if holders:
                yield holders[-1]
