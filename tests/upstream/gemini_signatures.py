"""Thought signatures: what the model thought, sealed into the part that came of it.

From Gemini 3 on the first function call of each answer carries one, and a last word without calls may. Within the
current turn (all that follows the last content that is more than responses) the first call of each step must come back
with the signature it was given, in the part that it was given for. Of older turns nothing is wanted, but a signature
that is there must be one that was made here. Two strings stand for a history that was made elsewhere and are let pass.
Source: ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from tests.upstream.binding import KEY
from tests.upstream.gemini_fields import bytes_field
from tests.upstream.gemini_turns import is_human
from tests.upstream.prompt import canonical
from tests.upstream.violation import Violation

ELSEWHERE = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
# As they are and, since SDKs take bytes, as base64 of them.
PASSES = frozenset(
    bytes_field(spelled) for text in ELSEWHERE for spelled in (text, base64.b64encode(text.encode()).decode())
)
MISSING = (
    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, "
    "and missing thought_signature may lead to degraded model performance. Additional data, function call "
    "`default_api:{name}` , position {position}. Please refer to "
    "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
)
CORRUPTED = "Corrupted thought signature."

Part = dict[str, Any]


class Signatures:
    """All signatures of one server, each with the call it was made for, None for a text. Not locked: the server checks
    and mints one request at a time."""

    def __init__(self) -> None:
        self.minted: dict[str, Any] = {}

    def mint(self, parts: list[Part], seed: bytes) -> list[Part]:
        """The parts of an answer with a signature where the model would put one, the same for the same `seed`."""
        calls = [at for at, part in enumerate(parts) if "functionCall" in part]
        texts = [at for at, part in enumerate(parts) if "text" in part and not part.get("thought")]
        place = calls[0] if calls else texts[-1] if texts else None
        if place is None:
            return parts
        seal = hmac.new(KEY, seed + canonical(parts), hashlib.sha256).digest()
        signature = base64.b64encode(b"\x12" + seal * 3).decode()
        self.minted[bytes_field(signature)] = _said(parts[place])
        return [{**part, "thoughtSignature": signature} if at == place else part for at, part in enumerate(parts)]

    def check(self, contents: list[dict[str, Any]], *, wanted: bool) -> None:
        """Raise Violation for a signature that is missing where the model wants it, or wrong."""
        for index, content in enumerate(contents):
            for at, part in enumerate(content["parts"]):
                signature = part.get("thoughtSignature")
                if signature not in PASSES and signature not in self.minted and signature is not None:
                    raise Violation(f"contents[{index}].parts[{at}]", CORRUPTED)
        began = max((index for index, content in enumerate(contents) if is_human(content)), default=0)
        for index in range(began, len(contents)) if wanted else ():
            self._step(index, contents[index]["parts"])

    def _step(self, index: int, parts: list[Part]) -> None:
        at = next((at for at, part in enumerate(parts) if "functionCall" in part), None)
        if at is None:
            return
        path, signature = f"contents[{index}].parts[{at}]", parts[at].get("thoughtSignature")
        if signature is None:
            name = parts[at]["functionCall"]["name"]
            raise Violation(path, MISSING.format(name=name, position=index + 1), labelled=False)
        if signature not in PASSES and self.minted[signature] != _said(parts[at]):
            raise Violation(path, f"{CORRUPTED} It was made for another part.")


def _said(part: Part) -> Any:
    call = part.get("functionCall")
    return None if call is None else (call["name"], call.get("args", {}))
