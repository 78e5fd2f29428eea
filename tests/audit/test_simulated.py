"""The simulated cache, each bill worked by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.audit.simulated import Asking, Cache, Unit, asking
from addon.wire import anthropic, chat, responses
from addon.wire.api import Api
from addon.wire.usage import Usage

HEAD, ONE, TWO, THREE = Unit("head", 1000), Unit("1", 500), Unit("2", 300), Unit("3", 200)
EARLY, HOUR = 300.0, 3600.0


def bill(cache: Cache, *units: Unit, at: float = 0.0, minimum: int = 0, **marks: float) -> Usage:
    """Marks by the unit behind which they stand; without any, the last unit for five minutes."""
    keys = [str(unit.key) for unit in units]
    where = {keys.index(key.removeprefix("u")): ttl for key, ttl in marks.items()} or {len(units) - 1: EARLY}
    return cache.serve("m", units, where, at, minimum)


def test_what_was_written_is_read() -> None:
    cache = Cache()
    assert bill(cache, HEAD, ONE) == Usage(written=1500)
    assert bill(cache, HEAD, ONE, TWO, at=100) == Usage(read=1500, written=300)
    assert bill(cache, HEAD, ONE, TWO, THREE, at=200) == Usage(read=1800, written=200)


def test_a_cache_expires_and_reading_keeps_it_alive() -> None:
    cache = Cache()
    bill(cache, HEAD, ONE)
    assert bill(cache, HEAD, ONE, at=299) == Usage(read=1500)
    assert bill(cache, HEAD, ONE, at=598) == Usage(read=1500)
    assert bill(cache, HEAD, ONE, at=898) == Usage(written=1500)


def test_a_change_is_written_again_with_all_behind_it() -> None:
    cache = Cache()
    bill(cache, HEAD, ONE, TWO, uhead=EARLY, u2=EARLY)
    other = Unit("1'", 100)
    assert bill(cache, HEAD, other, TWO, at=10, uhead=EARLY, u2=EARLY) == Usage(read=1000, written=400)
    # What stood before is still there.
    assert bill(cache, HEAD, ONE, TWO, at=20, uhead=EARLY, u2=EARLY) == Usage(read=1800)


def test_what_stands_behind_the_last_mark_is_fresh() -> None:
    cache = Cache()
    assert bill(cache, HEAD, ONE, uhead=EARLY) == Usage(written=1000, fresh=500)
    assert bill(cache, HEAD, ONE, TWO, at=1, uhead=EARLY) == Usage(read=1000, fresh=800)
    assert cache.serve("m", [HEAD, ONE], {}, 2, 0) == Usage(fresh=1500)


def test_what_is_too_short_is_not_cached() -> None:
    cache = Cache()
    assert bill(cache, HEAD, at=0, minimum=1001) == Usage(fresh=1000)
    assert bill(cache, HEAD, at=1, minimum=1001) == Usage(fresh=1000)
    assert bill(cache, HEAD, ONE, at=2, minimum=1001) == Usage(written=1500)
    assert bill(cache, HEAD, ONE, at=3, minimum=1001) == Usage(read=1500)


def test_hours_are_written_apart() -> None:
    cache = Cache()
    assert bill(cache, HEAD, ONE, uhead=HOUR, u1=EARLY) == Usage(written_hour=1000, written=500)
    assert bill(cache, HEAD, ONE, at=3000, uhead=HOUR, u1=EARLY) == Usage(read=1000, written=500)


def test_a_mark_looks_back_twenty_blocks() -> None:
    for blocks, found in ((18, True), (19, True), (20, False)):
        cache = Cache()
        bill(cache, HEAD, ONE)
        after = Unit("long", 50, blocks)
        told = bill(cache, HEAD, ONE, after, at=1)
        assert told == (Usage(read=1500, written=50) if found else Usage(written=1550))


def test_models_have_caches_of_their_own() -> None:
    cache = Cache()
    bill(cache, HEAD)
    assert cache.serve("other", [HEAD], {0: EARLY}, 1, 0) == Usage(written=1000)


def test_somebody_else_keeps_a_head_warm() -> None:
    cache = Cache()
    cache.warm("m", [HEAD], 0.0, EARLY)
    cache.warm("m", [], 0.0, EARLY)
    assert bill(cache, HEAD, ONE, at=10, uhead=EARLY, u1=EARLY) == Usage(read=1000, written=500)


def asked(api: Api, head: int, *, caches: bool = True, whole: bool = True, **body: Any) -> Asking:
    conversation = api.parse(json.dumps({"model": "gpt-5", **body}).encode())
    return asking(api, conversation, head, caches=caches, whole=whole)


SAID = {"role": "user", "content": [{"type": "text", "text": "a"}]}
MARKED = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
LONG = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize(
    ("body", "head", "marks"),
    [
        ({"messages": [SAID]}, 1, {}),
        ({"messages": [MARKED, SAID, MARKED]}, 1, {1: 300.0, 3: 300.0}),
        ({"messages": [SAID, SAID], "cache_control": LONG}, 1, {2: 3600.0}),
        ({"messages": [MARKED], "system": [{"type": "text", "text": "s", "cache_control": LONG}]}, 1, {0: 300, 1: 300}),
        ({"messages": [SAID], "tools": [{"name": "t", "cache_control": LONG}]}, 1, {0: 300.0}),
    ],
)
def test_marks(body: dict[str, Any], head: int, marks: dict[int, float]) -> None:
    assert asked(anthropic, head, **body) == Asking(marks, unasked=False)


def test_a_head_that_was_not_recorded_ends_at_a_mark() -> None:
    assert asked(anthropic, 1, whole=False, messages=[SAID, MARKED]).marks == {0: 300.0, 2: 300.0}
    assert asked(anthropic, 1, whole=False, messages=[SAID]).marks == {}


def test_who_caches_unasked() -> None:
    assert asked(responses, 1, input=[SAID], model="gpt-5.6") == Asking({0: 1800.0, 1: 1800.0}, unasked=True)
    assert asked(responses, 0, input=[SAID], prompt_cache_retention="24h").marks == {0: 86400.0}
    assert asked(chat, 0, messages=[SAID], model="unheard-of").marks == {0: 300.0}
    assert asked(chat, 0, messages=[SAID], caches=False).marks == {}
    whole = asked(chat, 0, messages=[SAID])
    assert whole.told(Usage(written_hour=3, written=4)) == Usage(written=7, untold=True)
