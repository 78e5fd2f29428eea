"""`mitmmu audit`: what recorded agents sent to the model that they need not have sent."""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Sequence

from addon import vocabulary
from addon.audit import report, sources, waste
from addon.cli import recordings
from addon.mmu.tokens import Counter

USAGE = f"""\
mitmmu audit: how much of what your agents sent to the model was waste. Reads recordings, changes nothing, needs no
network.

  ./run audit [PATH...]

{recordings.WHICH}
Transcripts hold neither system prompt nor tools. Flow files do. Dollars are by the usage that the provider reported;
without a report they are estimated, and kept apart.
"""


def main(given: Sequence[str]) -> None:
    """Print the report. `given`: the arguments after `audit`. Exits with 2 where there is nothing to read."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = recordings.parser("audit")
    options = asked.parse_args(given)
    files = recordings.found(asked, options)
    price = recordings.prices(asked, options)

    counter = Counter(vocabulary.load())
    skipped: Tally[str] = Tally()
    total, rows = waste.Figures(), list[report.Row]()
    progress = recordings.Progress("mitmmu audit", files)
    for session in sources.Sources(counter, skipped, progress.read).sessions(files):
        figures = waste.measure(session, counter, price)
        total.add(figures)
        rows.append(report.Row(session.name, session.client, figures))
    progress.end()
    if not rows:
        recordings.nothing(asked, skipped)
    rows.sort(key=lambda row: -row.figures.sent)
    if options.json:
        print(json.dumps(report.report(total, rows, skipped), indent=1))
    else:
        print(report.table(total, len(rows), rows[: options.top], skipped), end="")
