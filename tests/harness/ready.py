"""A mitmproxy addon for tests, loaded last: says in a file that every addon before it is running.

Scripts load while the port is being bound, so an open port alone proves nothing."""

from __future__ import annotations

import os
from pathlib import Path

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader


class Ready:
    def load(self, loader: Loader) -> None:
        loader.add_option("ready_file", str, "", "file to write when running")

    def running(self) -> None:
        Path(ctx.options.ready_file).write_text(str(os.getpid()), "ascii")


addons = [Ready()]
