"""Two branches of one conversation: what one may drop, the other may still need."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.model import evicted, output
from tests.e2e.talk import BOUND, Talk, text
from tests.e2e.world import world


def test_a_branch_in_the_middle_of_a_turn_keeps_the_reasoning_that_another_has_dropped(tmp_path: Path) -> None:
    with world(tmp_path, mmu_recall="off") as there:
        talk = Talk(there, stream=True, model=BOUND)
        evicted(talk)
        for n in range(8, 16):
            talk.call("Bash", {"command": f"make {n}"}, output(n))
        branch = json.loads(json.dumps(talk.messages))
        talk.human(4000)
        talk.turn([text("Yes.")])
        assert '"thinking"' not in json.dumps(talk.last()["messages"]), "nothing was dropped"

        other = Talk(there, stream=True, model=BOUND)
        other.messages, other.now = branch, talk.now
        for n in range(3):
            other.call("Bash", {"command": f"other {n}"}, output(100 + n))
        other.ask(text("Done."))
        assert there.up.invalid == 0
        talk.messages.append({"role": "user", "content": "on"})
        there.up.script("recall", lambda _: talk._next())
        talk.turn([text("Yes.")])
        assert there.up.invalid == 0
