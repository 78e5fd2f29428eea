from __future__ import annotations

import pytest

from benchmarks.compare import difference
from benchmarks.lab.demand import Demand, content_lines, demands
from benchmarks.lab.fault import Faults
from benchmarks.quotes import CALL_TOKENS, Rates
from benchmarks.test_compare import body
from benchmarks.test_rebuild import call, event, result, session, text
from benchmarks.traces import Block

RATES = Rates(read=1.0, write=10.0, output=100.0)
FILE = "\n".join(f"    line_{n} = compute_the_value({n})" for n in range(20))
OTHER = "\n".join(f"    other_{n} = compute_the_value({n})" for n in range(20))


def edit(name: str, old: str) -> Block:
    return {"type": "tool_use", "id": name, "name": "Edit", "input": {"file_path": "/w/x.py", "old_string": old}}


def asked(*replies: list[Block], first: str = FILE) -> list[list[Demand]]:
    """The demands of each reply of a session that reads two files at first."""
    events = [
        event("user", 0, text("look")),
        event("assistant", 1, call("a", file_path="/w/x.py"), call("b", file_path="/w/y.py")),
        event("user", 2, result("a", first), result("b", OTHER)),
    ]
    for number, reply in enumerate(replies):
        events.append(event("assistant", 10 + 10 * number, *reply))
        results = [result(block["id"], "done") for block in reply if block["type"] == "tool_use"]
        events.append(event("user", 12 + 10 * number, *results, text("go on")))
    found = demands(session(*events, event("assistant", 99, text("bye"))))
    return [found[turn] for turn in sorted(found)]


def test_an_edit_needs_the_longest_line_it_quotes_where_that_is_a_results() -> None:
    line = "line_3 = compute_the_value(3)"
    found = asked([edit("e", f"x\n    {line}\n")])
    assert found[1] == [Demand(1, "edit", ("a",), (line,))]
    assert asked([edit("e", "nobody has ever shown this line")])[1] == []


def test_a_line_that_two_results_show_is_needed_by_an_edit_and_by_nothing_else() -> None:
    line = OTHER.splitlines()[0].strip()
    both = FILE + "\n" + OTHER
    assert asked([edit("e", line)], first=both)[1] == [Demand(1, "edit", ("a", "b"), (line,))]
    assert asked([{**edit("e", ""), "input": {"note": line}}], first=both)[1] == []
    assert asked([{**edit("e", ""), "input": {"note": line}}])[1] == [Demand(1, "quote", ("b",), (line,))]


def test_what_the_agent_has_written_itself_does_not_need_the_result() -> None:
    line = "line_3 = compute_the_value(3)"
    found = asked([edit("e", f"    {line}")], [edit("f", f"    {line}")])
    assert [len(each) for each in found[1:3]] == [1, 0]


def test_reading_again_needs_a_result_of_which_half_comes_back() -> None:
    events = (
        event("user", 0, text("look")),
        event("assistant", 1, call("a", file_path="/w/x.py")),
        event("user", 2, result("a", FILE)),
        event("assistant", 3, call("b", file_path="/w/x.py")),
        event("user", 4, result("b", "\n".join(FILE.splitlines()[:10]))),
        event("assistant", 5, call("c", file_path="/w/x.py")),
        event("user", 6, result("c", "\n".join(FILE.splitlines()[:4]))),
        event("assistant", 7, text("bye")),
    )
    found = demands(session(*events))
    back = tuple(sorted(content_lines("\n".join(FILE.splitlines()[:10]))))
    assert found[1] == [Demand(1, "reread", ("a",), back)]
    assert found[2] == []  # four of twenty lines, and four of ten


def faults(wanted: Demand, arrived: dict[str, str], evicted: dict[str, bool]) -> Faults:
    made = Faults(bytes_per_token=1.0)
    sent, came = body(a=FILE, b="other"), body(**arrived)
    made.add([wanted], came, difference(sent, came).changes, evicted, 1000, RATES)
    return made


def test_a_need_that_is_not_met_is_a_fault_and_is_charged_as_a_quote_fault() -> None:
    wanted = Demand(0, "edit", ("a",), ("line_3 = compute_the_value(3)",))
    made = faults(wanted, {"a": "[mmu page x]", "b": "other"}, {"a": True})
    assert made.kinds == {"edit": 1}
    assert made.charge == pytest.approx(1000 * 1.0 + len(FILE) * 10.0 + CALL_TOKENS * 100.0)
    assert (made.evicted, made.evicted_in_requests) == ({"a"}, 1)


def test_a_need_is_met_by_an_excerpt_and_by_another_result_but_not_by_a_handle() -> None:
    line = "line_3 = compute_the_value(3)"
    wanted = Demand(0, "quote", ("a",), (line,))
    assert faults(wanted, {"a": f"{line}\n[mmu page x]", "b": "other"}, {"a": False}).charge == 0
    assert faults(wanted, {"a": "[mmu page x]", "b": f"other\n{line}"}, {"a": True}).charge == 0
    assert faults(wanted, {"a": f"[mmu page x]\n{line}", "b": "other"}, {"a": True}).kinds == {"quote": 1}


def test_what_is_read_again_is_met_by_half_of_its_lines() -> None:
    lines = tuple(line.strip() for line in FILE.splitlines())
    half, less = "\n".join(FILE.splitlines()[:10]), "\n".join(FILE.splitlines()[:9])
    wanted = Demand(0, "reread", ("a",), lines)
    assert faults(wanted, {"a": half, "b": "other"}, {"a": False}).kinds == {}
    assert faults(wanted, {"a": less, "b": "other"}, {"a": False}).kinds == {"reread": 1}


def test_the_first_call_of_a_tool_that_arrived_as_a_stub_is_charged_and_no_reference_fault() -> None:
    made = Faults(bytes_per_token=1.0)
    full, stub = {"name": "Read", "description": "x" * 100}, {"name": "Read"}
    sent, came = {**body(a=FILE), "tools": [full]}, {**body(a=FILE), "tools": [stub]}
    reply = [call("a", file_path="f"), call("b", file_path="g")]
    made.call(reply, sent, sent, 1000, RATES)
    assert made.charge == 0
    for _ in range(2):
        made.call(reply, sent, came, 1000, RATES)
    size = len('{"name":"Read","description":""}') + 100
    assert made.charge == pytest.approx(1000 * 1.0 + size * 10.0 + CALL_TOKENS * 100.0)
    assert (made.blind, made.kinds.total()) == (1, 0)


def test_both_accountings_over_three_requests_by_hand() -> None:
    """Two results gone for three requests; one is missed in the second, and stays afterwards."""
    made = Faults(bytes_per_token=1.0)
    sent, came = body(a=FILE, b=OTHER), body(a="[mmu page x]", b="[mmu page y]")
    changes = difference(sent, came).changes
    wanted = Demand(1, "edit", ("a",), ("line_3 = compute_the_value(3)",))
    for needs in ([], [wanted], [wanted]):
        made.add(needs, came, changes, {"a": True, "b": True}, 1000, RATES)
    assert (made.kinds.total(), made.evicted_in_requests, len(made.evicted)) == (1, 6, 2)
    once = 1000 * 1.0 + len(FILE) * 10.0 + CALL_TOKENS * 100.0
    assert made.charge == pytest.approx(once + len(FILE) * 1.0)  # and its rent in the third
    made.restart()
    made.add([], came, changes, {}, 1000, RATES)
    assert made.charge == pytest.approx(once + len(FILE) * 1.0)
