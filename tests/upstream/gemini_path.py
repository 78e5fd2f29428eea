"""Where Gemini's generateContent is reached: the model and the method stand in the path."""

from __future__ import annotations

import re

PATH = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)")
STREAM = "streamGenerateContent"


def is_generate(path: str) -> bool:
    """Whether a path without its query belongs to this API."""
    return PATH.fullmatch(path) is not None
