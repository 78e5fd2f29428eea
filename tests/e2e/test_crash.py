"""A sample of the crash rounds, and that they would notice."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.crash import Outcome, Round
from tests.harness.postgres import Postgres
from tests.harness.redis_server import Server, need


def play(folder: Path, postgres: Postgres | None) -> Outcome:
    need()
    with Server() as redis:
        return Round(3, 80, kills=4).play(folder, redis, postgres)


def check(outcome: Outcome, *victims: str) -> None:
    assert outcome.violations == []
    assert outcome.requests == 80
    assert set(outcome.kills) == {"proxy", "redis", *victims}
    assert outcome.retries > 0
    assert outcome.rewritten > 0


def test_proxy_and_redis_are_killed_at_random(tmp_path: Path) -> None:
    check(play(tmp_path, None))


def test_proxy_redis_and_postgres_are_killed_at_random(tmp_path: Path, server: Postgres) -> None:
    check(play(tmp_path, server), "postgres")
