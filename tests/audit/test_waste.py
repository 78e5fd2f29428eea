"""The figures, each worked by hand."""

from __future__ import annotations

from pathlib import Path

from addon.audit.recorded import Request, Session
from addon.audit.waste import measure
from addon.mmu.price import Rates
from tests.audit.make import Claude, call, counter, measured, near, read, text, write
from tests.audit.test_flows import conversation
from tests.audit.test_flows import write as write_flows

LONG = "this line has more than thirty characters ¤"
SHORT = "short ¤"


def found(path: Path) -> list[Session]:
    return read(path)[0]


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


RATES = Rates(fresh=1.0, read=0.1, written=1.25, written_hour=2.0, output=5.0, minimum=0)
UNKNOWN = Rates(1.0, 1.0, 1.0, 1.0, 1.0, known=False)


def test_dollars_are_what_was_reported(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", text("¤"), prompt=100)
    log.says("m2", text("¤"), prompt=200)
    log.says("m3", text("¤"), prompt=300)
    [session] = found(write(tmp_path / "s.jsonl", log.lines))

    def price(request: Request) -> Rates:
        assert request.model == "claude-opus-4-5"
        return RATES if request.usage is not None and request.usage.prompt < 300 else UNKNOWN

    figures = measure(session, counter(), price)
    # Of each prompt one token is fresh, and one is the answer's.
    assert (figures.dollars, figures.priced) == (near(1 + 9.9 + 5 + 1 + 19.9 + 5), 2)
    assert (figures.estimated, figures.estimated_requests, figures.unpriced) == (0, 0, 1)


def test_without_reports_dollars_are_an_estimate(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤" * 100)
    log.says("m1", text("¤" * 7), prompt=1000)
    log.user("¤" * 20)
    log.says("m2", text("¤" * 3))
    log.at += 300
    log.user("¤")
    log.says("m3", text(""))
    [session] = found(write(tmp_path / "s.jsonl", log.lines))
    figures = measure(session, counter(), lambda _: RATES)
    assert (figures.dollars, figures.priced) == (near(1 + 99.9 + 5), 1)
    # A head of 900, 100, 7 and 20: the first thousand is read, the rest written. Then it has all expired.
    estimate = 0.1 * 1000 + 1.25 * 27 + 5 * 3 + 1.25 * (900 + 100 + 7 + 20 + 3 + 1)
    assert (figures.estimated, figures.estimated_requests) == (near(estimate), 2)
    # Nothing is claimed of these.
    assert figures.wasted["static"] == 0
    assert figures.static > 0


def test_waste_is_charged_what_its_prompt_cost(tmp_path: Path) -> None:
    """A prompt of which half was read and half was fresh costs 0.55 a token."""
    half = {"input_tokens": 500, "cache_read_input_tokens": 500, "output_tokens": 50}
    log = Claude()
    log.user("¤" * 10)
    log.says("m0", call("a", "Bash", command="x"), usage=half)
    log.result("a", f"{LONG}\n{SHORT}")
    log.says("m1", call("b", "Bash", command="y"), usage=half)
    log.result("b", f"{LONG}\n{SHORT}")
    log.at += 400
    for n in range(2, 7):
        log.says(f"m{n}", text(""), usage=half)
    log.at += 400
    log.user("¤")
    log.says("m7", text(""))
    [session] = found(write(tmp_path / "s.jsonl", log.lines))
    figures = measure(session, counter(), lambda _: RATES)
    # The opening was sent again seven times, the last time without a report.
    assert (figures.static, figures.wasted["static"]) == (70, near(6 * 10 * 0.55))
    # The long line stood in six requests, of which five reported.
    assert (figures.repeated_elsewhere, figures.wasted["repeated_elsewhere"]) == (6, near(5 * 0.55))
    assert figures.wasted["repeated_same"] == 0
    # The first result (of two tokens) came with request 1: 6 and 7 are more than four behind. The second with 2.
    assert (figures.stale[4], figures.wasted["stale_4"]) == (2 * 2 + 1 * 2, near(2 * 0.55))
    # All 14 were sent again after each pause, the second time without a report.
    assert figures.cold[300] == 2
    assert figures.wasted["cold_300"] == near(14 * 0.55)
    assert figures.wasted["cold_3600"] == 0


def test_what_was_never_called_in_dollars(tmp_path: Path) -> None:
    [session] = found(write_flows(tmp_path / "f.mitm", *conversation()))
    figures = measure(session, counter(), lambda _: RATES)
    # Fresh, as reported; the prompts grew by more than can be explained, so ours are theirs.
    assert (figures.unused, figures.wasted["unused"]) == (14, near(14.0))
    assert figures.dollars == near(50 + 5 + 70 + 5 * 9)


def test_figures_add_up(tmp_path: Path) -> None:
    log = Claude()
    log.user("¤")
    log.says("m1", call("t", "Read", file_path="/a"))
    log.result("t", "¤")
    for n in range(2, 9):
        log.says(f"m{n}", text("¤"))
    [session], _ = read(write(tmp_path / "s.jsonl", log.lines))
    once, twice = measured(session), measured(session)
    once.wasted["stale_4"] = 0.5
    twice.add(once)
    assert twice.wasted["stale_4"] == 0.5
    assert twice.stale[4] == 2 * once.stale[4] > 0
    assert (twice.sent, twice.requests) == (2 * once.sent, 16)
    assert twice.amplification == once.amplification
