"""A real mitmdump in a process of its own, on free loopback ports, with all its state in one folder."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.forked import Forked

HERE = Path(__file__).resolve().parent
ADDON = HERE.parent.parent / "addon" / "mitmmu.py"
SITE = "mitmmu.local"
PATIENCE = 30.0


class NotReady(RuntimeError):
    """The proxy did not come up; the text ends with the tail of its log. `status`: its exit code, None if it ran on."""

    def __init__(self, text: str, status: int | None) -> None:
        super().__init__(text)
        self.status = status


class Mitmdump:
    """`with Mitmdump(...) as proxy:` a running proxy, ready to take requests. Raises NotReady.

    `options`: `--set` names and values. `target`: "" for a regular proxy, else the URL a reverse proxy stands before;
    its port is then `port`, and the proxy's own pages are reached through a second, regular listener `site_port`.
    `through`: the URL of another proxy that everything goes through.
    `redirect_to`: HOST:PORT that the providers' names lead to. `addon`: None for a bare mitmdump.
    `folder`: where state and log lie; a temporary one, removed at the end, when None. `forked`: it begins where all is
    imported already, in a third of the time.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        target: str = "",
        through: str = "",
        redirect_to: str = "",
        addon: Path | None = ADDON,
        folder: Path | None = None,
        scripts: Sequence[Path] = (),
        forked: bool = False,
    ) -> None:
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mitmdump-"))
        self.confdir, self.home = self.folder / "confdir", self.folder / "home"
        self.port, other = _free_ports(2)
        self.site_port = other if target else self.port
        self.addon = addon
        self._log, self._ready = self.folder / "mitmdump.log", self.folder / "ready"
        self._forked = forked
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self.killed = False
        """Whether it was ever ended without a flush, so that what it had not written yet is lost."""
        self.values = {
            "confdir": str(self.confdir),
            "ready_file": str(self._ready),
            "redirect_to": redirect_to,
            "ssl_insecure": "true",
            **({"mmu_home": str(self.home)} if addon else {}),
            **(options or {}),
        }
        modes = [f"reverse:{target}@127.0.0.1:{self.port}"] if target else []
        modes.append(f"upstream:{through}@127.0.0.1:{self.port}" if through else f"regular@127.0.0.1:{self.site_port}")
        loaded = [*([addon] if addon else []), *scripts, HERE / "redirect.py", HERE / "ready.py"]
        self._command = [str(Path(sys.executable).with_name("mitmdump")), "--set", "flow_detail=1"]
        self._command += [word for mode in modes for word in ("--mode", mode)]
        self._command += [word for script in loaded for word in ("-s", str(script))]
        self._command += [word for pair in self.values.items() for word in ("--set", "=".join(pair))]

    @property
    def url(self) -> str:
        """The proxy's own address: the proxy to use, or in reverse mode the base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.confdir / "mitmproxy-ca-cert.pem"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the proxy is not running")
        return self._process.pid

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
            self._end(signal.SIGKILL)  # half a second sooner than a goodbye, which is `stop`
        finally:
            self._remove()

    def start(self, *, healthy: bool = True) -> None:
        """Starts the process and waits until it is ready, mitmmu's own health included unless `healthy` is False.
        Raises NotReady."""
        self._ready.unlink(missing_ok=True)
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._process = self._begun()
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready(healthy):
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                self.kill()
                why = "took too long to start" if status is None else f"left with status {status}"
                raise NotReady(f"mitmdump {why}:\n{self.log_text()[-3000:]}", status)
            time.sleep(0.05)

    def _begun(self) -> subprocess.Popen[bytes] | Forked:
        if self._forked:
            return Forked(self._command, self.folder, self._log)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        self.killed = True
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that takes more than ten seconds."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Comes back on the same ports and folders, after `kill` or `stop` or from a running state. Raises NotReady."""
        self.stop()
        self.start()

    def log_text(self) -> str:
        """Everything the proxy printed, over all its lives."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def site(self, path: str) -> tuple[int, str]:
        """GETs one of the proxy's own pages through the proxy: status and text. Raises OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.site_port, timeout=10)
        try:
            connection.request("GET", f"http://{SITE}{path}", headers={"host": SITE})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """mitmmu's counters: full series name (labels included) -> value, and each bare name -> sum of its series.
        Raises RuntimeError when the page is refused."""
        status, text = self.site("/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics answered {status}: {text[:200]}")
        out: dict[str, float] = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                bare = series.partition("{")[0]
                out[bare] = out.get(bare, 0.0) + float(value)
                if bare != series:
                    out[series] = float(value)
        return out

    def _is_ready(self, healthy: bool) -> bool:
        if not self._ready.exists():
            return False
        try:
            if self.addon is not None and healthy:
                return self.site("/healthz")[0] == 200
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _remove(self) -> None:
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(int(listener.getsockname()[1]))
        return found
