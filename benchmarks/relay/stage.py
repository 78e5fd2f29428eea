"""The provider and three proxies: plain but streaming, with mitmmu, and with mitmmu but without recall."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from addon.mmu.page import NAME
from benchmarks.relay.client import Proxy
from benchmarks.relay.inside import FILE
from benchmarks.relay.model import SCRIPT, speak
from tests.harness import Mitmdump
from tests.harness.mitmdump import ADDON
from tests.upstream import Upstream

HERE = Path(__file__).resolve().parent
PLAIN, RELAY, OFF = "plain mitmdump", "mitmmu, relay", "mitmmu, recall off"


@dataclass(frozen=True, slots=True)
class Continuation:
    """Milliseconds of the requests that carried responses on, p50, as mitmproxy saw them."""

    requests: int
    connect: float
    """From asking for it to a TCP connection."""
    secure: float
    """The TLS handshake."""
    answer: float
    """From there to the provider's first byte."""


class Stage:
    """`with Stage() as stage:` all running."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mitmmu-relay-")))
            self.up = stack.enter_context(Upstream(tls=True, keep_bodies=8))
            self.up.script(SCRIPT, speak)
            clock = {"mmu_clock": "header"}
            self.dumps: dict[str, Mitmdump] = {}
            for name, options, script in (
                (PLAIN, None, "streaming.py"),
                (RELAY, clock, "inside.py"),
                (OFF, clock | {"mmu_recall": "off"}, ""),
            ):
                self.dumps[name] = stack.enter_context(
                    Mitmdump(
                        options,
                        redirect_to=f"127.0.0.1:{self.up.port}",
                        addon=None if options is None else ADDON,
                        folder=folder / name.replace(" ", "-").replace(",", ""),
                        scripts=[HERE / script] if script else [],
                    )
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def proxies(self) -> Mapping[str, Proxy]:
        return {name: Proxy(dump.port, dump.ca_file) for name, dump in self.dumps.items()}

    def offered(self) -> set[str]:
        """Labels of the last requests that had the tool in them."""
        last = list(self.up.provider.bodies)
        return {one.label for one in last if any(tool["name"] == NAME for tool in json.loads(one.body)["tools"])}

    def continuation(self) -> Continuation:
        seen = self._seen()
        return Continuation(
            requests=len(seen),
            connect=_between(seen, "asked", "connected"),
            secure=_between(seen, "connected", "secured"),
            answer=_between(seen, "secured", "answered"),
        )

    def tasks(self) -> int:
        """How many tasks the relaying proxy had when it last carried a response on."""
        return int(self._seen()[-1]["tasks"])

    def connections(self) -> int:
        """How many connections the provider has when nobody is asking, after a moment for those just closed."""
        time.sleep(0.5)
        return self.up.connections

    def memory(self) -> float | None:
        """MB that the relaying proxy holds, where the system says."""
        try:
            status = Path(f"/proc/{self.dumps[RELAY].pid}/status").read_text("ascii")
        except OSError:
            return None
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def _seen(self) -> list[dict[str, Any]]:
        lines = (self.dumps[RELAY].folder / FILE).read_text("ascii").splitlines()
        return [json.loads(line) for line in lines]


def _between(seen: list[dict[str, Any]], start: str, end: str) -> float:
    return 1000 * median(float(one[end] - one[start]) for one in seen if one[end] and one[start])
