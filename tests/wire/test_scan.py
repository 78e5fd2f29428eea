"""The span scanner: every value is found where it stands, and what readers disagree on is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addon.wire.scan import SPELLINGS, Malformed, document, fields, items, spelling, splice, value
from tests.effort import cases

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
writers = st.sampled_from(
    [
        {"ensure_ascii": True},
        {"ensure_ascii": False, "separators": (",", ":")},
        {"ensure_ascii": False, "indent": 2},
    ]
)


def walk(text: str, at: int) -> tuple[Any, int]:
    """Read by walking every level, the way documents are read above what interests us."""
    if text[at] == "{":
        found, end = fields(text, at, dict.fromkeys(("a", "b"), walk))
        return {key: got for key, (got, _, _) in found.items()}, end
    if text[at] == "[":
        elements, end = items(text, at, walk)
        return [got for got, _, _ in elements], end
    return value(text, at)


@settings(max_examples=cases(500), deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "ä"]), values), writers)
def test_walking_reads_what_json_reads_and_spans_hold_the_values(body: dict[str, Any], how: dict[str, Any]) -> None:
    try:
        raw = json.dumps(body, **how).encode()
    except UnicodeEncodeError:
        return
    try:
        text, top = document(raw, dict.fromkeys(("a", "b", "ä"), walk))
    except Malformed:
        assert any("\ud800" <= c <= "\udfff" for c in json.dumps(body, ensure_ascii=False))
        return
    assert {key: got for key, (got, _, _) in top.items()} == body
    for got, start, end in top.values():
        assert json.loads(text[start:end]) == got


BAD = {
    "not json": b"hello",
    "empty": b"",
    "array": b"[]",
    "string": b'"x"',
    "cut": b'{"a": [1, 2',
    "cut key": b'{"a',
    "behind": b'{"a": 1} x',
    "two": b'{"a": 1}{"b": 2}',
    "duplicate": b'{"a": 1, "a": 2}',
    "duplicate inside": b'{"z": {"a": 1, "a": 2}}',
    "duplicate by escape": b'{"a": 1, "\\u0061": 2}',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "mark": b'\xef\xbb\xbf{"a": 1}',
    "latin": b'{"a": "\xe4"}',
    "control": b'{"a": "\x01"}',
    "newline": b'{"a": "x\ny"}',
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": 1 /* x */}',
    "deep": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "long number": b'{"a": ' + b"9" * 5000 + b"}",
    "utf-16": '{"a": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_is_not_plain_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        document(body, {})


def test_splice_replaces_in_any_order_and_keeps_the_rest() -> None:
    assert splice("abcdef", [(4, 5, "E"), (1, 3, ""), (6, 6, "!")]) == "adEf!"
    with pytest.raises(ValueError, match="overlap"):
        splice("abcdef", [(1, 4, "x"), (3, 5, "y")])


@settings(max_examples=cases(300))
@given(st.text(st.characters(codec="utf-8")), st.sampled_from(sorted(SPELLINGS)))
def test_a_literal_is_rebuilt_from_its_text_and_spelling(text: str, name: str) -> None:
    literal = SPELLINGS[name](text)
    assert json.loads(literal) == text
    found = spelling(literal, text)
    assert found is not None
    assert SPELLINGS[found](text) == literal


def test_an_odd_literal_has_no_spelling() -> None:
    assert spelling(r'"a\/b"', "a/b") is None
    assert spelling(r'"\u00E4"', "ä") is None
