"""`mitmmu rekey`: encrypts a store under another key, for the first time, or no longer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from addon.cli import stores
from addon.cli.stores import counted

USAGE = f"""\
mitmmu rekey: encrypts everything in the store with the first of the keys that are given.

  --off             decrypt everything instead
{stores.WHICH}
To begin: make a key (umask 077; openssl rand -base64 32 > FILE), restart the proxy with --set mmu_key_file=FILE, and
run this. To rotate: put the new key before the old one, restart the proxy, run this, and take the old key away. To end:
stop the proxy, run this with --off, and start it without the key.

It goes on where it was interrupted. In SQLite nothing of what was there before is left in the file; in Postgres, VACUUM
FULL sees to that. Copies and backups are yours to look after.
"""


def main(given: Sequence[str]) -> None:
    """Do it. `given`: the arguments after `rekey`."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = stores.parser("rekey")
    asked.add_argument("--off", action="store_true")
    options = asked.parse_args(given)

    from storage import engine, rekey
    from storage.crypt import NONE

    with stores.opened(asked, options) as store:
        if not store.keys:
            asked.error("no key is given: set MITMMU_KEY, or name a file with --key-file")
        progress = stores.Said("mitmmu rekey")
        to = NONE if options.off else store.keys
        changed = rekey.run(
            store.engine, store.keys, to, time.time(), lambda done, total: progress.say(f"{done:,} of {total:,} rows")
        )
        progress.end()
        how = f"encrypted with key {to.first}" if to else "decrypted"
        print(f"Everything in the store is {how} now; {counted(changed, 'row')} had to be written.")
        try:
            engine.rewrite(store.engine)
        except sqlite3.Error as error:
            asked.exit(
                1,
                f"{asked.prog}: the file could not be written anew ({error}), so traces of what was there before may "
                "be left in it. Stop the proxy and run this again.\n",
            )
