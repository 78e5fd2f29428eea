"""`mitmmu gc`: deletes what has expired."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from addon.cli import stores
from addon.cli.stores import counted, megabytes

USAGE = f"""\
mitmmu gc: deletes conversations that were not used for a time, and pages that nothing needs any more. The running proxy
does the same by itself, little by little; both may run at once.

  --dry-run         say what would go, and delete nothing
  --keep-days N     the proxy's mmu_keep_days (90); 0 keeps every conversation
{stores.WHICH}{stores.REDIS}
A page goes a day after the last conversation that needs it. Sums of what was billed (the ledger) stay.
"""


def main(given: Sequence[str]) -> None:
    """Do it. `given`: the arguments after `gc`."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = stores.parser("gc")
    asked.add_argument("--redis", default="")
    asked.add_argument("--dry-run", action="store_true")
    asked.add_argument("--keep-days", type=float, default=90.0)
    options = asked.parse_args(given)
    if not 0 <= options.keep_days < 1e6:
        asked.error("--keep-days takes a number of days, or 0 to keep every conversation")

    from storage import engine, retention

    with stores.opened(asked, options) as store:
        if options.dry_run:
            with store.engine.connect() as connection:
                due = retention.due(connection, time.time(), options.keep_days)
            print(
                f"{counted(due.conversations, 'conversation')} would go, and within a day of that "
                f"{counted(due.pages, 'page')} ({megabytes(due.bytes)}). Nothing was deleted."
            )
            return
        size, swept = store.size(), retention.Swept(more=True)
        progress = stores.Said("mitmmu gc")
        while swept.more:
            began = time.monotonic()
            step = partial(retention.step, now=time.time(), days=options.keep_days)
            found = engine.transact(store.engine, step)
            store.gone(found)
            swept.add(found)
            swept.more = found.more
            progress.say(f"{counted(swept.conversations, 'conversation')}, {counted(swept.pages, 'page')}")
            # as long as others have waited, so that they get their turn
            time.sleep(time.monotonic() - began)
        store.shrink()
        progress.end()
        with store.engine.connect() as connection:
            left = retention.due(connection, time.time(), 0)
    print(
        f"{counted(swept.conversations, 'conversation')} and {counted(swept.pages, 'page')} "
        f"({megabytes(swept.bytes)}) deleted; the store takes {megabytes(store.size())}, before {megabytes(size)}."
    )
    if left.pages:
        print(f"{counted(left.pages, 'page')} more ({megabytes(left.bytes)}) will go within a day.")
