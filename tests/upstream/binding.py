"""Signed reasoning, bound to the exact prefix it was produced on.

Every thinking block that leaves the server carries a signature and leaves a receipt: the line of blocks before it
(prompt.py, earlier thinking left out), the signatures before it in order, and its own bytes. When the block comes back,
the line must be the same, and of the earlier signatures a tail must be there: taking reasoning away from the start is
allowed, out of the middle is not. While a tool round is open, all reasoning of the turn that began with the last human
message must be present. Receipts live in memory; the same reply on the same prefix gets the same signature, so a
retried request may be continued from either answer.

What a server-side tool left in a reply (searches, fetched pages, compactions) must come back unchanged as well, on any
model.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from tests.upstream.blocks import OPAQUE
from tests.upstream.prompt import (
    THINKING,
    Position,
    as_blocks,
    canonical,
    chain,
    deferred_tools,
    level,
    message_positions,
)

KEY = b"strict upstream"
REMEDY = 'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'

LEFT_OUT = (
    "Expected `thinking` or `redacted_thinking`, but found `tool_use`. The reasoning of the current turn must be "
    "passed back unmodified until its tool round is complete."
)


@dataclass(frozen=True, slots=True)
class Receipt:
    line: tuple[bytes, ...]
    link: bytes
    earlier: tuple[str, ...]
    block: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """One thinking block that may not stand where it stands. `droppable` when only its prefix is wrong."""

    path: str
    message: str
    droppable: bool


def without_thinking(line: list[Position]) -> list[Position]:
    return [here for here in line if not here.is_thinking]


def _link(line: list[Position]) -> bytes:
    plain = without_thinking(line)
    return chain(plain)[-1] if plain else b""


def current_turn(messages: list[Any]) -> range:
    """Indices of the messages after the last human message, or none when no tool round is open at the end.

    A user message is human when it holds anything but tool results; system messages belong to neither side.
    """
    last = len(messages) - 1
    while last >= 0 and messages[last].get("role") == "system":
        last -= 1
    if last < 0 or messages[last].get("role") != "user" or _is_human(messages[last]):
        return range(0)
    human = [at for at in range(last) if messages[at].get("role") == "user" and _is_human(messages[at])]
    return range(human[-1] + 1 if human else 0, last)


def _is_human(message: dict[str, Any]) -> bool:
    kinds = {block.get("type") if isinstance(block, dict) else None for block in as_blocks(message["content"])}
    return kinds != {"tool_result"}


class Binding:
    """All receipts of one server. Not locked: the server checks and mints one request at a time."""

    def __init__(self) -> None:
        self.receipts: dict[str, Receipt] = {}
        # (label, tool_use id) -> the reasoning that preceded it, once per reply that used this id
        self.rounds: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        # (label, kind, id) -> the spellings in which a server tool's block was sent out
        self.opaque: dict[tuple[str, str, str], set[bytes]] = {}

    def mint(
        self, body: dict[str, Any], line: list[Position], content: list[dict[str, Any]], label: str
    ) -> list[dict[str, Any]]:
        """The content of the reply to `body`, with a signature in each of its thinking blocks."""
        index = len(body["messages"])
        deferred = deferred_tools(body)
        signed: list[dict[str, Any]] = []
        before = list(line)
        own: list[str] = []
        for block in content:
            done = dict(block)
            kind = done.get("type")
            if kind in THINKING:
                field = "signature" if kind == "thinking" else "data"
                done.pop(field, None)
                signature = self._sign(before, done)
                done[field] = signature
                own.append(signature)
                self._keep(before, done, signature)
            elif kind == "tool_use":
                self.rounds.setdefault((label, str(done.get("id"))), set()).add(tuple(own))
            elif kind in OPAQUE:
                self.opaque.setdefault((label, *_name(done)), set()).add(canonical(level(done)))
            signed.append(done)
            before = line + message_positions(index, "assistant", signed, deferred)
        return signed

    def _sign(self, before: list[Position], block: dict[str, Any]) -> str:
        seal = hmac.new(KEY, _link(before) + canonical(block), hashlib.sha256)
        for here in before:
            if here.signature:
                seal.update(here.signature.encode())
        return base64.b64encode(b"\x12" + seal.digest() * 3).decode()

    def _keep(self, before: list[Position], block: dict[str, Any], signature: str) -> None:
        self.receipts[signature] = Receipt(
            line=tuple(here.digest for here in without_thinking(before)),
            link=_link(before),
            earlier=tuple(here.signature for here in before if here.signature),
            block=canonical(level(block)),
        )

    def check(
        self, body: dict[str, Any], line: list[Position], label: str, bound: bool, manual: bool = False
    ) -> list[Fault]:
        """What is wrong with the reasoning in a request, in order. Models that are not bound refuse changed bytes, and
        with `manual` thinking also a current turn without its reasoning."""
        faults = self._changed(body, label)
        plain = without_thinking(line)
        links = chain(plain)
        seen: list[str] = []
        at = 0
        for here in line:
            if not here.is_thinking:
                at += 1
                continue
            signature = here.signature or ""
            receipt = self.receipts.get(signature)
            fault = self._judge(body, here, receipt, plain, links, at, seen, bound)
            if fault:
                faults.append(fault)
            seen.append(signature)
        if bound or manual:
            faults.extend(self._missing(body, label))
        return faults

    def _judge(
        self,
        body: dict[str, Any],
        here: Position,
        receipt: Receipt | None,
        plain: list[Position],
        links: list[bytes],
        at: int,
        seen: list[str],
        bound: bool,
    ) -> Fault | None:
        invalid = f"{here.path}: Invalid `signature` in `{here.kind}` block."
        if receipt is None:
            return Fault(here.path, invalid, False) if bound else None
        if canonical(level(_block_at(body, here.path))) != receipt.block:
            return Fault(here.path, invalid, False)
        if not bound:
            return None
        elsewhere = f"{invalid} The block is bound to a different conversation. {REMEDY}"
        if (links[at - 1] if at else b"") != receipt.link:
            where = _first_difference(plain, receipt.line, at, here.path)
            changed = f"Content before this block differs from when it was created, first at {where}."
            return Fault(here.path, f"{elsewhere} {changed}", True)
        tail = receipt.earlier[len(receipt.earlier) - len(seen) :] if seen else ()
        if tuple(seen) != tail:
            return Fault(here.path, f"{elsewhere} A thinking block before it was left out, added or moved.", True)
        return None

    def _changed(self, body: dict[str, Any], label: str) -> list[Fault]:
        faults = []
        for index, message in enumerate(body["messages"]):
            for at, block in enumerate(as_blocks(message["content"])):
                sent = self.opaque.get((label, *_name(block))) if block.get("type") in OPAQUE else None
                if sent and canonical(level(block)) not in sent:
                    path = f"messages.{index}.content.{at}"
                    text = f"{path}: `{block['type']}` blocks cannot be modified. They must remain as they were sent."
                    faults.append(Fault(path, text, False))
        return faults

    def _missing(self, body: dict[str, Any], label: str) -> list[Fault]:
        messages = body["messages"]
        for index in current_turn(messages):
            if messages[index].get("role") != "assistant":
                continue
            present: set[str] = set()
            for at, block in enumerate(as_blocks(messages[index]["content"])):
                if not isinstance(block, dict):
                    continue
                if block.get("type") in THINKING:
                    present.add(str(block.get("signature") or block.get("data")))
                known = self.rounds.get((label, str(block.get("id")))) if block.get("type") == "tool_use" else None
                if known and not any(present.issuperset(signatures) for signatures in known):
                    path = f"messages.{index}.content.{at}"
                    return [Fault(path, f"{path}: {LEFT_OUT}", False)]
        return []


def _name(block: dict[str, Any]) -> tuple[str, str]:
    return str(block.get("type")), str(block.get("id") or block.get("tool_use_id") or "")


def _block_at(body: dict[str, Any], path: str) -> Any:
    _, index, _, at = path.split(".")
    return as_blocks(body["messages"][int(index)]["content"])[int(at)]


def _first_difference(plain: list[Position], line: tuple[bytes, ...], at: int, fallback: str) -> str:
    for here, digest in zip(plain[:at], line, strict=False):
        if here.digest != digest:
            return here.path
    return plain[len(line)].path if at > len(line) else fallback
