"""A store in a file: what `mitmmu export` writes and `mitmmu import` reads.

One zstd frame of JSON lines in UTF-8. Each line is an object:

    {"mitmmu": "export", "version": 1, "made_at": SECONDS}          the first
    {"page": {"tenant", "id", "kind", "label", "created_at", "hash", "text"}}
    {"conversation": {the columns}, "splices": [{the columns}, ...], "holds": [PAGE, ...]}
    {"ledger": {the columns}}, {"tally": {the columns}}, {"fact": {the columns}}
    {"end": {"lines": N, "hash": HASH}}                             the last

A page has `base64` instead of `text` where it is no UTF-8; bytes of other columns are base64. HASH is blake2b of 16
bytes in hexadecimal: of a page's bytes, and at the end of all the lines before, line feeds included. Times are epoch
seconds. Nothing in it is encrypted.

A file is read twice: first all of it is checked, then all of it is written in one transaction. What the store has
already stays as it is, so that reading a file again changes nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from sqlalchemy import Connection, Engine, Table, select, tuple_

from . import pages as shelf
from . import rows, sealing
from .crypt import Keys, keys_of
from .engine import hold_off, insert_or_ignore, snapshot, transact
from .records import Page
from .schema import conversations, facts, holds, ledger, pages, splices, tallies

VERSION = 1
_BATCH = 64
_LEVEL = 6
_PLAIN_TABLES = {"ledger": ledger, "tally": tallies, "fact": facts}


class NotRead(Exception):
    """A file that cannot be imported, with the reason. Nothing of it was."""


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def write(reader: Engine, file: BinaryIO, now: float, told: Callable[[int], None]) -> dict[str, int]:
    """Write a store to a file, as it is at one moment. How many lines of each sort; `told` hears it as it grows."""
    counts: dict[str, int] = {}
    whole = blake2b(digest_size=16)
    with (
        reader.connect() as connection,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as out,
    ):
        snapshot(connection)

        def line(record: Mapping[str, Any]) -> None:
            data = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8") + b"\n"
            whole.update(data)
            out.write(data)

        line({"mitmmu": "export", "version": VERSION, "made_at": now})
        for name, record in _records(connection, keys_of(connection)):
            line(record)
            counts[name] = counts.get(name, 0) + 1
            told(sum(counts.values()))
        out.write(json.dumps({"end": {"lines": 1 + sum(counts.values()), "hash": whole.hexdigest()}}).encode() + b"\n")
    return counts


def _records(connection: Connection, keys: Keys) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in _all(connection, pages, shelf.STORED, (*shelf.COLUMNS, pages.c.kind, pages.c.label, pages.c.created_at)):
        text = shelf.text(row, keys)
        label = keys.open_text(row.label, shelf.of_label(row.tenant, row.id))
        about = {"tenant": row.tenant, "id": row.id, "kind": row.kind, "label": label, "created_at": row.created_at}
        yield "page", {"page": {**about, "hash": _hash(text), **_said(text)}}
    for row in _all(connection, conversations, conversations, tuple(conversations.c)):
        columns = {**row._mapping, "digests": base64.b64encode(bytes(row.digests)).decode()}
        columns["state"] = json.loads(keys.open_text(row.state, rows.of_state(row.id)))
        mine = select(splices).where(splices.c.conversation == row.id).order_by(*splices.primary_key)
        said = [
            {**one._mapping, "text": keys.open_text(one.text, rows.of_splice(row.id, one.anchor, one.generation))}
            for one in connection.execute(mine).all()
        ]
        held = select(holds.c.page).where(holds.c.holder == row.id, holds.c.until == 0).order_by(holds.c.page)
        yield (
            "conversation",
            {"conversation": columns, "splices": said, "holds": list(connection.execute(held).scalars())},
        )
    for name, table in _PLAIN_TABLES.items():
        for row in _all(connection, table, table, tuple(table.c)):
            if name != "fact" or row.scope != sealing.SCOPE:
                yield name, {name: dict(row._mapping)}


def _all(connection: Connection, table: Table, source: Any, columns: tuple[Any, ...]) -> Iterator[Any]:
    """All rows, a few at a time."""
    key = list(table.primary_key)
    statement = select(*columns).select_from(source).order_by(*key).limit(_BATCH)
    place: tuple[object, ...] | None = None
    while found := connection.execute(statement if place is None else statement.where(tuple_(*key) > place)).all():
        yield from found
        place = tuple(getattr(found[-1], column.name) for column in key)


def _said(text: bytes) -> dict[str, str]:
    try:
        return {"text": text.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(text).decode()}


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file. NotRead where it is no such file."""
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            rest = b""
            while piece := reader.read(1024 * 1024):
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
            if rest:
                raise NotRead("it breaks off in the middle")
    except zstandard.ZstdError as error:
        raise NotRead(f"it is no export of mitmmu, or damaged: {error}") from None


def check(path: Path) -> dict[str, int]:
    """Check all of a file; how many records of each sort it has. NotRead, OSError."""
    whole, counts, end = blake2b(digest_size=16), dict[str, int](), False
    for number, line in enumerate(lines(path), 1):
        if end:
            raise NotRead(f"line {number} stands behind the end")
        try:
            record = json.loads(line)
            if number == 1:
                _head(record)
            elif "end" in record:
                end = True
                if record["end"] != {"lines": number - 1, "hash": whole.hexdigest()}:
                    raise NotRead("it is not as it was written: its hash is another")
            else:
                name = _checked(record)
                counts[name] = counts.get(name, 0) + 1
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotRead(f"line {number} is damaged ({error or type(error).__name__})") from None
        whole.update(line + b"\n")
    if not end:
        raise NotRead("it breaks off before its end")
    return counts


def _head(record: Any) -> None:
    if not isinstance(record, dict) or record.get("mitmmu") != "export":
        raise NotRead("it is no export of mitmmu")
    if record.get("version") != VERSION:
        raise NotRead(
            f"it has version {record.get('version')} of the format, this mitmmu reads version {VERSION}: update mitmmu"
        )


def _checked(record: dict[str, Any]) -> str:
    """The sort of a record that is as it must be."""
    name = next(iter(record))
    if name == "page":
        page = record["page"]
        if _hash(_text(page)) != page["hash"]:
            raise NotRead(f"page {page['id']} is not as it was written: its hash is another")
        _page(page)
    elif name == "conversation":
        _columns(conversations, {**record["conversation"], "digests": b""})
        base64.b64decode(record["conversation"]["digests"], validate=True)
        for one in record["splices"]:
            _columns(splices, one)
        if not all(isinstance(page, str) for page in record["holds"]):
            raise ValueError("holds")
    else:
        _columns(_PLAIN_TABLES[name], record[name])
    return name


def _columns(table: Table, values: Mapping[str, Any]) -> None:
    if values.keys() != set(table.c.keys()):
        raise ValueError(f"the columns of {table.name}")
    for column in table.c:
        kind, value = column.type.python_type, values[column.name]
        fits = isinstance(value, (float, int) if kind is float else kind) or (value is None and column.nullable)
        if not fits and column.name != "state":
            raise ValueError(f"{table.name}.{column.name}")


def _text(page: Mapping[str, Any]) -> bytes:
    return page["text"].encode("utf-8") if "text" in page else base64.b64decode(page["base64"], validate=True)


def _page(page: Mapping[str, Any]) -> Page:
    found = Page(page["tenant"], page["id"], _text(page), page["kind"], page["label"])
    if not all(isinstance(each, str) for each in (found.tenant, found.id, found.kind, found.label)):
        raise ValueError("page")
    float(page["created_at"])
    return found


def read(writer: Engine, path: Path, now: float, told: Callable[[int], None]) -> dict[str, int]:
    """Take in a file that was checked, in one transaction. How many records of each sort were new."""

    def run(connection: Connection) -> dict[str, int]:
        hold_off(connection)
        keys, new = keys_of(connection), dict[str, int]()
        for number, line in enumerate(lines(path), 1):
            record = json.loads(line)
            name = next(iter(record))
            if name in ("mitmmu", "end"):
                continue
            new[name] = new.get(name, 0) + _add(connection, keys, name, record, now)
            told(number)
        return new

    return transact(writer, run)


def _add(connection: Connection, keys: Keys, name: str, record: Mapping[str, Any], now: float) -> int:
    if name == "page":
        return _add_page(connection, keys, record["page"], now)
    if name != "conversation":
        return connection.execute(insert_or_ignore(_PLAIN_TABLES[name]), record[name]).rowcount
    columns, id = record["conversation"], record["conversation"]["id"]
    shelf.hold(connection, columns["tenant"], id, record["holds"])
    state = json.dumps(columns["state"], separators=(",", ":"))
    values = {**columns, "digests": base64.b64decode(columns["digests"])}
    values["state"] = keys.seal_text(state, rows.of_state(id))
    if not connection.execute(insert_or_ignore(conversations), values).rowcount:
        return 0
    for one in record["splices"]:
        text = keys.seal_text(one["text"], rows.of_splice(id, one["anchor"], one["generation"]))
        connection.execute(insert_or_ignore(splices), {**one, "conversation": id, "text": text})
    return 1


def _add_page(connection: Connection, keys: Keys, given: Mapping[str, Any], now: float) -> int:
    page = _page(given)
    if shelf.lock(connection, page.tenant, [page.id]):
        return 0
    made_at = float(given["created_at"])
    [row] = shelf.batch([page], made_at, keys, lambda tenant, name: shelf.newest(connection, keys, tenant, name))
    shelf.put(connection, [row], lambda *_: shelf.row(page, made_at, keys))
    # should no conversation of the file hold it, it goes by itself
    shelf.hold(connection, page.tenant, "", [page.id], until=now)
    return 1
