"""The demo does what it says, and says so when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.demo", *words]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120, check=False)


def test_figures_of_a_session() -> None:
    done = demo("--json", "--requests", "36")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["request"] == figures["proof"]["requests"] == 36
    assert figures["bill_with"] < figures["bill_without"]
    assert figures["tokens_with"] < figures["tokens_without"]
    assert figures["proof"]["pages"] >= figures["evictions"] == figures["proof"]["evicted"] > 0
    assert figures["proof"]["lost"] == []


def test_a_session_too_short_to_prove_anything_fails() -> None:
    done = demo("--requests", "3")
    assert done.returncode == 1
    assert "nothing was proved" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
