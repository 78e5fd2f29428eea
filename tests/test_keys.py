"""Keys come from the environment and from a file that nobody else can read, and no message ever shows one."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from addon.keyfile import store_keys

ONE, TWO = bytes(range(32)), bytes(range(100, 132))
URLSAFE = base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("=")


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "a key"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE.hex(), [ONE]),
        (base64.b64encode(ONE).decode() + "\n", [ONE]),
        (URLSAFE, [b"\xff" * 32]),
        (f"# new\n{TWO.hex()}  # since May\n\n{ONE.hex().upper()}\n", [TWO, ONE]),
        (f"{TWO.hex()},{ONE.hex()}", [TWO, ONE]),
    ],
)
def test_a_key_may_be_spelled_in_several_ways(tmp_path: Path, text: str, expected: list[bytes]) -> None:
    assert store_keys(written(tmp_path, text), {}) == expected
    if "\n" not in text.strip():
        assert store_keys("", {"MITMMU_KEY": text}) == expected


def test_those_of_the_environment_come_first(tmp_path: Path) -> None:
    assert store_keys(written(tmp_path, ONE.hex()), {"MITMMU_KEY": TWO.hex()}) == [TWO, ONE]
    assert store_keys("", {}) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_touch_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, ONE.hex(), mode)
    with pytest.raises(ValueError, match=r"chmod 600 '.*a key'") as raised:
        store_keys(path, {})
    assert f"{mode:04o}" in str(raised.value)
    assert ONE.hex() not in str(raised.value)


@pytest.mark.parametrize("text", [ONE.hex()[:-2], ONE.hex()[:-1] + "x", "correct horse battery staple", "ü" * 43])
def test_what_is_no_key_is_not_shown(tmp_path: Path, text: str) -> None:
    for given in ((written(tmp_path, text), {}), ("", {"MITMMU_KEY": text})):
        with pytest.raises(ValueError, match=r"key 1 in .* is not 32 bytes") as raised:
            store_keys(*given)
        assert text.split()[0] not in str(raised.value)
        assert raised.value.__cause__ is None


def test_a_file_that_is_missing_or_empty_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"umask 077; openssl rand -base64 32 > "):
        store_keys(str(tmp_path / "none"), {})
    with pytest.raises(ValueError, match="holds no key"):
        store_keys(written(tmp_path, "# nothing\n"), {})
    (tmp_path / "folder").mkdir(0o700)
    with pytest.raises(ValueError, match="cannot be read"):
        store_keys(str(tmp_path / "folder"), {})
