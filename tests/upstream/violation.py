"""The one exception of the rule book."""

from __future__ import annotations


class Violation(Exception):
    """A broken rule. `str()` is the provider's message; `labelled` puts the path before it, `form` another label."""

    def __init__(self, path: str, text: str, *, labelled: bool = True, form: str = "") -> None:
        super().__init__(f"{form or path}: {text}" if labelled else text)
        self.path = path
