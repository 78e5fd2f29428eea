"""Where a Redis is, as one URL. Pure: neither the client library nor a network is needed to read it.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]            rediss:// for TLS
    unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DB]
    redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT].../SERVICE[/DB]
    redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT]...

`rediss+sentinel` and `rediss+cluster` are the same over TLS. User and password are percent-encoded. Behind `?` may
stand `namespace` and, for TLS, the files `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`. The forms are those of
redis-py (Redis.from_url) and of the IANA registration of the redis scheme, the last two as other clients spell them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

type Kind = Literal["server", "socket", "sentinel", "cluster"]

NAMESPACE = "mmu"

_KINDS: dict[str, tuple[Kind, bool, int]] = {
    "redis": ("server", False, 6379),
    "rediss": ("server", True, 6379),
    "unix": ("socket", False, 0),
    "redis+sentinel": ("sentinel", False, 26379),
    "rediss+sentinel": ("sentinel", True, 26379),
    "redis+cluster": ("cluster", False, 6379),
    "rediss+cluster": ("cluster", True, 6379),
}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_HOST = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?|([A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL says. `str()` of it, and its repr, show no password."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    files: tuple[tuple[str, str], ...] = ()
    namespace: str = NAMESPACE

    def __str__(self) -> str:
        named = ((f"[{host}]" if ":" in host else host, port) for host, port in self.hosts)
        return self.path or ",".join(f"{host}:{port}" for host, port in named)


def parse(url: str) -> Target:
    """ValueError says what is wrong, without the password."""
    try:
        split = urlsplit(url)
    except ValueError:
        raise ValueError("that is no URL") from None
    if split.scheme not in _KINDS or not url.lower().startswith(f"{split.scheme}://"):
        raise ValueError(f"expected a URL that begins with {', '.join(f'{scheme}://' for scheme in _KINDS)}")
    kind, tls, port = _KINDS[split.scheme]
    username, password, where = _login(split)
    options = _options(split, tls)
    parts = [unquote(part) for part in split.path.split("/")[1:]]
    service = ""
    if kind == "socket":
        if where or not split.path.strip("/"):
            raise ValueError("a socket is spelt unix:///path/to/redis.sock")
        parts = []
    elif kind == "sentinel":
        service = parts.pop(0) if parts else ""
        if not service:
            raise ValueError("redis+sentinel:// needs the name of the service behind the hosts: host:26379/mymaster")
    text = "/".join(parts) or options.pop("db", "")
    options.pop("db", None)
    if text and (kind == "cluster" or not re.fullmatch(r"\d{1,4}", text)):
        # not quoted: behind an unquoted / it may be the half of a password
        raise ValueError("a cluster has only database 0" if kind == "cluster" else "the database is a number")
    return Target(
        kind=kind,
        hosts=() if kind == "socket" else _hosts(where, port, one=kind == "server"),
        path=unquote(split.path) if kind == "socket" else "",
        service=service,
        db=int(text or 0),
        tls=tls,
        username=username,
        password=password,
        namespace=options.pop("namespace", NAMESPACE),
        files=tuple(options.items()),
    )


def _login(split: SplitResult) -> tuple[str | None, str | None, str]:
    login, at, where = split.netloc.rpartition("@")
    if not at:
        return None, None, where
    user, _, password = login.partition(":")
    return unquote(user) or None, unquote(password) or None, where


def _options(split: SplitResult, tls: bool) -> dict[str, str]:
    if split.fragment:
        # an unquoted # in a password ends up here, and whatever is said of it could show it
        raise ValueError("a URL of Redis has no #; in a password it is written %23")
    found = dict(parse_qsl(split.query, keep_blank_values=True))
    allowed = {"namespace", "db", *(_FILES if tls else ())}
    for name in found:
        if name not in allowed:
            raise ValueError(f"behind ? may stand {', '.join(sorted(allowed))}")
    if not _NAME.fullmatch(found.get("namespace", NAMESPACE)):
        raise ValueError("a namespace is letters, digits, '.', '_' and '-', 64 at most")
    return found


def _hosts(text: str, default: int, *, one: bool) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for each in text.split(","):
        match = _HOST.fullmatch(each)
        port = int(match[2] or match[4] or default) if match else 0
        if match is None or not 0 < port < 65_536:
            raise ValueError("expected host or host:port behind the //, and %40, %2F, %3A for @, /, : in a password")
        found.append((match[1] or match[3], port))
    if one and len(found) > 1:
        raise ValueError("several hosts are for redis+sentinel:// and redis+cluster://")
    return tuple(found)
