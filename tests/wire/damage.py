"""Bodies as clients make them, damaged in every way, and what any API's reader must make of them."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from addon.mmu.plan import rewrite
from addon.mmu.view import page_table
from addon.wire.api import Api
from addon.wire.scan import Malformed

WORDS = ["", "text", "tool", "user", "assistant", "model", "system", "function", "c1", "24h", "ä", "\ud800", "{", "[]",
         "5m", "~"]  # fmt: skip


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, each in inside for path in ((*here, name), *_places(each, (*here, name)))]


@st.composite
def damaged(draw: st.DrawFn, sound: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A sound body with one to four things replaced, removed, added or there twice. `names` are the API's own keys."""
    keys = st.sampled_from(names)
    leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
    junk = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )
    body = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 4))):
        found = _places(body)
        path = draw(st.sampled_from(found)) if found else ()
        if not path:
            break
        holder: Any = body
        for name in path[:-1]:
            holder = holder[name]
        match draw(st.sampled_from(["replace", "remove", "add", "twice"])):
            case "replace":
                holder[path[-1]] = draw(junk)
            case "remove":
                del holder[path[-1]]
            case "add" if isinstance(holder, dict):
                holder[draw(keys)] = draw(junk)
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[path[-1]]))
    return body


def read_or_refused(api: Api, raw: bytes, path: str = "") -> bool:
    """Whether a body is read: then to the byte, and a second time alike. Anything but Malformed is raised."""
    try:
        read = api.parse(raw, path=path)
    except Malformed:
        return False
    table = page_table(read)
    assert rewrite(read, table, {}) == raw
    for entry in table.entries:
        start, end = entry.block.literal or (0, 0)
        assert json.loads(read.text[entry.position + start : entry.position + end]) == entry.block.text
    assert api.parse(raw, {api.key(read): read}, path) == read
    return True
