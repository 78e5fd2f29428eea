"""What packing pages costs and saves: python -m benchmarks.codec [FOLDER]

Takes the Python files of a folder (this checkout when none is given), and versions of each as an agent makes them:
three hunks changed, read again. Compares plain zstd, zstd with a dictionary trained on half of the files, and the
difference to the first version, and what sealing adds. Times are the best of five, per page.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import zstandard

from storage import codec
from storage.crypt import Keys

ROOT = Path(__file__).resolve().parent.parent
HUNKS = 3
DICTIONARY = 64 * 1024


def edited(text: bytes, seed: int) -> bytes:
    """A version: three times a line goes, changes, or gets company."""
    lines, chance = text.split(b"\n"), random.Random(seed)
    for _ in range(HUNKS):
        at = chance.randrange(len(lines))
        lines[at : at + 1] = chance.choice(([], [b"    changed = %d" % seed], [lines[at], b"    added = %d" % seed]))
    return b"\n".join(lines)


def per_page(work: Callable[[], object], pages: int) -> float:
    """Microseconds."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times) / pages * 1e6


def main(given: Sequence[str]) -> None:
    folder = Path(given[0]) if given else ROOT
    files = [each for each in sorted(folder.rglob("*.py")) if ".venv" not in each.parts]
    texts = [text for each in files if codec.LEAST <= len(text := each.read_bytes()) <= codec.MOST]
    if len(texts) < 16:
        sys.exit(f"codec: {folder} has too few Python files")
    shown = texts[1::2]  # the others train the dictionary
    pairs = [(text, edited(text, n)) for n, text in enumerate(shown)]
    size = sum(len(version) for _, version in pairs)
    trained = zstandard.train_dictionary(DICTIONARY, [*texts[0::2]])
    with_it = zstandard.ZstdCompressor(level=3, dict_data=trained, write_checksum=True)
    out_of_it = zstandard.ZstdDecompressor(dict_data=trained)
    keys = Keys([os.urandom(32)])

    plain = [codec.pack(version) for _, version in pairs]
    small = [with_it.compress(version) for _, version in pairs]
    delta = [codec.pack_against(version, base) for base, version in pairs]
    sealed = [keys.seal(data, b"page") for _, data in delta]
    rows: list[tuple[str, Sequence[bytes], Callable[[], object], Callable[[], object]]] = [
        (
            "plain",
            [data for _, data in plain],
            lambda: [codec.pack(version) for _, version in pairs],
            lambda: [codec.unpack(n, len(v), d) for (n, d), (_, v) in zip(plain, pairs, strict=True)],
        ),
        (
            "dictionary",
            small,
            lambda: [with_it.compress(version) for _, version in pairs],
            lambda: [out_of_it.decompress(data) for data in small],
        ),
        (
            "delta",
            [data for _, data in delta],
            lambda: [codec.pack_against(version, base) for base, version in pairs],
            lambda: [codec.unpack(n, len(v), d, b) for (n, d), (b, v) in zip(delta, pairs, strict=True)],
        ),
        (
            "delta, sealed",
            sealed,
            lambda: [keys.seal(codec.pack_against(version, base)[1], b"page") for base, version in pairs],
            lambda: [
                codec.unpack(n, len(v), keys.open(keys.first, s, b"page"), b)
                for (n, _), s, (b, v) in zip(delta, sealed, pairs, strict=True)
            ],
        ),
    ]
    print(f"{len(pairs)} pages of {size / len(pairs) / 1000:.1f} kB on average, {HUNKS} hunks changed in each")
    print(f"{'':<14} {'bytes a page':>12} {'ratio':>7} {'pack, us':>9} {'unpack, us':>10}")
    for name, packed, pack, unpack in rows:
        took = sum(map(len, packed))
        print(
            f"{name:<14} {took / len(packed):>12,.0f} {size / took:>6.1f}x "
            f"{per_page(pack, len(pairs)):>9.0f} {per_page(unpack, len(pairs)):>10.0f}"
        )
    chosen = sum(name == codec.DELTA for name, _ in delta)
    print(f"stored as a difference: {chosen} of {len(delta)}")


if __name__ == "__main__":
    main(sys.argv[1:])
