"""What is read out of a call, and what it means for a conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.mmu.view import View, acknowledged
from addon.mmu.wishes import Span, Wishes, names, read, span
from addon.recall.spans import collapse, put_in
from addon.wire import anthropic
from addon.wire.conversation import Act, Conversation, Subject


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"release": "a.py\n\n b.py "}, Wishes(("a.py", "b.py"))),
        ({"release": ["a.py", "a.py", 3]}, Wishes(("a.py", "3"))),
        ({"release": 7, "summary": None, "upto": []}, Wishes()),
        ({"summary": " s ", "upto": "u"}, Wishes((), "s", "u")),
        ("nonsense", Wishes()),
        (None, Wishes()),
    ],
)
def test_any_arguments_are_read(given: Any, expected: Wishes) -> None:
    assert read(given) == expected
    assert bool(read(given)) is bool(expected.release or expected.summary)


def test_a_name_is_a_path_its_end_or_a_command() -> None:
    file = Subject(Act.READ, "/home/me/src/app.py", "Read /home/me/src/app.py")
    assert [names(file, n) for n in ("/home/me/src/app.py", "src/app.py", "app.py", "pp.py", "app", "")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    run = Subject(Act.RUN, "bash pytest -q", "Bash pytest -q")
    assert [names(run, n) for n in ("pytest -q", "bash pytest -q", "Bash pytest -q", "-q", "ytest -q", "pytest")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
    shell = Subject(Act.READ, "src/app.py", "Bash cat src/app.py", "bash cat src/app.py")
    assert [names(shell, n) for n in ("src/app.py", "app.py", "cat src/app.py", "Bash cat src/app.py", "at", "")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


def conversation(*messages: tuple[str, Any]) -> Conversation:
    spelled = [{"role": role, "content": content} for role, content in messages]
    return anthropic.parse(json.dumps({"model": "claude-opus-4-8", "messages": spelled}).encode())


CALL = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "make"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "Do it now, says the output"}
TALK = (
    ("user", "begin"),
    ("assistant", [CALL]),
    ("user", [RESULT]),
    ("assistant", "first done"),
    ("user", "Do it\n now"),
    ("assistant", "second done"),
    ("user", [{"type": "text", "text": "Do it now again"}]),
)


@pytest.mark.parametrize(
    ("upto", "summary", "expected"),
    [
        ("Do it now", "s", Span(1, 6, "s")),  # the last of two that begin so
        ("Do it now again", "s", Span(1, 6, "s")),
        ("begin", "s", None),  # nothing stands before it
        ("it now", "s", None),  # not how a message begins
        ("first", "s", None),  # the model's own words
        ("Do it now, says", "s", None),  # a tool's words
        ("", "s", None),
        ("Do it now", "", None),
    ],
)
def test_a_span_reaches_up_to_the_users_own_words(upto: str, summary: str, expected: Span | None) -> None:
    assert span(Wishes((), summary, upto), conversation(*TALK).messages) == expected


def test_the_model_is_told_what_its_wishes_mean() -> None:
    told = acknowledged(conversation(*TALK), Wishes(("make", "x.py"), "s", "Do it now"))
    assert told.startswith("1 result of make will leave. Nothing here is of x.py. The summary will stand for all ")
    assert told.endswith("when it costs nothing.")
    nothing = acknowledged(conversation(*TALK), Wishes(("x.py",)))
    assert nothing == "Nothing here is of x.py."


def parse(text: str) -> Conversation:
    return anthropic.parse(text.encode())


def roles(what: Conversation) -> list[tuple[str, str]]:
    return [(m.role, "".join(b.text for b in m.blocks)[:12]) for m in what.messages]


def test_a_span_is_put_in_again_and_again_and_rests_where_it_does_not_stand() -> None:
    whole = conversation(*TALK)
    taken = collapse(anthropic, whole, Span(1, 4, "In short."))
    told = '## assistant\n[calls Bash {"command": "make"}]\n## user\n[result]\nDo it now, says the output\n## assistant'
    assert taken.page.text == f"{told}\nfirst done"
    assert taken.splice.text is not None
    assert taken.splice.text.startswith(f"[mmu page {taken.page.id}: 3 messages, ")
    assert taken.splice.text.endswith("]\nIn short.")
    left = parse(taken.text)
    assert [role for role, _ in roles(left)] == ["user", "assistant", "user", "assistant", "user"]
    known = [View("line", digests=left.digests, splices={taken.splice.anchor: taken.splice})]
    longer = conversation(*TALK, ("assistant", "third done"), ("user", "on"))
    again, done = put_in(anthropic, longer, known, parse)
    assert roles(again)[:5] == roles(left)
    assert list(done) == [taken.splice.anchor]

    changed = conversation(TALK[0], TALK[1], ("user", [{**RESULT, "content": "other"}]), *TALK[3:])
    assert put_in(anthropic, changed, known, parse) == (changed, {})
    assert put_in(anthropic, conversation(*TALK[:3]), known, parse)[1] == {}

    # a later span is counted in what the first one left
    more = collapse(anthropic, again, Span(3, 6, "More, in short."))
    splices = {taken.splice.anchor: taken.splice, more.splice.anchor: more.splice}
    both = [*known, View("line", digests=parse(more.text).digests, splices=splices)]
    last, done = put_in(anthropic, longer, both, parse)
    assert set(done) == {taken.splice.anchor, more.splice.anchor}
    assert [words for _, words in roles(last)] == ["begin", "[mmu page " + taken.page.id[:2], "Do it\n now",
                                                   "[mmu page " + more.page.id[:2], "on"]
