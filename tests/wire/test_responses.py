"""Responses requests: what a message and a block is, what a hash covers, and that a second reading gives the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.wire import responses
from addon.wire.conversation import Act, Conversation, Kind, Subject
from addon.wire.retention import DAY, HOUR
from addon.wire.scan import Elsewhere, Malformed
from addon.wire.usage import Usage
from tests.effort import cases
from tests.mmu.sessions import spell


def parse(items: Any, style: int = 0, **more: Any) -> Conversation:
    return responses.parse(spell({"model": "gpt-5", "input": items, **more}, style))


def said(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "input_text", "text": words, **more}


def wrote(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": words, **more}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def model(*content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(content), **more}


def think(sealed: str | None = "gAAA", **more: Any) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": sealed, **more}


def call(identity: str, arguments: str = "{}", name: str = "Read", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": identity, "name": name, "arguments": arguments, **more}


def free(identity: str, words: str = "ls", **more: Any) -> dict[str, Any]:
    return {"type": "custom_tool_call", "call_id": identity, "name": "exec", "input": words, **more}


def result(identity: str, output: Any = "x", **more: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": identity, "output": output, **more}


MARKED = {"mode": "explicit"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8="}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}

# As Codex 0.169.0 sends it over HTTP, shortened.
CODEX: dict[str, Any] = {
    "model": "gpt-5.6",
    "input": [
        {
            "type": "additional_tools", "role": "developer",
            "tools": [{"type": "namespace", "name": "shell", "description": "d", "tools": []}],
        },
        {"type": "message", "role": "developer", "content": [said("You are Codex.")]},
        {"type": "message", "role": "user", "content": [said("<environment_context><cwd>/w</cwd>"), said("AGENTS")]},
        {"type": "message", "role": "user", "content": [said("Fix it.")]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": [wrote("I look.")], "phase": "commentary"},
        free("call_1", 'const r = await tools.exec_command({cmd:"cat a.py"}); text(r.output)', status="completed"),
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": [said("Script completed"), said("1\n2")]},
        {"type": "agent_message", "author": "/root/a", "recipient": "/root", "content": [said("Done.")]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gBBB"},
        {"type": "message", "role": "assistant", "content": [wrote("Fixed.")], "phase": "final_answer"},
        {"type": "message", "role": "user", "content": [said("Thanks.")]},
    ],
    "tool_choice": "auto", "parallel_tool_calls": True, "reasoning": {"effort": "medium"}, "store": False,
    "stream": True, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0199-a",
    "client_metadata": {"x-codex-installation-id": "i"},
}  # fmt: skip

# As opencode 1.18.33 sends it, shortened.
OPENCODE: dict[str, Any] = {
    "model": "gpt-5",
    "input": [
        {"role": "developer", "content": "You are opencode."},
        {"role": "user", "content": [said("Fix it.")]},
        think(id="rs_1", summary=[{"type": "summary_text", "text": "hm"}]),
        call("call_1", '{"filePath":"/w/a.py"}', "read", id="fc_1"),
        call("call_2", '{"command":"ls","description":"List"}', "bash", id="fc_2"),
        result("call_1", "<path>/w/a.py</path>\n1: one"),
        result("call_2", "a.py"),
        {"role": "assistant", "content": [wrote("Done.")], "id": "msg_1", "phase": "final_answer"},
        {"role": "user", "content": [said("Thanks.")]},
    ],
    "max_output_tokens": 32000, "store": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "ses_1",
    "reasoning": {"effort": "medium", "summary": "auto"}, "text": {"verbosity": "low"},
    "tools": [{"type": "function", "name": "read", "description": "d", "parameters": {}, "strict": False}],
    "tool_choice": "auto", "stream": True,
}  # fmt: skip


def shape(read: Conversation) -> list[tuple[str, list[str]]]:
    return [(m.role, [b.kind.value for b in m.blocks]) for m in read.messages]


def test_an_answer_of_several_items_is_one_message() -> None:
    assert shape(responses.parse(spell(CODEX, 0))) == [
        ("user", ["text", "text"]),
        ("user", ["text"]),
        ("assistant", ["reasoning", "text", "call"]),
        ("tool", ["result", "result"]),
        ("user", ["other"]),
        ("assistant", ["reasoning", "text"]),
        ("user", ["text"]),
    ]
    assert shape(responses.parse(spell(OPENCODE, 0))) == [
        ("user", ["text"]),
        ("assistant", ["reasoning", "call", "call"]),
        ("tool", ["result"]),
        ("tool", ["result"]),
        ("assistant", ["text"]),
        ("user", ["text"]),
    ]


@pytest.mark.parametrize("style", range(4))
@pytest.mark.parametrize("body", [CODEX, OPENCODE], ids=["codex", "opencode"])
def test_blocks_stand_where_they_say(body: dict[str, Any], style: int) -> None:
    read = responses.parse(spell(body, style))
    back = [json.loads(f"[{read.text[message.start : message.end]}]") for message in read.messages]
    assert [item for items in back for item in items] == body["input"][-sum(map(len, back)) :]
    for message in read.messages:
        for block in message.blocks:
            inside = json.loads(read.text[message.start + block.start : message.start + block.end])
            if block.kind in (Kind.CALL, Kind.REASONING):
                assert inside in body["input"]
            if block.literal is not None:
                start, end = block.literal
                assert json.loads(read.text[message.start + start : message.start + end]) == block.text
    for block in read.instructions:
        json.loads(read.text[block.start : block.end])


def test_what_calls_and_results_say() -> None:
    read = responses.parse(spell(OPENCODE, 1))
    _, one, other = read.messages[1].blocks
    assert (one.call, one.name, one.arguments) == ("call_1", "read", {"filePath": "/w/a.py"})
    assert (one.about, other.about) == (
        Subject(Act.READ, "/w/a.py", "read /w/a.py"), Subject(Act.RUN, "bash ls", "bash ls"),
    )  # fmt: skip
    assert [(b.call, b.part, b.text) for m in read.messages[2:4] for b in m.blocks] == [
        ("call_1", 0, "<path>/w/a.py</path>\n1: one"), ("call_2", 0, "a.py"),
    ]  # fmt: skip
    read = responses.parse(spell(CODEX, 1))
    made = read.messages[2].blocks[2]
    assert (made.call, made.name, made.custom, made.arguments) == ("call_1", "exec", True, CODEX["input"][6]["input"])
    assert [(b.call, b.part, b.text, b.custom) for b in read.messages[3].blocks] == [
        ("call_1", 0, "Script completed", True), ("call_1", 1, "1\n2", True),
    ]  # fmt: skip


def test_instructions_stand_apart() -> None:
    read = responses.parse(spell({**CODEX, "instructions": "Be good."}, 0))
    assert [(b.kind, b.name, b.text) for b in read.instructions] == [
        (Kind.TEXT, "", "Be good."), (Kind.OTHER, "additional_tools", ""), (Kind.TEXT, "", "You are Codex."),
    ]  # fmt: skip
    assert read.tools == []
    late = {"role": "developer", "content": "Now be quick."}
    assert [m.role for m in parse([user("hi"), late, user("go")]).messages] == ["user", "developer", "user"]
    one, other = (parse([{"role": "system", "content": words}, user("hi")]) for words in ("Monday", "Tuesday"))
    assert (one.opening, one.digests) == (other.opening, other.digests)
    assert one.instructions != other.instructions


def test_a_string_is_what_the_user_says() -> None:
    read = parse("hé\n", 1)
    block = read.messages[0].blocks[0]
    assert (block.kind, block.text, read.messages[0].role) == (Kind.TEXT, "hé\n", "user")
    assert json.loads(read.text[read.messages[0].start : read.messages[0].end]) == "hé\n"
    assert read.digests == parse([user("hé\n")]).digests == parse([user([said("hé\n")])]).digests
    assert responses.parse(read.text.encode(), {responses.key(read): read}) == read


ROLES: dict[str, tuple[dict[str, Any], str, Kind]] = {
    "search": (SEARCH, "assistant", Kind.OTHER),
    "mcp": ({"type": "mcp_call", "id": "m", "name": "x", "arguments": "{}"}, "assistant", Kind.OTHER),
    "approval": ({"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}, "user", Kind.OTHER),
    "program": ({"type": "program_output", "call_id": "c", "result": "x"}, "assistant", Kind.OTHER),
    "their search": ({"type": "tool_search_output", "execution": "server", "tools": []}, "assistant", Kind.OTHER),
    "our search": ({"type": "tool_search_output", "call_id": "c", "tools": []}, "tool", Kind.OTHER),
    "screen": ({"type": "computer_call_output", "call_id": "c", "output": {"type": "x"}}, "tool", Kind.OTHER),
    "reference": ({"type": "item_reference", "id": "fc_1"}, "assistant", Kind.OTHER),
    "bare reference": ({"id": "msg_1"}, "assistant", Kind.OTHER),
    "reference to reasoning": ({"type": "item_reference", "id": "rs_1"}, "assistant", Kind.REASONING),
    "trigger": ({"type": "compaction_trigger"}, "user", Kind.OTHER),
    "compaction": ({"type": "compaction", "encrypted_content": "x"}, "assistant", Kind.OTHER),
    "new": ({"type": "levitation", "height": 3}, "assistant", Kind.OTHER),
    "an output without a call": ({"type": "function_call_output", "output": "x"}, "tool", Kind.OTHER),
    "their call": ({"type": "tool_search_call", "call_id": None, "arguments": {}}, "assistant", Kind.OTHER),
}


@pytest.mark.parametrize("case", ROLES.values(), ids=ROLES.keys())
def test_whose_an_item_is(case: tuple[dict[str, Any], str, Kind]) -> None:
    item, role, kind = case
    message = parse([user("go"), item]).messages[1]
    assert (message.role, [b.kind for b in message.blocks]) == (role, [kind])
    assert message.blocks[0].name == item.get("type", "item_reference")


def test_other_calls_of_the_clients() -> None:
    shell = {"type": "exec", "command": ["cat", "a b"], "env": {}}
    patch = {"type": "update_file", "path": "a.py", "diff": "+x"}
    made = [
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "action": shell, "status": "completed"},
        {"type": "apply_patch_call", "call_id": "c2", "operation": patch},
        {"type": "computer_call", "call_id": "c3", "action": {"type": "wait"}},
        call("c4", '{"command": ["ls", "-l"]}', "shell"),
    ]
    read = parse([user("go"), *made, {"type": "local_shell_call_output", "id": "c1", "output": "x"}])
    blocks = read.messages[1].blocks
    assert [(b.call, b.name) for b in blocks] == [
        ("c1", "local_shell"), ("c2", "apply_patch"), ("c3", "computer"), ("c4", "shell"),
    ]  # fmt: skip
    names = [b.about and (b.about.act, b.about.name) for b in blocks]
    assert names[:2] == [(Act.READ, "a b"), (Act.EDIT, "a.py")]
    assert names[3] == (Act.RUN, "shell ls -l")
    assert blocks[0].arguments == shell
    assert [(b.kind, b.call, b.text) for b in read.messages[2].blocks] == [(Kind.RESULT, "c1", "x")]


@pytest.mark.parametrize("odd", ["", "{", '{"a":' * 100_000, "1" * 5000])
def test_arguments_that_are_no_json_are_their_own_subject(odd: str) -> None:
    read = parse([user("go"), call("c1", odd), result("c1")], 1)
    about = read.messages[1].blocks[0].about
    assert about is not None
    assert about.act is Act.RUN


def test_the_words_for_a_free_tool_are_never_decoded() -> None:
    assert parse([user("go"), free("c", "[1]")]).messages[1].blocks[0].arguments == "[1]"


def test_a_result_without_text_cannot_be_replaced() -> None:
    empty: tuple[Any, ...] = (None, [])
    for output in empty:
        block = parse([user("go"), call("c"), result("c", output)]).messages[2].blocks[0]
        assert (block.kind, block.literal, block.call) == (Kind.RESULT, None, "c")
    for odd in ({"a": 1}, 3, [3], ["x"], [[said("x")]], [IMAGE], [said("x", extra=1)]):
        read = parse([user("go"), call("c"), result("c", odd)]).messages[2].blocks
        assert [(b.kind, b.call) for b in read] == [(Kind.OTHER, "c")]
    mixed = parse([user("go"), call("c"), result("c", [said("a"), IMAGE, wrote("b", annotations=[])])]).messages[2]
    assert [(b.kind, b.part, b.text) for b in mixed.blocks] == [
        (Kind.RESULT, 0, "a"), (Kind.OTHER, 1, ""), (Kind.RESULT, 2, "b"),
    ]  # fmt: skip


SAME: dict[str, tuple[Any, Any]] = {
    "string for a list of one text": (user("hi"), user([said("hi")])),
    "the type of a message": (user("hi"), user("hi", type="message")),
    "a breakpoint": (user([said("hi")]), user([said("hi", prompt_cache_breakpoint=MARKED)])),
    "a breakpoint on an image": (user([IMAGE]), user([{**IMAGE, "prompt_cache_breakpoint": MARKED}])),
    "a breakpoint on a result": (result("t"), result("t", [said("x", prompt_cache_breakpoint=MARKED)])),
    "status": (call("c"), call("c", status="completed")),
    "status of a message": (model(wrote("x")), model(wrote("x"), status="completed")),
    "an id": (model(wrote("x")), model(wrote("x"), id="msg_1")),
    "a call's id": (call("c", id="fc_1"), call("c")),
    "reasoning's id": (think(id="rs_1"), think()),
    "a null member": (think(), think(content=None)),
    "no notes": (model(wrote("x")), model(wrote("x", annotations=[], logprobs=[]))),
    "a null phase": (model(wrote("x")), model(wrote("x"), phase=None)),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_what_clients_move_about_is_not_hashed(pair: tuple[Any, Any]) -> None:
    one, other = (parse([user("go"), item]) for item in pair)
    assert one.digests == other.digests
    assert one.head == other.head
    assert [b.digest for m in one.messages for b in m.blocks] == [b.digest for m in other.messages for b in m.blocks]


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "text": (user("hi"), user("ho")),
    "role": (user("hi"), {"role": "developer", "content": "hi"}),
    "call": (result("t"), result("u")),
    "result": (result("t"), result("t", "y")),
    "kind of a result": (result("t"), result("t", type="custom_tool_call_output")),
    "arguments": (call("c"), call("c", '{"a":1}')),
    "tool": (call("c"), call("c", name="Write")),
    "namespace": (call("c"), call("c", namespace="x")),
    "reasoning": (think(), think("gBBB")),
    "reasoning known by its id": (think(None, id="rs_1"), think(None, id="rs_2")),
    "reference": ({"id": "msg_1"}, {"id": "msg_2"}),
    "phase": (model(wrote("x")), model(wrote("x"), phase="commentary")),
    "notes": (model(wrote("x")), model(wrote("x", annotations=[{"type": "url_citation"}]))),
    "search": (SEARCH, {**SEARCH, "action": {"type": "search", "query": "r"}}),
    "unknown part": (user([IMAGE]), user([{**IMAGE, "detail": "low"}])),
    "unknown member": (user("hi"), user("hi", beams=[1])),
    "one answer or two items": (model(wrote("x"), wrote("y")), model(wrote("xy"))),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_says_something_else_hashes_differently(pair: tuple[Any, Any]) -> None:
    one, other = (parse([user("go"), item]) for item in pair)
    assert one.digests != other.digests


MALFORMED: dict[str, Any] = {
    "no input": {"model": "m"},
    "input null": {"input": None},
    "input empty": {"input": []},
    "input an object": {"input": {}},
    "item a string": {"input": ["hi"]},
    "nothing but instructions": {"input": [{"role": "system", "content": "x"}]},
    "message without role": {"input": [{"type": "message", "content": "hi"}]},
    "role null": {"input": [{"role": None, "content": "hi"}]},
    "role a number": {"input": [{"role": 1, "content": "hi"}]},
    "content a number": {"input": [user(3)]},
    "content missing": {"input": [{"role": "user"}]},
    "type a number": {"input": [{"type": 3}]},
    "call without an id": {"input": [user("x"), call("")]},
    "call id a number": {"input": [user("x"), {**result("c"), "call_id": 3}]},
    "name a number": {"input": [user("x"), {**call("c"), "name": 3}]},
    "tools a string": {"input": "x", "tools": "all"},
    "tool a string": {"input": "x", "tools": ["all"]},
    "model a list": {"input": "x", "model": []},
    "stream a string": {"input": "x", "stream": "yes"},
    "instructions a list": {"input": "x", "instructions": []},
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_in_doubt_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed) as told:
        responses.parse(json.dumps(body).encode())
    assert told.value.reason == "malformed"


def test_duplicate_keys_are_malformed() -> None:
    for body in (
        '{"input":"a","input":[]}',
        '{"input":[{"role":"user","content":"a","content":"b"}]}',
        '{"input":[{"role":"user","content":[{"type":"input_text","text":"a","text":"b"}]}]}',
        '{"input":[{"role":"user","content":"a"},]}',
        '{"input":[{"role":"assistant","content":"a"},]}',
    ):
        with pytest.raises(Malformed):
            responses.parse(body.encode())


def test_a_history_on_the_server_is_told_from_what_is_malformed() -> None:
    for more in (
        {"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "p"}}, {"background": True},
    ):  # fmt: skip
        with pytest.raises(Elsewhere) as told:
            parse([result("c")], **more)
        assert told.value.reason == "history on the server"
    assert parse("x", previous_response_id=None, conversation=None, prompt=None, background=False).messages


def test_reasoning_stays_and_is_bound_where_the_model_may_bind_it() -> None:
    for item, name, signed, bound in (
        (think(), "gpt-6.2", True, True),
        (think(), "openai/gpt-7-nova", True, True),
        (think(), "gpt-5.6", True, False),
        (think(), "anthropic/claude-opus-4.8", True, False),
        (think(), "anthropic/claude-opus-5.5", True, True),
        (think(None, id="rs_1"), "gpt-6.2", True, True),
        ({"type": "item_reference", "id": "rs_1"}, "gpt-6.2", True, True),
        (think(None), "gpt-6.2", False, False),
    ):
        read = parse([user("x"), item, model(wrote("y"))], model=name)
        block = read.messages[1].blocks[0]
        assert (block.kind, block.stays, block.signed, read.bound) == (Kind.REASONING, True, signed, bound)


def test_what_stands_before_a_compaction_is_no_longer_shown() -> None:
    packed = {"type": "compaction", "encrypted_content": "x"}
    before = [user("a"), call("c"), result("c")]
    assert parse([*before, packed, user("b")]).forgotten == 3
    assert parse([*before, packed, user("b"), packed, user("c")]).forgotten == 5
    assert parse(before).forgotten == parse([packed, user("b")]).forgotten == 0
    asked = parse([*before, {"type": "compaction_trigger"}])
    assert asked.compacts
    assert not parse([*before, packed, user("b")]).compacts


def test_the_server_may_cut_by_itself() -> None:
    assert parse("x", context_management=[{"type": "compaction"}]).clears
    assert parse("x", truncation="auto").clears
    assert not parse("x", truncation="disabled", context_management=None).clears


def test_time_to_live_is_what_is_asked_for_or_known() -> None:
    def ttl(model: str, items: Any = "x", **more: Any) -> float | None:
        return parse(items, **{"model": model, **more}).ttl

    assert [ttl(m) for m in ("gpt-5", "gpt-5.6", "gpt-6.2-astra", "llama-4")] == [DAY, HOUR, HOUR, None]
    assert ttl("gpt-5", prompt_cache_retention="in_memory") == HOUR
    assert ttl("gpt-5.6", prompt_cache_options={"mode": "implicit", "ttl": "12h"}) == DAY
    assert ttl("gpt-5.6", [user([said("x", prompt_cache_breakpoint={**MARKED, "ttl": "12h"})])]) == DAY
    assert ttl("anthropic/claude-opus-4.8", [user([said("x", cache_control={"type": "ephemeral"})])]) == 300


def test_cache_marks_are_counted() -> None:
    marked = said("x", prompt_cache_breakpoint=MARKED)
    items = [{"role": "developer", "content": [marked]}, user([marked, said("y")]), call("c"), result("c", [marked])]
    read = parse(items)
    assert (read.breakpoints, [m.marks for m in read.messages]) == (3, [(HOUR,), (), (HOUR,)])


def test_tools_have_names_or_the_provider_knows_them() -> None:
    tools = [
        json.loads(responses.tool("f", "does", {"type": "object"})), {"type": "custom", "name": "g"},
        {"type": "namespace", "name": "n", "tools": []}, {"type": "web_search"}, {"type": "mcp", "server_label": "s"},
        {"type": "function", "function": {"name": "h"}}, {"name": "i", "input_schema": {}}, {},
    ]  # fmt: skip
    read = parse("x", tools=tools)
    assert [t.name for t in read.tools] == ["f", "g", "n", "web_search", "mcp", "", "", ""]
    assert json.loads(read.text[read.tools[0].start : read.tools[0].end]) == tools[0]
    assert parse("x", tools=None).tools == []


def test_options_that_matter_to_a_decision() -> None:
    read = responses.parse(spell(CODEX, 0))
    assert read.options == {
        "tool_choice": {"type": "auto"}, "prompt_cache_key": "0199-a", "store": False,
        "client_metadata": {"x-codex-installation-id": "i"}, "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    assert (read.stream, read.model) == (True, "gpt-5.6")
    assert parse("x", tool_choice={"type": "function", "name": "f"}).options["tool_choice"]["type"] == "function"


REPORT = {
    "input_tokens": 5000, "output_tokens": 7,
    "input_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 1000},
}  # fmt: skip


def test_usage_tells_the_cached_from_the_fresh() -> None:
    wanted = Usage(fresh=2000, read=2000, written=1000, output=7, untold=True)
    assert responses.usage(REPORT) == wanted
    assert responses.whole_usage({"object": "response", "usage": REPORT}) == wanted
    assert responses.usage({"input_tokens": 9}) == Usage(fresh=9, untold=True)
    assert responses.usage({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 50}}).fresh == 0
    odd: Any
    for odd in (None, [], {}, {"usage": None}, {"usage": 3}):
        assert responses.whole_usage(odd) is None
    assert responses.reports_usage(parse("x", stream=True))


def sent(kind: str, **more: Any) -> str:
    return json.dumps({"type": kind, "sequence_number": 1, "response": {"id": "resp_1", **more}})


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
@pytest.mark.parametrize("named", [True, False])
def test_a_stream_reports_its_usage_at_the_end(kind: str, named: bool) -> None:
    hear = responses.stream_usage
    for name, data in (
        ("response.created", sent("response.created", usage=None)),
        ("response.output_text.delta", json.dumps({"delta": '"usage"'})),
        ("", "[DONE]"), ("", '"usage"'), ("", '["usage"]'),
    ):  # fmt: skip
        assert hear(name, data, None) is None
    heard = hear(kind if named else "", sent(kind, usage=REPORT), None)
    assert heard == responses.usage(REPORT)
    assert hear("", "[DONE]", heard) == heard
    assert hear("", json.dumps({"type": "other", "response": {"usage": REPORT}}), None) is None


def test_dropped_reasoning_is_reported() -> None:
    lost = [{"id": "rs_1", "type": "reasoning", "action": "removed", "reason": "prefix_mismatch"}]
    drops = responses.drops_reasoning
    assert drops("response.created", sent("response.created", input_transformations=lost))
    assert drops("", sent("response.completed", input_transformations=lost))
    none: Any
    for none in (None, []):
        assert not drops("response.created", sent("response.created", input_transformations=none))
    assert not drops("response.created", sent("response.created"))
    assert not drops("response.output_text.delta", json.dumps({"delta": '"input_transformations"'}))


def test_an_answer_is_an_item_that_reads_back() -> None:
    read = parse([user("x"), json.loads(responses.answer('so "é"')), user("y")])
    assert [(m.role, m.blocks[0].text) for m in read.messages][1] == ("assistant", 'so "é"')


def test_refusals_are_told_apart() -> None:
    may = responses.rewrite_may_have_caused
    assert may(400, "No tool output found for function call call_1.")
    assert not may(400, '{"error":{"code":"context_length_exceeded"}}')
    assert not may(400, "Your input exceeds the context window of this model.")
    assert responses.refusal_text('{"error":{"message":"no","code":null}}') == "no"


def test_paths_of_the_api() -> None:
    assert all(responses.is_call(path) for _, path in responses.HOSTS)
    others = ("/v1/responses/compact", "/v1/responses/input_tokens", "/v1/responses/resp_1", "/v1/chat/completions")
    assert not any(map(responses.is_call, others))


ITEMS = st.one_of(
    st.text(max_size=4).map(user),
    st.sampled_from("ab").map(lambda words: model(wrote(words))),
    st.sampled_from("cd").map(call),
    st.sampled_from("cd").map(result),
    st.just(think()),
    st.just({"role": "developer", "content": "x"}),
)


@settings(max_examples=cases(500), deadline=None)
@given(
    st.lists(ITEMS, max_size=8), st.lists(ITEMS, max_size=4), st.integers(0, 8), st.integers(0, 8), st.integers(0, 3)
)
def test_reading_again_gives_what_reading_anew_gives(
    items: list[dict[str, Any]], more: list[dict[str, Any]], shared: int, behind: int, style: int
) -> None:
    """Answers grow, shrink, and get other neighbours between two requests."""
    one = [user("begin"), *items]
    two = [*one[:shared], *more, *one[shared + behind :], user("end")]
    before = parse(one, style)
    body = spell({"stop": "x" * len(more), "model": "gpt-5", "input": two}, style)
    anew = responses.parse(body)
    assert responses.parse(body, {responses.key(anew): before}) == anew


def test_a_second_reading_takes_the_messages_of_the_first() -> None:
    head = [{"role": "developer", "content": "s" * 9000}, user("hi" * 3000)]
    one = [*head, think(), call("c"), result("c"), model(wrote("a"))]
    before = parse(one)
    body = spell({"model": "gpt-5", "input": [*one, call("d"), result("d"), user("new")]}, 0)
    after = responses.parse(body, {responses.key(before): before})
    assert [old is new for old, new in zip(before.messages, after.messages, strict=False)] == [True, True, True, False]
    assert [len(m.blocks) for m in after.messages] == [1, 2, 1, 2, 1, 1]


@pytest.mark.parametrize("form", ["role first", "content first", "no user", "string"])
def test_the_key_is_guessed_without_reading(form: str) -> None:
    first = {"content": "ä" * 5000, "role": "user"} if form == "content first" else user("ä" * 5000)
    items: Any = [{"role": "developer", "content": 'say "input": ["role":"user"] ' * 40}, first]
    if form == "no user":
        items = [model(wrote("x" * 5000))]
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    for style in range(3):
        body = spell({"tools": [{"parameters": schema}], "input": "ö" * 5000 if form == "string" else items}, style)
        assert responses.likely_key(body) == responses.key(responses.parse(body))
    assert responses.key(parse("a" * 5000)) != responses.key(parse("b" * 5000))
