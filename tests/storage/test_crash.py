from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from .crasher import text
from .make import ELSEWHERE, PYTHON, ROOT, opened, page, rows, url


@pytest.mark.parametrize("acknowledged", [40, 400])
def test_whatever_was_acknowledged_outlives_a_kill(place: Path, acknowledged: int) -> None:
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.storage.crasher", url(place)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(acknowledged)]
    finally:
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
    # the kill may cut the last line short; then it was not acknowledged
    durable = {}
    for line in lines:
        if line.endswith("\n"):
            number, request = (int(word) for word in line.split())
            durable[number] = request
    assert sum(durable.values()) >= acknowledged
    if place not in ELSEWHERE:
        assert rows(place, "PRAGMA integrity_check") == [("ok",)]
    asyncio.run(whole(place, durable))


async def whole(folder: Path, durable: dict[int, int]) -> None:
    async with opened(folder) as store:
        for number, request in durable.items():
            (found,) = await store.conversations("t", f"h{number}", "")
            # one more may have reached the disk without the word getting out
            assert found.conversation.requests in (request, request + 1)
            assert [one.anchor for one in found.splices] == [f"a{n}" for n in range(1, found.conversation.requests + 1)]
            for one in found.splices:
                assert one.text == page(text(number, one.request)).id
                assert await store.page("t", one.text) == text(number, one.request)
