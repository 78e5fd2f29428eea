"""The program mitmdump, begun from a process that has imported it already.

Most of what a proxy does when it starts is to import, and tests start hundreds. Here a server that has done so once is
forked for each of them. From there on it is the command: its arguments, its own process, signals and all.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.harness.imported"])


class Forked:
    """A process as `subprocess.Popen` shows one: `mitmdump` with these words, in a folder, its output behind what is in
    the log."""

    def __init__(self, command: Sequence[str], folder: Path, log: Path) -> None:
        self._process: ForkServerProcess = _SERVER.Process(
            target=_run, args=(list(command), str(folder), str(log)), daemon=True
        )
        with _nothing_of_ours():
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, signal: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("mitmdump", timeout or 0.0)
        return self._process.exitcode


@contextmanager
def _nothing_of_ours() -> Iterator[None]:
    """Each process that `multiprocessing` begins imports the program's main module anew, which takes seconds where
    that is a benchmark. Nothing of it is wanted there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run(command: list[str], folder: str, log: str) -> None:
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for held, given in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(held, given)
    sys.argv = list(command)
    from mitmproxy.tools.main import mitmdump

    status = mitmdump()
    sys.stdout.flush()
    os._exit(status or 0)
