"""A page that is nearly an earlier one is stored as the difference, and read exactly, whatever became of the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import codec
from storage.crypt import Keys
from storage.errors import PageDamaged
from storage.pages import Base
from storage.records import Outcome, Page
from storage.tiers import Hierarchy

from .make import batch, change, conversation, opened, rows

KEYS = (Keys(), Keys([bytes(32)]))
LINES = [f"    line {n} = {n * n * 7919 % 10007}" for n in range(400)]


def version(number: int, label: str = "Read a.py", tenant: str = "t") -> Page:
    """A file after so many edits."""
    lines = [f"edited {number}" if number and n % 97 == number else line for n, line in enumerate(LINES)]
    return Page(tenant, f"page-{number}-{label[-4:]}", "\n".join(lines).encode(), "result", label)


async def put(store: Hierarchy, *pages: Page, id: str = "c", tenant: str = "t") -> None:
    record = conversation(id, tenant=tenant, head=id, session="")
    assert await store.commit(batch(record, pages=pages), 20) is Outcome.STORED


def stored(folder: Path) -> dict[str, tuple[str, str, int]]:
    return {
        id: (name.partition("+")[0], base, size)
        for id, name, base, size in rows(folder, "SELECT id, codec, base, length(data) FROM pages")
    }


@pytest.mark.parametrize("keys", KEYS)
async def test_versions_of_a_file_are_stored_as_differences_to_one(place: Path, keys: Keys) -> None:
    pages = [version(n) for n in range(4)]
    async with opened(place, keys=keys) as store:
        # one at a time, and two at once
        await put(store, pages[0], id="c0")
        await put(store, pages[1], id="c1")
        await put(store, pages[2], pages[3], id="c2")
    found = stored(place)
    assert found.pop(pages[0].id)[:2] == ("zstd", "")
    assert {(name, base) for name, base, _ in found.values()} == {("delta", pages[0].id)}
    assert max(size for _, _, size in found.values()) < 300
    async with opened(place, keys=keys) as store:
        for each in pages:
            assert await store.page("t", each.id) == each.text
            assert await store.page_of_any_tenant(each.id) == each
        if not keys:
            assert len(await store.search("line")) == 4


async def test_the_first_of_a_batch_is_the_base_of_the_others(place: Path) -> None:
    pages = [version(n) for n in range(3)]
    async with opened(place) as store:
        await put(store, *pages)
        for each in pages:
            assert await store.page("t", each.id) == each.text
    assert {id: base for id, (_, base, _) in stored(place).items()} == {
        pages[0].id: "", pages[1].id: pages[0].id, pages[2].id: pages[0].id
    }  # fmt: skip


async def test_a_base_that_is_itself_stored_as_a_difference_is_none(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (version(n) for n in range(3))
    async with opened(place) as store:
        await put(store, first, second, id="c0")
        # the second comes again at the head of a batch: the third must not lean on it
        monkeypatch.setattr(store._cold.writer, "_earlier", lambda *_: None)
        await put(store, second, third, id="c1")
        assert await store.page("t", third.id) == third.text
    assert rows(place, "SELECT count(*) FROM pages d JOIN pages b ON b.id = d.base WHERE b.base <> ''") == [(0,)]


async def test_nothing_leans_on_another_file_or_another_tenant(place: Path) -> None:
    async with opened(place) as store:
        await put(store, version(0), id="c0")
        await put(store, version(1, "Read b.py"), id="c1")
        await put(store, version(2, tenant="u"), id="c2", tenant="u")
        await put(store, version(3, ""), id="c3")
    assert {base for _, base, _ in stored(place).values()} == {""}


async def test_a_base_that_goes_before_the_batch_is_written_is_done_without(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = version(0), version(1)
    async with opened(place) as store:
        # as if somebody had deleted it between the look and the lock
        monkeypatch.setattr(store._cold.writer, "_earlier", lambda *_: Base(first.id, first.text))
        await put(store, second)
        assert await store.page("t", second.id) == second.text
    assert stored(place)[second.id][:2] == ("zstd", "")


async def test_a_base_that_cannot_be_read_is_done_without(place: Path) -> None:
    async with opened(place) as store:
        await put(store, version(0), id="c0")
        change(place, "UPDATE pages SET data = x'00'")
        await put(store, version(1), id="c1")
        assert await store.page("t", version(1).id) == version(1).text
    assert stored(place)[version(1).id][:2] == ("zstd", "")


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(
    "spoil", ["DELETE FROM pages WHERE base = ''", "UPDATE pages SET data = x'00' WHERE base = ''"]
)
async def test_without_its_base_a_page_is_damaged(place: Path, keys: Keys, spoil: str) -> None:
    async with opened(place, keys=keys) as store:
        await put(store, version(0), version(1))
    assert change(place, spoil) == 1
    async with opened(place, keys=keys) as store:
        with pytest.raises(PageDamaged):
            await store.page("t", version(1).id)


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.integers(1, 40), st.integers(1, 40))
def test_whatever_the_base_the_bytes_come_back(text: bytes, base: bytes, times: int, more: int) -> None:
    text, base = text * times, base * more
    name, data = codec.pack_against(text, base)
    assert codec.unpack(name, len(text), data, base) == text
    if name == codec.DELTA:
        assert len(data) <= codec.MARGIN * len(codec.pack(text)[1])


def test_another_base_is_an_error_and_never_other_text() -> None:
    text, base = version(1).text, version(0).text
    name, data = codec.pack_against(text, base)
    assert name == codec.DELTA
    for wrong in (None, base[:-1], base.replace(b"7", b"8")):
        with pytest.raises(PageDamaged):
            codec.unpack(name, len(text), data, wrong)
