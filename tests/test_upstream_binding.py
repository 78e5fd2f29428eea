"""Signed reasoning is good for the prefix it was made on, and for nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.upstream.direct import TOOL, ask, assistant, call, request, result, text, user
from tests.upstream.provider import Provider

Body = dict[str, Any]

THOUGHT = {"type": "thinking", "thinking": "let me see"}
SCRIPT: list[dict[str, Any]] = [
    {"content": [THOUGHT, text("I read"), call("t1", path="a")]},
    {"content": [{**THOUGHT, "thinking": "more"}, call("t2", path="b"), call("t3", path="c")]},
    {"content": [{**THOUGHT, "thinking": "enough"}, text("It is a bug")]},
    {"content": [{**THOUGHT, "thinking": "next"}, call("t4", path="d")]},
    {"content": [text("done")]},
]
BOUND = {"session": "s", "script": "work", "bound": "force"}
DIFFERENT = "The block is bound to a different conversation."
SYSTEM = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=1; cch=00000;"},
    {"type": "text", "text": "You are an agent"},
]


class Talk:
    """A client that plays SCRIPT and sends back exactly what it got."""

    def __init__(self, **headers: str) -> None:
        self.provider = Provider()
        self.provider.script("work", SCRIPT)
        self.headers = {**BOUND, **headers}
        self.body = request(user("fix it"), system=copy.deepcopy(SYSTEM))

    def step(self) -> list[Any]:
        payload, record = ask(self.provider, self.body, **self.headers)
        assert record.status == 200, record.violation
        content: list[Any] = payload["content"]
        self.body["messages"].append({"role": "assistant", "content": content})
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        if calls:
            self.body["messages"].append(user(*(result(name, f"content of {name}") for name in calls)))
        return content

    def rounds(self, count: int) -> Talk:
        """Play so many replies; after the third, which ends the turn, the human asks again."""
        for at in range(count):
            self.step()
            if at == 2:
                self.body["messages"].append(user("and the other one?"))
        return self

    def verdict(self, change: Callable[[Body], None] | None = None) -> str:
        """ "" when the changed body is accepted, otherwise the refusal."""
        body = copy.deepcopy(self.body)
        if change:
            change(body)
        return ask(self.provider, body, **self.headers)[1].violation or ""


def drop_thinking(body: Body, *indices: int) -> None:
    for index in indices:
        message = body["messages"][index]
        message["content"] = [block for block in message["content"] if block["type"] != "thinking"]


def test_history_sent_back_as_it_came_is_accepted_all_the_way() -> None:
    talk = Talk().rounds(5)
    assert talk.provider.invalid == 0
    assert [record.turn for record in talk.provider.log] == [0, 1, 2, 3, 4]


def test_every_signature_is_its_own() -> None:
    talk = Talk().rounds(4)
    signed = [
        block["signature"] for m in talk.body["messages"] for block in m["content"] if block["type"] == "thinking"
    ]
    assert len(signed) == len(set(signed)) == 4


def test_the_same_reply_on_the_same_prefix_gets_the_same_signature() -> None:
    talk = Talk().rounds(1)
    again = Talk().rounds(1)
    assert talk.body == again.body


# messages: 0 human, 1 assistant, 2 result t1, 3 assistant, 4 results t2 t3, 5 assistant, 6 human, 7 assistant, 8 result
def shorten(body: Body) -> None:
    body["messages"][2]["content"][0]["content"] = "[gone]"


def edit_first(body: Body) -> None:
    body["messages"][0]["content"][0]["text"] = "fix that"


def edit_system(body: Body) -> None:
    body["system"][1]["text"] += "."


def edit_tool(body: Body) -> None:
    body["tools"][0]["description"] = "Reads a file"


def add_tool(body: Body) -> None:
    body["tools"].append({**TOOL, "name": "mmu_recall"})


def insert_pair(body: Body) -> None:
    body["messages"][1:1] = [assistant("hm"), user("go on")]


def extra_text(body: Body) -> None:
    body["messages"][0]["content"].append(text("by the way"))


def split_message(body: Body) -> None:
    first = body["messages"][4]["content"]
    body["messages"][4]["content"] = first[::-1]


def edit_input(body: Body) -> None:
    body["messages"][1]["content"][2]["input"] = {"path": "z"}


CHANGES: dict[Callable[[Body], None], tuple[int, str]] = {
    shorten: (3, "messages.2.content.0"),
    edit_first: (1, "messages.0.content.0"),
    edit_system: (1, "system.1"),
    edit_tool: (1, "tools.0"),
    add_tool: (1, "tools.1"),
    insert_pair: (3, "messages.1.content.0"),
    extra_text: (1, "messages.0.content.1"),
    split_message: (5, "messages.4.content.0"),
    edit_input: (3, "messages.1.content.2"),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_prefix_is_refused_and_named(change: Callable[[Body], None]) -> None:
    index, first = CHANGES[change]
    wording = Talk().rounds(3).verdict(change)
    assert wording.startswith(f"messages.{index}.content.0: Invalid `signature` in `thinking` block.")
    assert DIFFERENT in wording
    assert wording.endswith(f"first at {first}.")


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_prefix_is_none_of_the_business_of_other_models(change: Callable[[Body], None]) -> None:
    assert Talk(bound="off").rounds(3).verdict(change) == ""


def move_markers(body: Body) -> None:
    body["system"][1]["cache_control"] = {"type": "ephemeral"}
    body["messages"][-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}


def respell(body: Body) -> None:
    body["messages"][0]["content"] = "fix it"
    body["messages"][2]["content"][0]["content"] = [text("content of t1")]


def rebill(body: Body) -> None:
    body["system"][0]["text"] = "x-anthropic-billing-header: cc_version=1; cch=fffff; cc_prev_req=req_1;"


def add_deferred(body: Body) -> None:
    body["tools"].append({**TOOL, "name": "Later", "defer_loading": True})


def other_parameters(body: Body) -> None:
    body["max_tokens"] = 7
    body["metadata"] = {"user_id": "someone"}


def append_human(body: Body) -> None:
    body["messages"].append(user("thanks"))


def as_sdk_spells(body: Body) -> None:
    for message in body["messages"]:
        message["content"] = [
            dict(reversed({**block, "citations": None}.items())) if block["type"] == "text" else block
            for block in message["content"]
        ]


@pytest.mark.parametrize(
    "change",
    [move_markers, respell, rebill, add_deferred, other_parameters, append_human, as_sdk_spells],
    ids=lambda change: change.__name__,
)
def test_what_is_no_change(change: Callable[[Body], None]) -> None:
    assert Talk().rounds(3).verdict(change) == ""


@pytest.mark.parametrize("gone", [(1,), (1, 3), (1, 3, 5)])
def test_older_reasoning_may_go_oldest_first(gone: tuple[int, ...]) -> None:
    talk = Talk().rounds(4)
    assert talk.verdict(lambda body: drop_thinking(body, *gone)) == ""


@pytest.mark.parametrize("gone", [(3,), (5,), (3, 5), (1, 5)])
def test_older_reasoning_may_not_go_from_the_middle(gone: tuple[int, ...]) -> None:
    wording = Talk().rounds(4).verdict(lambda body: drop_thinking(body, *gone))
    assert DIFFERENT in wording
    assert "left out, added or moved" in wording


def test_after_oldest_first_removal_the_conversation_goes_on() -> None:
    talk = Talk().rounds(3)
    before = copy.deepcopy(talk.body["messages"][1])
    drop_thinking(talk.body, 1, 3)
    talk.step()
    talk.step()
    append_human(talk.body)
    assert talk.verdict(lambda body: drop_thinking(body, 5)) == ""
    assert talk.provider.invalid == 0

    def put_back(body: Body) -> None:
        body["messages"][1] = before

    assert "left out, added or moved" in talk.verdict(put_back)


@pytest.mark.parametrize("gone", [(1,), (3,), (1, 3)])
def test_reasoning_of_the_current_turn_must_stay_while_its_round_is_open(gone: tuple[int, ...]) -> None:
    assert Talk().rounds(2).verdict(lambda body: drop_thinking(body, *gone)) != ""


def test_reasoning_of_the_current_turn_is_named_as_missing() -> None:
    wording = Talk().rounds(4).verdict(lambda body: drop_thinking(body, 1, 3, 5, 7))
    assert wording.startswith("messages.7.content.0: Expected `thinking`")


def test_all_reasoning_may_go_with_a_new_human_message_and_then_anything_may_change() -> None:
    def compact(body: Body) -> None:
        append_human(body)
        drop_thinking(body, 1, 3, 5, 7)
        shorten(body)

    assert Talk().rounds(4).verdict(compact) == ""


def test_manual_thinking_wants_the_current_turn_on_any_model() -> None:
    talk = Talk(bound="off").rounds(2)
    talk.body |= {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
    assert talk.verdict() == ""
    assert "Expected `thinking`" in talk.verdict(lambda body: drop_thinking(body, 3))


@pytest.mark.parametrize("bound", ["force", "off"])
def test_edited_reasoning_is_refused_everywhere(bound: str) -> None:
    def edit(body: Body) -> None:
        body["messages"][1]["content"][0]["thinking"] += "!"

    talk = Talk(bound=bound).rounds(1)
    assert talk.verdict(edit) == "messages.1.content.0: Invalid `signature` in `thinking` block."


def test_a_foreign_signature_is_refused_where_reasoning_is_bound() -> None:
    body = request(user("a"), assistant({**THOUGHT, "signature": "made up"}, "b"), user("c"))
    assert ask(Provider(), body, bound="force")[1].violation == (
        "messages.1.content.0: Invalid `signature` in `thinking` block."
    )
    assert ask(Provider(), body, bound="off")[1].status == 200


def test_reasoning_cannot_move_to_another_place() -> None:
    def swap(body: Body) -> None:
        first, second = body["messages"][1]["content"], body["messages"][3]["content"]
        first[0], second[0] = second[0], first[0]

    assert DIFFERENT in Talk().rounds(3).verdict(swap)


def test_redacted_reasoning_is_bound_too() -> None:
    provider = Provider()
    provider.script("work", [{"content": [{"type": "redacted_thinking"}, text("b")]}])
    body = request(user("a"))
    payload, _ = ask(provider, body, **BOUND)
    body["messages"] += [{"role": "assistant", "content": payload["content"]}, user("c")]
    assert ask(provider, body, script="", bound="force")[1].status == 200
    edit_first(body)
    assert DIFFERENT in (ask(provider, body, script="", bound="force")[1].violation or "")


def test_earlier_text_of_the_same_message_is_part_of_the_prefix() -> None:
    provider = Provider()
    provider.script("work", [{"content": [THOUGHT, text("first"), {**THOUGHT, "thinking": "then"}, call("t")]}])
    body = request(user("a"))
    payload, _ = ask(provider, body, **BOUND)
    body["messages"] += [{"role": "assistant", "content": payload["content"]}, user(result("t"))]
    assert ask(provider, body, bound="force", session="s")[1].status == 200
    payload["content"][1]["text"] = "second"
    wording = ask(provider, body, bound="force", session="s")[1].violation or ""
    assert wording.startswith("messages.1.content.2: Invalid")
    assert wording.endswith("first at messages.1.content.1.")


def test_which_models_bind() -> None:
    for model, status in (("claude-opus-5-5", 400), ("claude-haiku-5-5", 400), ("claude-opus-5", 200)):
        provider = Provider()
        provider.script("work", SCRIPT)
        body = {**request(user("a")), "model": model}
        payload, _ = ask(provider, body, script="work")
        body["messages"] += [{"role": "assistant", "content": payload["content"]}, user(result("t1"))]
        edit_first(body)
        assert ask(provider, body, script="work")[1].status == status


def test_drop_block_drops_and_tells() -> None:
    talk = Talk().rounds(3)
    talk.body["thinking"] = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    talk.headers["beta"] = "thinking-binding-controls-2026-08-01"
    body = copy.deepcopy(talk.body)
    shorten(body)
    payload, record = ask(talk.provider, body, **talk.headers)
    assert record.dropped == ["messages.3.content.0", "messages.5.content.0"]
    assert payload["input_transformations"] == [
        {"type": "thinking_dropped", "reason": "prefix_binding_mismatch", "path": path} for path in record.dropped
    ]
    body["messages"][1]["content"][0]["thinking"] = "forged"
    assert ask(talk.provider, body, **talk.headers)[1].status == 400


def test_what_a_server_tool_left_must_come_back_unchanged() -> None:
    provider = Provider()
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "x"}]}
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
    provider.script("work", [{"content": [search, found, text("b")]}, {"content": [text("c")]}])
    body = request(user("a"))
    payload, _ = ask(provider, body, script="work")
    body["messages"] += [{"role": "assistant", "content": payload["content"]}, user("c")]
    assert ask(provider, body, script="work")[1].status == 200
    payload["content"][1]["content"] = []
    assert "cannot be modified" in (ask(provider, body, script="work")[1].violation or "")
