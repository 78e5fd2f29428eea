"""The bill: what the ledger of a proxy says it has paid, and what the provider asked for the same requests.

The provider's own bill is reckoned from its own table of prices and has nothing of mitmmu's in it, except for which
models mitmmu knows a price: what it does not know it books as unknown, and at nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from addon.mmu.price import Listed, library, rates
from tests.harness import Mitmdump
from tests.upstream import Record
from tests.upstream.gemini_path import is_generate
from tests.upstream.log import BILLED

CENT = 0.005
PATIENCE = 10.0


@cache
def _listed() -> Listed:
    return library()


def _host(path: str) -> str:
    if path == "/v1/messages":
        return "api.anthropic.com"
    return "api.openai.com" if path in BILLED else "generativelanguage.googleapis.com"


def known(record: Record) -> bool:
    """Whether mitmmu knows what a request's model costs."""
    url, day = f"https://{_host(record.path)}{record.path}", datetime.fromtimestamp(record.time, UTC).date()
    return rates(record.model, url, day, (), _listed()).known


def asked(records: Iterable[Record], beside: Collection[str] = ()) -> tuple[float, float]:
    """Dollars that the provider asks, at least and at most, without those labels that went `beside` the proxy: nobody
    was told in full what an answer costs that broke off."""
    billed = [
        record
        for record in records
        if record.dollars
        and record.status == 200
        and record.label not in beside
        and (record.path in BILLED or is_generate(record.path))
        and known(record)
    ]
    return sum(record.dollars for record in billed if record.whole), sum(record.dollars for record in billed)


def rows(proxy: Mitmdump, by: str = "project") -> list[dict[str, Any]]:
    """The ledger as it stands."""
    token = (proxy.home / "site.token").read_text().strip()
    status, text = proxy.site(f"/api/ledger?by={by}&token={token}")
    assert status == 200, text
    found: list[dict[str, Any]] = json.loads(text)["rows"]
    return found


def check(proxy: Mitmdump, log: Iterable[Record], beside: Collection[str] = ()) -> None:
    """The ledger shows what the provider asks, when all that is booked behind responses is booked. To the cent, and of
    a bill that is smaller than some dollars to a thousandth of it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        least, most = asked(log, beside)
        billed = sum(row["billed"] for row in rows(proxy))
        near = min(CENT, most / 1000)
        if least - near <= billed <= most + near:
            return
        assert time.monotonic() < deadline, f"booked ${billed:.6f}, asked ${least:.6f} to ${most:.6f}"
        time.sleep(0.05)
