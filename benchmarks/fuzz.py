"""Damaged requests of every API, by the thousand, through the real pager and a real store.

    python -m benchmarks.fuzz [--cases 20000] [--seed 1] [--api NAME]

Sessions are played in the words of each API, long enough that results are folded and evicted. Beside each request go
copies of it that are damaged: members lost, doubled, of another type or unknown, bytes cut or put in. Whatever becomes
of them, three things must hold: nothing is raised; what is not understood goes out byte for byte; what is understood
goes out so that the splices taken back give the client's own bytes. The first case that breaks one of them is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import logging
import random
import sys
import tempfile
import traceback
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from addon.call import PassThrough
from addon.keeper import Keeper
from addon.mmu.tokens import Counter
from addon.mmu.view import restore
from addon.options import OPTIONS, read
from addon.pager import Pager
from addon.watch.metrics import Metrics
from benchmarks.traces import Json
from storage.tiers import Hierarchy
from tests.mmu.sessions import COMMANDS, PATHS, Call, Project, spell
from tests.mmu.spellings import SPELLINGS, Spelling
from tests.upstream.direct import text, user

TURNS = 12
HALF = "\ue000"
"""Stands for half a surrogate pair, which no string can be encoded with and only an escape can spell."""
DAMAGED = 12
"""Damaged copies of each request."""
PAUSE = 400_000.0
"""Seconds after which every provider's cache is cold."""

JUNK: tuple[Json, ...] = (
    None, True, False, 0, -1, 1e300, "", " ", "text", "user", "tool", "ä\u2028", HALF, "{", [], {}, [[]], [None],
    {"type": "text"}, {"text": ""}, {"role": "user"}, {"content": []}, "x" * 5000,
)  # fmt: skip


class Broken(Exception):
    """A case in which something did not hold."""


@dataclass(slots=True)
class Row:
    """What became of the cases of one API."""

    api: str
    cases: int = 0
    ends: Tally[str] = field(default_factory=Tally)
    """`read` (nothing to do), `rewritten`, or the reason why it passed through."""


def session(spelling: Spelling, model: str, style: int, rng: random.Random) -> Iterator[tuple[dict[str, Any], float]]:
    """The requests of a session, each with the seconds that went by before it."""
    project = Project()
    own = rng.randrange(10**9)  # another session may be another client, which spells otherwise
    messages: list[dict[str, Any]] = [user(f"Begin {own} with grüße.")]
    for number in range(TURNS):
        cold = number == TURNS * 2 // 3
        yield spelling.request(messages, model, number, style, caching=True), PAUSE if cold else 5.0
        calls = [_call(rng) for _ in range(rng.randint(1, 3))]
        made = [(f"call_{own}_{number}_{n}", call) for n, call in enumerate(calls)]
        said = [text("I look.")] if rng.random() < 0.5 else []
        blocks = [{"type": "tool_use", "id": id, "name": call.tool, "input": call.arguments} for id, call in made]
        messages.append({"role": "assistant", "content": [*said, *blocks]})
        messages.append({"role": "user", "content": [project.result(call, id) for id, call in made]})


def _call(rng: random.Random) -> Call:
    shape = rng.choice(["string", "string", "list", "parts"])
    if rng.random() < 0.5:
        return Call("Read", {"file_path": rng.choice(PATHS)}, shape)
    return Call("Bash", {"command": rng.choice(COMMANDS)}, shape)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, each in inside for path in ((*here, name), *places(each, (*here, name)))]


def damaged(body: dict[str, Any], style: int, rng: random.Random) -> bytes:
    """The body with one to three things wrong with it, spelled as its client spells all of them."""
    if rng.random() < 0.3:
        return _cut(spell(body, style), rng)
    body = copy.deepcopy(body)
    for _ in range(rng.randint(1, 3)):
        found = places(body)
        if found:
            _damage(body, rng.choice(found), rng)
    raw = spell(body, style)
    return raw.replace(HALF.encode(), b"\\ud800").replace(b"\\ue000", b"\\ud800")


def _damage(body: Any, path: tuple[Any, ...], rng: random.Random) -> None:
    *upper, last = path
    for name in upper:
        body = body[name]
    match rng.choice(["replace", "remove", "add", "twice", "move"]):
        case "replace":
            body[last] = copy.deepcopy(rng.choice(JUNK))
        case "remove":
            del body[last]
        case "add" if isinstance(body, dict):
            body[rng.choice(["role", "content", "type", "text", "id", "name", "parts", "output", "x-unknown"])] = (
                copy.deepcopy(rng.choice(JUNK))
            )
        case "twice" if isinstance(body, list):
            body.insert(rng.randrange(len(body) + 1), copy.deepcopy(body[last]))
        case "move" if isinstance(body, list):
            body.append(body.pop(last))
        case _:
            body[last] = [body[last]]


def _cut(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + rng.randbytes(rng.randint(0, 4)) + raw[at + rng.randint(0, 9) :]


class Campaign:
    """One API's cases, against one pager."""

    def __init__(self, spelling: Spelling, model: str, pager: Pager, home: Path) -> None:
        self.spelling, self.model, self.pager = spelling, model, pager
        self.row = Row(spelling.api.NAME)
        self.pages: dict[str, str] = {}
        given = {name: default for name, (default, _) in OPTIONS.items()}
        self.settings = read({**given, "mmu_home": str(home)}, {})
        self.now = 1_000_000.0

    async def run(self, cases: int, rng: random.Random) -> None:
        """Play sessions until there were so many damaged requests. Raises Broken."""
        while True:
            style = rng.randrange(8)
            for body, idle in session(self.spelling, self.model, style, rng):
                self.now += idle
                await self.case(spell(body, style), whole=True)
                for _ in range(DAMAGED):
                    if self.row.cases == cases:
                        return
                    self.row.cases += 1
                    await self.case(damaged(body, style, rng), whole=False)
            self.now += PAUSE

    async def case(self, raw: bytes, *, whole: bool) -> None:
        api = self.spelling.api
        headers = {"authorization": "Bearer key"}
        try:
            call, sent = await self.pager.handle(
                api, raw, headers, self.now, self.settings, path=self.spelling.path, can_relay=True
            )
        except PassThrough as reason:
            if whole:
                raise Broken(f"an undamaged request passed through: {reason}", raw) from None
            self.row.ends[str(reason)] += 1
            return
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}\n{traceback.format_exc()}", raw) from error
        self.pages.update((page.id, page.text) for page in call.plan.pages)
        back = restore(api.parse(sent, path=self.spelling.path), call.plan.splices, self.pages)
        if back.encode("utf-8") != raw:
            raise Broken("the splices taken back do not give the client's bytes", raw)
        if not whole:
            self.row.ends["rewritten" if sent != raw else "read"] += 1


async def campaign(spelling: Spelling, model: str, cases: int, seed: int) -> Row:
    """Cases of one API. Raises Broken."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        hierarchy = await Hierarchy.open(f"sqlite:///{home / 'fuzz.db'}")
        metrics = Metrics()
        try:
            one = Campaign(spelling, model, Pager(Keeper(hierarchy), b"k" * 32, metrics, Counter()), home)
            await one.run(cases, random.Random(f"{seed} {spelling.api.NAME}"))
        finally:
            await hierarchy.close()
        for name in ("mmu_failures_total", "mmu_broken_rules_total"):
            if metrics.value(name):
                one.row.ends[name] = int(metrics.value(name))
        return one.row


def table(rows: Sequence[Row]) -> str:
    ends = sorted({end for row in rows for end in row.ends})
    out = ["| API | cases | " + " | ".join(ends) + " |", "|---|" + "---|" * (len(ends) + 1)]
    out += [f"| {row.api} | {row.cases:,} | " + " | ".join(f"{row.ends[end]:,}" for end in ends) + " |" for row in rows]
    return "\n".join(out)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="damaged requests in all (default: 20000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--api", help=f"only one of {', '.join(spelling().api.NAME for spelling, _ in SPELLINGS)}")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # that thousands are not understood is the point
    chosen = [(spelling(), model) for spelling, model in SPELLINGS]
    chosen = [each for each in chosen if options.api in (None, each[0].api.NAME)]
    if not chosen:
        parser.error(f"there is no API {options.api!r}")
    rows: list[Row] = []
    for spelling, model in chosen:
        print(f"{spelling.api.NAME} ...", file=sys.stderr)
        try:
            rows.append(asyncio.run(campaign(spelling, model, -(-options.cases // len(chosen)), options.seed)))
        except Broken as broken:
            said, raw = broken.args
            with tempfile.NamedTemporaryFile("wb", prefix="mitmmu-fuzz-", suffix=".json", delete=False) as kept:
                kept.write(raw)
            print(f"{spelling.api.NAME}: {said}; the request is in {kept.name}")
            return 1
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
