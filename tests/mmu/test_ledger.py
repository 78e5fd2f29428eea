"""The untouched bill, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addon.mmu.ledger import Action, Entry, Part, Past, Scale, Standing, Weight, bill, measured, untouched
from addon.mmu.price import Rates
from addon.wire.usage import Usage

# a token of fresh input costs a dollar, so that the sums can be read
RATES = Rates(fresh=1.0, read=0.1, written=1.25, written_hour=2.0, output=5.0, minimum=1000)
M = "model"


def past(prompt: int = 0, warm: int = 0, shared: int = 0, messages: int = 1) -> Past:
    return Past(M, messages, prompt, 0, warm, shared)


def entry(weight: Weight, usage: Usage, *more: Usage, here: Standing | None = None, rates: Rates = RATES) -> Entry:
    made = bill(weight, usage, more, rates, here or Standing())
    assert sum(made.by.values()) == pytest.approx(made.untouched - made.billed)
    return made


def evicted(at: int, saved: int, *, sent: int = 10_000, seen: int = 0) -> Weight:
    return Weight(sent, True, (Part(at, saved, Action.EVICT),), seen)


def test_with_nothing_changed_both_bills_are_the_same() -> None:
    for usage in (Usage(fresh=7, read=10_000, written=500, written_hour=3, output=9), Usage(fresh=50), Usage()):
        made = entry(Weight(usage.prompt, True), usage)
        assert made.billed == made.untouched
        assert made.known


def test_evicted_cold_saves_a_write() -> None:
    here = Standing(past(prompt=18_000, warm=18_000), changed=True, alive=False)
    made = entry(evicted(2_000, 8_000), Usage(written=10_000, output=10), here=here)
    assert made.billed == 12_500 + 50
    assert made.untouched == 18_000 * 1.25 + 50
    assert made.by[Action.EVICT] == pytest.approx(8_000 * 1.25)
    assert made.warm == 18_000


def test_later_it_saves_its_rent() -> None:
    here = Standing(past(prompt=10_000, warm=18_000), continues=True, alive=True)
    made = entry(evicted(2_000, 8_000, sent=11_000, seen=10_000), Usage(read=10_000, written=1_000), here=here)
    assert made.untouched == pytest.approx(18_000 * 0.1 + 1_000 * 1.25)
    assert made.by[Action.EVICT] == pytest.approx(800)
    assert made.warm == 19_000


def test_a_head_that_was_read_cold_is_read_in_both() -> None:
    """Other sessions keep tools and instructions warm; what left stood behind them."""
    made = entry(evicted(6_000, 8_000), Usage(read=4_000, written=6_000), here=Standing(past(), changed=True))
    assert made.untouched == pytest.approx(4_000 * 0.1 + 14_000 * 1.25)


def test_a_fold_saves_a_write_when_it_comes_and_rent_from_then_on() -> None:
    fold = (Part(9_000, 600, Action.FOLD),)
    here = Standing(past(prompt=9_000, warm=9_000), continues=True, alive=True)
    first = entry(Weight(9_100, True, fold, 9_000), Usage(read=9_000, written=100), here=here)
    assert first.by[Action.FOLD] == pytest.approx(600 * 1.25)
    here = Standing(past(prompt=9_100, warm=first.warm), continues=True, alive=True)
    then = entry(Weight(9_500, True, fold, 9_100), Usage(read=9_100, written=400), here=here)
    assert then.by[Action.FOLD] == pytest.approx(600 * 0.1)


def test_the_last_prompt_is_the_landmark_where_counts_lean() -> None:
    """What a turn brings weighs less than we count; without the landmark the fold would stand in what was read."""
    here = Standing(past(prompt=9_000), continues=True, alive=True)
    fold = Weight(9_500, True, (Part(9_000, 100, Action.FOLD),), 9_000)
    usage = Usage(read=9_000, written=200)
    assert entry(fold, usage, here=here).by[Action.FOLD] == pytest.approx(100 * 1.25)
    assert entry(fold, usage).by[Action.FOLD] == pytest.approx(100 * 0.1)


def test_uncached_it_is_full_price_every_time() -> None:
    made = entry(evicted(2_000, 8_000), Usage(fresh=10_000))
    assert (made.billed, made.untouched) == (10_000, 18_000)


def test_an_hour_costs_what_an_hour_costs() -> None:
    made = entry(evicted(2_000, 8_000), Usage(written_hour=9_000, written=900, fresh=100))
    assert made.untouched == pytest.approx(17_000 * 2.0 + 900 * 1.25 + 100)


def test_a_warm_prefix_that_was_changed_would_have_been_read() -> None:
    """The published age rule does so, and it is dear: 8,000 tokens of rent saved, 8,000 written again."""
    here = Standing(past(prompt=17_000, warm=17_000), changed=True, alive=True)
    made = entry(evicted(2_000, 8_000, seen=9_000), Usage(read=2_000, written=8_000), here=here)
    assert made.billed == pytest.approx(200 + 10_000)
    assert made.untouched == pytest.approx(17_000 * 0.1 + 1_000 * 1.25)
    assert made.by[Action.EVICT] == pytest.approx(800)
    assert made.by[Action.OTHER] == pytest.approx(-8_050)
    # where the client had changed its own history, only what stands before that
    edited = entry(evicted(2_000, 8_000, seen=5_000), Usage(read=2_000, written=8_000), here=here)
    assert edited.untouched == pytest.approx(13_000 * 0.1 + 5_000 * 1.25)


def test_a_tool_that_was_added_gives_up_a_warm_head() -> None:
    tool = Weight(10_000, True, (Part(3_000, -100, Action.TOOL),))
    here = Standing(past(shared=4_000), changed=True, head_given_up=True)
    made = entry(tool, Usage(written=10_000), here=here)
    assert made.untouched == pytest.approx(4_000 * 0.1 + 5_900 * 1.25)
    assert made.by[Action.TOOL] == pytest.approx(-10)  # in a head that would have been read
    assert made.untouched < made.billed


def test_a_page_put_back_costs() -> None:
    made = entry(Weight(10_000, True, (Part(9_000, -500, Action.RECALL),)), Usage(read=9_000, written=1_000))
    assert made.by[Action.RECALL] == pytest.approx(-500 * 1.25)
    assert made.saved == -500


def test_what_carries_on_is_the_price_of_recalls() -> None:
    first, last = Usage(read=9_000, output=40), Usage(read=9_000, written=500, output=100)
    made = entry(Weight(9_000, True), first, last)
    assert made.billed == pytest.approx(900 + 200 + 900 + 625 + 500)
    assert made.untouched == pytest.approx(900 + 500)
    assert made.by[Action.CARRIED] == pytest.approx(-(200 + 900 + 625))


def test_a_cliff_that_was_not_crossed() -> None:
    rates = Rates(1.0, 0.1, 1.0, 1.0, 5.0, cliff=15_000, above=Rates(2.0, 0.2, 2.0, 2.0, 7.5))
    made = entry(evicted(2_000, 8_000), Usage(fresh=10_000, output=10), rates=rates)
    assert (made.billed, made.untouched) == (10_050, 36_075)
    assert made.by[Action.EVICT] == pytest.approx(16_000)
    assert made.by[Action.OTHER] == pytest.approx(10_025)


def test_too_short_to_be_cached_because_of_us() -> None:
    weight = evicted(400, 600, sent=900)
    here = Standing(past(warm=1_300), continues=True, alive=True)
    made = entry(weight, Usage(fresh=900), here=here)
    assert made.untouched == pytest.approx(1_300 * 0.1 + 200)
    assert made.warm == 1_500
    cold = entry(weight, Usage(fresh=900), here=Standing(past(warm=1_300)))
    assert cold.untouched == pytest.approx(1_500)  # never dearer than the plain price
    asleep = entry(weight, Usage(fresh=900), here=Standing(past(warm=1_300), alive=True, caches=False))
    assert asleep.untouched == pytest.approx(1_500)
    assert asleep.warm == 0


def test_a_provider_that_caches_unasked_has_all_of_it() -> None:
    made = entry(evicted(2_000, 8_000), Usage(fresh=10_000), here=Standing(asked=False))
    assert made.warm == 18_000


def test_what_is_cached_in_steps_falls_short_of_what_was_sent_in_both() -> None:
    """The fold stands in the last step of what was sent before, of which the provider reads nothing."""
    here = Standing(past(prompt=9_100), continues=True, alive=True, asked=False)
    weight = Weight(9_500, True, (Part(9_050, 600, Action.FOLD),), 9_100)
    made = entry(weight, Usage(read=8_960, fresh=540), here=here)
    assert made.untouched == pytest.approx((9_700 - 140) * 0.1 + 540)
    # a provider that is told what to keep keeps just that
    told = entry(weight, Usage(read=8_960, fresh=540), here=replace(here, asked=True))
    assert told.untouched == pytest.approx(8_960 * 0.1 + 1_140)


def test_what_marks_have_brought_is_the_price_without_them() -> None:
    """The client asked for nothing, so nothing of its prompt would have been read."""
    here = Standing(past(prompt=10_000), continues=True, alive=True, caches=False, asked=False, marked=True)
    first = entry(Weight(10_000, True), Usage(written=10_000, output=10), here=here)
    assert first.untouched == 10_000 + 50
    assert first.by[Action.MARK] == pytest.approx(-2_500)
    assert first.warm == 0
    then = entry(evicted(2_000, 8_000, sent=11_000), Usage(read=10_000, written=1_000), here=here)
    assert then.untouched == 19_000
    assert then.by[Action.EVICT] == 8_000
    assert then.by[Action.MARK] == pytest.approx(11_000 - 1_000 - 1_250)
    assert then.by[Action.OTHER] == pytest.approx(0)
    assert then.warm == 0


def test_what_a_refresh_kept_would_have_been_written() -> None:
    here = Standing(past(prompt=10_000, warm=10_000, shared=2_000), continues=True, alive=True, kept=True, lifetime=300)
    made = entry(Weight(11_000, True), Usage(read=10_000, written=1_000), here=here)
    assert made.untouched == pytest.approx(2_000 * 0.1 + 9_000 * 1.25)
    assert made.by[Action.KEEPALIVE] == pytest.approx(8_000 * (1.25 - 0.1))
    hour = entry(Weight(11_000, True), Usage(read=10_000, written_hour=1_000), here=replace(here, lifetime=3600))
    assert hour.by[Action.KEEPALIVE] == pytest.approx(8_000 * (2.0 - 0.1))
    missed = entry(Weight(11_000, True), Usage(written=11_000), here=here)
    assert missed.by[Action.KEEPALIVE] == 0
    marked = entry(Weight(11_000, True), Usage(read=10_000, written=1_000), here=replace(here, marked=True))
    assert marked.untouched == 11_000
    assert marked.by[Action.KEEPALIVE] == pytest.approx(8_000 * (1.25 - 0.1))
    assert marked.by[Action.MARK] == pytest.approx(11_000 - 2_000 * 0.1 - 9_000 * 1.25)


def test_nothing_is_claimed_that_is_not_known() -> None:
    image = Weight(10_000, False, (Part(2_000, 8_000, Action.EVICT),))
    made = entry(image, Usage(written=10_000))
    assert not made.known
    assert made.billed == made.untouched > 0
    lost = entry(image, Usage(written=10_000), Usage(read=10_000))
    assert lost.untouched < lost.billed
    rushed = Standing(past(warm=900), changed=True, alive=True, told=False)
    hasty = entry(evicted(2_000, 8_000, seen=9_000), Usage(read=2_000, written=8_000), here=rushed)
    assert (hasty.untouched, hasty.known) == (hasty.billed, False)
    guess = entry(evicted(2_000, 8_000), Usage(written=10_000), rates=Rates(3, 1, 1, 1, 1, known=False))
    assert (guess.billed, guess.untouched, guess.known) == (0, 0, False)


def test_what_tools_give_is_the_measure() -> None:
    here = Standing(Past(M, 3, 9_000, 300, 0, 0), continues=True)
    quiet = Weight(10_000, True, seen=9_000, fed=900)
    assert measured(quiet, Usage(read=10_200), here) == (1_200, 1_000)
    thought = Weight(10_000, True, seen=9_000, fed=900, thought=True)
    assert measured(thought, Usage(read=10_200), here) == (900, 900)
    assert measured(quiet, Usage(read=19_200), here) is None
    assert measured(quiet, Usage(read=10_200), Standing(here.before, continues=True, changed=True)) is None
    assert measured(quiet, Usage(read=10_200), Standing()) is None
    scale = Scale()
    assert scale.factor(1.1) == 1.1
    for _ in range(3):
        scale = scale.and_then((1_200, 1_000))
    assert scale.factor(1.1) == pytest.approx(1.2)


TOKENS = st.integers(0, 300_000)
USAGES = st.builds(Usage, fresh=TOKENS, read=TOKENS, written=TOKENS, written_hour=TOKENS, output=TOKENS)
PASTS = st.none() | st.builds(
    Past, st.just(M), st.integers(0, 9), prompt=TOKENS, output=TOKENS, warm=TOKENS, shared=TOKENS
)
PRICES = st.floats(0, 1)
PLAIN = st.builds(Rates, PRICES, PRICES, PRICES, PRICES, PRICES, minimum=st.integers(0, 4096))
ANY_RATES = PLAIN | st.builds(Rates, PRICES, PRICES, PRICES, PRICES, PRICES, cliff=TOKENS, above=PLAIN)
FLAG = st.booleans()
PARTS = st.lists(st.builds(Part, TOKENS, st.integers(-5_000, 100_000), st.sampled_from(Action)), max_size=6)


@given(USAGES, PASTS, ANY_RATES, TOKENS, TOKENS, FLAG, FLAG, FLAG, FLAG, FLAG)
def test_without_splices_and_continuations_the_bills_never_differ(
    usage: Usage, before: Past | None, rates: Rates, sent: int, seen: int,
    continues: bool, alive: bool, asked: bool, caches: bool, exact: bool,
) -> None:  # fmt: skip
    here = Standing(before, continues=continues, alive=alive, asked=asked, caches=caches)
    made = bill(Weight(sent, exact, (), seen), usage, (), rates, here, lambda part: 1.3)
    assert made.billed == made.untouched
    assert made.saved == 0


@given(USAGES, PASTS, TOKENS, TOKENS, PARTS, FLAG, FLAG, FLAG, FLAG, FLAG, FLAG)
def test_an_untouched_prompt_is_split_without_a_rest(
    usage: Usage, before: Past | None, sent: int, seen: int, parts: list[Part],
    continues: bool, changed: bool, alive: bool, asked: bool, caches: bool, head: bool,
) -> None:  # fmt: skip
    here = Standing(before, continues, changed, alive, True, asked, caches, head)
    gains = [part.saved * 1.3 for part in parts]
    split, places = untouched(Weight(sent, True, tuple(parts), seen), usage, gains, here, 1024)
    assert split.prompt == max(0, round(usage.prompt + sum(gains)))
    assert min(split.fresh, split.read, split.written, split.written_hour, *places, 0) == 0
    entry(Weight(sent, True, tuple(parts), seen), usage, here=here)
