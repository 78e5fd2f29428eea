"""Counting: the real vocabulary without a download, no input that breaks it, and an estimator that owns up."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from addon import vocabulary
from addon.mmu.tokens import Counter, calibrate, estimate


@pytest.fixture(scope="module")
def counter() -> Counter:
    return Counter(vocabulary.load())


def test_the_vocabulary_is_the_real_one(counter: Counter) -> None:
    # Known encodings of o200k_base.
    assert counter.count("hello world") == 2
    assert counter.count("<|endoftext|>") > 1
    assert counter.count("") == 0


@pytest.mark.parametrize("text", [" " * 1_000_000, "a" * 200_000, "\ud800", "\u0000" * 50_000, "ä😀" * 20_000])
def test_nothing_breaks_it(counter: Counter, text: str) -> None:
    assert counter.count(text) > 0


def test_each_text_is_counted_once() -> None:
    calls: list[str] = []
    counter = Counter(lambda text: calls.append(text) or 1, limit=2)  # type: ignore[func-returns-value]
    assert counter.quick("x" * 8, b"a") == 3
    assert [counter.count("x", b"a"), counter.count("x", b"a"), counter.quick("x", b"a")] == [1, 1, 1]
    assert calls == ["x"]
    counter.count("y", b"b")
    counter.count("z", b"c")
    counter.count("x", b"a")
    assert calls == ["x", "y", "z", "x"]


def test_the_estimator_is_close_on_code_and_prose(counter: Counter) -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    for name in ("argparse.py", "textwrap.py", "json/decoder.py", "string.py"):
        text = (library / name).read_text("utf-8")
        assert 0.75 < estimate(text) / counter.count(text) < 1.3, name


def test_calibration_follows_the_provider_and_ignores_accidents() -> None:
    factor, seen = 1.0, 0
    for _ in range(30):
        factor = calibrate(factor, seen, 10_000, 13_000)
        seen += 1
    assert factor == pytest.approx(1.3)
    assert calibrate(factor, seen, 10_000, 90_000) == factor
    assert calibrate(factor, seen, 100, 130) == factor
