"""`mitmmu forget`: deletes what is kept of a project, of a conversation, or of everything."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from addon.cli import stores
from addon.cli.stores import counted, megabytes

if TYPE_CHECKING:
    from argparse import ArgumentParser

USAGE = f"""\
mitmmu forget: deletes what is kept, at once and for good.

  --project PATH      all conversations of a project (the folder that the agent names)
  --conversation ID   one conversation (its id: http://mitmmu.local/api/ledger?by=conversation)
  --all               everything in the store, also where its key is lost
  --yes               do not ask
{stores.WHICH}{stores.REDIS}
Deleted are the conversations, every page that no other conversation needs, their rows of the ledger (what they cost is
forgotten with them), and with a project what was learned of its tools. What is deleted is overwritten in the database's
file and its journal. A running proxy may hold pages in memory (or in Redis) until it is restarted, unless it uses the
Redis that --redis names. An agent that goes on with such a conversation begins a new one, as far as mitmmu is
concerned: its transcript goes out as it is.
"""
_BATCH = 8


def main(given: Sequence[str]) -> None:
    """Do it. `given`: the arguments after `forget`. Exits with 1 where there is nothing of the kind."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    asked = stores.parser("forget")
    what = asked.add_mutually_exclusive_group(required=True)
    what.add_argument("--project", metavar="PATH")
    what.add_argument("--conversation", metavar="ID")
    what.add_argument("--all", action="store_true")
    asked.add_argument("--redis", default="")
    asked.add_argument("--yes", action="store_true")
    options = asked.parse_args(given)
    if not options.all and not (options.project or options.conversation):
        asked.error("name a project or a conversation")

    from storage import engine, retention, search

    with stores.opened(asked, options, blind=options.all) as store:
        if options.all:
            _confirm(asked, options.yes, f"Everything in {engine.shown(store.url)} will be deleted.")
            swept = engine.transact(store.engine, retention.forget_all)
            store.gone(swept, all=True)
        else:
            project, ids = options.project or "", list[str]()
            with store.engine.connect() as connection:
                if options.conversation:
                    ids = retention.concerned(connection, conversation=options.conversation)
                else:
                    for project in dict.fromkeys((options.project, str(Path(options.project).expanduser().resolve()))):
                        ids = retention.concerned(connection, project=project)
                        if ids:
                            break
            if not ids:
                asked.exit(1, f"{asked.prog}: there is no conversation of that {'project' if project else 'id'}\n")
            of = f" of {project}" if project else ""
            _confirm(asked, options.yes, f"{counted(len(ids), 'conversation')}{of} will be deleted.")
            swept, progress = retention.Swept(), stores.Said("mitmmu forget")
            for start in range(0, len(ids), _BATCH):
                began = time.monotonic()
                found = engine.transact(store.engine, partial(retention.forget, ids=ids[start : start + _BATCH]))
                store.gone(found)
                swept.add(found)
                progress.say(f"{start + _BATCH} of {counted(len(ids), 'conversation')}")
                time.sleep(time.monotonic() - began)
            progress.end()
            if project:
                engine.transact(store.engine, partial(retention.forget_project, project=project))
            engine.transact(store.engine, search.merge)
        store.shrink()
    print(
        f"{counted(swept.conversations, 'conversation')} and {counted(swept.pages, 'page')} "
        f"({megabytes(swept.bytes)}) deleted."
    )


def _confirm(asked: ArgumentParser, yes: bool, what: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        asked.error(f"{what} To do it without being asked: --yes")
    print(f"{what} Go on? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        asked.exit(1, "Nothing was deleted.\n")
