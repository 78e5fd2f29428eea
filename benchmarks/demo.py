"""One long coding session, played twice side by side: straight to a provider, and through mitmmu.

The provider is the strict fake one and runs here, the proxy is a real mitmdump, the agent really reads, edits and runs
what its tools say. No key and no network is needed. The bill is the provider's own: its simulated prompt cache, its
prices. At the end every page that mitmmu took out of the context is fetched from its store and compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from addon.mmu import schemas
from addon.wire import anthropic
from storage.tiers import Hierarchy
from tests.agent.loop import Agent, Exchange
from tests.agent.request import Client
from tests.agent.session import Session, build
from tests.agent.transport import Plain, Refused
from tests.agent.workspace import Workspace
from tests.harness import Mitmdump, NotReady
from tests.upstream import Upstream

KEY = "sk-demo"
SESSION = "11111111-2222-4333-8444-555555555555"
ROW_EVERY = 5
COUNTERS = ("mmu_folds_total", "mmu_evictions_total", "mmu_faults_total")

INTRO = """\
The same {requests} requests of one coding session, twice: "without" goes straight to a provider,
"with" goes through mitmmu. Sums so far: what the provider was sent, and what it charged.
"""
HEADER = (
    "         - tokens sent, thousands -   ------ bill, dollars -----\n"
    "request   without    with    saved   without    with    saved    folds  evictions  faults"
)


@dataclass(frozen=True, slots=True)
class Row:
    """Sums after `request` requests: tokens and dollars of both arms, mitmmu's counters."""

    request: int
    tokens_without: int
    tokens_with: int
    bill_without: float
    bill_with: float
    folds: int
    evictions: int
    faults: int

    def line(self) -> str:
        return (
            f"{self.request:>7}  {self.tokens_without / 1e3:>8,.0f} {self.tokens_with / 1e3:>7,.0f}"
            f" {share(self.tokens_without, self.tokens_with):>8}  {self.bill_without:>8.3f} {self.bill_with:>7.3f}"
            f" {share(self.bill_without, self.bill_with):>8} {self.folds:>8} {self.evictions:>10} {self.faults:>7}"
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What held at the end. `pages`: taken out and fetched back byte-identical; `lost`: what was not, by anchor."""

    pages: int
    evicted: int
    lost: list[str]
    requests: int
    invalid: int
    dearer: bool
    unlike: int
    passed: dict[str, int]

    @property
    def holds(self) -> bool:
        return self.evicted > 0 and not (self.lost or self.invalid or self.dearer or self.unlike)


def share(before: float, after: float) -> str:
    return f"{100 * (1 - after / before):.1f} %" if before else "-"


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=70, help="length of the session (default 70)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another session (default 1)")
    parser.add_argument("--json", action="store_true", help="print figures instead of a table")
    parser.add_argument("--keep", action="store_true", help="keep the state folder and say where it is")
    return parser.parse_args()


class Stage:
    """Provider, proxy and both agents, all running."""

    def __init__(self, stack: ExitStack, session: Session, folder: Path) -> None:
        self.session, self.folder = session, folder
        self.up = stack.enter_context(Upstream(tls=True))
        for name, replies in session.scripts.items():
            self.up.script(name, replies)
        self.proxy = stack.enter_context(
            Mitmdump({"mmu_clock": "header"}, redirect_to=f"127.0.0.1:{self.up.port}", folder=folder / "proxy")
        )
        straight = Plain(self.up.url, ca=self.up.ca_file, key=KEY)
        through = Plain("https://api.anthropic.com", proxy=self.proxy.url, ca=self.proxy.ca_file, key=KEY)
        stack.callback(straight.close)
        stack.callback(through.close)
        self.without, self.with_ = self._agent(straight, "without"), self._agent(through, "with")

    def _agent(self, transport: Plain, label: str) -> Agent:
        space = self.folder / label
        space.mkdir()
        return Agent(self.session, Client(SESSION), Workspace(space), transport, label)

    def row(self, request: int) -> Row:
        without, with_ = self.up.totals("without"), self.up.totals("with")
        counters = self.proxy.metrics()
        return Row(
            request,
            without.prompt_tokens,
            with_.prompt_tokens,
            without.dollars,
            with_.dollars,
            *(int(counters.get(name, 0)) for name in COUNTERS),
        )


def results(body: bytes) -> Iterator[tuple[str, str]]:
    """Call id and each text of every tool result in a request, and every tool's definition by its stub's anchor."""
    read = anthropic.parse(body)
    for tool in read.tools:
        definition = read.text[tool.start : tool.end]
        yield schemas.anchor(tool.name, definition), definition
    for message in json.loads(body)["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_result":
                content = block.get("content", "")
                for text in [content] if isinstance(content, str) else [part.get("text", "") for part in content]:
                    yield block["tool_use_id"], text


async def fetch(store: Path, originals: dict[str, set[str]]) -> tuple[int, int, list[str]]:
    """Fetches every page a splice of the session names and compares it with what the client has under that call:
    how many there are, how many of them evictions, and the anchors of those that differ or are missing."""
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as plain:
        tenants = [str(row[0]) for row in plain.execute("SELECT DISTINCT tenant FROM conversations")]
    hierarchy = await Hierarchy.open(f"sqlite:///{store}")
    pages, evicted, lost = 0, 0, []
    try:
        for tenant in tenants:
            for stored in await hierarchy.conversations(tenant, "", SESSION):
                for splice in stored.splices:
                    call = splice.anchor.partition("#")[0]
                    if not splice.page:
                        continue  # the recall tool, which stands for no page
                    text = await hierarchy.page(tenant, splice.page)
                    pages += 1
                    evicted += splice.kind == "evict"
                    if text is None or text.decode() not in originals.get(call, ()):
                        lost.append(splice.anchor)
    finally:
        await hierarchy.close()
    return pages, evicted, lost


def prove(stage: Stage, played: Sequence[Exchange]) -> Proof:
    originals: dict[str, set[str]] = {}
    for exchange in played:
        for call, text in results(exchange.answer.sent):
            originals.setdefault(call, set()).add(text)
    store = next(stage.proxy.home.glob("*.db"))
    pages, evicted, lost = asyncio.run(fetch(store, originals))
    without, with_ = stage.up.totals("without"), stage.up.totals("with")
    unlike = sum(one != other for one, other in zip(stage.without.transcript, stage.with_.transcript, strict=True))
    counters = stage.proxy.metrics()
    passed = {name.partition('"')[2].rstrip('"}'): int(value) for name, value in counters.items()
              if name.startswith("mmu_passed_through_total{") and value}  # fmt: skip
    dearer = with_.dollars > without.dollars
    return Proof(pages, evicted, lost, with_.requests, with_.invalid, dearer, unlike, passed)


def report(last: Row, proof: Proof, seconds: float) -> str:
    mark = {True: "yes", False: "NO "}
    lines = [
        "",
        f"Tokens sent  {last.tokens_without:>12,} -> {last.tokens_with:>12,}   saved "
        f"{share(last.tokens_without, last.tokens_with)}",
        f"Bill         {last.bill_without:>11.3f}$ -> {last.bill_with:>11.3f}$   saved "
        f"{share(last.bill_without, last.bill_with)}",
        f"Played in {seconds:.0f} s.",
        "",
        f"{mark[proof.evicted > 0 and not proof.lost]}  {proof.pages} pages left the context, {proof.evicted} of them "
        f"whole; {proof.pages - len(proof.lost)} came back from the store byte-identical.",
        f"{mark[not proof.invalid]}  The provider saw {proof.requests} requests and found {proof.invalid} invalid.",
        f"{mark[not proof.unlike]}  The agent noticed nothing: both arms end with the same transcript, "
        f"{proof.unlike} messages differ.",
    ]
    if not proof.evicted:
        lines.append("NO   Nothing was evicted, so nothing was proved: the session is too short.")
    if proof.dearer:
        lines.append("NO   It was dearer with mitmmu.")
    lines += [f"     passed through untouched: {count} ({reason})" for reason, count in proof.passed.items()]
    return "\n".join(lines)


def play(stage: Stage, quiet: bool) -> tuple[list[Row], list[Exchange]]:
    """Plays both arms in step; the rows of the table and what the client behind mitmmu sent."""
    total = stage.session.requests
    rows: list[Row] = []
    played: list[Exchange] = []
    for number, (_, exchange) in enumerate(zip(stage.without.play(), stage.with_.play(), strict=True), 1):
        played.append(exchange)
        if number % ROW_EVERY == 0 or number == total:
            rows.append(stage.row(number))
            if not quiet:
                print(("\r" if sys.stdout.isatty() else "") + rows[-1].line(), flush=True)
        if not quiet and sys.stdout.isatty() and number < total:
            print(f"\r{number:>7} of {total} ", end="", flush=True)
    return rows, played


def main() -> int:
    given = words()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mitmmu-demo-"))
    try:
        with ExitStack() as stack:
            session = build(given.seed, given.requests)
            stage = Stage(stack, session, folder)
            if not given.json:
                print(INTRO.format(requests=session.requests))
                print(HEADER, flush=True)
            rows, played = play(stage, given.json)
            proof = prove(stage, played)
        seconds = time.monotonic() - began
        if given.json:
            figures: dict[str, Any] = {"ok": proof.holds, "seconds": round(seconds, 1)}
            print(json.dumps(figures | asdict(rows[-1]) | {"proof": asdict(proof)}, indent=1))
        else:
            print(report(rows[-1], proof, seconds))
        return 0 if proof.holds else 1
    except KeyboardInterrupt:
        return 130
    except (NotReady, Refused, OSError, ValueError) as error:
        print(f"\nthe demo could not go on: {error}", file=sys.stderr)
        return 1
    finally:
        if given.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
