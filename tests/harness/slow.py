"""A mitmproxy addon for tests: while a certain file exists, each statement to the database takes two seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader
from sqlalchemy import event
from sqlalchemy.engine import Engine

SECONDS = 2.0


def load(loader: Loader) -> None:
    loader.add_option("slow_while", str, "", "the file")
    event.listen(Engine, "before_cursor_execute", _executing)


def _executing(*_: Any) -> None:
    if Path(ctx.options.slow_while).is_file():
        time.sleep(SECONDS)
