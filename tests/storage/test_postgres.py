"""What only Postgres can do to the store: go away, not answer, refuse what others take."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects import postgresql

from addon import places
from storage import engine, postgres, retention, schema
from storage import pages as shelf
from storage.errors import StoreError
from storage.records import Booking, Outcome, Page
from storage.rows import SUMS
from storage.tiers import Hierarchy
from tests.harness.postgres import PASSWORD, Postgres

from . import make
from .make import PYTHON, ROOT, batch, connected, conversation, opened, page, splice, url
from .test_crash import whole


@pytest.fixture
def alone(elsewhere: Path, server: Postgres) -> Iterator[tuple[Postgres, Path]]:
    """A server that a test may do anything to, and a store on it."""
    yield server, elsewhere
    server.start()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_READ", 0.5)
    monkeypatch.setattr(postgres, "_WRITE", 0.5)
    monkeypatch.setattr(postgres, "_GRACE", 0.3)
    monkeypatch.setitem(postgres._TCP, "connect_timeout", 2)


async def stored(store: Hierarchy, requests: int) -> Outcome:
    record = conversation(requests=requests)
    step = batch(record, pages=[page(f"{requests}".encode())], splices=[splice(f"a{requests}", requests)])
    return await store.commit(step, 20)


async def standing(store: Hierarchy) -> int:
    """Requests of the line, after a look at the database; it is whole."""
    store._cache.drop(conversation())
    (found,) = await store.conversations("t", "h", "s")
    assert [one.anchor for one in found.splices] == [f"a{n}" for n in range(1, found.conversation.requests + 1)]
    return found.conversation.requests


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("postgresql://u:hidden@h", "name of a database"),
        ("postgresql+asyncpg://u:hidden@h/d", r"not 'postgresql\+asyncpg'"),
        ("postgresql+psycopg2://u:hidden@h/d", r"not 'postgresql\+psycopg2'"),
        ("mysql://u:hidden@h/d", "mysql is not supported"),
        ("u:hidden@h/d", "needs a URL"),
        ("postgresql://u:pa@hidden:x@h/d", "needs a URL"),
        ("postgresql//u:hidden@h/d", "needs a URL"),
    ],
)
def test_a_url_that_cannot_be_served_is_refused_and_not_shown(wrong: str, said: str) -> None:
    for read in (engine.parse, lambda text: places.store(text, Path("/"))):
        with pytest.raises(ValueError, match=said) as error:
            read(wrong)
        assert "hidden" not in str(error.value)


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"pip install 'psycopg\[binary\]>=3.2'"):
        engine.parse("postgresql://u@h/d")


async def test_no_password_is_told(alone: tuple[Postgres, Path]) -> None:
    server, folder = alone
    said = []
    for other in (url(folder).replace("s3cret", "wr0ng"), url(folder).replace(f":{server.port}", ":1")):
        with pytest.raises(StoreError, match="cannot be opened") as error:
            await Hierarchy.open(other)
        said.append(str(error.value))
    async with opened(folder) as store:
        server.stop()
        assert await stored(store, 1) is Outcome.FAILED
        said.append(store.last_error)
        with pytest.raises(StoreError) as error:
            await store.conversations("t", "h", "s")
        said.append(str(error.value))
    for text in said:
        assert "s3cret" not in text
        assert "wr0ng" not in text
        assert PASSWORD.split("/")[1] not in text


@given(st.text(st.sampled_from("\0\x100a\x10"), max_size=8))
def test_any_text_is_told_from_any_other(text: str) -> None:
    written = schema._escaped(text)
    assert written is not None
    assert "\0" not in written
    assert schema._unescaped(written) == text


async def test_nul_stands_wherever_text_stands(elsewhere: Path) -> None:
    odd = "a\0b\x10c\x100"
    held = Page("t", "p" * 8, b"\0 text \0", odd, odd)
    record = conversation(odd, head=odd, session=odd, state={odd: odd})
    async with opened(elsewhere) as store:
        one = splice(odd, text=odd)
        assert await store.commit(batch(record, pages=[held], splices=[one]), 20) is Outcome.STORED
        store.learn(odd, odd, odd)
        store.book(Booking("2026-11-01", odd, "t", odd, dict.fromkeys(SUMS, 1)))
    async with opened(elsewhere) as store:
        (found,) = await store.conversations("t", odd, odd)
        assert (found.conversation, found.splices) == (record, (one,))
        assert await store.page_of_any_tenant(held.id) == held
        assert await store.facts(odd) == {odd: odd}
        assert list(await store.ledger(by="project")) == [odd]
        assert [hit.label for hit in await store.search("text")] == [odd]


async def test_sums_outgrow_four_bytes(elsewhere: Path) -> None:
    async with opened(elsewhere) as store:
        for _ in range(3):
            store.book(Booking("2026-11-01", "", "t", "", {**dict.fromkeys(SUMS, 0), "prompt_tokens": 2**31 - 1}))
    async with opened(elsewhere) as store:
        day = (await store.ledger())["2026-11-01"]
        assert (day["prompt_tokens"], type(day["prompt_tokens"])) == (3 * (2**31 - 1), int)


async def test_the_size_is_asked_for(elsewhere: Path) -> None:
    async with opened(elsewhere) as store:
        before = store.stats()["cold_bytes"]
        for n in range(70):
            assert await stored(store, n + 1) is Outcome.STORED
        assert (await store.totals())["store_bytes"] == store.stats()["cold_bytes"] > before > 0


async def test_a_reader_cannot_write_and_a_writer_waits_for_the_disk(elsewhere: Path) -> None:
    async with opened(elsewhere):
        parsed = engine.parse(url(elsewhere))
        reader, writer = engine.reader(parsed), engine.writer(parsed, 1)
        with reader.connect() as connection, pytest.raises(Exception, match="read-only transaction"):
            connection.execute(schema.facts.delete())
        with writer.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        reader.dispose()
        writer.dispose()


async def test_locks_are_taken_in_one_order(elsewhere: Path) -> None:
    """Two that took them in different ones would wait for each other."""
    taken: list[list[int]] = []
    writer = engine.writer(engine.parse(url(elsewhere)), 1)

    @event.listens_for(writer, "before_cursor_execute")
    def executing(_: object, __: object, statement: str, given: dict[str, list[int]], *___: object) -> None:
        if "pg_advisory_xact_lock" in statement:
            taken.append(given["keys"])

    names = [f"head/{n}" for n in range(50)]
    for order in (names, names[::-1]):
        with writer.begin() as connection:
            engine.lock(connection, order)
            held = connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").scalar()
            assert held == len(names)
    writer.dispose()
    assert taken == [sorted(taken[0])] * 2


async def test_a_server_that_was_restarted_meanwhile_costs_nothing(alone: tuple[Postgres, Path]) -> None:
    server, folder = alone
    async with opened(folder) as store:
        assert await stored(store, 1) is Outcome.STORED
        assert await store.search("1") != ()
        server.stop()
        server.start()
        assert await standing(store) == 1
        assert await stored(store, 2) is Outcome.STORED
        assert len(await store.search("2")) == 1


async def test_a_server_that_is_gone_fails_batches_and_serves_when_it_is_back(alone: tuple[Postgres, Path]) -> None:
    server, folder = alone
    async with opened(folder) as store:
        assert await stored(store, 1) is Outcome.STORED
        server.stop()
        store.tally("t", "s", {"a": 1})
        for _ in range(2):
            assert await stored(store, 2) is Outcome.FAILED
            with pytest.raises(StoreError, match="cannot be read"):
                await store.conversations("t", "h", "s")
        server.start()
        assert await standing(store) == 1
        assert await stored(store, 2) is Outcome.STORED
        assert await standing(store) == 2
    async with opened(folder) as store:
        assert (await store.tallies("t", "s"))["a"] == 1


def test_a_server_that_is_killed_loses_nothing_it_has_acknowledged(alone: tuple[Postgres, Path]) -> None:
    server, folder = alone
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.storage.crasher", url(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(200)]
        server.kill()
        lines += process.stdout.read().splitlines()
    finally:
        process.kill()
        process.wait()
    words = [line.split() for line in lines]
    durable = {int(pair[0]): int(pair[1]) for pair in words if len(pair) == 2 and "".join(pair).isdigit()}
    assert len(durable) == 4
    assert sum(line.startswith("not stored") for line in lines) == 4
    server.start()
    asyncio.run(whole(folder, durable))


async def test_a_process_goes_on_after_its_server_was_killed_amid_commits(alone: tuple[Postgres, Path]) -> None:
    """What a batch was told is what became of it: one that FAILED is not there, though its COMMIT was on its way."""
    server, folder = alone
    async with opened(folder) as store:
        requests, outcomes = 0, set()
        for round in range(2):
            killer = threading.Timer(0.05 + 0.02 * round, server.kill)
            killer.start()
            while (outcome := await stored(store, requests + 1)) is Outcome.STORED:
                requests += 1
            outcomes.add(outcome)
            killer.join()
            server.start()
            deadline = time.monotonic() + 20
            while (outcome := await stored(store, requests + 1)) is not Outcome.STORED:
                assert time.monotonic() < deadline, store.last_error
                outcomes.add(outcome)
            requests += 1
            assert await standing(store) == requests
        assert outcomes <= {Outcome.FAILED, Outcome.STALE}


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_does_not_answer_holds_nobody_up(alone: tuple[Postgres, Path]) -> None:
    server, folder = alone
    async with opened(folder) as store:
        assert await stored(store, 1) is Outcome.STORED
        store._cache.drop(conversation())
        with server.frozen():
            began = time.monotonic()
            step = batch(conversation(requests=2), splices=[splice("a2", 2)])
            assert await store.commit(step, 0.1) is Outcome.LATE
            assert time.monotonic() - began < 1
            with pytest.raises(StoreError, match=r"does not answer|timeout"):
                await store.conversations("t", "h", "s")
            assert time.monotonic() - began < 5
            # nor those who have nothing to do with it
            began = time.monotonic()
            reads = [asyncio.ensure_future(store.facts(f"scope {n}")) for n in range(40)]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(int)
            assert time.monotonic() - began < 0.4
            for each in reads:
                each.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
        assert await standing(store) == 1
        assert await stored(store, 2) is Outcome.STORED
        assert await standing(store) == 2


@pytest.mark.usefixtures("impatient")
async def test_a_commit_that_arrives_after_it_was_given_up_is_taken_back(alone: tuple[Postgres, Path]) -> None:
    """COMMIT is sent, the server does not answer and the connection is closed; the server comes to it later."""
    server, folder = alone
    reached, go = threading.Event(), threading.Event()

    def committing(_: Connection) -> None:
        if not reached.is_set():
            reached.set()
            assert go.wait(20)

    async with opened(folder) as store:
        assert await stored(store, 1) is Outcome.STORED
        event.listen(Engine, "commit", committing)
        try:
            late = asyncio.create_task(stored(store, 2))
            assert await asyncio.to_thread(reached.wait, 20)
            with server.frozen():
                go.set()
                assert await late is Outcome.FAILED
                assert "does not answer" in store.last_error or "timeout" in store.last_error
        finally:
            go.set()
            event.remove(Engine, "commit", committing)
        assert await standing(store) == 1
        assert await stored(store, 2) is Outcome.STORED
        assert store.stats()["undone"] == 1
        assert await standing(store) == 2


class Line:
    """A way to the server on which a COMMIT is held up, even past the end of the connection that it came over."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._held = asyncio.Event()
        self.reached = asyncio.Event()
        self.deliver = asyncio.Event()
        self.port = 0

    def hold(self) -> None:
        self._held.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            self.deliver.set()
            server.close()

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", self._port)
        returning = asyncio.create_task(self._carry(far, back))
        await self._carry(near, forth)
        await returning

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while said := await source.read(65536):
                if self._held.is_set() and b"COMMIT\0" in said:
                    self._held.clear()
                    self.reached.set()
                    await self.deliver.wait()
                target.write(said)
                await target.drain()
        target.close()


@pytest.mark.usefixtures("impatient")
async def test_what_is_taken_back_waits_for_a_commit_that_is_still_on_its_way(
    elsewhere: Path, server: Postgres
) -> None:
    """The client has given up and closed the connection. Looked for at once, it would not be there; then it comes."""
    away = Line(server.port)
    async with away.open():
        make.ELSEWHERE[elsewhere] = url(elsewhere).replace(f":{server.port}/", f":{away.port}/")
        async with opened(elsewhere) as store:
            assert await stored(store, 1) is Outcome.STORED
            away.hold()
            late = batch(conversation(requests=2), splices=[splice("a2", 2)])
            assert await store.commit(late, 0.2) is Outcome.LATE
            assert away.reached.is_set()
            # past the end of the writer's patience, and of some attempts to take it back
            await asyncio.sleep(2.5)
            assert store.stats()["undone"] == 0
            assert await standing(store) == 1
            away.deliver.set()
            assert await stored(store, 2) is Outcome.STORED
            assert store.stats()["undone"] == 1
            assert await standing(store) == 2


async def test_a_client_that_is_gone_lets_its_locks_go(elsewhere: Path) -> None:
    async with opened(elsewhere):
        writer = engine.writer(engine.parse(url(elsewhere)), 0.2)
        with writer.connect() as connection:
            assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "10s"
        writer.dispose()
        connection = connected(elsewhere)
        assert connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mitmmu'").fetchone()
        connection.close()


PARTIAL = {"pages_series": shelf._NEWEST, "pages_base": retention._DELTAS, "holds_until": retention._ENDED}


@pytest.mark.parametrize("index", PARTIAL)
async def test_a_plan_for_any_parameters_knows_the_partial_index(index: str, elsewhere: Path) -> None:
    async with opened(elsewhere):
        pass
    compiled = (
        PARTIAL[index]
        .params(ids=["p"], tenant="t", series="s", before=1.0, limit=1)
        .compile(
            dialect=postgresql.dialect(paramstyle="numeric_dollar"),  # type: ignore[no-untyped-call]
            compile_kwargs={"render_postcompile": True},
        )
    )
    reader = engine.reader(engine.parse(url(elsewhere)))
    with reader.connect() as connection:
        for setting in ("plan_cache_mode = force_generic_plan", "enable_seqscan = off"):
            connection.exec_driver_sql(f"SET {setting}")
        connection.exec_driver_sql(f"PREPARE wanted AS {compiled}")
        given = ", ".join(["NULL"] * len(compiled.positiontup or ()))
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN EXECUTE wanted({given})").scalars())
        assert index in plan, plan
    reader.dispose()
