"""Encryption at rest: what lies on the disk says nothing, only the right key opens it, and no change goes unseen."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import engine, rekey, sealing
from storage.crypt import NONE, OPTION, Keys, about, key_id
from storage.errors import KeyMissing, PageDamaged, StoreError
from storage.records import JSON, Outcome, Page, Stored
from storage.tiers import Hierarchy

from .make import batch, conversation, file, opened, page, rows, splice, url

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
SECRET = "the swallow flies at dawn"
STATE: dict[str, JSON] = {"hands_off": f"refused because {SECRET}"}


def secret_page(tenant: str = "t") -> Page:
    return Page(tenant, "p1", f"{SECRET}\n".encode() * 40, "result", f"Read /home/{SECRET}.py")


async def filled(folder: Path, keys: Keys = NONE) -> Stored:
    record = conversation(state=STATE)
    said = splice(text=f"[mmu page p1: {SECRET}]")
    async with opened(folder, keys=keys) as store:
        assert await store.commit(batch(record, pages=[secret_page()], splices=[said]), 5) is Outcome.STORED
    return Stored(record, (said,))


def on_disk(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(file(folder).parent.iterdir()))


async def read(folder: Path, keys: Keys) -> tuple[bytes | None, Page | None, tuple[Stored, ...]]:
    async with opened(folder, keys=keys) as store:
        return (
            await store.page("t", "p1"),
            await store.page_of_any_tenant("p1"),
            await store.conversations("t", "h", ""),
        )


async def test_nothing_on_the_disk_says_what_was_stored(tmp_path: Path) -> None:
    stored = await filled(tmp_path, Keys([OLD]))
    assert b"swallow" not in on_disk(tmp_path)
    assert OLD not in on_disk(tmp_path)
    whole = secret_page()
    assert await read(tmp_path, Keys([OLD])) == (whole.text, whole, (stored,))
    assert rows(tmp_path, "SELECT codec FROM pages") == [(f"zstd+gcm:{key_id(OLD)}",)]
    # the test can fail: without a key it is all there
    await filled(tmp_path / "plain")
    assert b"swallow" in on_disk(tmp_path / "plain")


@pytest.mark.parametrize("given", [Keys(), Keys([NEW])])
async def test_without_its_key_a_store_does_not_open_and_nothing_is_written(tmp_path: Path, given: Keys) -> None:
    await filled(tmp_path, Keys([OLD]))
    before = rows(tmp_path, "SELECT * FROM facts")
    with pytest.raises(KeyMissing) as raised:
        await Hierarchy.open(url(tmp_path), keys=given)
    assert key_id(OLD) in str(raised.value)
    assert "MITMMU_KEY" in str(raised.value)
    assert "forget --all" in str(raised.value)
    assert rows(tmp_path, "SELECT * FROM facts") == before


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE pages SET data = CAST(substr(data, 1, 40) || x'00' || substr(data, 42) AS BLOB) WHERE id = 'p1'",
        "UPDATE pages SET data = substr(data, 1, length(data) - 1) WHERE id = 'p1'",
        "UPDATE pages SET data = x'' WHERE id = 'p1'",
        # another page's, and another tenant's
        "UPDATE pages SET data = (SELECT data FROM pages WHERE id = 'p2') WHERE id = 'p1'",
        "UPDATE pages SET tenant = 't' WHERE tenant = 'u'",
        "UPDATE pages SET size = size - 1 WHERE id = 'p1'",
    ],
)
async def test_what_was_changed_is_an_error_and_never_other_text(tmp_path: Path, spoil: str) -> None:
    keys = Keys([OLD])
    other = Page("t", "p2", secret_page().text, "result", "")
    async with opened(tmp_path, keys=keys) as store:
        theirs = secret_page("u")
        await store.commit(batch(conversation("c2", tenant="u"), pages=[theirs]), 5)
        mine = [other] if spoil.startswith("UPDATE pages SET tenant") else [secret_page(), other]
        await store.commit(batch(pages=mine), 5)
    with closing(sqlite3.connect(file(tmp_path))) as connection:
        assert connection.execute(spoil).rowcount >= 1
        connection.commit()
    async with opened(tmp_path, keys=keys) as store:
        with pytest.raises(PageDamaged):
            await store.page("t", "p1")
        assert await store.page("t", "p2") == other.text


async def test_a_splice_that_was_moved_is_an_error(tmp_path: Path) -> None:
    await filled(tmp_path, Keys([OLD]))
    with closing(sqlite3.connect(file(tmp_path))) as connection:
        connection.execute("UPDATE splices SET anchor = 'toolu_2'")
        connection.commit()
    async with opened(tmp_path, keys=Keys([OLD])) as store:
        with pytest.raises(StoreError):
            await store.conversations("t", "h", "")


async def test_there_is_no_search(tmp_path: Path) -> None:
    await filled(tmp_path, Keys([OLD]))
    async with opened(tmp_path, keys=Keys([OLD])) as store:
        with pytest.raises(StoreError, match="encrypted store"):
            await store.search("swallow")


def rekeyed(folder: Path, keys: Keys, to: Keys) -> int:
    writer = engine.erasing(engine.parse(url(folder)), 5).execution_options(**{OPTION: keys})
    changed = rekey.run(writer, keys, to, 1.0, lambda *_: None)
    engine.rewrite(writer)
    writer.dispose()
    return changed


async def test_a_store_is_encrypted_rotated_and_decrypted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = await filled(tmp_path)
    expected = secret_page().text, secret_page(), (stored,)
    async with opened(tmp_path) as store:
        assert await store.search("swallow") != ()
    # with a key, what is there is still read; and it is said that it lies open
    assert await read(tmp_path, Keys([OLD])) == expected
    assert b"swallow" in on_disk(tmp_path)
    await read(tmp_path, Keys([OLD]))
    assert "mitmmu rekey" in caplog.text
    assert rekeyed(tmp_path, Keys([OLD]), Keys([OLD])) == 3
    assert b"swallow" not in on_disk(tmp_path)
    assert rows(tmp_path, "SELECT count(*) FROM pages_text_data") == [(2,)]  # an empty index
    assert await read(tmp_path, Keys([OLD])) == expected
    # rotated: the old key is needed until it is done, and not after
    assert await read(tmp_path, Keys([NEW, OLD])) == expected
    assert rekeyed(tmp_path, Keys([NEW, OLD]), Keys([NEW, OLD])) == 3
    assert rekeyed(tmp_path, Keys([NEW, OLD]), Keys([NEW, OLD])) == 0
    assert await read(tmp_path, Keys([NEW])) == expected
    with pytest.raises(KeyMissing):
        await read(tmp_path, Keys([OLD]))
    assert rekeyed(tmp_path, Keys([NEW]), NONE) == 3
    assert await read(tmp_path, NONE) == expected
    async with opened(tmp_path) as store:
        assert [hit.id for hit in await store.search("swallow")] == ["p1"]


async def test_rekeying_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekey, "BATCH", 2)
    pages = [page(b"%d %s" % (n, b"text " * 300)) for n in range(9)]
    async with opened(tmp_path) as store:
        await store.commit(batch(pages=pages), 5)
    await read(tmp_path, Keys([OLD]))
    writer = engine.erasing(engine.parse(url(tmp_path)), 5)
    keys = Keys([OLD])

    def interrupt(done: int, total: int) -> None:
        assert total == 10
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rekey.run(writer, keys, keys, 1.0, interrupt)
    async with opened(tmp_path, keys=keys) as store:
        for each in pages:
            assert await store.page("t", each.id) == each.text
    assert rekey.run(writer, keys, keys, 1.0, lambda *_: None) == 6
    with writer.connect() as connection:
        assert sealing.ids(connection) == {key_id(OLD)}
    writer.dispose()
    async with opened(tmp_path, keys=keys) as store:
        for each in pages:
            assert await store.page("t", each.id) == each.text


async def test_a_process_without_the_key_never_reads_wrong_bytes(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with opened(tmp_path) as store:
        # meanwhile somebody encrypts it
        await read(tmp_path, Keys([OLD]))
        rekeyed(tmp_path, Keys([OLD]), Keys([OLD]))
        with pytest.raises(KeyMissing):
            await store.page("t", "p1")
        with pytest.raises(KeyMissing):
            await store.conversations("t", "h", "")
        more = batch(conversation(requests=2), 1)
        assert await store.commit(more, 5) is Outcome.FAILED


@given(st.text() | st.text().map("\x01".__add__) | st.sampled_from(["\x01=", "\x01gcm:00000000:AAAA", "\x01=\x01="]))
def test_any_text_comes_back(text: str) -> None:
    of = about("a", 1)
    for keys in (NONE, Keys([OLD])):
        stored = keys.seal_text(text, of)
        assert stored is not None
        assert Keys([NEW, OLD]).open_text(stored, of) == text
        if text and keys:
            for wrong in (about("a", 2), about("a1")):
                with pytest.raises(PageDamaged):
                    keys.open_text(stored, wrong)


def test_what_values_belong_to_is_never_ambiguous() -> None:
    assert about("ab", "c") != about("a", "bc") != about("a", "b", "c")


def test_a_key_is_never_shown() -> None:
    key = os.urandom(32)
    assert repr(Keys([key])) == f"Keys({key_id(key)})"
    with pytest.raises(ValueError, match="32 bytes") as raised:
        Keys([key[:31]])
    assert key.hex()[:16] not in str(raised.value)
