"""Forty turns with each vendor's SDK: re-reads, parallel calls, recalls, errors of the provider's, a refusal, a crash.

The strict provider lets no invalid request pass, so one that was refused for breaking a rule would be counted.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.model import HANDLE, REFUSAL, output
from tests.e2e.talks import Chat, Gemini, Messages, Responses, Talk, say, use
from tests.e2e.world import world

FILE = "\n".join(f"{n}\tvalue_{n} = {n * 7 % 13} # of the file" for n in range(1, 90))
RESULTS = {"read_file": FILE, "mmu_recall": REFUSAL}
COLD = 200_000.0
"""Seconds after which no provider has anything in its cache."""

WAYS = {"relay-streamed": ("relay", True), "relay-plain": ("relay", False), "patch-streamed": ("patch", True)}
SESSIONS = [
    pytest.param(speaks, *WAYS[way], id=f"{speaks.__name__}-{way}")
    for speaks in (Messages, Chat, Responses, Gemini)
    for way in WAYS
]


def inside(text: str) -> bytes:
    """A text as it stands in a JSON string."""
    return json.dumps(text)[1:-1].encode()


class Session:
    """Turns are numbered by the requests that the client makes."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.turns = 0

    def work(self, turns: int, *, broken: tuple[int, ...] = (), reads: bool = True) -> None:
        """The model calls two tools at once, turn by turn; the first request meets errors."""
        for _ in range(turns):
            self.turns += 1
            calls = [use("bash", command=f"make {self.turns}"), *([use("read_file", path="app.py")] if reads else [])]
            made = self.talk.ask([say("I look."), *calls], broken=broken)
            assert [block["type"] for block in made] == ["text", *["tool_use"] * len(calls)]
            self.talk.run({**RESULTS, "bash": output(self.turns)}, made)
            broken = ()

    def chat(self, words: str, *replies: list[dict[str, object]], idle: float = 5.0) -> list[dict[str, object]]:
        """The user speaks."""
        self.turns += 1
        self.talk.human(words)
        return self.talk.ask(*(replies or ([say("Yes.")],)), idle=idle)


@pytest.mark.parametrize(("speaks", "way", "stream"), SESSIONS)
def test_a_long_session_with_everything_in_it(
    tmp_path: Path, speaks: type[Talk], way: str, stream: bool
) -> None:
    with world(tmp_path, mmu_recall=way, mmu_policy="patient") as there:
        talk = speaks(there, stream=stream)
        session = Session(talk)
        session.work(3)
        session.work(5, broken=(429, 500))
        assert talk.ask([say("Done.")]) == [say("Done.")]
        session.chat("go on", [say("I see handles.")], idle=COLD)
        evicted = len(talk.bodies()) - 1
        found = HANDLE.search(talk.bodies()[-1].decode())
        assert found, "nothing was evicted"
        page = found[1]
        assert b"unchanged since your read above" in talk.bodies()[evicted - 1]
        assert inside(output(1)) not in talk.bodies()[-1]

        # a page comes back, byte for byte, and the client gets one answer
        if way == "relay":
            recall = use("mmu_recall", page=page)
            assert session.chat("what was it?", [say("A moment. "), recall], [say("It was this.")])[-1] == say(
                "A moment. It was this." if speaks is Chat else "It was this."
            )
        else:
            made = session.chat("what was it?", [use("mmu_recall", page=page)])
            talk.run(RESULTS, made)
            talk.ask([say("It was this.")])
        assert inside(output(1)) in talk.bodies()[-1]

        # beside a call of the client's
        made = session.chat("and the date?", [use("mmu_recall", page=page, grep="row 7 "), use("bash", command="date")])
        assert [block["name"] for block in made if "name" in block] == (
            ["bash"] if way == "relay" else ["mmu_recall", "bash"]
        )
        talk.run({**RESULTS, "bash": "Monday"}, made)
        session.work(4)
        assert inside("8\trow 7 of output 1, in full") in talk.bodies()[-1]
        continued = there.proxy.metrics().get("mmu_continuations_total", 0)
        assert continued == (1 if way == "relay" else 0)
        there.proxy.kill()
        there.proxy.restart()
        session.work(8, broken=(529 if speaks is Messages else 503,))
        pairs = list(pairwise(talk.bodies()))
        assert all(talk.goes_on(one, two) for n, (one, two) in enumerate(pairs) if n + 1 != evicted)

        # a rewrite that the provider refuses is answered by what was sent before, and never tried again
        planted = len(talk.bodies())
        talk.human("think")
        assert talk.ask([say("Here.")], broken=(400,), idle=COLD) == [say("Here.")]
        talk.human("go on")
        session.work(20)
        assert session.turns >= 40
        pairs = list(pairwise(talk.bodies()[planted:]))
        assert all(talk.goes_on(one, two) for one, two in pairs)
        assert inside(output(1)) in talk.bodies()[-1]
        metrics = there.proxy.metrics()
        assert metrics["mmu_resent_total"] == 1
        assert metrics.get("mmu_broken_rules_total", 0) == metrics.get("mmu_failures_total", 0) == 0
        assert metrics["mmu_saved_tokens_total"] > 0
        assert metrics['mmu_input_tokens_total{price="read"}'] > 0
        assert there.up.invalid == 0
