"""An append-only conversation that follows the rules is always accepted, whatever it holds and however it is marked."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import cases
from tests.upstream import responses_direct as responses
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


@settings(max_examples=cases(40), deadline=None)
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


@settings(max_examples=cases(40), deadline=None)
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


blocks = st.one_of(
    words.map(text),
    words.map(lambda said: {"type": "thinking", "thinking": said}),
    words.map(lambda said: {"type": "tool_use", "name": "Read", "input": {"path": said}}),
    words.map(lambda said: {"type": "tool_use", "name": "exec", "input": said}),
)
rounds = st.tuples(st.lists(blocks, max_size=4), contents, words, st.sampled_from(["all", "new", "bare"]))


@settings(max_examples=cases(60), deadline=None)
@given(st.lists(rounds, min_size=1, max_size=6), st.booleans())
def test_a_conversation_of_responses_that_only_grows_is_always_accepted(script: list[Any], summary: bool) -> None:
    provider = Provider()
    provider.script("s", lambda request: {"content": [*script[request.turn][0], text("so")]})
    whole: list[dict[str, Any]] = [responses.user("begin")]
    new, previous = whole, None
    for clock, (_, content, word, spelling) in enumerate(script):
        more: dict[str, Any] = {"reasoning": {"summary": "auto"}} if summary else {}
        sent = new if spelling == "new" else whole
        if spelling == "bare":
            more["include"] = ["reasoning.encrypted_content"]
        body = responses.request(
            *sent, model=responses.BOUND, previous_response_id=previous if spelling == "new" else None, **more
        )
        payload, record = responses.ask(provider, body, script="s", session="p", clock=str(clock))
        assert record.violation is None
        assert record.dropped == []
        assert record.prefix_kept in {None, 1.0}
        assert record.turn == clock
        previous, new = payload["id"], []
        parts = content if isinstance(content, str) else [{**part, "type": "input_text"} for part in content] or "-"
        for item in payload["output"]:
            if item["type"] in {"function_call", "custom_tool_call"}:
                new.append({"type": f"{item['type']}_output", "call_id": item["call_id"], "output": parts})
        new.append(responses.user(word))
        bare = [{name: value for name, value in item.items() if name != "status"} for item in payload["output"]]
        whole = [*whole, *(bare if spelling == "bare" else payload["output"]), *new]
    assert provider.invalid == 0
