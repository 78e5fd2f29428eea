"""One of several proxies at one port: `python -m addon.cli.worker` with mitmdump's arguments. See `up`."""

from __future__ import annotations

import asyncio
from functools import partial

from addon.cli import start


def main(argv: list[str]) -> None:
    """mitmproxy has no option for it, so every server that this process starts shares its port."""
    asyncio.start_server = partial(asyncio.start_server, reuse_port=True)
    start(argv)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
