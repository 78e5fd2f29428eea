"""An append-only conversation that follows the rules is always accepted, whatever it holds and however it is marked."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.upstream.direct import ask, request, result, text, user
from tests.upstream.provider import Provider

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(lambda value: value.strip() != "")
contents = st.one_of(st.text(st.characters(codec="utf-8"), max_size=40), st.lists(words.map(text), max_size=2))


@st.composite
def replies(draw: st.DrawFn) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for thought in draw(st.lists(words, max_size=2)):
        blocks.append({"type": "thinking", "thinking": thought})
        if draw(st.booleans()):
            blocks.append(text(draw(words)))
    arguments = st.dictionaries(st.sampled_from(["path", "line"]), words)
    blocks += [{"type": "tool_use", "name": "Read", "input": each} for each in draw(st.lists(arguments, max_size=3))]
    return blocks or [text(draw(words))]


turns = st.lists(st.tuples(replies(), contents, words, st.booleans()), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(turns, st.booleans())
def test_a_conversation_that_only_grows_is_always_accepted(script: list[Any], bound: bool) -> None:
    provider = Provider()
    provider.script("s", [{"content": reply} for reply, *_ in script])
    body = request(user("begin"), system=[text("system")])
    for clock, (_, content, word, human) in enumerate(script):
        sent = copy.deepcopy(body)
        sent["messages"][-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        payload, record = ask(
            provider, sent, script="s", session="p", bound="force" if bound else "off", clock=str(clock)
        )
        assert record.violation is None
        assert record.prefix_kept in {None, 1.0}
        body["messages"].append({"role": "assistant", "content": payload["content"]})
        calls = [block["id"] for block in payload["content"] if block["type"] == "tool_use"]
        back = [result(name, content) for name in calls]
        body["messages"].append(user(*back, *([word] if human or not calls else [])))
    assert provider.invalid == 0


@settings(max_examples=40, deadline=None)
@given(turns, st.data())
def test_with_signed_reasoning_behind_it_no_earlier_text_can_change(script: list[Any], data: st.DataObject) -> None:
    provider = Provider()
    provider.script("s", [{"content": [{"type": "thinking", "thinking": "hm"}, *reply]} for reply, *_ in script])
    body = request(user("begin"))
    for _, content, word, _ in script:
        payload, _ = ask(provider, body, script="s", bound="force")
        body["messages"].append({"role": "assistant", "content": payload["content"]})
        calls = [block["id"] for block in payload["content"] if block["type"] == "tool_use"]
        body["messages"].append(user(*(result(name, content) for name in calls), word))
    before_last = body["messages"][:-2]
    places = [
        (i, j) for i, m in enumerate(before_last) for j, block in enumerate(m["content"]) if block["type"] == "text"
    ]
    index, at = data.draw(st.sampled_from(places))
    body["messages"][index]["content"][at]["text"] += "."
    provider.script("s", lambda _: {"content": [text("unheard")]})
    assert "different conversation" in (ask(provider, body, script="s", bound="force")[1].violation or "")
