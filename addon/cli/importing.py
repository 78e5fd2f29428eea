"""`mitmmu import`: takes in what `mitmmu export` has written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from addon.cli import stores
from addon.cli.export import USAGE
from addon.cli.stores import counted


def main(given: Sequence[str]) -> None:
    """Take the file in. `given`: the arguments after `import`. Exits with 1 for a file that cannot be read."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = stores.parser("import")
    asked.add_argument("file", type=Path, metavar="FILE")
    options = asked.parse_args(given)

    from storage import archive

    try:
        archive.check(options.file)
    except (archive.NotRead, OSError) as error:
        asked.exit(1, f"{asked.prog}: {options.file}: {error}. Nothing was taken in.\n")
    with stores.opened(asked, options, make=True) as store:
        progress = stores.Said("mitmmu import")
        new = archive.read(store.engine, options.file, time.time(), lambda n: progress.say(f"{n:,} records"))
        progress.end()
    print(
        f"{counted(new.get('page', 0), 'page')} and {counted(new.get('conversation', 0), 'conversation')} were new "
        "and have been taken in."
    )
