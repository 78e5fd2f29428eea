"""`mitmmu replay` as it is typed, on recordings of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from addon.audit import replayed
from addon.cli import main, replay
from tests.audit.make import Claude, call, text, write
from tests.audit.test_bodies import grown
from tests.audit.test_cli import transcripts, typed
from tests.audit.test_codex import BEGIN, rollout
from tests.audit.test_flows import conversation
from tests.audit.test_flows import write as write_flows


def recorded(home: Path) -> None:
    """A transcript with a pause behind which something can be evicted, and one recording of each other kind."""
    log = Claude()
    log.user("Please run the tests.")
    log.says("m0", call("t0", "Bash", command="make test"))
    log.result("t0", "".join(f"test number {n} has passed without a word\n" for n in range(400)))
    for n in range(1, 6):
        log.says(f"m{n}", call(f"t{n}", "Bash", command=f"echo {n}"))
        log.result(f"t{n}", "ok")
    log.says("m6", text("They pass."))
    log.at += 4000
    log.user("And now?")
    log.says("m7", text("Still."))
    write(home / "all" / "claude.jsonl", log.lines)
    write(home / "all" / "codex.jsonl", rollout(*BEGIN))
    write(home / "all" / "body.jsonl", grown(2, "chat"))
    write_flows(home / "all" / "flows", *conversation())


def played(home: Path, *arguments: str) -> Any:
    done = typed(home, "replay", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_every_kind_of_recording(tmp_path: Path) -> None:
    recorded(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "all").iterdir()}
    said = played(tmp_path, "all")
    # In the order of their times; bodies have none, so they come last.
    assert [row["client"] for row in said["sessions"]] == ["messages", "claude-code", "codex", "chat"]
    assert [row["declared"] for row in said["sessions"]] == [True, False, False, True]
    assert said["total"]["requests"] == 8 + 2 + 2 + 2
    assert said["total"]["untimed"] == 2
    assert list(said["total"]["arms"]) == ["untouched", "auto", "fifo:4:500", "hindsight"]
    for name, arm in said["total"]["arms"].items():
        assert arm["tokens"] == sum(row["arms"][name]["tokens"] for row in said["sessions"])
    claude = said["sessions"][1]["arms"]
    assert claude["auto"]["evictions"] == 1
    assert claude["hindsight"]["dollars"] < claude["auto"]["dollars"] < claude["untouched"]["dollars"]
    assert 0 < claude["auto"]["saved"] < claude["hindsight"]["saved"] < 1
    assert claude["untouched"]["saved"] == 0
    assert {path: path.read_bytes() for path in (tmp_path / "all").iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"all"}


def test_the_report(tmp_path: Path) -> None:
    recorded(tmp_path)
    done = typed(tmp_path, "replay", "all")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("4 sessions, 14 requests")
    assert [line.split()[0] for line in lines[1:5]] == ["untouched", "mitmmu", "fifo:4:500", "hindsight"]
    assert "0 folds, 0 excerpts, 1 evictions, 0 stubs, 0 faults" in lines[2]
    assert "after its last use" in lines[4]
    assert "The provider reported $" in done.stdout
    assert "2 of the sessions are transcripts" in done.stdout
    assert "2 requests are of models without a known price" in done.stdout
    assert "2 requests have no time" in done.stdout
    assert "Worst session: $0.00 saved (0.0 %)" in done.stdout
    at = next(n for n, line in enumerate(lines) if line.endswith(" session"))
    assert lines[at + 1].endswith("claude-code all/claude")
    assert "Largest" not in typed(tmp_path, "replay", "all", "--top", "0").stdout


def test_another_policy(tmp_path: Path) -> None:
    recorded(tmp_path)
    said = played(tmp_path, "all/claude.jsonl", "--policy", "fifo:999999:500")
    arms = said["total"]["arms"]
    assert list(arms) == ["untouched", "fifo:999999:500", "fifo:4:500", "hindsight"]
    assert arms["fifo:999999:500"] == arms["untouched"]
    assert arms["fifo:4:500"]["evictions"] == 1
    once = typed(tmp_path, "replay", "all/claude.jsonl", "--policy", "fifo:4:500")
    assert once.stdout.splitlines()[2].startswith("fifo:4:500")
    assert once.stdout.splitlines()[3].startswith("hindsight")


def test_the_usual_folders_and_nothing_to_read(tmp_path: Path) -> None:
    for arguments, word in (
        ((), "no transcripts"),
        (("missing",), "there is no missing"),
        ((".",), "no requests found"),
        (("--policy", "lru", "."), "expected auto, patient, or fifo:AGE:BYTES"),
        (("--prices", "none.toml", "."), "there is no file none.toml"),
        (("--top", "-1"), "--top"),
    ):
        done = typed(tmp_path, "replay", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert word in done.stderr
    transcripts(tmp_path)
    assert played(tmp_path)["total"]["requests"] == 17


def test_help(tmp_path: Path) -> None:
    done = typed(tmp_path, "replay", "--help")
    assert done.returncode == 0
    assert "--policy" in done.stdout


def test_damage_costs_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    (tmp_path / "all" / "bad.jsonl").write_bytes(b"\xff{" * 100)
    (tmp_path / "all" / "bad.flows").write_bytes(b"999:nonsense")
    plain = replayed.replay

    def breaking(session: Any, *given: Any) -> replayed.Outcome:
        if session.client == "codex":
            session.lines[0].turns[0].parts = ['{"type":']
        return plain(session, *given)

    monkeypatch.setattr(replay, "replay", breaking)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["mitmmu", "replay", str(tmp_path / "all"), "--json"])
    main()
    said = json.loads(capsys.readouterr().out)
    assert [row["client"] for row in said["sessions"]] == ["messages", "claude-code", "chat"]
    assert said["skipped"]["sessions not understood"] == 1
    assert said["skipped"]["files damaged, read up to there"] == 1


def test_later_sessions_know_of_earlier_ones(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    tools = [
        {"name": "Read", "description": "Reads. " + "It reads. " * 40, "input_schema": {"type": "object"}},
        {"name": "Web", "description": "Asks. " + "It asks the web. " * 400, "input_schema": {"type": "object"}},
    ]
    for number, name in enumerate("cba"):
        flows = conversation()
        for n, flow in enumerate(flows):
            body = json.loads(flow.request.get_content() or b"")
            flow.request.content = json.dumps({**body, "tools": tools}).encode()
            flow.request.timestamp_start = 10_000.0 * number + n
        write_flows(folder / name, *flows)
    said = played(tmp_path, "all")
    assert [row["name"][0] for row in said["sessions"]] == ["c", "b", "a"]
    assert [row["arms"]["auto"]["stubs"] for row in said["sessions"]] == [0, 0, 1]
    assert said["sessions"][2]["arms"]["auto"]["dollars"] < said["sessions"][2]["arms"]["untouched"]["dollars"]
    assert "1 stubs" in typed(tmp_path, "replay", "all").stdout
