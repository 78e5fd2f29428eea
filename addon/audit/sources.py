"""Finds recordings and reads them, each by what is in it; one session at a time is in memory, or one flow file."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from addon.audit import bodies, claude_code, codex, flows
from addon.audit.recorded import DAMAGE, Session
from addon.audit.woven import Weaver
from addon.mmu.tokens import Counter
from addon.wire import clients
from addon.wire.scan import Malformed

WHOLE = 64 << 20
"""Bytes that a line may have; providers take half of it."""

SPREAD = 1_000_000
"""Lines that one body may be spread over."""

_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_SUFFIXES = (".zst", ".gz", ".jsonl", ".json")

type Entries = Iterator[dict[str, Any]]


def usual() -> list[Path]:
    """Where Claude Code and Codex keep their transcripts, where they do."""
    claude = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    other = Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex")
    return [folder for folder in (claude / "projects", other / "sessions") if folder.is_dir()]


def files(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant, once each, of folders all below them. FileNotFoundError for a path that is none."""
    out: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
            out.update(dict.fromkeys(sorted(each.resolve() for each in found if each.is_file())))
        elif path.is_file():
            out[path.resolve()] = None
        else:
            raise FileNotFoundError(f"there is no {path}")
    return list(out)


class _Metered(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, read: Callable[[int], None]) -> None:
        super().__init__(path)
        self._read = read

    def readinto(self, buffer: Any) -> int:
        got = super().readinto(buffer) or 0
        self._read(got)
        return got


class Sources:
    """Reads files. `skipped` counts what was not understood, by what it was; `read` is told of bytes as they come;
    `keep`: whole requests with their bodies."""

    def __init__(
        self,
        counter: Counter,
        skipped: Tally[str],
        read: Callable[[int], None] = lambda _: None,
        *,
        keep: bool = False,
    ) -> None:
        self._counter, self._skipped, self._read, self._keep = counter, skipped, read, keep
        self._claude_code = claude_code.Reader(counter, skipped)
        self._codex = codex.Reader(counter, skipped)

    def sessions(self, paths: Sequence[Path]) -> Iterator[Session]:
        """The sessions in these files. Single bodies in one folder are taken to be requests of the same agents."""
        folder, weaver = Path(), Weaver(self._counter, "", keep=self._keep)
        for path in paths:
            if path.parent != folder:
                yield from weaver.sessions()
                folder, weaver = path.parent, Weaver(self._counter, path.parent.name, keep=self._keep)
            try:
                yield from self._file(path, weaver)
            except DAMAGE:
                self._skipped["files damaged or closed to us"] += 1
        yield from weaver.sessions()

    def _file(self, path: Path, weaver: Weaver) -> Iterator[Session]:
        with io.BufferedReader(_Metered(path, self._read)) as raw, plain(raw) as stream:
            begin = stream.peek(1)[:1]
            if begin.isdigit():
                yield from flows.read(stream, path.name, self._counter, self._skipped, keep=self._keep)
                return
            entries = self._entries(stream) if begin in (b"{", b" ", b"\n") else iter(())
            for first in entries:
                rest = chain([first], entries)
                if claude_code.is_line(first):
                    yield from self._claude_code.read(rest, _name(path))
                elif codex.is_line(first):
                    yield from self._codex.read(rest, _name(path))
                elif bodies.spoken(first) is not None:
                    self._bodies(rest, weaver)
                else:
                    continue
                return
        self._skipped["files of other kinds"] += 1

    def _bodies(self, entries: Entries, weaver: Weaver) -> None:
        for body in entries:
            api = bodies.spoken(body)
            try:
                if api is None:
                    raise Malformed("no request")
                text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
                conversation = weaver.read(api, text)
                told = clients.told({}, conversation)
                weaver.add(api, conversation, purpose=told.purpose, project=told.project)
            except Malformed:
                self._skipped["requests not understood"] += 1

    def _lines(self, stream: BinaryIO) -> Iterator[bytes]:
        try:
            yield from iter(lambda: stream.readline(WHOLE), b"")
        except DAMAGE:
            self._skipped["files damaged, read up to there"] += 1

    def _entries(self, stream: BinaryIO) -> Entries:
        """The JSON objects of a file: one a line, or one over all lines."""
        lines = self._lines(stream)
        first = next((line for line in lines if line.strip()), b"")
        if (only := _object(first)) is None:
            rest = b"".join(islice(lines, SPREAD))
            if (only := _object(first + rest)) is None:
                self._skipped["lines damaged"] += 1
                lines = chain(io.BytesIO(rest), lines)
        if only is not None:
            yield only
        for line in lines:
            entry = _object(line)
            if entry is not None:
                yield entry
            elif line.strip():
                self._skipped["lines damaged"] += 1


def plain(raw: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    """What a file says, unpacked."""
    begin = raw.peek(4)
    if begin.startswith(_ZSTD):
        unpacked = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return io.BufferedReader(cast(io.RawIOBase, unpacked))
    return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))) if begin.startswith(_GZIP) else raw


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _name(path: Path) -> str:
    name = path.name
    while name.endswith(_SUFFIXES):
        name = name.rpartition(".")[0]
    return f"{path.parent.name}/{name}"
