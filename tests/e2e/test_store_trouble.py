"""What a disk and a clock can do to a proxy at work: agents go on, what the provider has seen is sent again, and log
and counters tell why nothing new was done."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.agent.session import build
from tests.agent.transport import Answer, Transport
from tests.e2e.ledger import Kept, read, taken_back
from tests.e2e.world import World, is_prefix, world
from tests.harness import slow

TURNS = 32
REFUSED = "mitmmu: the store does not take what is new: "
BEGINS, ENDS = 15, 25
"""Between these requests there is trouble; one of the pauses in which the provider's cache goes cold lies there."""
DAY = 86_400.0


def play(there: World, begin: Callable[[], None], end: Callable[[], None], why: str) -> list[float]:
    """Plays a session with trouble in its midst. Checks what must hold; seconds that each request took."""
    agent = there.agent(build(1, TURNS), retries=0)
    played, took, kept, began = [], [], Kept({}, {}), time.monotonic()
    for exchange in agent.play():
        took.append(time.monotonic() - began)
        played.append(exchange)
        if exchange.number == BEGINS:
            kept = read(there.proxy.home, agent.client.session)
            begin()
        if exchange.number == ENDS:
            end()
        began = time.monotonic()
    bodies = [record.body for record in there.seen(agent.label)]
    assert len(played) == len(bodies) == TURNS
    assert there.up.invalid == 0
    for n in range(BEGINS, ENDS):
        assert taken_back(played[n].answer.sent, bodies[n], kept) == played[n].answer.sent
        assert is_prefix(bodies[n - 1], bodies[n])
    assert any(bodies[n] != played[n].answer.sent for n in range(BEGINS, ENDS))
    metrics = there.proxy.metrics()
    reasons = {series: n for series, n in metrics.items() if series.startswith("mmu_replay_only_total{")}
    assert sum(reasons.values()) >= 5, reasons
    assert why in there.proxy.log_text()
    return took


def test_a_database_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    with world(tmp_path, billed=False, mmu_policy="patient") as there:
        file = there.proxy.home / "mmu.db"

        def damage() -> None:
            with closing(sqlite3.connect(file)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with file.open("r+b") as raw:
                for start in range(4096, file.stat().st_size, 4096):
                    raw.seek(start)
                    flipped = bytes(byte ^ 0xFF for byte in raw.read(64))
                    raw.seek(start)
                    raw.write(flipped)

        why = f"{REFUSED}(sqlite3.DatabaseError) database disk image is malformed"
        play(there, damage, lambda: None, why)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """The folder of a proxy whose state lies on a disk of 64 MiB."""
    home = tmp_path / "proxy" / "home"
    home.mkdir(parents=True, mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", home], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a full disk takes a right to mount: {mounted.stderr.decode()}")
    yield home
    subprocess.run(["umount", "-l", home], check=True)


def test_a_disk_that_is_full(tmp_path: Path, small: Path) -> None:
    with world(tmp_path, billed=False, mmu_policy="patient") as there:

        def fill() -> None:
            with suppress(OSError), (small / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))

        play(there, fill, (small / "filler").unlink, f"{REFUSED}(sqlite3.OperationalError) database or disk is full")
        assert there.proxy.site("/healthz")[0] == 200


def test_a_folder_that_can_only_be_read(tmp_path: Path, small: Path) -> None:
    """Requests pass as they are, log and health page say why, and when it can be written again all is there."""
    with world(tmp_path, billed=False, mmu_policy="patient") as there:
        agent = there.agent(build(1, TURNS), retries=0)
        played = []
        for exchange in agent.play():
            played.append(exchange)
            if exchange.number in (BEGINS, ENDS):
                there.proxy.stop()
                how = "ro" if exchange.number == BEGINS else "rw"
                subprocess.run(["mount", "-o", f"remount,{how}", small], check=True)
                there.proxy.start(healthy=how == "rw")
            if exchange.number == BEGINS + 2:
                assert there.proxy.site("/healthz") == (503, "store not open\n")
        bodies = [record.body for record in there.seen(agent.label)]
        assert there.up.invalid == 0
        assert len(played) == len(bodies) == TURNS
        assert [n for n in range(BEGINS, ENDS) if bodies[n] != played[n].answer.sent] == []
        assert any(bodies[n] != played[n].answer.sent for n in range(ENDS, TURNS))
        assert "the store does not open, so everything passes through" in there.proxy.log_text()


def test_a_store_that_takes_two_seconds_for_everything(tmp_path: Path) -> None:
    lame = tmp_path / "lame"
    options: dict[str, Any] = {"mmu_policy": "patient", "slow_while": str(lame)}
    with world(tmp_path, scripts=[Path(slow.__file__)], billed=False, **options) as there:
        took = play(there, lame.touch, lame.unlink, "store late: replay only")
    assert max(took[BEGINS:ENDS]) < slow.SECONDS


class Jumping:
    """A transport whose proxy has a clock that is a day off, now in one direction and now in the other."""

    def __init__(self, inner: Transport) -> None:
        self.inner, self.count = inner, 0

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.count += 1
        off = (0.0, DAY, 0.0, -DAY)[self.count // 3 % 4]
        return self.inner.send(body, {**headers, "x-mmu-clock": f"{float(headers['x-mmu-clock']) + off:.1f}"})


def test_a_clock_that_jumps_by_a_day(tmp_path: Path) -> None:
    """It cannot be known then what is cold; nothing else suffers."""
    with world(tmp_path, billed=False) as there:
        agent = there.agent(build(1, TURNS), retries=0)
        agent.transport = Jumping(agent.transport)
        played = list(agent.play())
        bodies = [record.body for record in there.seen(agent.label)]
        kept = read(there.proxy.home, agent.client.session)
        metrics = there.proxy.metrics()
        assert there.up.invalid == 0
    assert len(played) == len(bodies) == TURNS
    for exchange, body in zip(played, bodies, strict=True):
        assert taken_back(exchange.answer.sent, body, kept) == exchange.answer.sent
    assert any(body != exchange.answer.sent for exchange, body in zip(played, bodies, strict=True))
    for name in ("mmu_failures_total", "mmu_passed_through_total", "mmu_replay_only_total"):
        assert metrics.get(name, 0) == 0
