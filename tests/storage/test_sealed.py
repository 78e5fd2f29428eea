"""Encryption at rest: what lies on the disk says nothing, only the right key opens it, and no change goes unseen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import engine, rekey, sealing
from storage.crypt import NONE, OPTION, Keys, about, key_id
from storage.errors import KeyMissing, PageDamaged, StoreError
from storage.records import JSON, Outcome, Page, Stored
from storage.tiers import Hierarchy

from .make import ELSEWHERE, batch, change, conversation, on_disk, opened, page, rows, splice, url

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


async def read(folder: Path, keys: Keys) -> tuple[bytes | None, Page | None, tuple[Stored, ...]]:
    async with opened(folder, keys=keys) as store:
        return (
            await store.page("t", "p1"),
            await store.page_of_any_tenant("p1"),
            await store.conversations("t", "h", ""),
        )


async def test_nothing_on_the_disk_says_what_was_stored(place: Path, other: Path) -> None:
    stored = await filled(place, Keys([OLD]))
    assert b"swallow" not in on_disk(place)
    assert OLD not in on_disk(place)
    whole = secret_page()
    assert await read(place, Keys([OLD])) == (whole.text, whole, (stored,))
    assert rows(place, "SELECT codec FROM pages") == [(f"zstd+gcm:{key_id(OLD)}",)]
    # the test can fail: without a key it is all there
    await filled(other)
    assert b"swallow" in on_disk(other)


@pytest.mark.parametrize("given", [Keys(), Keys([NEW])])
async def test_without_its_key_a_store_does_not_open_and_nothing_is_written(place: Path, given: Keys) -> None:
    await filled(place, Keys([OLD]))
    before = rows(place, "SELECT * FROM facts")
    with pytest.raises(KeyMissing) as raised:
        await Hierarchy.open(url(place), keys=given)
    assert key_id(OLD) in str(raised.value)
    assert "MITMMU_KEY" in str(raised.value)
    assert "forget --all" in str(raised.value)
    assert rows(place, "SELECT * FROM facts") == before


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
async def test_what_was_changed_is_an_error_and_never_other_text(place: Path, spoil: str) -> None:
    keys = Keys([OLD])
    other = Page("t", "p2", secret_page().text, "result", "")
    async with opened(place, keys=keys) as store:
        theirs = secret_page("u")
        await store.commit(batch(conversation("c2", tenant="u"), pages=[theirs]), 5)
        mine = [other] if spoil.startswith("UPDATE pages SET tenant") else [secret_page(), other]
        await store.commit(batch(pages=mine), 5)
    assert change(place, spoil) >= 1
    async with opened(place, keys=keys) as store:
        with pytest.raises(PageDamaged):
            await store.page("t", "p1")
        assert await store.page("t", "p2") == other.text


async def test_a_splice_that_was_moved_is_an_error(place: Path) -> None:
    await filled(place, Keys([OLD]))
    change(place, "UPDATE splices SET anchor = 'toolu_2'")
    async with opened(place, keys=Keys([OLD])) as store:
        with pytest.raises(StoreError):
            await store.conversations("t", "h", "")


async def test_there_is_no_search(place: Path) -> None:
    await filled(place, Keys([OLD]))
    async with opened(place, keys=Keys([OLD])) as store:
        with pytest.raises(StoreError, match="encrypted store"):
            await store.search("swallow")


def rekeyed(folder: Path, keys: Keys, to: Keys) -> int:
    writer = engine.erasing(engine.parse(url(folder)), 5).execution_options(**{OPTION: keys})
    changed = rekey.run(writer, keys, to, 1.0, lambda *_: None)
    engine.rewrite(writer)
    writer.dispose()
    return changed


async def test_a_store_is_encrypted_rotated_and_decrypted(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = await filled(place)
    expected = secret_page().text, secret_page(), (stored,)
    async with opened(place) as store:
        assert await store.search("swallow") != ()
    # with a key, what is there is still read; and it is said that it lies open
    assert await read(place, Keys([OLD])) == expected
    assert b"swallow" in on_disk(place)
    await read(place, Keys([OLD]))
    assert "mitmmu rekey" in caplog.text
    assert rekeyed(place, Keys([OLD]), Keys([OLD])) == 3
    assert b"swallow" not in on_disk(place)
    table, empty = ("pages_text", 0) if place in ELSEWHERE else ("pages_text_data", 2)
    assert rows(place, f"SELECT count(*) FROM {table}") == [(empty,)]
    assert await read(place, Keys([OLD])) == expected
    # rotated: the old key is needed until it is done, and not after
    assert await read(place, Keys([NEW, OLD])) == expected
    assert rekeyed(place, Keys([NEW, OLD]), Keys([NEW, OLD])) == 3
    assert rekeyed(place, Keys([NEW, OLD]), Keys([NEW, OLD])) == 0
    assert await read(place, Keys([NEW])) == expected
    with pytest.raises(KeyMissing):
        await read(place, Keys([OLD]))
    assert rekeyed(place, Keys([NEW]), NONE) == 3
    assert await read(place, NONE) == expected
    async with opened(place) as store:
        assert [hit.id for hit in await store.search("swallow")] == ["p1"]


async def test_rekeying_goes_on_where_it_was_interrupted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekey, "BATCH", 2)
    pages = [page(b"%d %s" % (n, b"text " * 300)) for n in range(9)]
    async with opened(place) as store:
        await store.commit(batch(pages=pages), 5)
    await read(place, Keys([OLD]))
    writer = engine.erasing(engine.parse(url(place)), 5)
    keys = Keys([OLD])

    def interrupt(done: int, total: int) -> None:
        assert total == 10
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rekey.run(writer, keys, keys, 1.0, interrupt)
    async with opened(place, keys=keys) as store:
        for each in pages:
            assert await store.page("t", each.id) == each.text
    assert rekey.run(writer, keys, keys, 1.0, lambda *_: None) == 6
    with writer.connect() as connection:
        assert sealing.ids(connection) == {key_id(OLD)}
    writer.dispose()
    async with opened(place, keys=keys) as store:
        for each in pages:
            assert await store.page("t", each.id) == each.text


async def test_a_process_without_the_key_never_reads_wrong_bytes(place: Path) -> None:
    await filled(place)
    async with opened(place) as store:
        # meanwhile somebody encrypts it
        await read(place, Keys([OLD]))
        rekeyed(place, Keys([OLD]), Keys([OLD]))
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
