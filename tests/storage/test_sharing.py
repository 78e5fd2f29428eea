"""Several processes on one store, on each database: a line has one history, whoever writes it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

from storage.records import JSON, Outcome, Report
from storage.tiers import Hierarchy

from .make import ELSEWHERE, PYTHON, ROOT, batch, conversation, opened, page, rows, splice, url

EACH = 30


def test_two_processes_on_one_line(place: Path) -> None:
    asyncio.run(empty(place))
    running = [
        subprocess.Popen(
            [PYTHON, "-m", "tests.storage.contender", url(place), name, str(EACH)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in running:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        said = [each.communicate(timeout=60)[0].split("\n") for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
    claims = {line: name for name, lines in zip("ab", said, strict=True) for line in lines if line.startswith("STORED")}
    assert {word for lines in said for line in lines for word in line.split()[:1]} <= {"STORED", "STALE"}
    assert any(line.startswith("STALE") for lines in said for line in lines), "the two were never in each other's way"
    # one line, and each step of it by the one who was told so
    assert rows(place, "SELECT requests FROM conversations") == [(2 * EACH,)]
    steps = rows(place, "SELECT request, text FROM splices ORDER BY request")
    assert steps == [(n, claims[f"STORED {n}"]) for n in range(1, 2 * EACH + 1)]


async def empty(folder: Path) -> None:
    async with opened(folder):
        pass


async def begun(store: Hierarchy, id: str, head: str, session: str) -> Outcome:
    return await store.commit(batch(conversation(id, head=head, session=session), splices=[splice()]), 30)


async def test_of_two_that_begin_one_line_at_once_one_is_stale(place: Path) -> None:
    """Each has looked and found nothing, so each would begin a conversation; the same head, or the same session."""
    async with opened(place) as one, opened(place) as two:
        for n in range(20):
            heads = (f"h{n}", f"h{n}") if n % 2 else (f"h{n}", f"h{n}'")
            sessions = ("", "") if n % 4 == 1 else (f"s{n}", f"s{n}")
            for store, head, session in zip((one, two), heads, sessions, strict=True):
                assert await store.conversations("t", head, session) == ()
            made = [
                begun(store, f"{name}{n}", head, session)
                for store, name, head, session in zip((one, two), "ab", heads, sessions, strict=True)
            ]
            outcomes = await asyncio.gather(*made)
            assert sorted(each.name for each in outcomes) == ["STALE", "STORED"]


async def test_pages_that_cross_do_not_wait_for_each_other_without_end(place: Path) -> None:
    """The same pages in opposite orders: all are stored, and nobody had to be told to give way."""
    async with opened(place) as one, opened(place) as two:
        for n in range(10):
            pages = [page(f"{n} {k}".encode()) for k in range(100)]
            outcomes = await asyncio.gather(
                one.commit(batch(conversation(f"a{n}", head=f"a{n}", session=""), pages=pages), 30),
                two.commit(batch(conversation(f"b{n}", head=f"b{n}", session=""), pages=pages[::-1]), 30),
            )
            assert set(outcomes) == {Outcome.STORED}
        # on SQLite there is but one lock, and whoever waits for it is told so
        assert place not in ELSEWHERE or one.last_error == two.last_error == ""
    assert rows(place, "SELECT count(*) FROM pages") == [(1000,)]


async def test_a_report_adds_to_the_state_of_its_conversation(place: Path) -> None:
    async with opened(place) as ours, opened(place) as theirs:
        first = conversation("a", requests=1)
        assert await ours.commit(batch(first), 30) is Outcome.STORED
        ours.report(Report(first, {"fact": 1}, {"sum": 1}))
        await written(ours)
        assert await state(theirs) == {**first.state, "fact": 1, "sum": 1}
        second = conversation("a", requests=2)
        assert await theirs.commit(batch(second, expected=1), 30) is Outcome.STORED
        theirs.report(Report(second, {}, {"sum": 7}))
        await written(theirs)
        # what comes late of the first request is no sum any more
        ours.report(Report(first, {"more": 2}, {"sum": 3}))
        ours.report(Report(conversation("nobody"), {"x": 1}, {}))
        await written(ours)
    async with opened(place) as later:
        assert await state(later) == {**second.state, "more": 2, "sum": 7}


async def written(store: Hierarchy) -> None:
    for _ in range(500):
        if not store.stats()["unwritten"]:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("it is not written")


async def state(store: Hierarchy) -> Mapping[str, JSON]:
    [found] = await store.conversations("t", "h", "s")
    return found.conversation.state
