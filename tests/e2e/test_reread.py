"""A file is read, leaves, and comes back from the client's shell as 2 KB of it: the provider gets the whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests.e2e.model import HANDLE, Model
from tests.e2e.world import blocks, world

PATH = "/work/src/app.py"
FILE = "\n".join(f"def function_{n}(): return '{n * 7919}'  # größer" for n in range(1, 801))
READ = "\n".join(f"{n}\t{line}" for n, line in enumerate(FILE.split("\n"), 1))
SIZE = f"{len(FILE.encode()) / 1024:.1f}".removesuffix(".0")
PREVIEW = (
    f"<persisted-output>\nOutput too large ({SIZE}KB). Full output saved to: /h/b1.txt\n\n"
    f"Preview (first 2KB):\n{FILE[:2000].rpartition(chr(10))[0]}\n...\n</persisted-output>"
)


def test_a_preview_of_an_evicted_file_is_the_file_for_ever(tmp_path: Path) -> None:
    with world(tmp_path, mmu_policy="patient") as there:  # a cut may take the older of two equal copies
        model = Model(there, "claude-opus-4-8")
        model.call("Read", {"file_path": PATH}, READ)
        for n in range(8):
            model.call("Bash", {"command": f"ls folder-{n}"}, f"file-{n}")
        model.human(4000)
        model.call("Bash", {"command": f"cat {PATH}"}, PREVIEW)
        at = len(model.messages) - 1
        assert HANDLE.match(model.result(2)["content"])

        model.call("Bash", {"command": "date"}, "Monday")
        assert model.result(at)["content"] == READ
        metrics = there.proxy.metrics()
        assert metrics["mmu_served_total"] == 1
        assert metrics['mmu_faults_total{kind="implicit"}'] == 1

        there.proxy.kill()
        there.proxy.restart()
        model.call("Bash", {"command": f"cat {PATH}"}, PREVIEW)
        model.ask({"type": "text", "text": "Thanks."})
        assert model.result(at)["content"] == READ
        assert model.result(len(model.messages) - 2)["content"] == PREVIEW
        bodies = [blocks(record.body) for record in model.seen()][-4:]
        assert all(two[: len(one)] == one for one, two in pairwise(bodies))
        assert there.up.invalid == 0
        assert there.proxy.metrics()["mmu_served_total"] == 0
