"""Which results count as used by what the model said later."""

from __future__ import annotations

import json
from typing import Any

from addon.mmu.quotes import last_quoted
from addon.mmu.view import page_table
from addon.wire import anthropic

CODE = "def total(rows):\n    return sum(row.amount for row in rows)\n\n\ndef x():\n    pass"


class Talk:
    """A conversation of single calls with their results, and of things said between them."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
        self.count = 0

    def call(self, tool: str, given: dict[str, Any], result: str = "ok") -> Talk:
        self.count += 1
        use = {"type": "tool_use", "id": f"t{self.count}", "name": tool, "input": given}
        self.messages.append({"role": "assistant", "content": [use]})
        back = {"type": "tool_result", "tool_use_id": f"t{self.count}", "content": result}
        self.messages.append({"role": "user", "content": [back]})
        return self

    def show(self, *results: str, path: str = "") -> Talk:
        for result in results:
            name = path or f"/w/{self.count}.txt"
            self.call("Read", {"file_path": name}, result)
        return self

    def say(self, text: str, role: str = "assistant") -> Talk:
        self.messages.append({"role": role, "content": text})
        return self

    def quoted(self) -> list[int]:
        body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": self.messages}
        read = anthropic.parse(json.dumps(body).encode())
        return last_quoted(read, page_table(read))


def test_a_long_line_of_a_page_in_a_tools_input_is_a_quote() -> None:
    edit = {"file_path": "a", "old_string": "return sum(row.amount for row in rows)\n", "new_string": ""}
    assert Talk().show(CODE).call("Edit", edit).quoted() == [2, -1]


def test_a_short_line_is_none_and_prose_names_nothing() -> None:
    talk = Talk().show("pass\nordinary sentences\nfifteen letters").call("Bash", {"command": "pass\nfifteen letters"})
    assert talk.say("ordinary sentences").quoted() == [-1, -1]


def test_line_numbers_and_the_marks_of_a_patch_do_not_matter() -> None:
    page = "7\tno name in this line\n8\tand none in the next"
    for patch in ("- no name in this line\n+ x", "  no name in this line", "+\tno name in this line"):
        patch = f"*** Begin Patch\n*** Update File: a\n@@\n{patch}\n*** End Patch"
        assert Talk().show(page).call("apply_patch", {"input": patch}).quoted() == [2, -1]


def test_the_newest_holder_of_a_line_that_came_before_is_the_one() -> None:
    talk = Talk().show(CODE, CODE + "\n").call("Bash", {"command": CODE}).show(CODE)
    assert talk.quoted() == [-1, 3, -1, -1]


def test_the_last_quote_counts() -> None:
    talk = Talk().show(CODE).call("Bash", {"command": CODE}).call("Bash", {"command": CODE})
    assert talk.quoted() == [3, -1, -1]


def test_a_name_is_a_quote_in_what_is_said_and_in_a_call() -> None:
    for name in ("max_retries", "setUpHere", "conf.py", "0x5f3759"):
        page = f"here is {name}, once"
        assert Talk().show(page).say(f"It is {name}.").quoted() == [2]
        assert Talk().show(page).call("Bash", {"command": f"grep -n {name}"}).quoted() == [2, -1]
    assert Talk().show("here is max_retries").say("max_retries", "user").quoted() == [-1]


def test_a_name_that_stands_in_two_results_tells_nothing() -> None:
    assert Talk().show("max_retries = 1", "max_retries = 2").say("max_retries").quoted() == [-1, -1]


def test_a_name_tells_until_another_result_has_it() -> None:
    talk = Talk().show("max_retries = 1").say("max_retries").show("max_retries = 2").say("max_retries")
    assert talk.quoted() == [2, -1]


def test_copies_of_one_file_are_one_place_and_the_newest_has_the_name() -> None:
    talk = Talk().show("max_retries = 1", "max_retries = 2", path="/w/a.py").say("max_retries")
    assert talk.quoted() == [-1, 3]


def test_arguments_may_hold_anything() -> None:
    given = {"edits": [{"old": CODE}, 3, None, [["x"]]], "deep": {"deeper": True}}
    assert Talk().show(CODE).call("odd", given).quoted() == [2, -1]
