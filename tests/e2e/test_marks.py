"""Clients that set no cache marks, through the real proxy: their prompts are cached, and the books say by how much."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from addon.mmu.ledger import Action
from tests.e2e.talks import Block, Messages, say, use
from tests.e2e.test_ledger import beside, check, ledger, opened, play
from tests.e2e.world import World, until, world
from tests.upstream import Record

SYSTEM = "You are an agent, and this is what you must know of your work. " * 100


class Unmarked(Messages):
    """A client of the SDK that knows nothing of the cache."""

    system = SYSTEM
    extra: Mapping[str, Any] = {}

    def send(self, headers: Mapping[str, str]) -> list[Block]:
        given: Any = {"model": "claude-opus-4-8", "max_tokens": 1000, "tools": self.tools, "messages": self.history}
        given |= {"extra_headers": headers, "system": self.system, **self.extra}
        if self.stream:
            with self.sdk.messages.stream(**given) as stream:
                got: Any = stream.get_final_message()
        else:
            got = self.sdk.messages.create(**given)
        said = [block.model_dump(mode="json", exclude_unset=True, exclude_none=True) for block in got.content]
        self.history.append({"role": "assistant", "content": said})
        return said


def accepted(there: World) -> list[Record]:
    return [record for record in there.up.log if record.label == "talk" and record.status == 200]


def read(record: Record) -> int:
    return int(record.usage["cache_read_input_tokens"])


def prompt(record: Record) -> int:
    return sum(int(record.usage[n]) for n in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_session_becomes_cheaper_by_what_the_books_say(tmp_path: Path, stream: bool) -> None:
    with world(tmp_path, mmu_policy="patient") as there, beside(there) as other:
        before = opened(there)
        for place in (there, other):
            play(Unmarked(place, stream=stream), 4_000.0)
        sums = check(there, before, there.up.totals("talk").dollars, other.up.totals("talk").dollars)
        assert sums["mark"] > 0.3 * sums["untouched"]
        assert sums["evict"] > 0
        assert sums["untouched"] - sums["billed"] == pytest.approx(
            sum(sums[action.value] for action in Action)
        )
        assert there.up.invalid == 0
        # written once it has come back, and read from then on
        first, second, *later = accepted(there)
        assert (read(first), read(second)) == (0, 0)
        assert all(read(record) >= prompt(before) for before, record in zip([second, *later], later[:9], strict=False))
        assert "3 cache marks set" in there.proxy.log_text()


def test_calls_that_stand_alone_are_not_marked(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        before = opened(there)
        for n in range(4):
            talk = Unmarked(there, stream=False)
            talk.now += 100 * n
            talk.system = f"Task {n}. {SYSTEM}"
            talk.history[0]["content"] = f"Classify no. {n}: " + "a long document " * 500
            talk.ask([say("Yes.")])
        assert all(b'"cache_control"' not in record.body for record in accepted(there))
        [sums] = ledger(there)
        assert sums["billed"] - before["billed"] == pytest.approx(there.up.totals("talk").dollars)
        assert sums["mark"] == 0
        assert sums["billed"] == pytest.approx(sums["untouched"])


def test_of_calls_that_share_their_head_the_head_is_marked(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        before = opened(there)
        for n in range(6):
            talk = Unmarked(there, stream=False)
            talk.now += 10 * n
            talk.history[0]["content"] = f"Classify no. {n}"
            talk.ask([say("Yes.")])
        marks = [record.body.count(b'"cache_control"') for record in accepted(there)]
        assert marks == [0, 1, 1, 1, 1, 1]
        reads = [read(record) for record in accepted(there)]
        assert reads[:2] == [0, 0]
        assert all(got > 1_500 for got in reads[2:])
        sums = check(there, before, there.up.totals("talk").dollars, before_dollars(there))
        assert sums["mark"] > 0


def before_dollars(there: World) -> float:
    """What the same requests would have cost with nothing cached, at this model's prices."""
    return sum(prompt(r) * 5e-6 + int(r.usage["output_tokens"]) * 25e-6 for r in accepted(there))


def test_who_marks_anything_is_left_alone(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Unmarked(there, stream=False)
        talk.extra = {"system": [{**say(SYSTEM), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
        for n in range(3):
            talk.run({"bash": f"out {n}"}, talk.ask([use("bash", command=f"make {n}")]))
        assert [record.body.count(b'"cache_control"') for record in accepted(there)] == [1, 1, 1]
        assert there.proxy.metrics().get("mmu_marked_total", 0) == 0


def test_marks_that_are_refused_are_taken_back_for_good(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Unmarked(there, stream=False)

        def refuses(request: Any) -> dict[str, Any]:
            if '"cache_control"' in json.dumps(request.body):
                return {"error": {"status": 400, "message": "cache_control: Extra inputs are not permitted"}}
            return dict(talk.replies.pop(0))

        there.up.script("talk", refuses)
        for n in range(4):
            talk.run({"bash": f"out {n}"}, talk.ask([use("bash", command=f"make {n}")]))
        asked = [(r.status, r.body.count(b'"cache_control"')) for r in there.up.log if r.label == "talk"]
        assert asked == [(200, 0), (400, 3), (200, 0), (200, 0), (200, 0)]
        metrics = there.proxy.metrics()
        assert metrics['mmu_resent_total{result="same without cache marks accepted"}'] == 1
        assert "left alone" not in there.proxy.log_text()
        until(lambda: "refused, same without cache marks sent" in there.proxy.log_text(), "nothing is said of it")


def test_a_refusal_of_something_else_is_passed_on(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Unmarked(there, stream=False)
        talk.run({"bash": "out"}, talk.ask([use("bash", command="make")]))
        with pytest.raises(Exception, match="planted"):
            talk.ask([], broken=(400, 400, 400))
        assert [r.status for r in there.up.log if r.label == "talk"] == [200, 400, 400]


def test_after_a_restart_the_line_is_still_read(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        talk = Unmarked(there, stream=False)
        for n in range(6):
            if n == 4:
                there.proxy.restart()
            talk.run({"bash": f"out {n}"}, talk.ask([use("bash", command=f"make {n}")]))
        assert all(read(record) > 1_500 for record in accepted(there)[2:])
