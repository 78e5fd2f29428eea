"""Cache arithmetic, computed by hand. In the first half every block is 100 tokens, so tokens count blocks."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.upstream.cache import LOOKBACK, Cache, Split, breakpoints
from tests.upstream.direct import TOOL, ask, request, result, text, user
from tests.upstream.models import TABLE, dollars, model_of
from tests.upstream.prompt import chain, prompt
from tests.upstream.provider import Provider

MINIMUM = 200


def serve(cache: Cache, upto: int, marks: dict[int, str], now: float, change: int | None = None) -> Split:
    """A prompt of `upto` blocks of 100 tokens; block `change` differs from the usual one."""
    links = []
    link = b""
    for at in range(upto):
        link += bytes([at, at == change])
        links.append(link)
    return cache.serve(links, [100] * upto, marks, now, MINIMUM)


def test_write_then_read_and_extend() -> None:
    cache = Cache()
    assert serve(cache, 5, {3: "5m"}, 0) == Split(fresh=100, read=0, write_5m=400, write_1h=0)
    assert serve(cache, 7, {5: "5m"}, 10) == Split(fresh=100, read=400, write_5m=200, write_1h=0)


def test_without_a_marker_nothing_is_cached() -> None:
    cache = Cache()
    assert serve(cache, 5, {}, 0) == Split(500, 0, 0, 0)
    assert serve(cache, 5, {4: "5m"}, 1) == Split(0, 0, 500, 0)
    assert serve(cache, 5, {}, 2) == Split(500, 0, 0, 0)


def test_five_minutes_count_from_the_start_of_the_last_request_that_used_it() -> None:
    cache = Cache()
    serve(cache, 4, {3: "5m"}, 0)
    assert serve(cache, 4, {3: "5m"}, 299).read == 400
    assert serve(cache, 4, {3: "5m"}, 598).read == 400
    assert serve(cache, 4, {3: "5m"}, 898) == Split(0, 0, 400, 0)


def test_an_hour_is_kept_for_an_hour_even_when_read_under_five_minutes() -> None:
    cache = Cache()
    assert serve(cache, 4, {3: "1h"}, 0) == Split(0, 0, 0, 400)
    assert serve(cache, 4, {3: "5m"}, 3599).read == 400
    assert serve(cache, 4, {3: "5m"}, 3599 + 3599).read == 400
    assert serve(cache, 4, {3: "5m"}, 3599 + 3599 + 3600).read == 0


def test_five_minutes_do_not_become_an_hour_for_free() -> None:
    cache = Cache()
    serve(cache, 4, {3: "5m"}, 0)
    assert serve(cache, 4, {3: "1h"}, 1) == Split(0, 400, 0, 0)
    assert serve(cache, 4, {3: "1h"}, 400) == Split(0, 0, 0, 400)


def test_both_lifetimes_in_one_request() -> None:
    cache = Cache()
    assert serve(cache, 6, {2: "1h", 4: "5m"}, 0) == Split(fresh=100, read=0, write_5m=200, write_1h=300)
    assert serve(cache, 8, {2: "1h", 6: "5m"}, 600) == Split(fresh=100, read=300, write_5m=400, write_1h=0)


@pytest.mark.parametrize(("ahead", "read"), [(LOOKBACK - 1, 300), (LOOKBACK, 0)])
def test_a_marker_looks_back_over_twenty_positions_with_its_own(ahead: int, read: int) -> None:
    cache = Cache()
    serve(cache, 3, {2: "5m"}, 0)
    assert serve(cache, 3 + ahead, {2 + ahead: "5m"}, 1).read == read


def test_a_second_marker_near_the_last_write_reaches_it() -> None:
    cache = Cache()
    serve(cache, 3, {2: "5m"}, 0)
    assert serve(cache, 40, {10: "5m", 39: "5m"}, 1) == Split(0, 300, 3700, 0)


def test_a_changed_block_is_read_up_to_the_last_write_before_it() -> None:
    cache = Cache()
    serve(cache, 10, {3: "5m", 9: "5m"}, 0)
    assert serve(cache, 10, {9: "5m"}, 1, change=6) == Split(0, 400, 600, 0)
    assert serve(cache, 10, {9: "5m"}, 2, change=2) == Split(0, 0, 1000, 0)


def test_below_the_minimum_nothing_is_cached_and_nothing_said() -> None:
    cache = Cache()
    assert serve(cache, 1, {0: "5m"}, 0) == Split(100, 0, 0, 0)
    assert serve(cache, 3, {0: "5m", 2: "5m"}, 1) == Split(0, 0, 300, 0)
    assert serve(cache, 1, {0: "5m"}, 2) == Split(100, 0, 0, 0)


def test_exactly_the_minimum_is_cached() -> None:
    assert serve(Cache(), 2, {1: "5m"}, 0) == Split(0, 0, MINIMUM, 0)


def test_the_automatic_marker_stands_on_the_last_block_that_may_carry_one() -> None:
    thought = {"type": "thinking", "thinking": "x", "signature": "s"}
    line = prompt(request(user("a"), {"role": "assistant", "content": [text("b"), thought]}))
    assert line[-1].is_thinking
    assert breakpoints(line, "1h") == {len(line) - 2: "1h"}
    assert breakpoints(line, None) == {}


def big(*words: str, model: str = "claude-opus-4-8", **more: Any) -> dict[str, Any]:
    """A request whose system is 4,000 characters, marked at its end and on the last message block."""
    control = {"type": "ephemeral"}
    blocks = [text(word) for word in words]
    blocks[-1]["cache_control"] = control
    return request(user(*blocks), system=[text("s" * 4000, cache_control=control)], model=model, **more)


def test_usage_and_bill_add_up() -> None:
    provider = Provider()
    body = big("one", "two" * 1000)
    answer, record = ask(provider, body, session="a", clock="0", bytes_per_token="1")
    usage = answer["usage"]
    sizes = [here.size for here in prompt(body)]
    assert usage["input_tokens"] == 0
    assert usage["cache_creation_input_tokens"] == sum(sizes)
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": sum(sizes), "ephemeral_1h_input_tokens": 0}
    assert record.dollars == pytest.approx((sum(sizes) * 6.25 + usage["output_tokens"] * 25) / 1e6)
    again, later = ask(provider, body, session="a", clock="200", bytes_per_token="1")
    assert again["usage"]["cache_read_input_tokens"] == sum(sizes)
    assert later.dollars == pytest.approx((sum(sizes) * 0.5 + usage["output_tokens"] * 25) / 1e6)
    sums = provider.totals("a")
    assert sums.dollars == pytest.approx(record.dollars + later.dollars)
    assert (sums.requests, sums.prompt_tokens) == (2, 2 * sum(sizes))
    assert provider.totals("b").requests == 0


@pytest.mark.parametrize(("ratio", "tokens"), [("1", 27), ("3.5", 8), ("27", 1), ("26.9", 2)])
def test_tokens_are_bytes_over_the_ratio_rounded_up_per_block(ratio: str, tokens: int) -> None:
    assert len('{"text":"ä","type":"text"}'.encode()) == 27
    body = request(user("ä", "ä"))
    del body["tools"]
    assert ask(Provider(), body, bytes_per_token=ratio)[1].usage["input_tokens"] == 2 * tokens


def test_accounts_share_a_cache_and_labels_do_not() -> None:
    provider = Provider()
    body = big("word" * 500)
    ask(provider, body, session="a", clock="0")
    assert ask(provider, body, session="b", clock="1")[1].usage["cache_read_input_tokens"] == 0
    ask(provider, body, session="c", account="us", clock="0")
    assert ask(provider, body, session="d", account="us", clock="1")[1].usage["input_tokens"] == 0
    assert ask(provider, body, session="e", account="us", clock="2")[1].usage["cache_read_input_tokens"] > 1000


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, "all"),
        ({"metadata": {"user_id": "u"}}, "all"),
        ({"model": "claude-opus-5"}, "nothing"),
        ({"speed": "fast"}, "nothing"),
        ({"thinking": {"type": "adaptive"}}, "system"),
        ({"tool_choice": {"type": "any"}}, "system"),
        ({"output_config": {"effort": "high"}}, "system"),
        ({"tools": [TOOL, {**TOOL, "name": "Write"}]}, "nothing"),
        ({"tools": [TOOL, {**TOOL, "name": "Write", "defer_loading": True}]}, "all"),
    ],
)
def test_what_else_a_prefix_is_kept_under(change: dict[str, Any], kept: str) -> None:
    provider = Provider()
    body = big("word" * 500)
    ask(provider, body, clock="0")
    line = prompt(body)
    upto = {"all": len(line), "system": 2, "nothing": 0}[kept]
    usage = ask(provider, {**body, **change}, clock="1")[1].usage
    assert usage["cache_read_input_tokens"] == sum(here.tokens(3.5) for here in line[:upto])


@pytest.mark.parametrize(("upto", "blocks"), [("tools", 1), ("system", 2), (0, 0), (1200, 2)])
def test_a_warm_head_is_read_by_the_first_request(upto: str | int, blocks: int) -> None:
    provider = Provider()
    body = big("word" * 500)
    provider.warm("a", upto)
    usage = ask(provider, body, session="a", clock="0")[1].usage
    assert usage["cache_read_input_tokens"] == sum(here.tokens(3.5) for here in prompt(body)[:blocks])


def test_a_warm_head_of_another_body_is_not_read_by_a_rewritten_one() -> None:
    provider = Provider()
    body = big("word" * 500)
    rewritten = {**body, "tools": [{**TOOL, "description": "Read"}]}
    provider.warm("a", "system", body)
    assert ask(provider, rewritten, session="a", clock="0")[1].usage["cache_read_input_tokens"] == 0
    assert ask(provider, body, session="a", clock="1")[1].usage["cache_read_input_tokens"] > 1000


def test_a_warm_head_cools_like_any_other_unless_it_is_to_last() -> None:
    body = big("word" * 500)
    for lifetime, read in ((300.0, False), (math.inf, True)):
        provider = Provider()
        provider.warm("a", "tools", body, lifetime=lifetime)
        ask(provider, request(user("hello"), tools=[{**TOOL, "name": "Other"}]), session="a", clock="0")
        usage = ask(provider, body, session="a", clock="100000")[1].usage
        assert bool(usage["cache_read_input_tokens"]) is read


def test_markers_spelling_and_the_billing_block_do_not_matter() -> None:
    provider = Provider()
    billing = "x-anthropic-billing-header: cc_version=1; cch=0a1b2;"
    system = [text(billing), text("s" * 4000, cache_control={"type": "ephemeral"})]
    first = request({"role": "user", "content": "hello"}, system=system)
    ask(provider, first, clock="0")
    moved = [text(billing.replace("0a1b2", "ffff0")), text("s" * 4000)]
    second = request(user(text("hello", cache_control={"type": "ephemeral"})), system=moved)
    usage = ask(provider, second, clock="1")[1].usage
    assert usage["cache_read_input_tokens"] > 1000
    assert ask(provider, second, clock="2")[1].prefix_kept == 1.0


def test_prefix_kept_is_the_share_of_the_previous_prompt() -> None:
    provider = Provider()
    body = request(user("a" * 1000), {"role": "assistant", "content": [text("b")]}, user("c" * 1000))
    assert ask(provider, body, session="s")[1].prefix_kept is None
    sizes = [here.size for here in prompt(body)]
    body["messages"][2] = user("other")
    assert ask(provider, body, session="s")[1].prefix_kept == pytest.approx(sum(sizes[:3]) / sum(sizes))


def test_invalid_and_failed_requests_cost_nothing_and_leave_nothing_in_the_cache() -> None:
    provider = Provider()
    provider.script("down", [{"error": {"status": 529}}])
    body = big("word" * 500)
    assert ask(provider, body, script="down", clock="0")[1].status == 529
    assert ask(provider, {**body, "oops": 1}, clock="0")[1].status == 400
    usage = ask(provider, body, clock="1")[1].usage
    assert usage["cache_read_input_tokens"] == 0
    sums = provider.totals()
    assert (sums.requests, sums.errors, sums.invalid) == (3, 1, 1)
    assert sums.dollars == provider.log[-1].dollars


@pytest.mark.parametrize(
    ("name", "family", "minimum", "bound"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5", 4096, False),
        ("claude-opus-4-20250514", "claude-opus-4", 1024, False),
        ("us.anthropic.claude-opus-5-5-v1:0", "claude-opus-5-5", 512, True),
        ("claude-opus-5", "claude-opus-5", 512, False),
        ("claude-fable-5.1", "claude-fable-5-1", 512, True),
        ("claude-haiku-5-5", "claude-haiku-5-5", 512, True),
        ("gpt-5.5", "other", 1024, False),
    ],
)
def test_models_by_name(name: str, family: str, minimum: int, bound: bool) -> None:
    model = model_of(name)
    assert (model.family, model.minimum, model.bound) == (family, minimum, bound)


def test_the_published_prices() -> None:
    published = {
        "claude-fable-5": (10, 12.5, 20, 1, 50),
        "claude-fable-5-1": (10, 12.5, 20, 0.25, 50),
        "claude-opus-5-5": (4, 5, 8, 0.20, 20),
        "claude-opus-5": (5, 6.25, 10, 0.5, 25),
        "claude-sonnet-5": (2, 2.5, 4, 0.2, 10),
        "claude-sonnet-5-5": (2, 2.5, 4, 0.10, 10),
        "claude-haiku-4-5": (1, 1.25, 2, 0.1, 5),
    }
    rows = {row.family: (row.input, row.write_5m, row.write_1h, row.read, row.output) for row in TABLE}
    for family, prices in published.items():
        assert rows[family] == pytest.approx(prices)
    cost = dollars(model_of("claude-opus-5"), fresh=1, write_5m=2, write_1h=3, read=4, output=5)
    assert cost == pytest.approx((5 + 12.5 + 30 + 2 + 125) / 1e6)


def test_chain_names_prefixes_not_blocks() -> None:
    first = prompt(request(user("a", "same")))
    second = prompt(request(user("b", "same")))
    assert first[-1].digest == second[-1].digest
    assert chain(first)[-1] != chain(second)[-1]
    assert chain(first)[0] == chain(second)[0]


def test_role_and_message_boundaries_are_part_of_a_prefix() -> None:
    spellings = [
        [user("a", "b")],
        [user("a"), user("b")],
        [user("a"), {"role": "system", "content": "b"}],
        [user("a"), {"role": "assistant", "content": "b"}],
    ]
    assert len({chain(prompt(request(*messages)))[-1] for messages in spellings}) == len(spellings)


def test_a_referenced_tool_is_part_of_the_prompt_where_it_is_referenced() -> None:
    reference = result("a", [{"type": "tool_reference", "tool_name": "Later"}])
    later = {**TOOL, "name": "Later", "defer_loading": True, "description": "x"}

    def line(tool: dict[str, Any]) -> list[bytes]:
        return [here.digest for here in prompt(request(user("q"), user(reference, "end"), tools=[TOOL, tool]))]

    one, other = line(later), line({**later, "description": "y"})
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False, True]
