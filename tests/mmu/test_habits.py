"""What requests add: each ordinal once, whatever the client does with its history."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from addon.mmu.evict import Policy
from addon.mmu.habits import SESSIONS, TOTAL, WEIGHT, Learned, Observed, observed, used_tools
from addon.mmu.page import page_id
from addon.mmu.plan import plan
from addon.mmu.reuse import Sort, at_age
from addon.mmu.view import Descent, View
from addon.wire import anthropic
from addon.wire.conversation import text_digest
from storage import tallies

LONG = "a line of some length, so that there is something to evict\n" * 20
NEVER = Policy(evicts=False)


class Talk:
    """A client, the lines known of it, and the tallies of its requests."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
        self.views: dict[str, View] = {}
        self.population: Counter[str] = Counter()
        self.project: Counter[str] = Counter()
        self.count = 0

    def call(self, tool: str, arguments: dict[str, Any], text: str | None = None, **more: Any) -> None:
        self.count += 1
        use = {"type": "tool_use", "id": f"t{self.count}", "name": tool, "input": arguments}
        said = f"{self.count}\n{LONG}" if text is None else text
        result = {"type": "tool_result", "tool_use_id": f"t{self.count}", "content": said, **more}
        self.messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]

    def request(self, known: bool = True) -> tuple[Descent, Observed]:
        body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": self.messages}
        read = anthropic.parse(json.dumps(body).encode())
        views = list(self.views.values()) if known else []
        made = plan(read, views, float(self.count), NEVER, lambda t, _: len(t) // 4, f"line{len(self.views)}")
        self.views[made.view.id] = replace(made.view, last_at=float(len(self.views) + self.count))
        seen = observed(read, made.table, made.line)
        self.population.update(seen.population)
        self.project.update(seen.project)
        return made.line.how, seen

    def run(self, *commands: str) -> None:
        for command in commands:
            self.call("Bash", {"command": command})
            self.request()


def pages(found: Counter[str]) -> dict[str, float]:
    return {name: n for name, n in found.items() if name.startswith(("idle:", "again:"))}


def lengths(found: Counter[str]) -> dict[str, float]:
    return {name: n for name, n in found.items() if name.startswith(("reached:", "entered:"))}


def test_a_conversation_from_its_first_request() -> None:
    talk = Talk()
    how, seen = talk.request()
    assert how is Descent.FIRST
    assert seen == Observed({"reached:1": 1, TOTAL: 1, SESSIONS: 1}, {SESSIONS: 1, TOTAL: WEIGHT})
    talk.call("Bash", {"command": "make"})
    how, seen = talk.request()
    assert how is Descent.CONTINUED
    assert seen == Observed({"reached:2": 1, "tool:Bash": 1}, {"tool:Bash": 1})
    talk.run("make a", "make b", "make c")
    assert lengths(talk.population) == {f"reached:{n}": 1 for n in (1, 2, 3, 4)}
    # the first output came with request 2 and has lain idle in 3, 4 and 5
    assert pages(talk.population) == {"idle:output:1": 3, "idle:output:2": 2}
    assert talk.project == {SESSIONS: 1, TOTAL: WEIGHT, "tool:Bash": 1}


def test_a_file_is_used_by_reads_and_edits_of_it() -> None:
    talk = Talk()
    talk.request()
    talk.call("Read", {"file_path": "/w/a.py"})
    talk.request()
    talk.run("make 1", "make 2", "make 3", "make 4", "make 5")  # requests 3 to 7
    talk.call("Edit", {"file_path": "/w/a.py"}, "done")
    talk.request()  # 8, after five idle requests
    assert {n: c for n, c in pages(talk.population).items() if "file" in n} == {
        "idle:file:1": 1, "idle:file:2": 1, "idle:file:4": 1, "again:file:4": 1,
    }  # fmt: skip
    talk.run("make 6")
    talk.call("Read", {"file_path": "/w/a.py", "offset": 3}, "short")
    talk.request()  # 10: after one
    files = {n: c for n, c in pages(talk.population).items() if "file" in n}
    assert files["idle:file:1"] == 2
    assert files["again:file:1"] == 1


def test_what_stood_before_a_page_was_read_is_no_use_of_it() -> None:
    talk = Talk()
    talk.request()
    talk.call("Write", {"file_path": "/w/a.py"}, "done")
    talk.request()
    talk.run("make 1", "make 2")
    talk.call("Read", {"file_path": "/w/a.py"})
    _, seen = talk.request()
    assert not [name for name in seen.population if "file" in name]


def test_an_output_is_used_where_it_comes_again_word_for_word() -> None:
    talk = Talk()
    talk.request()
    talk.call("Bash", {"command": "make"}, LONG)
    talk.request()
    talk.run("other", "another")
    talk.call("Bash", {"command": "make"}, LONG)
    _, seen = talk.request()
    assert seen.population["again:output:2"] == 1
    talk.call("Bash", {"command": "make"}, "now otherwise\n" + LONG)
    talk.run("a third")
    assert "again:output:1" not in talk.population


def test_a_recall_is_a_use_although_the_client_calls_it_an_error() -> None:
    talk = Talk()
    talk.request()
    talk.call("Bash", {"command": "make"}, LONG)
    talk.request()
    talk.run("other", "another")
    talk.call("mmu_recall", {"page": page_id(text_digest(LONG))}, "no such tool", is_error=True)
    _, seen = talk.request()
    assert seen.population["again:output:2"] == 1


def test_small_results_and_errors_are_no_pages() -> None:
    talk = Talk()
    talk.request()
    talk.call("Bash", {"command": "make"}, "ok")
    talk.call("Bash", {"command": "make it"}, is_error=True)
    talk.request()
    talk.run("x" * 20, "y")
    assert pages(talk.population) == {"idle:output:1": 1}


def test_a_retry_adds_nothing_even_where_the_first_was_not_answered() -> None:
    talk = Talk()
    talk.run("a", "b")
    before = talk.population.copy(), talk.project.copy()
    how, seen = talk.request()
    assert how is Descent.REPEATED
    assert seen == Observed()
    assert (talk.population, talk.project) == before


def test_an_aside_at_an_ordinal_that_was_counted_adds_nothing() -> None:
    talk = Talk()
    talk.run("a", "b")
    whole = list(talk.messages)
    talk.messages = [*whole, {"role": "assistant", "content": "x"}, {"role": "user", "content": "a title?"}]
    talk.request()
    counted = talk.population.copy()
    talk.messages = [*whole, {"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}]
    _, seen = talk.request()
    assert seen == Observed()
    assert talk.population == counted


def test_a_fork_counts_what_it_does_not_share() -> None:
    talk = Talk()
    talk.request()
    talk.run("a", "b", "c", "d", "e", "f", "g")  # eight requests
    counted = talk.population.copy(), talk.project.copy()
    talk.messages = talk.messages[:7]  # back to the fourth
    talk.call("Read", {"file_path": "/w/b.py"})
    how, seen = talk.request()  # the fork's fifth request
    assert how is Descent.DIVERGED
    assert lengths(Counter(seen.population)) == {"entered:4": 1}
    assert seen.project == {"tool:Read": 1}
    # of the outputs that came with requests 2, 3 and 4, this is the fork's first look at each of these ages
    assert pages(Counter(seen.population)) == {"idle:output:1": 1, "idle:output:2": 1}
    talk.run("h")
    after = talk.population - counted[0]
    assert lengths(after) == {"entered:4": 1, "reached:6": 1}
    assert talk.project - counted[1] == {"tool:Read": 1}


def test_a_rewind_that_only_asks_otherwise_has_brought_nothing() -> None:
    talk = Talk()
    talk.request()
    talk.run("a", "b", "c", "d")
    talk.messages = [*talk.messages[:6], {"role": "user", "content": "rather this"}]
    how, seen = talk.request()
    assert how is Descent.DIVERGED
    assert seen == Observed({"entered:4": 1, TOTAL: 1}, {})


def test_two_conversations_with_one_prompt_are_two() -> None:
    talk = Talk()
    talk.request()
    talk.run("a", "b", "c")
    first = lengths(talk.population)
    talk.messages = talk.messages[:1]
    assert talk.request()[0] is Descent.REPEATED
    talk.run("other", "b", "c")
    assert lengths(talk.population) == {name: 2 * n for name, n in first.items()}
    assert talk.project[SESSIONS] == talk.project["tool:Bash"] == 2


def test_a_client_that_edits_its_history_goes_on() -> None:
    talk = Talk()
    talk.request()
    talk.run("a", "b", "c")
    talk.messages[2]["content"][0]["content"] = "[cleared]"
    talk.call("Bash", {"command": "d"})
    talk.call("Bash", {"command": "e"})
    how, seen = talk.request()
    assert how is Descent.DIVERGED
    assert lengths(Counter(seen.population)) == {"reached:6": 1}


def test_a_conversation_met_in_the_middle_has_entered() -> None:
    talk = Talk()
    for n in range(9):
        talk.call("Bash", {"command": f"make {n}"})
    how, seen = talk.request()
    assert how is Descent.JOINED
    assert lengths(Counter(seen.population)) == {"entered:8": 1}
    assert SESSIONS not in seen.project
    # one whose start changes with every request is joined each time, and still no ordinal is counted twice
    talk.views.clear()
    talk.call("Read", {"file_path": "/w/a.py"})
    _, then = talk.request(known=False)
    assert then.project == {"tool:Read": 1}
    assert pages(Counter(then.population)) == {f"idle:output:{age}": 1 for age in (1, 2, 4, 8)}


def test_tools_of_recent_sessions() -> None:
    known = {SESSIONS: 10.0, TOTAL: 160.0, "tool:Bash": 9.5, "tool:Read": 5.0, "tool:Rare": 0.4}
    assert used_tools(known, 0.05) == {"Bash", "Read"}
    assert used_tools(known, 0.5) == {"Bash", "Read"}
    assert used_tools(known, 0.51) == {"Bash"}
    assert used_tools({}, 0.05) == used_tools({"tool:Bash": 1}, 0.05) == set()
    assert Learned(project=known).used == frozenset({"Bash", "Read"})
    few = {SESSIONS: 1.0, "tool:Rare": 1.0}
    assert Learned(population=known, project=few).used == frozenset({"Bash", "Read"})
    assert Learned(project=few).used is None


def test_learned_knows_whose_it_is() -> None:
    assert (Learned().remaining(100), Learned(sub=True).remaining(100)) == (100, 16)
    assert at_age(Learned().chances(Sort.FILE), 4) > 2 * at_age(Learned(sub=True).chances(Sort.FILE), 4)


def test_an_odd_tool_is_not_counted() -> None:
    talk = Talk()
    talk.request()
    talk.call("x" * 500, {})
    talk.call("nul\0", {})
    talk.request()
    assert talk.project == {SESSIONS: 1, TOTAL: WEIGHT}


def test_the_store_fades_by_the_same_name() -> None:
    assert tallies.TOTAL == TOTAL
