"""Prices: the vendors' own figures, the user's before them, and a stand-in that makes mitmmu act least."""

from __future__ import annotations

from datetime import date

import pytest

from addon.mmu.price import FAMILIES, LEAST_ACTING, MILLION, Listed, Rates, library, minimum, overrides, rates
from addon.wire.usage import Usage

DAY = date(2026, 11, 1)


@pytest.fixture(scope="module")
def listed() -> Listed:
    return library()


def dollars(found: Rates) -> tuple[float, ...]:
    """Per million tokens: input, both writes, read, output."""
    given = (found.fresh, found.written, found.written_hour, found.read, found.output)
    return tuple(round(price * MILLION, 6) for price in given)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-fable-5", (10, 12.5, 20, 1, 50)),
        ("claude-fable-5-1", (10, 12.5, 20, 0.25, 50)),
        ("claude-opus-5-5", (4, 5, 8, 0.2, 20)),
        ("claude-opus-5", (5, 6.25, 10, 0.5, 25)),
        ("claude-sonnet-5", (2, 2.5, 4, 0.2, 10)),
        ("claude-sonnet-5-5", (2, 2.5, 4, 0.1, 10)),
        ("claude-haiku-4-5-20251001", (1, 1.25, 2, 0.1, 5)),
        ("anthropic/claude-opus-4.8", (5, 6.25, 10, 0.5, 25)),
        # what is not listed for these follows from the family: writing is free of charge
        ("gpt-4.1", (2, 2, 2, 0.5, 8)),
        ("gpt-4o", (2.5, 2.5, 2.5, 1.25, 10)),
        ("gemini-3-flash-preview", (0.5, 0.5, 0.5, 0.05, 3)),
        # and here it is not
        ("gpt-5.6", (4, 5, 5, 0.4, 20)),
        # no discount is known of
        ("mistral-large-latest", (2, 2, 2, 2, 6)),
    ],
)
def test_what_vendors_charge(listed: Listed, model: str, expected: tuple[float, ...]) -> None:
    found = rates(model, "", DAY, (), listed)
    assert found.known
    assert dollars(found) == expected


def test_above_a_cliff_the_whole_request_is_dearer(listed: Listed) -> None:
    found = rates("gemini-2.5-pro", "", DAY, (), listed)
    assert found.cliff == 200_000
    assert dollars(found.at(200_000)) == (1.25, 1.25, 1.25, 0.125, 10)
    assert dollars(found.at(200_001)) == (2.5, 2.5, 2.5, 0.25, 15)
    usage = Usage(fresh=1, read=200_000, output=10)
    assert found.cost(usage) == pytest.approx((2.5 + 200_000 * 0.25 + 150) / MILLION)
    assert rates("gpt-5.6", "", DAY, (), listed).cliff == 272_000


def test_a_provider_with_prices_of_its_own_goes_before_the_name(listed: Listed) -> None:
    direct = rates("deepseek-chat", "", DAY, (), listed)
    there = rates("deepseek/deepseek-chat", "https://openrouter.ai/api/v1/chat/completions", DAY, (), listed)
    assert there.known
    assert dollars(there) != dollars(direct)
    # a host that is nobody's says nothing against the name
    assert rates("gpt-4.1", "http://127.0.0.1:8080/v1", DAY, (), listed) == rates("gpt-4.1", "", DAY, (), listed)


def test_a_model_nobody_knows(listed: Listed) -> None:
    for table in (listed, None):
        found = rates("frobnicate-7b", "", DAY, (), table)
        assert not found.known
        assert found.read / found.fresh == pytest.approx(LEAST_ACTING.read)
        assert found.written / found.fresh == pytest.approx(LEAST_ACTING.written)
    # no vendor's terms make a changed prefix pay later
    assert all(kin.read >= LEAST_ACTING.read and kin.written <= LEAST_ACTING.written for _, kin in FAMILIES)
    # of a family the multiples are known, the dollars are not
    newest = rates("gpt-6.2", "", DAY, (), listed)
    assert not newest.known
    assert (newest.read / newest.fresh, newest.written / newest.fresh) == pytest.approx((0.05, 1.25))


OWN = """
["gpt-6.2*"]
input = 5
output = 30
cliff = 272000
above = { input = 10, output = 45 }

["gpt-*"]
input = 1
output = 2
read = 0.5
write = 1.5
write_hour = 3
"""


def test_the_users_own_prices_go_first(listed: Listed) -> None:
    own = overrides(OWN)
    first = rates("openai/GPT-6.2-astra", "", DAY, own, listed)
    assert first.known
    assert dollars(first) == (5, 6.25, 6.25, 0.25, 30)
    assert dollars(first.at(272_001)) == (10, 12.5, 12.5, 0.5, 45)
    assert dollars(rates("gpt-4.1", "", DAY, own, listed)) == (1, 1.5, 3, 0.5, 2)
    assert dollars(rates("claude-opus-5", "", DAY, own, listed))[0] == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("input = 1", "outside a table"),
        ("[a]\ninput = 1", "nothing of output"),
        ("[a]\ninput = 1\noutput = 2\nreads = 3", "reads: there are"),
        ("[a]\ninput = '1'\noutput = 2", "expected a number"),
        ("[a]\ninput = nan\noutput = 2", "expected a number"),
        ("[a]\ninput = 1\noutput = -2", "expected a number"),
        ("[a]\ninput = 1\noutput = 2\ncliff = 5", "above input, above output"),
        ("[a]\ninput = 1\noutput = 2\nabove = {input = 1}", "no cliff"),
        ("[a", "not TOML"),
    ],
)
def test_a_bad_file_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        overrides(text)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("claude-opus-5", 512), ("claude-opus-5-5", 512), ("claude-sonnet-5", 1024), ("claude-sonnet-5-5", 512),
     ("claude-opus-4-7", 2048), ("claude-haiku-4-5", 4096), ("claude-opus-4-8", 1024), ("gpt-4.1", 1024)],
)  # fmt: skip
def test_the_least_that_is_cached(model: str, tokens: int) -> None:
    assert minimum(model) == tokens
