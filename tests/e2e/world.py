"""A world for end-to-end tests: the strict provider, a real mitmdump with mitmmu, and the agent's way through it."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.agent.loop import Agent, Exchange
from tests.agent.request import Client
from tests.agent.sdk import Sdk
from tests.agent.session import Session
from tests.agent.transport import Plain, Transport
from tests.agent.workspace import Workspace
from tests.e2e import bill
from tests.harness import Mitmdump
from tests.upstream import Record, Upstream

HOST = "api.anthropic.com"
NAME = f"https://{HOST}"
MESSAGES = "/v1/messages"

type Mode = Literal["regular", "reverse", "upstream"]
"""`upstream`: a regular proxy that itself goes through another one."""


@dataclass(slots=True)
class World:
    """Everything running."""

    up: Upstream
    proxy: Mitmdump
    mode: Mode
    folder: Path
    agents: int = 0
    beside: set[str] = field(default_factory=set)
    """Labels of the agents that do not go through the proxy."""

    def agent(self, session: Session, *, plain: bool = False, retries: int = 2, **client: Any) -> Agent:
        """An agent behind the proxy, with the SDK or (`plain`) the standard library under it."""
        transport: Transport
        if self.mode == "reverse":
            transport = Plain(self.proxy.url) if plain else Sdk(self.proxy.url, retries=retries)
        elif plain:
            transport = Plain(NAME, proxy=self.proxy.url, ca=self.proxy.ca_file)
        else:
            transport = Sdk(NAME, proxy=self.proxy.url, ca=self.proxy.ca_file, retries=retries)
        return self._agent(session, transport, client)

    def straight(self, session: Session, **client: Any) -> Agent:
        """An agent with nothing between it and the provider."""
        agent = self._agent(session, Plain(self.up.url, ca=self.up.ca_file), client)
        self.beside.add(agent.label)
        return agent

    def _agent(self, session: Session, transport: Transport, client: dict[str, Any]) -> Agent:
        for name, replies in session.scripts.items():
            self.up.script(name, replies)
        label = f"agent-{self.agents}"
        self.agents += 1
        space = self.folder / label
        space.mkdir()
        client = {"thinking": session.thinking, **client}
        return Agent(session, Client(f"session-of-{label}", **client), Workspace(space), transport, label)

    def seen(self, label: str) -> list[Record]:
        """What the provider got from one agent, in order."""
        return [record for record in self.up.log if record.label == label and record.path == MESSAGES]

    def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, *, path: str = MESSAGES, method: str = "POST"
    ) -> tuple[int, bytes]:
        """One request with exactly this body, through the proxy to the provider's real name: status and answer."""
        with self.connection() as connection:
            given = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "test-key"}
            connection.request(method, path, body, given | dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        if self.mode == "reverse":
            connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=20)
        else:
            tls = ssl.create_default_context(cafile=str(self.proxy.ca_file))
            connection = http.client.HTTPSConnection("127.0.0.1", self.proxy.port, timeout=20, context=tls)
            connection.set_tunnel(HOST, 443)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def world(
    folder: Path, mode: Mode = "regular", *, scripts: Sequence[Path] = (), billed: bool = True, **options: str
) -> Iterator[World]:
    """Brings a world up and takes it down again. `options` are mitmmu's, on top of the replay clock; `scripts` are
    loaded behind it. Its ledger must show what the provider has asked for, unless it keeps no books, or was killed:
    a booking is written some two seconds behind its response. `billed` is False where nobody can know the bill."""
    with ExitStack() as running:
        up = running.enter_context(Upstream(tls=True))
        redirect = f"127.0.0.1:{up.port}"
        other = ""
        if mode == "upstream":
            other = running.enter_context(Mitmdump(addon=None, redirect_to=redirect)).url
        proxy = Mitmdump(
            {"mmu_clock": "header", **options},
            target=NAME if mode == "reverse" else "",
            through=other,
            redirect_to="" if other else redirect,
            folder=folder / "proxy",
            scripts=scripts,
            forked=True,
        )
        made = World(up, running.enter_context(proxy), mode, folder)
        yield made
        keeps_books = options.get("mmu_mode", "auto") == "auto"
        if billed and keeps_books and proxy.running and not proxy.killed:
            bill.check(proxy, up.log, made.beside)


def texts(exchanges: list[Exchange]) -> list[str]:
    """What the model said, as the client heard it."""
    return [block["text"] for e in exchanges for block in e.answer.content if block["type"] == "text"]


def blocks(body: bytes) -> list[tuple[str, str]]:
    """The message blocks of a request as (role, JSON), without what clients move about: cache marks, and a string where
    a list of one text was."""
    out: list[tuple[str, str]] = []
    for message in json.loads(body)["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            kept = {key: value for key, value in block.items() if key != "cache_control"}
            out.append((message["role"], json.dumps(kept, sort_keys=True)))
    return out


def head(body: bytes) -> str:
    """Everything of a request that stands before its messages, without the block that changes in every request."""
    parsed = json.loads(body)
    return json.dumps([parsed["tools"], parsed["system"][1:]], sort_keys=True)


def is_prefix(before: bytes, after: bytes) -> bool:
    """Whether all that the provider was sent with `before` stands unchanged at the start of `after`."""
    earlier, later = blocks(before), blocks(after)
    return head(before) == head(after) and later[: len(earlier)] == earlier


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for what the proxy does in its own time. AssertionError after ten seconds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def relays_failed(there: World, times: int) -> None:
    """Wait until so many relays are counted as failed, which the client may know before."""
    until(lambda: there.proxy.metrics().get('mmu_relays_total{result="failed"}') == times, "a failure is not counted")
