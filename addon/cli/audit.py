"""`mitmmu audit`: what recorded agents sent to the model that they need not have sent."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from pathlib import Path

from addon import vocabulary
from addon.audit import report, sources, waste
from addon.mmu.tokens import Counter

USAGE = """\
mitmmu audit: how much of what your agents sent to the model was waste. Reads recordings, changes nothing, needs no
network.

  ./run audit               the transcripts that Claude Code and Codex keep in your home folder
  ./run audit PATH...       files, and folders with all below them:
                              transcripts of Claude Code and Codex (.jsonl)
                              flow files of mitmproxy (mitmdump -w FILE)
                              bodies of requests as JSON, one a file or one a line
                            each also packed with zstd or gzip

  --top N   how many of the largest sessions to list (10)
  --json    all figures of all sessions, in tokens

Transcripts hold neither system prompt nor tools. Flow files do.
"""


def main(given: Sequence[str]) -> None:
    """Print the report. `given`: the arguments after `audit`. Exits with 2 where there is nothing to read."""
    if any(word in ("-h", "--help", "help") for word in given):
        print(USAGE, end="")
        return
    parser = argparse.ArgumentParser(prog="mitmmu audit", add_help=False, allow_abbrev=False)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--top", type=int, default=10, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(given)
    if options.top < 0:
        parser.error("--top takes a number that is not negative")
    paths: list[Path] = options.paths or sources.usual()
    if not paths:
        parser.error("no transcripts of Claude Code or Codex in your home folder; name a file or a folder")
    try:
        files = sources.files(paths)
    except FileNotFoundError as error:
        parser.error(str(error))

    counter = Counter(vocabulary.load())
    skipped: Tally[str] = Tally()
    total, rows = waste.Figures(), list[report.Row]()
    done = _progress(files)
    for session in sources.Sources(counter, skipped, done).sessions(files):
        figures = waste.measure(session, counter)
        total.add(figures)
        rows.append(report.Row(session.name, session.client, figures))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if not rows:
        what = ", ".join(f"{count} {what}" for what, count in sorted(skipped.items())) or "no files"
        parser.error(f"no requests found there ({what}); `mitmmu audit --help` says what can be read")
    rows.sort(key=lambda row: -row.figures.sent)
    if options.json:
        print(json.dumps(report.report(total, rows, skipped), indent=1))
    else:
        print(report.table(total, len(rows), rows[: options.top], skipped), end="")


def _progress(files: Sequence[Path]) -> Callable[[int], None]:
    """What is told of bytes as they are read, and says so on a terminal."""
    if not sys.stderr.isatty():
        return lambda _: None
    whole = sum(path.stat().st_size for path in files)
    read, said = 0, 0.0

    def more(count: int) -> None:
        nonlocal read, said
        read += count
        if (now := time.monotonic()) - said > 0.2:
            said = now
            line = f"\r\033[Kmitmmu audit: {read / 1e6:.0f} of {whole / 1e6:.0f} MB"
            print(line, end="", file=sys.stderr, flush=True)

    return more
