"""`mitmmu replay`: what mitmmu would have saved on recorded agents."""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Sequence
from functools import partial

from zstandard import ZstdError

from addon import vocabulary
from addon.audit import replay_report, sources
from addon.audit.begun import in_time
from addon.audit.elsewhere import Elsewhere
from addon.audit.replayed import Outcome, replay
from addon.cli import recordings
from addon.mmu.tokens import Counter
from addon.wire.scan import Malformed

FIFO = "fifo:4:500"
"""The published age rule, for comparison."""

USAGE = f"""\
mitmmu replay: what mitmmu would have saved on what your agents did. Puts recorded requests through its planner and a
simulated prompt cache. Reads recordings, changes nothing, needs no network.

  ./run replay [PATH...]

{recordings.WHICH}  --policy NAME   auto (default), or fifo:AGE:BYTES

Beside it stand what the same requests cost untouched, what they would have cost under the published age rule
({FIFO}), and by hindsight: with every result gone after its last use and no tool that is never called, at no cost.
Nobody knows that much; what is cut short while it is still in use (excerpts, stubs) can go below it all the same.

Recordings are read in the order of their times, and what a session shows is known to those after it, as in the proxy:
which tools are used, and for how long sessions go on. So give it all that you have.

Record without mitmmu between. Transcripts hold neither system prompt nor tools; the weight of both is taken from the
usage that they report, and tools stay as they are there: no stubs, and no excerpts, which need the recall tool. Flow
files hold all of it, bodies alone no times: there no cache ever expires.
"""


NOT_UNDERSTOOD = (Malformed, LookupError, ValueError, TypeError, AttributeError, RecursionError, ZstdError)
"""What a recording that nobody thought of may end in. It must not cost the others."""


def _say(progress: recordings.Progress, whole: int, through: int) -> None:
    progress.say(f", request {through} of {whole}")


def main(given: Sequence[str]) -> None:
    """Print the report. `given`: the arguments after `replay`. Exits with 2 where there is nothing to read."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = recordings.parser("replay")
    asked.add_argument("--policy", default="auto", metavar="NAME")
    options = asked.parse_args(given)
    chosen = {name: recordings.settings(asked, mmu_policy=name).policy for name in (options.policy, FIFO)}
    files = in_time(recordings.found(asked, options))
    price = recordings.prices(asked, options)

    counter = Counter(vocabulary.load())
    skipped: Tally[str] = Tally()
    elsewhere = {name: Elsewhere() for name in chosen}
    total, rows = Outcome(), list[replay_report.Row]()
    progress = recordings.Progress("mitmmu replay", files)
    for session in sources.Sources(counter, skipped, progress.read, keep=True).sessions(files):
        through = partial(_say, progress, session.requests)
        try:
            outcome = replay(session, counter, chosen, price, through, elsewhere)
        except NOT_UNDERSTOOD:
            skipped["sessions not understood"] += 1
            continue
        total.add(outcome)
        rows.append(replay_report.Row(session.name, session.client, session.declared, outcome))
    progress.end()
    if not rows:
        recordings.nothing(asked, skipped)
    if options.json:
        print(json.dumps(replay_report.report(total, rows, options.policy, skipped), indent=1))
    else:
        print(replay_report.table(total, rows, options.policy, FIFO, options.top, skipped), end="")
