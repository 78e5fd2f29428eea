"""What tests of several folders share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.harness.postgres import MISSING, Postgres, binaries


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A Postgres for all tests of this process. Whoever stops it starts it again."""
    if binaries() is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip(MISSING)
    with Postgres() as running:
        yield running
