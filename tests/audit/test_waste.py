"""The figures, each worked by hand."""

from __future__ import annotations

from pathlib import Path

from addon.audit.waste import measure
from addon.wire.usage import Usage
from tests.audit.make import Claude, call, counter, measured, read, text, write

LONG = "this line has more than thirty characters ¤"
SHORT = "short ¤"


def test_stale_results(tmp_path: Path) -> None:
    """Two files and an output; one file is edited six requests later."""
    log = Claude()
    log.user("go")
    log.says("m0", call("a", "Read", file_path="/a"), call("b", "Read", file_path="/b"), call("c", "Bash", command="x"))
    log.result("a", "¤")
    log.result("b", "¤" * 10)
    log.result("c", "¤" * 100)
    for n in range(1, 6):
        log.says(f"m{n}", call(f"x{n}", "Bash", command=f"echo {n}"))
        log.result(f"x{n}", "")
    log.says("m6", call("e", "Edit", file_path="/b", old_string="o", new_string="n"))
    log.result("e", "done")
    for n in range(7, 12):
        log.says(f"m{n}", call(f"x{n}", "Bash", command=f"echo {n}"))
        log.result(f"x{n}", "")
    log.says("m12", text("finished"))
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))
    figures = measured(session)
    # All three came with request 1; request 12 is the last. /a and the output: ages above 4 are requests 6 to 12.
    # /b was last used by the edit, answered with request 7: its only age above 4 is that of request 12.
    assert figures.stale == {4: 7 * (1 + 100) + 1 * 10, 8: 3 * (1 + 100), 16: 0, 32: 0}
    assert figures.results == 12 * 111


def test_repeated_lines(tmp_path: Path) -> None:
    log = Claude()
    log.user("go")
    log.says("m1", call("t1", "Read", file_path="/a"))
    log.result("t1", f"     1→{SHORT} 1\n     2→{LONG} 2\n     3→")
    log.says("m2", call("t2", "Read", file_path="/a"))
    log.result("t2", f"     7→{SHORT} 1\n     8→{LONG} 2\n     9→new ¤")
    log.says("m3", call("t3", "Bash", command="cat /a /b"))
    log.result("t3", f"{SHORT} 1\n{LONG} 2")
    log.says("m4", text("finished"))
    log.says("m5", call("t5", "Read", file_path="/a"))
    log.result("t5", f"{SHORT} 1")  # never sent
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))
    figures = measured(session)
    # Of the second read, two lines were known, and stood in three requests. Of the command's, only the long one counts
    # where it is not the same thing, in two requests.
    assert (figures.repeated_same, figures.repeated_elsewhere) == (2 * 3, 1 * 2)
    assert figures.arrived == 3


def test_idle_gaps(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", text("¤"))
    log.at += 290
    log.user("¤¤")
    log.says("m2", text("¤"))
    log.at += 310
    log.user("¤¤¤")
    log.says("m3", text("¤"))
    log.at += 4000
    log.user("¤¤¤¤")
    log.says("m4", text("¤"))
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))
    figures = measured(session)
    # The third request sent the second's four tokens again, the fourth the third's eight.
    assert figures.cold == {300: 2, 3600: 1}
    assert figures.cold_tokens == {300: 4 + 8, 3600: 8}
    assert figures.timed == 3


def test_what_stands_before_the_first_answer_is_sent_again(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤¤¤¤¤")
    for n in range(3):
        log.says(f"m{n}", text("¤"))
        log.user("¤")
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))
    figures = measured(session)
    assert (figures.static, figures.sent, figures.unique) == (10, 5 + 7 + 9, 9)
    assert round(figures.amplification, 2) == 2.33


def test_prices_are_somebody_elses(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", text("¤"), prompt=100)
    log.says("m2", text("¤"), prompt=200)
    log.says("m3", text("¤"))
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))

    def price(model: str, usage: Usage) -> float | None:
        assert model == "claude-opus-4-5"
        return usage.prompt / 100 if usage.prompt < 200 else None

    figures = measure(session, counter(), price)
    assert (figures.dollars, figures.priced) == (1.0, 1)


def test_figures_add_up(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", call("t", "Read", file_path="/a"))
    log.result("t", "¤")
    for n in range(2, 9):
        log.says(f"m{n}", text("¤"))
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))
    once, twice = measured(session), measured(session)
    twice.add(once)
    assert twice.stale[4] == 2 * once.stale[4] > 0
    assert (twice.sent, twice.requests) == (2 * once.sent, 16)
    assert twice.amplification == once.amplification
