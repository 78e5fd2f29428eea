"""Which models bind reasoning to what stands before it, where an API carries models of several vendors.

OpenAI, "Keep the prefix unchanged": newer frontier models, from GPT-6.2 on, drop reasoning items behind a changed
prefix, and say so in `input_transformations`. Anthropic's, which a gateway may serve, refuse it.
"""

from __future__ import annotations

import re

from addon.wire import anthropic

_UNBOUND = re.compile(
    r"gpt-(?:3\.5|4o|[45](?:\.\d)?|6(?:\.[01])?|oss)(?:[-:@]|$)|(?:chatgpt|codex|computer-use)-|o[134](?:[-:@]|$)"
)


def binds_reasoning(model: str) -> bool:
    """Whether the model may refuse or drop signed reasoning after an earlier change. Unknown models are taken to."""
    return _UNBOUND.match(model.rsplit("/", 1)[-1].lower()) is None and anthropic.binds_reasoning(model)
