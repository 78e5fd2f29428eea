"""`mitmmu audit` as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.audit.make import Claude, call, text, write
from tests.audit.test_codex import BEGIN, rollout

ROOT = Path(__file__).resolve().parents[2]


def typed(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as it is typed, in a home folder with nothing else in it."""
    kept = {key: value for key, value in os.environ.items() if key not in ("CLAUDE_CONFIG_DIR", "CODEX_HOME")}
    return subprocess.run(
        [sys.executable, "-c", "from addon.cli import main; main()", *arguments],
        cwd=home,
        env={**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def audit(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return typed(home, "audit", *arguments)


def transcripts(home: Path) -> None:
    for name, rounds in (("small", 1), ("large", 12)):
        log = Claude(name)
        log.user("Please look at the file and say what it does.")
        for n in range(rounds):
            log.says(f"{name}{n}", call(f"t{n}", "Read", file_path=f"/w/{n}.py"))
            log.result(f"t{n}", f"def function_{n}() -> int:\n    return {n}\n" * 20)
        log.says(f"{name}-last", text("It counts."))
        write(home / ".claude" / "projects" / "-w" / f"{name}.jsonl", log.lines)
    write(home / ".codex" / "sessions" / "2026" / "01" / "rollout-1.jsonl", rollout(*BEGIN))


def test_the_usual_folders(tmp_path: Path) -> None:
    transcripts(tmp_path)
    done = audit(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["sessions", "3"]
    assert lines[1].split() == ["requests", "17"]
    assert "tools are not in these recordings" in done.stdout
    # The largest comes first.
    at = next(n for n, line in enumerate(lines) if line.endswith(" session"))
    assert lines[at + 1].endswith("claude-code -w/large")
    assert lines[at + 1].split()[0] == "13"
    assert all("Skipped" not in line for line in lines)


def test_how_many_to_list(tmp_path: Path) -> None:
    transcripts(tmp_path)
    done = audit(tmp_path, "--top", "1")
    assert "-w/large" in done.stdout
    assert "-w/small" not in done.stdout
    assert "Largest" not in audit(tmp_path, "--top", "0").stdout
    assert audit(tmp_path, "--top", "-1").returncode == 2


def test_json_has_all_of_it(tmp_path: Path) -> None:
    transcripts(tmp_path)
    (tmp_path / "other.txt").write_text("hello")
    done = audit(tmp_path, "--json", "--top", "1", ".claude", "other.txt", str(tmp_path / "other.txt"))
    said = json.loads(done.stdout)
    assert [row["name"] for row in said["sessions"]] == ["-w/large", "-w/small"]
    assert said["total"]["requests"] == 15
    assert said["total"]["sent"] == sum(row["sent"] for row in said["sessions"])
    assert said["total"]["stale"]["4"] > 0
    # Nothing was reported.
    assert (said["total"]["dollars"], said["total"]["priced"]) == (0, 0)
    assert said["total"]["estimated_requests"] == 15
    assert said["total"]["estimated"] > 0
    assert set(said["total"]["wasted"].values()) == {0}
    assert said["skipped"] == {"files of other kinds": 1}


def test_dollars(tmp_path: Path) -> None:
    transcripts(tmp_path)
    said = audit(tmp_path).stdout
    assert "by the usage that 2 requests reported" in said
    assert "an estimate: 15 requests reported no usage" in said
    own = tmp_path / "own.toml"
    own.write_text('["gpt-5.2*"]\ninput = 1000000\noutput = 0\nread = 0\nwrite = 0\n')
    done = audit(tmp_path, "--prices", "own.toml", "--json", ".codex")
    # 100 and 120 tokens, of each ten read.
    assert json.loads(done.stdout)["total"]["dollars"] == 200.0
    # Those in mitmmu's folder count unasked.
    (tmp_path / "state" / "mitmmu").mkdir(parents=True)
    own.rename(tmp_path / "state" / "mitmmu" / "prices.toml")
    assert json.loads(audit(tmp_path, "--json", ".codex").stdout)["total"]["dollars"] == 200.0


def test_models_that_nobody_lists(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", [{"model": "unheard-of", "messages": [{"role": "user", "content": "go"}]}])
    done = audit(tmp_path, "b.jsonl")
    assert "requests without a price" in done.stdout
    assert "estimate" not in done.stdout


def test_nothing_to_read(tmp_path: Path) -> None:
    for arguments, word in (
        ((), "no transcripts"),
        (("missing",), "there is no missing"),
        ((".",), "no requests found"),
        (("--wrong",), "--wrong"),
        (("--prices", "none.toml", "."), "there is no file none.toml"),
    ):
        done = audit(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert word in done.stderr


def test_help(tmp_path: Path) -> None:
    done = audit(tmp_path, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
