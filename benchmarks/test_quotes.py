from __future__ import annotations

import pytest

from benchmarks.compare import difference
from benchmarks.quotes import CALL_TOKENS, QuoteFaults, Rates, quoted_lines
from benchmarks.test_compare import body
from benchmarks.traces import Block

RATES = Rates(read=1.0, write=10.0, output=100.0)
LINE = "    return compute_the_total(items)"
PAGE = f"def total(items):\n{LINE}\n"


def edit(old: str, name: str = "old_string") -> Block:
    return {"type": "tool_use", "id": "e", "name": "Edit", "input": {"file_path": "f", name: old}}


def charge(reply: Block, arrived: dict[str, str], context: int = 1000) -> QuoteFaults:
    faults = QuoteFaults(bytes_per_token=1.0)
    sent = body(a=PAGE, b="other")
    came = body(**arrived)
    faults.add([reply], came, difference(sent, came).changes, context, RATES)
    return faults


def test_an_edit_that_quotes_an_evicted_page_costs_a_pass() -> None:
    faults = charge(edit(PAGE), {"a": "[mmu page x]", "b": "other"})
    assert faults.count == 1
    assert faults.dollars == pytest.approx(1000 * 1.0 + len(PAGE) * 10.0 + CALL_TOKENS * 100.0)


def test_a_copy_elsewhere_saves_the_fault() -> None:
    assert charge(edit(PAGE), {"a": "[mmu page x]", "b": f"diff:\n+{LINE}"}).count == 0


def test_a_handle_that_keeps_the_line_does_not() -> None:
    assert charge(edit(PAGE), {"a": f"[mmu page x]\n{LINE}", "b": "other"}).count == 1


def test_a_resident_page_and_a_short_quote_cost_nothing() -> None:
    assert charge(edit(PAGE), {"a": PAGE, "b": "other"}).dollars == 0
    assert charge(edit("return x"), {"a": "[mmu page x]", "b": "other"}).dollars == 0


def test_a_recalled_page_is_rented_until_the_client_compacts() -> None:
    faults = charge(edit(PAGE), {"a": "[mmu page x]", "b": "other"})
    first = faults.dollars
    sent, came = body(a=PAGE), body(a="[mmu page x]")
    again = [edit(PAGE)]
    assert faults.add(again, came, difference(sent, came).changes, 1000, RATES) == 0
    assert faults.dollars - first == pytest.approx(len(PAGE) * 1.0)
    faults.restart()
    assert faults.add([], came, difference(sent, came).changes, 1000, RATES) == 0
    assert faults.dollars - first == pytest.approx(len(PAGE) * 1.0)


def test_quotes_in_patches_and_multiple_edits_are_read() -> None:
    patch = (
        f"*** Begin Patch\n*** Update File: f\n@@ def total\n def total(items):\n-{LINE}\n+    return 0\n*** End Patch"
    )
    assert LINE.strip() in list(quoted_lines([edit(patch, name="input")]))
    many = {"type": "tool_use", "id": "m", "name": "MultiEdit", "input": {"edits": [{"old_string": PAGE}]}}
    assert list(quoted_lines([many])) == [LINE.strip()]
