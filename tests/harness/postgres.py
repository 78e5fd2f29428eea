"""A real Postgres in a temporary folder, on a free port of loopback, with an empty place in it for whoever asks.

Everything it is given is as a careful administrator would have it: a role that is no superuser, a password with signs
that a URL must escape, and a collation that is not that of C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.harness.along import end_with_us

ROLE = "mitmmu"
PASSWORD = "s3cret/with:signs@and%more"
PATIENCE = 30.0
MISSING = "no Postgres to test with: install postgresql (Debian: apt-get install postgresql) and psycopg[binary]"

_numbers = count()


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest there is; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: float(each.parts[-3]))
    first = shutil.which("initdb")
    candidates = [*reversed(found), *([Path(first).resolve()] if first else [])]
    return next((each.parent for each in candidates if (each.parent / "postgres").exists()), None)


class Postgres:
    """`with Postgres() as server:` running. RuntimeError where it cannot be started."""

    def __init__(self) -> None:
        where = binaries()
        if where is None:
            raise RuntimeError(MISSING)
        self._binaries = where
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        # it refuses to run as root
        self._as: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if _root() else {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postgres:
        try:
            self._make()
            self.start()
            with _connected(self._url("postgres", "postgres")) as connection:
                connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'".encode())
                connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}".encode())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _make(self) -> None:
        if self._as:
            shutil.chown(self.folder, "nobody", "nogroup")
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # in a folder that nobody else may enter
        command: list[str | Path] = [
            self._binaries / "initdb",
            "-D",
            self.folder / "data",
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
        ]
        command += [f"--pwfile={secret}", "-E", "UTF8", "--no-sync", "--no-instructions"]
        command += ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"]
        made = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60, **self._as)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")

    def start(self) -> None:
        """Unless it runs already."""
        if self._process is not None:
            return
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "max_connections": 60,
            # processes are killed here, not machines: what was written is there again, synced or not
            "fsync": "off",
        }
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_us(signal.SIGQUIT),
                **self._as,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with _connected(self._url("postgres", "postgres")):
                    return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / "log").read_text("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"Postgres does not come up: {error}\n{said}") from error
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, connections and all, but with its books in order."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, to it and to the processes that it has started."""
        assert self._process is not None
        children = _children(self._process.pid)
        self._signal(signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither answers nor goes away."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # one that served a connection may have ended
                    os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def empty(self) -> str:
        """The URL of a place in the database where nothing is yet: a schema, for a database takes a quarter of a second
        to make and as long to remove."""
        name = f"t{next(_numbers)}"
        with self.connected() as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.url}?options=-csearch_path%3D{name}"

    @property
    def url(self) -> str:
        return self._url(ROLE, ROLE)

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection that commits each statement. OSError where there is none."""
        with _connected(self.url) as connection:
            yield connection

    def _signal(self, which: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(which)
            process.wait(PATIENCE)

    def _end(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Any]:
    connection = connect(url)
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def connect(url: str) -> Any:
    """A connection of psycopg. OSError where there is none."""
    import psycopg

    try:
        return psycopg.connect(url, connect_timeout=20)
    except psycopg.OperationalError as error:
        raise OSError(str(error)) from error


def _root() -> bool:
    return os.geteuid() == 0


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]
