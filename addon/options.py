"""The options. All are strings, because mitmproxy takes a wrong `--set` of any other type in silence and then runs on
without the addon; they are read and checked here, and a bad value stops mitmproxy with a message that says the cure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import OptionsError

from addon import places
from addon.mmu.evict import Policy
from addon.mmu.price import Override, overrides
from storage import redis_url
from storage.redis_url import Target


class Recall(StrEnum):
    AUTO = "auto"
    """Relay where that is possible, else patch for clients that are known to cope with it."""
    RELAY = "relay"
    """Answer recalls inside the response."""
    PATCH = "patch"
    """Answer them in the place of the client's refusal, whatever the client."""
    OFF = "off"


class Sockets(StrEnum):
    """What becomes of a client's wish for a WebSocket on the path of an API."""

    REFUSE = "refuse"
    """It is told to go on with requests."""
    OBSERVE = "observe"
    """It gets it, and nothing on it is changed."""


class Mode(StrEnum):
    AUTO = "auto"
    OBSERVE = "observe"
    """Measure what would be saved, change nothing."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Settings:
    home: Path
    store: str = field(repr=False)
    """SQLAlchemy URL. Not to be shown: it may hold a password."""
    redis: Target | None = None
    """The Redis that several proxies share; None for none."""
    redis_seconds: int = 86_400
    """How long a page stays there after its last use."""
    mode: Mode = Mode.AUTO
    policy: Policy = field(default_factory=Policy)
    recall: Recall = Recall.AUTO
    sockets: Sockets = Sockets.REFUSE
    keepalive: bool = False
    """Caches of idle conversations are kept warm where that is likely to pay."""
    header_clock: bool = False
    prices: tuple[Override, ...] = ()
    """Prices that go before those of the table."""
    key_file: str = ""
    """Where keys of the store lie, beside those in the environment; "" for nowhere."""
    keep_days: float = 90.0
    """Days since its last use after which a conversation is deleted; 0 for never."""
    hosts: tuple[str, ...] = ()
    """More hosts (or host:port) whose calls are managed."""
    watch: tuple[str, int] | None = None
    """Address and port at which health and counts are served besides; None for none."""


OPTIONS: Mapping[str, tuple[str, str]] = {
    "mmu_home": ("", "Folder for mitmmu's state. Default: the user's state folder."),
    "mmu_store": ("", "sqlite:///PATH or postgresql://USER@HOST/DATABASE. Default: SQLite in mmu_home."),
    "mmu_redis": (
        "",
        "Redis that several proxies share as a warm tier: redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, "
        "unix:///PATH, redis+sentinel://HOST,HOST/SERVICE or redis+cluster://HOST,HOST. Default: none, each its own.",
    ),
    "mmu_redis_ttl": ("86400", "Seconds that a page stays in Redis after its last use."),
    "mmu_key_file": ("", "File with keys for encryption at rest, beside those in MITMMU_KEY. Default: none."),
    "mmu_keep_days": ("90", "Days since its last use after which a conversation and its pages are deleted; 0: never."),
    "mmu_mode": ("auto", "auto, observe (measure, change nothing) or off."),
    "mmu_policy": ("auto", "auto, patient (a warm cache is never cut), or fifo:AGE:BYTES, the published age rule."),
    "mmu_recall": ("auto", "auto, relay (answered unseen by the client), patch (for the client's refusal) or off."),
    "mmu_websocket": ("refuse", "refuse (Codex then sends requests, that can be managed) or observe (as it is)."),
    "mmu_prices": ("", "File with prices of your own, in dollars. Default: prices.toml in mmu_home, if there is one."),
    "mmu_tools": ("auto", "auto, or keep: every tool arrives with its whole definition."),
    "mmu_keepalive": ("off", "off, or auto: refresh the cache of an idle conversation while that is likely to pay."),
    "mmu_clock": ("system", "system, or header for replays: the time is the request's x-mmu-clock (epoch seconds)."),
    "mmu_hosts": ("", "More hosts that speak one of the APIs: gateway.example.com,localhost:8080."),
    "mmu_watch": ("", "HOST:PORT at which /metrics and /healthz are served to whoever asks. Default: none."),
}

_FIFO = re.compile(r"fifo:(\d{1,6}):(\d{1,9})")
_NUMBER = re.compile(r"\d{1,6}(\.\d{1,6})?")
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")


def declare(loader: Loader) -> None:
    """Register every option with mitmproxy."""
    for name, (default, text) in OPTIONS.items():
        loader.add_option(name, str, default, text)


def _policy(text: str) -> Policy:
    if text in ("auto", "patient"):
        return Policy(cuts=text == "auto")
    found = _FIFO.fullmatch(text)
    if found is None:
        raise OptionsError(f"mmu_policy={text!r}: expected auto, patient, or fifo:AGE:BYTES, for example fifo:4:500")
    return Policy(name="fifo", fifo_age=int(found[1]), fifo_bytes=int(found[2]))


def _home(text: str) -> Path:
    try:
        return places.home(text)
    except ValueError as error:
        raise OptionsError(f"mmu_home={error}") from None


def _store(text: str, home: Path) -> str:
    try:
        return places.store(text, home)
    except ValueError as error:
        raise OptionsError(f"mmu_store: {error}") from None


def _redis(text: str) -> Target | None:
    if not text:
        return None
    try:
        target = redis_url.parse(text)
    except ValueError as error:
        raise OptionsError(f"mmu_redis: {error}") from None
    if find_spec("redis") is None:
        raise OptionsError("mmu_redis needs the Python client of Redis: pip install 'redis>=5.2', or mitmmu[redis]")
    return target


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,7}", text):
        raise OptionsError(f"mmu_redis_ttl={text!r}: expected seconds, for example 86400 for a day")
    return int(text)


def _days(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise OptionsError(f"mmu_keep_days={text!r}: expected a number of days, or 0 to keep everything")
    return float(text)


def _prices(text: str, home: Path) -> tuple[Override, ...]:
    path = Path(text).expanduser() if text else home / "prices.toml"
    try:
        return overrides(path.read_text("utf-8"))
    except FileNotFoundError:
        if text:
            raise OptionsError(f"mmu_prices: there is no file {path}; leave the option out or make it") from None
        return ()
    except (OSError, ValueError) as error:
        raise OptionsError(
            f"mmu_prices: {path}: {error}. Expected for each model a table in dollars per million tokens, for example "
            '["gpt-6.2*"], input = 5.0, output = 30.0, each on a line of its own'
        ) from None


def _watch(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise OptionsError(f"mmu_watch={text!r}: expected HOST:PORT, for example 127.0.0.1:9464")
    return host.strip("[]"), int(port)


def read(given: Mapping[str, str], unknown: Mapping[str, object]) -> Settings:
    """Check the options' values. Raises OptionsError.

    `unknown` are settings that no addon has claimed; mitmproxy ignores them, but one that begins with `mmu_` is a
    misspelling that would otherwise leave its owner with the default.
    """
    for name in unknown:
        if name.startswith("mmu_"):
            raise OptionsError(f"{name} is not an option of mitmmu; there are {', '.join(sorted(OPTIONS))}")
    home = _home(given["mmu_home"])
    modes = [mode.value for mode in Mode]
    if given["mmu_mode"] not in modes:
        raise OptionsError(f"mmu_mode={given['mmu_mode']!r}: expected one of {', '.join(modes)}")
    ways = [recall.value for recall in Recall]
    if given["mmu_recall"] not in ways:
        raise OptionsError(f"mmu_recall={given['mmu_recall']!r}: expected one of {', '.join(ways)}")
    sockets = [what.value for what in Sockets]
    if given["mmu_websocket"] not in sockets:
        raise OptionsError(f"mmu_websocket={given['mmu_websocket']!r}: expected one of {', '.join(sockets)}")
    if given["mmu_tools"] not in ("auto", "keep"):
        raise OptionsError(f"mmu_tools={given['mmu_tools']!r}: expected auto or keep")
    if given["mmu_keepalive"] not in ("off", "auto"):
        raise OptionsError(f"mmu_keepalive={given['mmu_keepalive']!r}: expected off or auto")
    if given["mmu_clock"] not in ("system", "header"):
        raise OptionsError(f"mmu_clock={given['mmu_clock']!r}: expected system or header")
    hosts = tuple(host.strip().lower() for host in given["mmu_hosts"].split(",") if host.strip())
    for host in hosts:
        if _HOST.fullmatch(host) is None:
            raise OptionsError(f"mmu_hosts: {host!r} is not a host or host:port")
    return Settings(
        home=home,
        store=_store(given["mmu_store"], home),
        redis=_redis(given["mmu_redis"]),
        redis_seconds=_seconds(given["mmu_redis_ttl"]),
        mode=Mode(given["mmu_mode"]),
        policy=replace(_policy(given["mmu_policy"]), stubs=given["mmu_tools"] == "auto"),
        recall=Recall(given["mmu_recall"]),
        sockets=Sockets(given["mmu_websocket"]),
        prices=_prices(given["mmu_prices"], home),
        key_file=given["mmu_key_file"],
        keep_days=_days(given["mmu_keep_days"]),
        keepalive=given["mmu_keepalive"] == "auto",
        header_clock=given["mmu_clock"] == "header",
        hosts=hosts,
        watch=_watch(given["mmu_watch"]),
    )
