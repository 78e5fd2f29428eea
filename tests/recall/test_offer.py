"""Which way a recall takes, by what the client and the API can do."""

from __future__ import annotations

import pytest

from addon.options import Recall
from addon.recall.offer import chosen

WAYS = [
    (Recall.AUTO, "gptme", True, True, Recall.RELAY),
    (Recall.RELAY, "codex", True, True, Recall.RELAY),
    (Recall.RELAY, "claude-code", False, True, Recall.OFF),
    *(
        (Recall.AUTO, client, False, False, Recall.PATCH)
        for client in ("claude-code", "codex", "gemini-cli", "qwen-code", "pi", "cline")
    ),
    (Recall.AUTO, "opencode", False, True, Recall.PATCH),
    (Recall.AUTO, "opencode", False, False, Recall.OFF),
    *((Recall.AUTO, client, False, True, Recall.OFF) for client in ("gptme", "litellm", "openai", "")),
    (Recall.PATCH, "gptme", True, True, Recall.PATCH),
    (Recall.OFF, "claude-code", True, True, Recall.OFF),
]


@pytest.mark.parametrize(("wanted", "client", "can_relay", "restores", "way"), WAYS)
def test_the_way_of_a_recall(wanted: Recall, client: str, can_relay: bool, restores: bool, way: Recall) -> None:
    assert chosen(wanted, client, can_relay=can_relay, restores=restores) is way
