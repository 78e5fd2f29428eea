"""`mitmmu mcp`: the kept pages as tools, for any client that speaks the Model Context Protocol over stdio."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, BinaryIO

from addon import keyfile, places
from addon.cli import stores
from addon.recall.mcp import Tools, answered
from addon.recall.shelf import NAME, Shelf
from storage.errors import StoreError

if TYPE_CHECKING:
    from storage.tiers import Hierarchy

USAGE = f"""\
mitmmu mcp: the pages that mitmmu keeps, as MCP tools over stdio. The proxy need not run.

  recall   the exact text of a page by its id, or some of its lines, or what matches a pattern
  search   pages by words
  stats    what is kept

Claude Code, once:

  claude mcp add mitmmu -- mitmmu mcp

Any other client, in its configuration:

  {{"mcpServers": {{"mitmmu": {{"command": "mitmmu", "args": ["mcp"]}}}}}}

`mitmmu` is in .venv/bin of the checkout; where that is not on your PATH, give the whole path, or that of ./run.
It reads every page of the store, of all conversations: offer it only to agents that may see them.

{stores.WHICH}"""


def main(given: Sequence[str]) -> None:
    """Serve on stdin and stdout until stdin ends. `given`: the arguments after `mcp`."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    parser = stores.parser("mcp")
    options = parser.parse_args(given)
    try:
        url = places.store(options.store, places.home(options.home))
        keys = keyfile.store_keys(options.key_file, os.environ)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="mitmmu mcp: %(message)s")
    # The thread that waits for stdin cannot be interrupted; and the store outlives any death of a process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Whatever else may print must not get between the messages.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    sys.stdout = sys.stderr
    asyncio.run(_run(Shelf(_version(), lambda: _open(url, keys)), sys.stdin.buffer, out))


async def _run(shelf: Shelf, lines: BinaryIO, out: BinaryIO) -> None:
    try:
        await serve(shelf, lines, out)
    finally:
        await shelf.close()


async def serve(tools: Tools, lines: BinaryIO, out: BinaryIO) -> None:
    """Answer lines until they end. A call that takes long does not hold up those behind it; `out` is unbuffered."""

    async def answer(line: bytes) -> None:
        said = await answered(line, tools)
        view = memoryview(said or b"")
        try:
            while view:
                view = view[out.write(view) :]
        except BrokenPipeError:
            logging.getLogger(__name__).warning("the client went away before its answer")

    async with asyncio.TaskGroup() as group:
        while line := await asyncio.to_thread(lines.readline):
            if line.strip():
                group.create_task(answer(line))


async def _open(url: str, keys: Sequence[bytes]) -> Hierarchy:
    from storage.crypt import Keys
    from storage.tiers import Hierarchy

    stores.there(url)
    try:
        return await Hierarchy.open(url, keys=Keys(keys))
    except ValueError as error:
        raise StoreError(str(error)) from error


def _version() -> str:
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "unknown"
