"""`mitmmu up`: several proxies behind one port of one machine.

Python runs on one core, and so does a proxy. Here every process accepts connections at the same port (SO_REUSEPORT: the
kernel gives each new connection to one of them), and all share the store, so it does not matter which of them an agent
reaches. What each counts is its own, and is told at a port of its own (`mmu_watch`).

A process that ends is started again, later and later if it keeps ending. One that will not start at all, for an option
that is wrong or a port that is taken, ends everything.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType

from addon.cli import certificate

SOON = 60.0
"""Seconds within which a process that ends has not lasted."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before it is started again, the first time and on."""
GOODBYE = 10.0
"""Seconds for a process to write what it holds."""


@dataclass(slots=True)
class Worker:
    """A proxy under supervision."""

    port: int
    """Its own."""
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    due: float = 0.0
    """When it may be started again, by the monotonic clock."""
    ended: int = 0
    """How often in a row, each time soon after it had begun."""
    served: bool = False
    """Whether it has ever come up."""

    def start(self, now: float) -> None:
        self.began = now
        self.process = subprocess.Popen(self.command)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="mitmmu up",
        allow_abbrev=False,  # a word of mitmdump's must not be taken for one of these
        description="Several proxies behind one port, sharing one store. Other arguments are mitmdump's own.",
    )
    usual = max(1, min(8, os.cpu_count() or 1))
    made.add_argument("--processes", type=int, default=usual, metavar="N", help=f"how many (here: {usual})")
    made.add_argument("-p", "--listen-port", type=int, default=8080, metavar="PORT", help="the shared port (8080)")
    made.add_argument(
        "--listen-host", default="127.0.0.1", metavar="HOST", help="where it is reachable (127.0.0.1: this machine)"
    )
    made.add_argument(
        "--own-ports",
        type=int,
        metavar="PORT",
        help="the first of the ports at which each process tells about itself (default: behind the shared one)",
    )
    return made


def workers(processes: int, host: str, port: int, first: int, rest: Sequence[str]) -> list[Worker]:
    """What is to be run; `first` is the port at which the first of them tells about itself."""
    made = []
    for own in range(first, first + processes):
        at = ["--listen-host", host, "--listen-port", str(port), "--set", f"mmu_watch=127.0.0.1:{own}"]
        made.append(Worker(own, [sys.executable, "-m", "addon.cli.worker", *at, *rest]))
    return made


def main(argv: Sequence[str]) -> None:
    """Run until told to stop. Exits with 2 for what cannot be run, with the status of a process that does not start."""
    asked, rest = parser().parse_known_args(list(argv))
    if asked.processes < 1:
        parser().error("--processes: at least one")
    first = asked.own_ports or asked.listen_port + 1
    with ExitStack() as held:
        for port in (asked.listen_port, *range(first, first + asked.processes)):
            try:
                held.enter_context(reserved("127.0.0.1" if port != asked.listen_port else asked.listen_host, port))
            except OSError as error:
                parser().error(f"port {port} is taken ({error.strerror})")
    certificate.make(certificate.folder(rest))  # before several processes find that there is none
    crew = workers(asked.processes, asked.listen_host, asked.listen_port, first, rest)
    shared, last = f"{asked.listen_host}:{asked.listen_port}", first + asked.processes - 1
    print(f"mitmmu: {asked.processes} processes at {shared}, and the /metrics of each at {first} to {last}", flush=True)
    sys.exit(supervise(crew))


def reserved(host: str, port: int) -> socket.socket:
    """A socket that has a port for itself. OSError where somebody else has it."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def supervise(crew: Sequence[Worker]) -> int:
    """Keep them running; the status to exit with, when it is over."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    status = 0
    for worker in crew:
        worker.start(time.monotonic())
    while not stopping:
        time.sleep(0.1)
        now = time.monotonic()
        for worker in crew:
            worker.served = worker.served or _serves(worker.port)
            code = _ended(worker, now)
            if code and not worker.served:
                stopping, status = True, max(code, 1)
                break
    for worker in crew:
        if worker.process is not None:
            worker.process.terminate()
    deadline = time.monotonic() + GOODBYE
    for worker in crew:
        if worker.process is not None:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
    return status


def _serves(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _ended(worker: Worker, now: float) -> int | None:
    """Start a worker again when it is time; the code with which it has just ended."""
    if worker.process is None:
        if now >= worker.due:
            worker.start(now)
        return None
    code = worker.process.poll()
    if code is None:
        return None
    worker.ended = worker.ended + 1 if now - worker.began < SOON else 1
    pause = PAUSES[min(worker.ended, len(PAUSES)) - 1]
    worker.process, worker.due = None, now + pause
    print(f"mitmmu: the process at {worker.port} ended ({code}); it is started again in {pause:g} s", flush=True)
    return code
