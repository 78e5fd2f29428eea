"""`mitmmu export`: all that is kept, in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from addon.cli import stores
from addon.cli.stores import counted, megabytes

USAGE = f"""\
mitmmu export FILE: writes all that is kept to a file: pages, conversations, the ledger and what was learned.
mitmmu import FILE: takes such a file in. What the store has already stays as it is; a file that is damaged, incomplete
or of a newer version is refused, and then nothing of it is taken in.

{stores.WHICH}
The file is zstd over JSON lines, readable by you alone. It is NOT encrypted, whatever the store is. No key is in it;
the conversations are found again only beside the same tenant.key, so copy that from one state folder to the other.
While a file is taken in, a running proxy cannot store: what is new in a request then goes out as the agent wrote it.
"""


def main(given: Sequence[str]) -> None:
    """Write the file. `given`: the arguments after `export`. Never writes over a file."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = stores.parser("export")
    asked.add_argument("file", type=Path, metavar="FILE")
    options = asked.parse_args(given)
    path: Path = options.file
    if path.exists():
        asked.error(f"{path} is there already")

    from storage import archive, engine
    from storage.crypt import OPTION

    with stores.opened(asked, options) as store:
        reader = engine.reader(store.url).execution_options(**{OPTION: store.keys})
        draft = path.with_name(f"{path.name}.part")
        progress = stores.Said("mitmmu export")
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                counts = archive.write(reader, file, time.time(), lambda n: progress.say(f"{n:,} records"))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
            reader.dispose()
        progress.end()
    print(
        f"{counted(counts.get('page', 0), 'page')} and {counted(counts.get('conversation', 0), 'conversation')} "
        f"written to {path} ({megabytes(path.stat().st_size)}). It is not encrypted."
    )
