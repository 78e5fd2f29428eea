"""What sessions through a real proxy leave behind for the next: tallies in the store, and none where it only looks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.agent.session import build
from tests.e2e.world import world


def tallies(home: Path) -> dict[str, dict[str, float]]:
    """By scope."""
    with closing(sqlite3.connect(f"file:{home / 'mmu.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT scope, name, value FROM tallies").fetchall()
    found: dict[str, dict[str, float]] = {}
    for scope, name, value in rows:
        found.setdefault(scope, {})[name] = value
    return found


def test_two_sessions_add_up_over_a_restart(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        for turns in (6, 12):
            list(there.agent(build(turns, turns)).play())
            there.proxy.stop()
            found = tallies(there.proxy.home)
            there.proxy.start()
        failures = [name for name in there.proxy.metrics() if name.startswith("mmu_failures_total{place=\"learn")]
    assert failures == []
    [population] = [kept for scope, kept in found.items() if "/main /" not in scope]
    lengths = {int(name.partition(":")[2]): n for name, n in population.items() if name.startswith("reached:")}
    assert lengths == {1: 2, 2: 2, 3: 2, 4: 2, 6: 2, 8: 1, 12: 1}
    assert population["total"] == 2
    assert population["idle:file:1"] > 0


def test_observing_leaves_none(tmp_path: Path) -> None:
    with world(tmp_path, mmu_mode="observe") as there:
        list(there.agent(build(1, 6)).play())
        assert "mmu_failures_total{" not in "".join(there.proxy.metrics())
        assert not list(there.proxy.folder.rglob("mmu.db*"))
