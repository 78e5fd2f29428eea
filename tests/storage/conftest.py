"""Where the store of a test lies. `place` is a folder; a test that asks for it runs on each database in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.postgres import Postgres

from . import make


@pytest.fixture
def elsewhere(server: Postgres, tmp_path: Path) -> Iterator[Path]:
    """A folder whose store is on Postgres."""
    make.ELSEWHERE[tmp_path] = server.empty()
    yield tmp_path
    del make.ELSEWHERE[tmp_path]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "postgres":
        request.getfixturevalue("elsewhere")
    return tmp_path


@pytest.fixture
def other(place: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A second folder whose store is on the same database as that of `place`."""
    folder = place / "other"
    if place in make.ELSEWHERE:
        make.ELSEWHERE[folder] = request.getfixturevalue("server").empty()
    yield folder
    make.ELSEWHERE.pop(folder, None)
