"""Which request gets which hidden exchange back: by place, by content, by generation."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from addon.mmu.page import NAME
from addon.mmu.view import Change, Splice
from addon.recall import patch, replay
from addon.recall.replay import Expanded, place
from addon.recall.replay import hidden as answered
from addon.wire import anthropic, exchange, gemini, gemini_expand
from addon.wire.anthropic_expand import result
from addon.wire.apis import relaying
from addon.wire.conversation import Conversation
from addon.wire.exchange import Exchange, Round
from addon.wire.reply import Call
from tests.mmu.sessions import spell
from tests.upstream.direct import assistant, text, user

LONG = "I have looked at all of it, and it is quite clear to me now what has to be done next, namely nothing at all."
BEGIN = user("begin")


def parse(*messages: Any) -> Conversation:
    return anthropic.parse(spell({"model": "claude-opus-4-8", "messages": list(messages)}, 0))


def call(identity: str, name: str = "mmu_recall") -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": name, "input": {}}


def hidden(before: Conversation, *rounds: list[dict[str, Any]], generation: int = 0, finished: bool = True) -> Splice:
    """The splice of an exchange that began as the answer to a request."""
    made: list[Round] = []
    for blocks in rounds:
        calls = [Call(b["id"], b["name"], {}) for b in blocks if b.get("name") == "mmu_recall"]
        made.append(Round(tuple(map(json.dumps, blocks)), {c.id: result(c, f"page of {c.id}") for c in calls}))
    first = next(iter(made[0].results))
    kept = exchange.dump(Exchange(tuple(made), finished))
    return Splice(f"{place(before)}:{first}", generation, Change.RELAY, "", kept)


def expanded(conversation: Conversation, known: list[dict[str, Splice]], without: Container[str] = ()) -> Expanded:
    return replay.expanded(relaying(anthropic), conversation, known, without)


def line(*splices: Splice) -> dict[str, Splice]:
    return {splice.anchor: splice for splice in splices}


def calls(text_: str) -> list[str]:
    """The ids of all calls in a request's text."""
    messages = json.loads(text_)["messages"]
    return [b["id"] for m in messages if m["role"] == "assistant" for b in m["content"] if b["type"] == "tool_use"]


ASKED = parse(BEGIN)
ROUNDS = [text("I look."), call("h1")], [text("Done.")]
SHOWN = assistant("I look.", "Done.")
NEXT = parse(BEGIN, SHOWN, user("go on"))


def test_an_exchange_is_found_at_its_place() -> None:
    made = hidden(ASKED, *ROUNDS)
    got = expanded(NEXT, [line(made)])
    assert dict(got.splices) == line(made)
    assert [m["role"] for m in json.loads(got.text)["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert answered(got.splices.values(), parse(BEGIN)) == {"h1"}
    assert "page of h1" in got.text
    assert expanded(NEXT, []).text == NEXT.text
    # later requests as well, and until it is answered it has no place
    later = parse(BEGIN, SHOWN, user("go on"), assistant("x"), user("y"))
    assert calls(expanded(later, [line(made)]).text) == ["h1"]
    assert expanded(ASKED, [line(made)]).text == ASKED.text


def test_other_splices_are_no_exchanges() -> None:
    made = hidden(ASKED, *ROUNDS)
    evicted = Splice("c#0.0:p", 0, Change.EVICT, "p", "[mmu page p: gone]")
    assert dict(expanded(NEXT, [line(evicted, made)]).splices) == line(made)


def test_the_place_counts_answers() -> None:
    """The same words at another place are another message, unless they say much."""
    for words, found in (("Done.", False), (LONG, True)):
        made = hidden(ASKED, [text("I look."), call("h1")], [text(words)])
        moved = parse(BEGIN, assistant("before"), user("begin"), assistant("I look.", words), user("go on"))
        assert not expanded(moved, [line(made)]).splices
        touched = parse(user("begin", "reminder"), assistant("I look.", words), user("go on"))
        assert bool(expanded(touched, [line(made)]).splices) is found


def test_an_unfinished_exchange_needs_the_very_message_before_it() -> None:
    made = hidden(ASKED, [text(LONG), call("h1")], finished=False)
    assert calls(expanded(parse(BEGIN, assistant(LONG, "and"), user("x")), [line(made)]).text) == ["h1"]
    assert not expanded(parse(user("begin", "x"), assistant(LONG, "and"), user("x")), [line(made)]).splices


def test_a_message_at_the_head_has_nothing_before_it() -> None:
    opening = parse(SHOWN, BEGIN)
    assert hidden(ASKED, *ROUNDS).anchor == f"relay@0:{opening.messages[-1].digest.hex()}:h1"
    assert not expanded(opening, [line(hidden(ASKED, *ROUNDS))]).splices


def test_the_newest_word_on_an_exchange_counts() -> None:
    old = hidden(ASKED, *ROUNDS)
    gone = Splice(old.anchor, 1, Change.ORIGINAL, "", None)
    back = hidden(ASKED, *ROUNDS, generation=2)
    assert not expanded(NEXT, [line(gone)]).splices
    assert not expanded(NEXT, [line(old)], {old.anchor}).splices
    # what one line was refused is taken back for that line alone
    for known in ([line(old), line(gone)], [line(gone), line(old)]):
        assert dict(expanded(NEXT, known).splices) == line(old)
    for known in ([line(back), line(gone)], [line(old), line(back), line(gone)]):
        assert dict(expanded(NEXT, known).splices) == line(back)
    unfinished = hidden(ASKED, ROUNDS[0], finished=False)
    later = hidden(ASKED, *ROUNDS, generation=1)
    assert dict(expanded(NEXT, [line(later), line(unfinished)]).splices) == line(later)


def test_of_two_attempts_the_one_that_was_shown_is_taken() -> None:
    broken = hidden(ASKED, [text("I look."), call("a1")], finished=False)
    shown = hidden(ASKED, [text("I look."), call("z1")], [text("Done.")])
    other = hidden(ASKED, [text("I look."), call("b1")], [text("Well done.")])
    for known in ([line(broken, shown, other)], [line(other), line(shown), line(broken)]):
        assert dict(expanded(NEXT, known).splices) == line(shown)
    assert dict(expanded(NEXT, [line(broken, other)]).splices) == line(broken)


def test_the_exact_place_comes_before_one_alike() -> None:
    words = [text("I look."), call("a1")], [text(LONG)]
    others = [hidden(parse(user(f"another {n}")), *words) for n in range(99)]
    exact = hidden(ASKED, [text("I look."), call("z1")], [text(LONG)])
    assert min(other.anchor for other in others) < exact.anchor < max(other.anchor for other in others)
    asked = parse(BEGIN, assistant("I look.", LONG), user("go on"))
    assert dict(expanded(asked, [line(*others, exact)]).splices) == line(exact)
    assert dict(expanded(asked, [line(others[0])]).splices) == line(others[0])


def test_several_in_one_conversation_and_a_rewind() -> None:
    first = hidden(ASKED, *ROUNDS)
    second = hidden(NEXT, [call("h2"), call("h3")], [text("Again.")])
    known = [line(first, second)]
    both = parse(BEGIN, SHOWN, user("go on"), assistant("Again."), user("and?"))
    assert calls(expanded(both, known).text) == ["h1", "h2", "h3"]
    rewound = parse(BEGIN, SHOWN, user("another way"))
    assert calls(expanded(rewound, known).text) == ["h1"]
    forked = parse(BEGIN, SHOWN, user("another way"), assistant("Again."), user("and?"))
    assert calls(expanded(forked, known).text) == ["h1"]
    compacted = parse(user("Summary."), assistant("Again."), user("and?"))
    assert expanded(compacted, known).text == compacted.text


def test_the_place_is_the_clients() -> None:
    """It is counted in what the client sends, whatever else the provider is shown."""
    second = hidden(NEXT, [call("h2")], [text("Again.")])
    assert second.anchor.startswith(f"relay@1:{NEXT.messages[-1].digest.hex()}:h2")


def test_a_call_without_an_id_that_was_answered_is_not_asked_again() -> None:
    """Gemini 2.5 gives none; a call of the same words that the client refuses is asked for all the same."""
    made = {"functionCall": {"name": NAME, "args": {"page": "p"}}}
    result = gemini_expand.result(Call(f"{NAME}#0", NAME, {}), "The page.")
    round_ = Round((json.dumps(made),), {f"{NAME}#0": result})
    splice = Splice("relay@0:ab:x", 0, Change.RELAY, "", exchange.dump(Exchange((round_,), True)))

    def asks(answer: str) -> int:
        turns = [{"role": "model", "parts": [made]}, {"role": "user", "parts": [json.loads(answer)]}]
        body = {"contents": [{"parts": [{"text": "begin"}]}, *turns]}
        read = gemini.parse(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
        assert len(patch.asks(read)) == 1
        return len(patch.asks(read, replay.hidden([splice], read)))

    assert asks(result) == 0
    assert asks(result.replace("The page.", "No such tool.")) == 1
