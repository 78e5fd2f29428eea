"""English of any length that says nothing twice: stands in for the long instructions real agents carry."""

from __future__ import annotations

import functools
import random

WHEN = (
    "When a file is longer than you need", "If a command fails twice in a row", "Before you change a public name",
    "When two places say the same thing", "If the person asks a question only", "After a test has turned red",
    "When the folder holds generated code", "If a search comes back empty", "Before you answer at length",
    "When you are not certain of a signature", "If an edit does not apply", "After you have moved a function",
    "When a setting exists in three spellings", "If the history shows an earlier attempt",
)  # fmt: skip
DO = (
    "read the nearest caller first", "say so in one plain sentence", "keep the change as small as it can be",
    "prefer the helper that is already there", "look for the test that covers it", "ask for the missing fact",
    "write down what you expect to see", "take the narrowest pattern that works", "leave the formatting alone",
    "run the check for that module only", "name the file and the line", "stop and report what you found",
    "keep the old name as an alias", "compare with the version before yours",
)  # fmt: skip
WHY = (
    "because the next reader has less context than you", "since a wide change hides a wrong one",
    "as output that nobody reads still costs", "because names outlive the code behind them",
    "since the same mistake is usually made twice", "so that the work can be taken up tomorrow",
    "because a guess looks the same as a fact later", "since the tests are the only witness",
    "so that the diff shows one idea", "because the person decides and you prepare",
)  # fmt: skip


@functools.cache
def sentences(seed: str, characters: int) -> str:
    """About `characters` of prose, in paragraphs of four sentences; the same seed gives the same text."""
    rng = random.Random(seed)
    every = [f"{when}, {do}, {why}." for when in WHEN for do in DO for why in WHY]
    rng.shuffle(every)
    out: list[str] = []
    size = 0
    while size < characters:
        paragraph = " ".join(every.pop() for _ in range(4))
        out.append(paragraph)
        size += len(paragraph) + 2
    return "\n\n".join(out)
