"""What the commands that work on a store have in common: which one, with which keys, and how far they have come."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from addon import keyfile, places

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.engine import URL

    from storage.crypt import Keys
    from storage.on_redis import Herald
    from storage.retention import Swept

WHICH = """\
  --home FOLDER     the proxy's mmu_home, where it has one
  --store URL       the proxy's mmu_store, where it has one
  --key-file FILE   the proxy's mmu_key_file, where it has one; MITMMU_KEY counts as well
"""
REDIS = """\
  --redis URL       the proxies' mmu_redis, where they have one: what is deleted leaves it as well, and their memory
"""
_UNCERTAIN = (
    "Redis could not be reached, or refused some of it: what was deleted may stay there until mmu_redis_ttl is over, "
    "and in the memory of proxies until they end"
)
_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Store:
    """A store that is open to be worked on. What `engine` deletes is overwritten."""

    url: URL
    engine: Engine
    keys: Keys
    herald: Herald | None = None
    """Where a Redis was named."""

    def gone(self, swept: Swept, *, all: bool = False) -> None:
        """What was deleted leaves the Redis and the proxies' memory as well, as far as they can be reached."""
        if self.herald is not None and (swept.keys or swept.gone or all):
            self.herald.tell(frozenset(swept.keys), frozenset(swept.gone), all=all)

    def size(self) -> int:
        """Bytes on the disk."""
        from storage import engine

        found = engine.size(self.url)
        if found is not None:
            return found
        with self.engine.connect() as connection:
            return engine.measure(connection)

    def shrink(self) -> None:
        """Give back to the disk what was deleted, in small steps, and leave nothing of it in the journal."""
        from storage import engine

        while engine.shrink(self.engine, 1024):
            time.sleep(0.01)
        engine.empty_journal(self.engine)


def parser(name: str) -> argparse.ArgumentParser:
    """A parser of what all of them take."""
    made = argparse.ArgumentParser(prog=f"mitmmu {name}", add_help=False, allow_abbrev=False)
    for option in ("--home", "--store", "--key-file"):
        made.add_argument(option, default="")
    return made


@contextmanager
def opened(
    asked: argparse.ArgumentParser, options: argparse.Namespace, *, blind: bool = False, make: bool = False
) -> Iterator[Store]:
    """The store that is meant, at its last schema. Ends the program where that cannot be, with what to do about it.

    `blind`: without its keys. `make`: a new one where there is none. What goes wrong with the database inside ends the
    program as well; an interruption does with status 130, after whole steps only.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from storage import engine, schema
    from storage.cold import Cold
    from storage.crypt import OPTION, Keys
    from storage.errors import StoreError

    try:
        url = places.store(options.store, places.home(options.home))
        keys = Keys([] if blind else keyfile.store_keys(options.key_file, os.environ))
        parsed = engine.parse(url)
        if not make:
            there(url)
        if not blind:
            Cold.open(url, time.time, keys).close(1)
    except (ValueError, StoreError) as error:
        asked.error(str(error))
    herald = _herald(asked, getattr(options, "redis", ""))
    erasing = engine.erasing(parsed, _WAIT_SECONDS).execution_options(**{OPTION: keys})
    try:
        if blind:
            schema.upgrade(erasing)
        yield Store(parsed, erasing, keys, herald)
    except (SQLAlchemyError, sqlite3.Error, StoreError, OSError) as error:
        asked.exit(1, f"{asked.prog}: {error}\n")
    except KeyboardInterrupt:
        asked.exit(130, f"\n{asked.prog}: interrupted; what is done stays done, and the same command goes on\n")
    finally:
        erasing.dispose()
        if herald is not None:
            herald.close()
            if not herald.certain:
                print(f"{asked.prog}: {_UNCERTAIN}", file=sys.stderr)


def _herald(asked: argparse.ArgumentParser, url: str) -> Herald | None:
    if not url:
        return None
    from storage import redis_url

    try:
        target = redis_url.parse(url)
    except ValueError as error:
        asked.error(f"--redis: {error}")
    try:
        from storage.on_redis import Herald
    except ImportError:
        asked.error("--redis needs the Python client of Redis: pip install 'redis>=5.2', or mitmmu[redis]")
    return Herald(target)


def there(url: str) -> None:
    """StoreError for a store that nobody has made: an empty one in its place would look like a loss. ValueError."""
    from sqlalchemy.exc import SQLAlchemyError

    from storage import engine, schema
    from storage.errors import StoreError

    parsed = engine.parse(url)
    if parsed.get_backend_name() == "sqlite":
        if not Path(parsed.database or "").exists():
            raise StoreError(f"there is no store at {parsed.database}; start the proxy, or name its folder with --home")
        return
    reader = engine.reader(parsed)
    try:
        with reader.connect() as connection:
            made = schema.revision(connection)
    except SQLAlchemyError as error:
        raise StoreError(f"the store cannot be opened: {error}") from error
    finally:
        reader.dispose()
    if made is None:
        raise StoreError(f"there is no store at {engine.shown(parsed)}; start the proxy, or name another database")


class Said:
    """Says on a terminal how far it is; is silent elsewhere."""

    def __init__(self, name: str) -> None:
        self._name, self._tells, self._at = name, sys.stderr.isatty(), 0.0

    def say(self, text: str) -> None:
        """Where it stands."""
        if self._tells and (now := time.monotonic()) - self._at > 0.2:
            self._at = now
            print(f"\r\033[K{self._name}: {text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._tells:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def counted(count: int, what: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
