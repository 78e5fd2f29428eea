"""The relay benchmark would notice what it says it looks for."""

from __future__ import annotations

from typing import Any

import pytest

from addon.mmu.page import NAME
from benchmarks.relay.client import Answer, Broken, check
from benchmarks.relay.conversation import Conversation, page
from benchmarks.relay.first_byte import compared
from benchmarks.relay.model import Wanted, speak
from tests.upstream.message import build, encode, events
from tests.upstream.script import Request

WANTED = Wanted("a stream", 300, recalls=2, page=1, delay_ms=10)


def answer(content: list[dict[str, Any]], twice: int = -1) -> Answer:
    """As a client gets it; the event of this number comes twice."""
    raw = [encode(event) for event in events(build("m", "model", content, {"output_tokens": 1}, {}))]
    return Answer(200, b"".join(data * (1 + (n == twice)) for n, data in enumerate(raw)), 0, 0, 0, 0, 0)


def test_what_is_wanted_survives_its_headers() -> None:
    assert Wanted.of(WANTED.headers()) == WANTED


def test_words_that_are_lost_or_doubled_are_noticed() -> None:
    said: list[dict[str, Any]] = [{"type": "text", "text": text} for text in WANTED.heard()]
    check(answer(said), WANTED)
    call = {"type": "tool_use", "id": "toolu_1", "name": NAME, "input": {}}
    for wrong in (answer(said[:-1]), answer([*said, said[-1]]), answer(said, twice=4), answer([*said, call])):
        with pytest.raises(Broken):
            check(wrong, WANTED)


@pytest.mark.parametrize(("number", "right"), [(1, True), (2, False)])
def test_another_page_than_the_one_asked_for_is_an_error(number: int, right: bool) -> None:
    talk = Conversation("talk")
    talk.messages[-1]["content"] = "".join(f"[mmu page {n}: gone]" for n in range(4))
    asked = speak(Request({"messages": talk.messages}, WANTED.headers(), 0, "talk", 0))["content"][-1]
    assert asked["input"] == {"page": "1"}
    talk.called([{**asked, "id": "toolu_r"}], page("talk", number))
    reply = speak(Request({"messages": talk.messages}, WANTED.headers(), 0, "talk", 0))
    assert ("error" not in reply) is right


def test_the_noise_is_that_of_every_other_sample() -> None:
    plain, other = compared("x", {"plain": [0.001, 0.003] * 8, "other": [0.004] * 16}, "plain")
    assert (plain.p50, plain.noise, other.ratio, other.difference) == pytest.approx((2.0, 2.0, 2.0, 2.0))
