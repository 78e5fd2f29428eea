"""What is secret stays so: credentials are nowhere in the state folder or the log, and with a key nothing there is
legible; without the right one agents go on as if there were no mitmmu."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from addon import cli
from storage import archive
from storage.crypt import key_id
from tests.e2e.model import Model, evicted
from tests.e2e.world import World, until, world

MODEL = "claude-opus-4-8"
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PLANTED = ("sk-ant-api03-planted", "planted-bearer", "planted-cookie", "planted-account", "planted-proxy-password")


def everything(there: World, more: bytes = b"") -> bytes:
    """All that lies in the state folder and in the log, the pages unpacked."""
    files = [each for each in there.proxy.home.rglob("*") if each.is_file()]
    assert files
    return b"".join(each.read_bytes() for each in files) + there.proxy.log_text().encode() + more


def exported(there: World, monkeypatch: pytest.MonkeyPatch) -> bytes:
    path = there.folder / "export.zst"
    monkeypatch.setattr(sys, "argv", ["mitmmu", "export", "--home", str(there.proxy.home), str(path)])
    cli.main()
    return b"\n".join(archive.lines(path))


def test_credentials_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, bearer, cookie, account, password = PLANTED
    headers = {
        "x-api-key": key,
        "authorization": f"Bearer {bearer}",
        "cookie": f"session={cookie}",
        "proxy-authorization": f"Basic {password}",
    }
    # it is stopped at the end, so that all is written, and then has no bill to show
    with world(tmp_path, mmu_recall="patch", billed=False) as there:
        model = Model(there, MODEL, headers=headers)
        told = {"account_uuid": account, "session_id": "0a1b2c3d-0000-4000-8000-000000000000"}
        model.extra = {"metadata": {"user_id": json.dumps(told)}}
        page = evicted(model)
        model.recall(page=page)
        model.ask({"type": "text", "text": "I see it."})
        # the provider repeats a part of the request in its refusal
        refused = {**headers, "x-mmu-clock": str(model.now), "x-upstream-script": "none"}
        there.post(json.dumps({"model": MODEL, "messages": [{"role": "user", "content": 3}]}).encode(), refused)
        there.proxy.stop()
        found = everything(there, exported(there, monkeypatch))
        assert page.encode() in found, "the test looks at the wrong place"
        assert [planted for planted in PLANTED if planted.encode() in found] == []
        for each in there.proxy.home.rglob("*"):
            assert stat.S_IMODE(each.stat().st_mode) == (0o700 if each.is_dir() else 0o600), each
        assert stat.S_IMODE(there.proxy.home.stat().st_mode) == 0o700


def test_an_encrypted_store_and_the_loss_of_its_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY.hex())
    file.chmod(0o600)
    # the ledger of a proxy that could not open its store shows less than was billed
    with world(tmp_path, mmu_recall="patch", mmu_key_file=str(file), billed=False) as there:
        model = Model(there, MODEL)
        page = evicted(model)
        handled = model.result(2)["content"]
        there.proxy.restart()
        model.recall(page=page)
        model.ask({"type": "text", "text": "I see it."})
        assert "row 79 of output 0, in full" in json.dumps(model.last())
        assert model.result(2)["content"] == handled
        there.proxy.stop()
        found = everything(there)
        assert b"[mmu page" not in found
        assert b"make 0" not in found
        for key in (KEY.hex().encode(), KEY):
            assert key not in found

        file.write_text(OTHER.hex())
        _starts_blind(there, f"encrypted with key {key_id(KEY)}")
        _passes(there, model)
        file.write_text(KEY.hex())
        file.chmod(0o640)
        _starts_blind(there, "chmod 600")
        _passes(there, model)

        # with the key it is as before
        file.chmod(0o600)
        there.proxy.restart()
        model.messages.append({"role": "user", "content": "and now?"})
        model.ask({"type": "text", "text": "Handles again."})
        assert model.result(2)["content"] == handled
        assert KEY.hex() not in there.proxy.log_text()


def _starts_blind(there: World, reason: str) -> None:
    there.proxy.stop()
    before = len(there.proxy.log_text())
    there.proxy.start(healthy=False)
    until(lambda: "everything passes through" in there.proxy.log_text()[before:], "nothing is said")
    assert reason in there.proxy.log_text()[before:]


def _passes(there: World, model: Model) -> None:
    """The agent goes on, and the provider gets its whole transcript."""
    model.messages.append({"role": "user", "content": "and?"})
    model.ask({"type": "text", "text": "All of it."}, idle=4000)
    assert "row 40 of output 0, in full" in json.dumps(model.last()["messages"][2])
