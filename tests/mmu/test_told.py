"""What a response's usage says about the cache, and what it does not."""

from __future__ import annotations

from addon.mmu.plan import CACHEABLE, told
from addon.mmu.view import View
from addon.wire.usage import Usage

FIRST, LATER = View("v", requests=1), View("v", requests=2)


def test_a_lifetime_is_learned_from_a_report_that_tells_it() -> None:
    assert told(LATER, Usage(written=5)) == {"told": 300.0, "cached": True}
    assert told(LATER, Usage(written=5, written_hour=5)) == {"told": 3600.0, "cached": True}
    assert told(LATER, Usage(written=5, untold=True)) == {"cached": True}


def test_that_nothing_is_cached_takes_a_request_that_could_have_read() -> None:
    assert told(FIRST, Usage(fresh=CACHEABLE)) == {}
    assert told(LATER, Usage(fresh=CACHEABLE)) == {"cached": False}
    assert told(LATER, Usage(fresh=CACHEABLE - 1)) == {}
    assert told(View("v", requests=2, state={"cached": True}), Usage(fresh=CACHEABLE)) == {}
