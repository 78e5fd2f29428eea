"""`mitmmu mcp` as a client starts it: a process, spoken to over pipes, beside a proxy or alone."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.e2e.model import Model, evicted, output
from tests.e2e.test_pages import ID, TEXT, fill
from tests.e2e.world import world

ROOT = Path(__file__).resolve().parents[2]
START = [sys.executable, "-c", "from addon.cli import main; main()", "mcp"]


class Client:
    """What a client of the protocol does."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.stdin: IO[bytes] = process.stdin
        self.stdout: IO[bytes] = process.stdout
        self.asked = 0

    def ask(self, method: str, **params: Any) -> Any:
        self.asked += 1
        self.send({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params})
        said = self.hear()
        assert (said["jsonrpc"], said["id"]) == ("2.0", self.asked)
        return said["result"]

    def send(self, message: Any) -> None:
        self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def hear(self) -> Any:
        return json.loads(self.stdout.readline())

    def call(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """What a tool says, and whether it failed."""
        result = self.ask("tools/call", name=tool, arguments=arguments)
        [content] = result["content"]
        assert content["type"] == "text"
        return content["text"], result["isError"]

    def end(self) -> tuple[int, bytes]:
        """End of input: exit code, and what else was said on stdout."""
        self.stdin.close()
        rest = self.stdout.read()
        return self.process.wait(20), rest


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[Client]:
    """A server, which must end well and have said nothing but its answers."""
    process = subprocess.Popen(
        [*START, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        client = Client(process)
        yield client
        assert client.end() == (0, b"")
    finally:
        process.kill()
        process.wait()


def test_a_session(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    with serving("--home", str(tmp_path)) as client:
        hello = client.ask("initialize", protocolVersion="2024-11-05", capabilities={}, clientInfo={"name": "test"})
        assert (hello["protocolVersion"], hello["serverInfo"]["name"]) == ("2024-11-05", "mitmmu")
        client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert [tool["name"] for tool in client.ask("tools/list")["tools"]] == ["recall", "search", "stats"]
        assert client.call("recall", page=ID) == (TEXT, False)
        assert client.call("recall", page=ID, lines="2-3") == (
            "2\tstep 1 fine, naïvely\n3\tstep 2 fine, naïvely",
            False,
        )
        found, failed = client.call("search", query="disk fire")
        assert (found.split("  ")[0], failed) == (ID, False)
        assert client.call("stats")[0].startswith("1 pages of")
        text, failed = client.call("recall", page="cd" * 12)
        assert ("There is no page" in text, failed) == (True, True)
        client.stdin.write(b"{nonsense\n\n")
        client.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2, "method": "x"}])
        assert client.hear()["error"]["code"] == -32700
        assert [one["id"] for one in client.hear()] == [1, 2]


def test_what_a_proxy_stores_is_had_while_it_runs_and_after(tmp_path: Path) -> None:
    with world(tmp_path) as there, serving("--store", f"sqlite:///{there.proxy.home / 'mmu.db'}") as client:
        assert client.call("stats")[0].startswith("0 pages")
        page = evicted(Model(there, "claude-opus-4-8"))
        assert client.call("recall", page=f"[mmu page {page}: Bash make 0]") == (output(0), False)
        there.proxy.kill()
        assert "Bash make 5" in client.call("search", query="make output 5")[0]


def test_the_store_is_where_the_proxy_has_it(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "mitmmu"))
    with serving(XDG_STATE_HOME=str(tmp_path)) as client:
        assert client.call("recall", page=ID) == (TEXT, False)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with serving("--home", str(tmp_path / "none")) as client:
        text, failed = client.call("stats")
        assert (str(tmp_path / "none" / "mmu.db") in text, failed) == (True, True)
        assert not (tmp_path / "none").exists()
        asyncio.run(fill(tmp_path / "none"))
        assert client.call("recall", page=ID) == (TEXT, False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "mmu.db").write_bytes(b"this is no database" * 1000)
    with serving("--home", str(tmp_path / "broken")) as client:
        text, failed = client.call("recall", page=ID)
        assert ("Run the original call again" in text, failed) == (True, True)


def test_a_call_that_waits_holds_up_nobody(tmp_path: Path) -> None:
    """A search may have a whole store to index first; meanwhile the client asks whether the server lives."""
    asyncio.run(fill(tmp_path))
    slow = "from storage import search\nimport time\nwas = search.index\n"
    slow += "search.index = lambda *a: (print('noise'), time.sleep(1), was(*a))\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    with serving("--home", str(tmp_path), PYTHONPATH=f"{tmp_path}:{ROOT}") as client:
        client.send({"jsonrpc": "2.0", "id": "slow", "method": "tools/call",
                     "params": {"name": "search", "arguments": {"query": "disk"}}})  # fmt: skip
        client.send({"jsonrpc": "2.0", "id": "ping", "method": "ping"})
        assert [client.hear()["id"] for _ in range(2)] == ["ping", "slow"]
        # what was asked before the end of input is still answered
        client.send({"jsonrpc": "2.0", "id": "last", "method": "tools/call",
                     "params": {"name": "search", "arguments": {"query": "disk"}}})  # fmt: skip
        client.stdin.close()
        assert client.hear()["id"] == "last"


def test_a_client_that_does_not_listen_ends_it_too() -> None:
    with serving() as client:
        client.ask("ping")
        client.stdout.close()
        client.send({"jsonrpc": "2.0", "id": 2, "method": "ping"})
        client.stdin.close()
        assert client.process.wait(20) == 0
        client.stdout = io.BytesIO()


@pytest.mark.parametrize("arguments", [["--hom", "/x"], ["--store", "mysql://x/y"], ["--home", __file__]])
def test_wrong_arguments_end_it_with_a_message(arguments: list[str]) -> None:
    done = subprocess.run([*START, *arguments], cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"mitmmu mcp: error" in done.stderr


def test_help_teaches_and_the_start_is_light() -> None:
    done = subprocess.run([*START, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert "claude mcp add mitmmu -- mitmmu mcp" in done.stdout
    [config] = [line for line in done.stdout.splitlines() if line.strip().startswith("{")]
    assert json.loads(config)["mcpServers"]["mitmmu"] == {"command": "mitmmu", "args": ["mcp"]}
    light = "import sys, addon.cli.mcp; assert not {'mitmproxy', 'sqlalchemy', 'tiktoken'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", light], cwd=ROOT, check=True, timeout=20)
