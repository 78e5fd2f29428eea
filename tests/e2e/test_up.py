"""Several processes behind one port: agents reach one or another, and one that dies is missed by nobody."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.agent.loop import Exchange
from tests.agent.session import build
from tests.agent.transport import Answer, Plain
from tests.e2e.ledger import read, taken_back
from tests.e2e.world import World, is_prefix, until
from tests.harness import Mitmdump
from tests.harness.mitmdump import HERE
from tests.upstream import Upstream

MITMMU = [sys.executable, "-c", "from addon.cli import main; main()"]
UP = [*MITMMU, "up"]


def in_a_row(count: int) -> list[int]:
    """Free ports, each one above the last."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            ports = [first.getsockname()[1] + n for n in range(count)]
            with suppress(OSError, OverflowError):
                for port in ports[1:]:
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return ports


class Several(Mitmdump):
    """`mitmmu up` in the place of one proxy; it tells about itself at the ports of its processes."""

    def __init__(self, processes: int, redirect_to: str, folder: Path) -> None:
        super().__init__({"mmu_clock": "header", "mmu_policy": "patient"}, redirect_to=redirect_to, folder=folder)
        self.own = in_a_row(processes)
        values = {name: value for name, value in self.values.items() if name != "ready_file"}
        self._command = [*UP, "--processes", str(processes), "--listen-port", str(self.port)]
        self._command += ["--own-ports", str(self.own[0])]
        self._command += ["-s", str(HERE / "redirect.py")]
        self._command += [word for pair in values.items() for word in ("--set", "=".join(pair))]

    def _is_ready(self, healthy: bool) -> bool:
        return all(self._told(port, "/healthz") == "ok\n" for port in self.own)

    def _told(self, port: int, path: str) -> str:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""

    def managed(self) -> list[float]:
        """Requests that each process has managed."""
        lines = [self._told(port, "/metrics").splitlines() for port in self.own]
        return [sum(float(x.rpartition(" ")[2]) for x in some if x.startswith("mmu_managed_total")) for some in lines]

    def processes(self) -> list[int]:
        """Pids of the proxies."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(word) for word in children.split()]


    def replaced(self, pid: int) -> bool:
        """Whether all processes serve again, and none of them is this one."""
        return pid not in self.processes() and self._is_ready(True)


@contextmanager
def several(folder: Path, processes: int) -> Iterator[tuple[World, Several]]:
    with Upstream(tls=True) as up:
        proxy = Several(processes, f"127.0.0.1:{up.port}", folder / "proxy")
        try:
            proxy.start()
            yield World(up, proxy, "regular", folder), proxy
        finally:
            proxy.stop()


class Anew:
    """A connection for each request, which may end at another process; once more where it ends at one that dies."""

    def __init__(self, inner: Plain) -> None:
        self.inner = inner

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.inner.close()
        try:
            return self.inner.send(body, headers)
        except (OSError, http.client.HTTPException):
            self.inner.close()
            return self.inner.send(body, headers)


def test_a_conversation_that_wanders_between_processes_one_of_which_dies(tmp_path: Path) -> None:
    session = build(1, 40)
    with several(tmp_path, 2) as (there, proxy):
        agent = there.agent(session, plain=True)
        assert isinstance(agent.transport, Plain)
        agent.transport = Anew(agent.transport)
        played: list[Exchange] = []
        dead: list[int] = []
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number == 20:
                assert all(count > 0 for count in proxy.managed()), "one process did everything"
                dead += proxy.processes()[:1]
                os.kill(dead[0], signal.SIGKILL)
            if exchange.number == 30:
                until(partial(proxy.replaced, dead[0]), "it was not started again")
        assert there.up.invalid == 0
        assert all(count > 0 for count in proxy.managed()), "one process did everything since"
        seen = [record.body for record in there.seen(agent.label)]
        kept = read(proxy.home, agent.client.session)
    warm = [n for n in range(1, 40) if played[n].at - played[n - 1].at < 300]
    assert [n for n in warm if not is_prefix(seen[n - 1], seen[n])] == []
    assert any(one != exchange.answer.sent for one, exchange in zip(seen, played, strict=True))
    for exchange, body in zip(played, seen, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent


def test_it_says_why_it_does_not_start(tmp_path: Path) -> None:
    confdir = ["--set", f"confdir={tmp_path}"]
    wrong = subprocess.run(
        [*UP, "--processes", "2", "-p", "0", *confdir, "--set", "mmu_policy=never"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert wrong.returncode != 0
    assert "mmu_policy='never'" in wrong.stdout + wrong.stderr
    none = subprocess.run([*UP, "--processes", "0", *confdir], capture_output=True, text=True, timeout=60)
    assert (none.returncode, "at least one" in none.stderr) == (2, True)


def test_the_certificate_is_made_where_mitmproxy_will_look_for_it(tmp_path: Path) -> None:
    command = [*MITMMU, "certificate", "--set", f"confdir={tmp_path}"]
    first, again = (subprocess.run(command, capture_output=True, text=True, timeout=60).stdout for _ in range(2))
    assert first == again == f"{tmp_path / 'mitmproxy-ca-cert.pem'}\n"
    made = (tmp_path / "mitmproxy-ca-cert.pem").read_bytes()
    with Mitmdump({"confdir": str(tmp_path)}, folder=tmp_path / "proxy"):
        assert (tmp_path / "mitmproxy-ca-cert.pem").read_bytes() == made
