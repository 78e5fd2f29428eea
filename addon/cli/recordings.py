"""What `mitmmu audit` and `mitmmu replay` have in common: which recordings, at what prices, and how far it has come."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter as Tally
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mitmproxy.exceptions import OptionsError

from addon.audit import sources
from addon.audit.priced import Prices
from addon.mmu.price import library
from addon.options import OPTIONS, Settings, read

WHICH = """\
  PATH...         files, and folders with all below them; without any, the transcripts that Claude Code and Codex keep
                  in your home folder. Understood are:
                    transcripts of Claude Code and Codex (.jsonl)
                    flow files of mitmproxy (mitmdump -w FILE)
                    bodies of requests as JSON, one a file or one a line
                  each also packed with zstd or gzip
  --top N         how many of the largest sessions to list (10)
  --json          all figures of all sessions
  --prices FILE   prices of your own, as mmu_prices has them (default: prices.toml in mitmmu's state folder)
"""


def parser(name: str) -> argparse.ArgumentParser:
    """A parser of what both take."""
    made = argparse.ArgumentParser(prog=f"mitmmu {name}", add_help=False, allow_abbrev=False)
    made.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    made.add_argument("--top", type=int, default=10, metavar="N")
    made.add_argument("--json", action="store_true")
    made.add_argument("--prices", default="", metavar="FILE")
    return made


def settings(asked: argparse.ArgumentParser, **given: str) -> Settings:
    """mitmmu's options, with these given. Ends the program where one is wrong."""
    try:
        return read({**{name: default for name, (default, _) in OPTIONS.items()}, **given}, {})
    except OptionsError as error:
        asked.error(str(error))


def prices(asked: argparse.ArgumentParser, options: argparse.Namespace) -> Prices:
    """The prices that count. Ends the program where the user's own cannot be read."""
    return Prices(settings(asked, mmu_prices=options.prices).prices, library(), datetime.now(UTC).date())


def found(asked: argparse.ArgumentParser, options: argparse.Namespace) -> list[Path]:
    """The files that are meant. Ends the program where there are none."""
    if options.top < 0:
        asked.error("--top takes a number that is not negative")
    paths: list[Path] = options.paths or sources.usual()
    if not paths:
        asked.error("no transcripts of Claude Code or Codex in your home folder; name a file or a folder")
    try:
        return sources.files(paths)
    except FileNotFoundError as error:
        asked.error(str(error))


def nothing(asked: argparse.ArgumentParser, skipped: Tally[str]) -> None:
    """Ends the program that has found no request."""
    what = ", ".join(f"{count} {what}" for what, count in sorted(skipped.items())) or "no files"
    asked.error(f"no requests found there ({what}); `{asked.prog} --help` says what can be read")


class Progress:
    """Says on a terminal how much was read; is silent elsewhere."""

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        self._name, self._tells = name, sys.stderr.isatty()
        self._whole = sum(path.stat().st_size for path in files) if self._tells else 0
        self._read, self._said = 0, 0.0

    def read(self, count: int) -> None:
        """More bytes were read."""
        self._read += count
        self.say("")

    def say(self, more: str) -> None:
        """Where it stands."""
        if self._tells and (now := time.monotonic()) - self._said > 0.2:
            self._said = now
            line = f"\r\033[K{self._name}: {self._read / 1e6:.0f} of {self._whole / 1e6:.0f} MB{more}"
            print(line, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._tells:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
