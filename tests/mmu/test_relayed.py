"""Hidden exchanges in a plan: a line that shows one has it from then on, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addon.mmu.evict import Policy
from addon.mmu.plan import Plan, plan
from addon.mmu.view import Change, Descent, Splice, View
from addon.wire import anthropic
from tests.mmu.sessions import spell
from tests.upstream.direct import assistant, user

MADE = Splice("relay@0:ab:h1", 1, Change.RELAY, "", "{}")
OTHER = Splice("relay@1:cd:h2", 0, Change.RELAY, "", "{}")
BEGIN = user("begin"), assistant("a"), user("b")


def planned(*messages: Any, known: list[View], relayed: Mapping[str, Splice]) -> Plan:
    read = anthropic.parse(spell({"model": "claude-opus-4-8", "messages": list(messages)}, 0))
    return plan(read, known, 1e6, Policy(), lambda words, _: len(words), f"line-{len(known)}", relayed=relayed)


def view(*splices: Splice) -> View:
    first = planned(*BEGIN, assistant("c"), user("d"), known=[], relayed={}).view
    return View(first.id, 1, first.digests, 1e6, {s.anchor: s for s in splices})


def test_one_that_another_line_brings_is_stored_with_the_next_request() -> None:
    for held in ((), (Splice(MADE.anchor, 0, Change.RELAY, "", "{}"),)):
        draft = planned(*BEGIN, assistant("c"), user("d"), user("e"), known=[view(*held)], relayed={MADE.anchor: MADE})
        assert draft.line.how is Descent.CONTINUED
        assert draft.new == [MADE]
        assert draft.view.splices[MADE.anchor] == MADE
    draft = planned(*BEGIN, assistant("c"), user("d"), known=[view(MADE)], relayed={MADE.anchor: MADE})
    assert draft.new == []


def test_a_fork_takes_those_along_that_it_shows() -> None:
    draft = planned(*BEGIN, assistant("x"), user("y"), known=[view(MADE, OTHER)], relayed={MADE.anchor: MADE})
    assert draft.line.how is Descent.DIVERGED
    assert dict(draft.view.splices) == {MADE.anchor: MADE}
