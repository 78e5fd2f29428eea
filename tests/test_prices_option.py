"""The option that names a file of prices: found, left out, or refused with the cure."""

from __future__ import annotations

from pathlib import Path

import pytest
from mitmproxy.exceptions import OptionsError

from addon.options import OPTIONS, Settings, read


def settings(home: Path, prices: str = "") -> Settings:
    given = {name: default for name, (default, _) in OPTIONS.items()}
    return read({**given, "mmu_home": str(home), "mmu_prices": prices}, {})


def test_a_file_in_the_home_is_found_and_none_is_needed(tmp_path: Path) -> None:
    assert settings(tmp_path).prices == ()
    (tmp_path / "prices.toml").write_text('["gpt-6*"]\ninput = 5\noutput = 30\n')
    [found] = settings(tmp_path).prices
    assert (found.glob, found.prices) == ("gpt-6*", {"input": 5, "output": 30})


def test_a_bad_file_stops_the_start_and_says_the_cure(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="leave the option out or make it"):
        settings(tmp_path, str(tmp_path / "nowhere.toml"))
    (tmp_path / "prices.toml").write_text('["gpt-6*"]\ninput = 5\n')
    with pytest.raises(OptionsError, match=r"says nothing of output\. Expected for each model a table"):
        settings(tmp_path)
    (tmp_path / "prices.toml").write_bytes(b"\xff")
    with pytest.raises(OptionsError, match=r"mmu_prices: .*prices\.toml"):
        settings(tmp_path)
