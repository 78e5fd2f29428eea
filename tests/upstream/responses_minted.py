"""The server's memory of what it said: items that come back must be the same, and in their places.

Every item leaves with an id, reasoning and compactions also with a seal, their `encrypted_content`; both follow from
the prompt and the text, so the same reply on the same prompt is the same. An item that comes back is known by its id,
else by its seal, else by the `call_id` within its label; what is known by none of them is somebody else's. Clients may
leave fields away, not change them.

* Reasoning comes back with the item behind it, and that item with the reasoning before it.
* On bound models reasoning is dropped if what stood before it (tools, the answer's shape, instructions, items but for
  reasoning) differs from what it was produced on, unless the vendor's own compaction came between
  (developers.openai.com/api/docs/guides/keep-prefix-unchanged).
* What is stored can be gone on from by `previous_response_id`, and be named by an `item_reference`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from tests.upstream.prompt import canonical
from tests.upstream.responses_items import PREFIXES, Item
from tests.upstream.responses_prompt import Prompt, is_model, level
from tests.upstream.violation import Violation

COMPACTED = 2000
"""How many bytes a compaction seals, whatever it stands for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands: the digest of what is before it, and the seals of the compactions among that."""

    link: bytes
    compactions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Minted:
    """An item as it was made, whatever of it was sent, with its neighbours: the reasoning right before it and, of
    reasoning, the item right behind it."""

    item: Item
    place: Place
    before: Item | None
    behind: Item | None


class Line:
    """The items of a conversation behind the head of its prompt; `place` is where the next one stands."""

    def __init__(self, head: list[bytes]) -> None:
        self.state = hashlib.blake2b(digest_size=16)
        self.compactions: frozenset[str] = frozenset()
        for piece in head:
            self._update(piece)

    def _update(self, piece: bytes) -> None:
        self.state.update(hashlib.blake2b(piece).digest())

    def add(self, item: Item, piece: bytes) -> None:
        if item["type"] == "compaction":
            self.compactions |= {item["encrypted_content"]}
        if item["type"] != "reasoning":
            self._update(piece)

    @property
    def place(self) -> Place:
        return Place(self.state.digest(), self.compactions)


def same(sent: Item, made: Item) -> bool:
    """Whether an item may be the one that was made: no field of it says anything else."""
    if sent.get("id") not in {None, made["id"]}:
        return False
    original = level(made)
    return all(original.get(name) == value for name, value in level(sent).items())


def _seal(seed: bytes, size: int) -> str:
    """As long as what it hides."""
    return "gAAAAA" + base64.urlsafe_b64encode((seed * (size // len(seed) + 1))[: max(size, len(seed))]).decode()


class Memory:
    """All that one server made. Not locked: the server serves one request at a time here."""

    def __init__(self) -> None:
        self.by_id: dict[str, Minted] = {}
        self.by_seal: dict[str, Minted] = {}
        self.by_call: dict[tuple[str, str], dict[str, Minted]] = {}
        self.responses: dict[str, list[Item]] = {}
        self.stored: dict[str, Item] = {}

    def resolved(self, previous: str | None, given: list[Item]) -> tuple[list[Item], int]:
        """All items of the conversation, and how many of them the server had. Raises Violation."""
        if previous is not None and previous not in self.responses:
            text = f"Previous response with id '{previous}' not found."
            raise Violation("previous_response_id", text, labelled=False)
        history = self.responses[previous] if previous else []
        return [*history, *(self._read(f"input[{at}]", item) for at, item in enumerate(given))], len(history)

    def _read(self, path: str, item: Item) -> Item:
        if (_hidden(item) or item["type"] == "item_reference") and item.get("id") not in self.stored:
            text = (
                f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. Try "
                "again with `store` set to true, or remove this item from your input."
            )
            raise Violation(path, text, labelled=False)
        return self.stored[item["id"]] if item["type"] == "item_reference" else item

    def known(self, item: Item, label: str) -> list[Minted]:
        """What an item can be that came back."""
        for found in (self.by_id.get(item.get("id") or ""), self.by_seal.get(item.get("encrypted_content") or "")):
            if found:
                return [found]
        if is_model(item):
            return list(self.by_call.get((label, item.get("call_id") or ""), {}).values())
        return []

    def check(self, items: list[Item], before: int, label: str, bound: bool) -> None:
        """Raise Violation for an item that was changed or torn from its neighbour; on `bound` models also for sealed
        content that is not this server's. The first `before` items are history."""
        paths = [f"input[{index - before}]" for index in range(len(items))]
        every = [self.known(item, label) for item in items]
        for path, item, found in zip(paths, items, every, strict=True):
            if found and not any(same(item, each.item) for each in found):
                raise Violation(path, f"{_called(item)} was changed since it was produced; it must be as it was.")
            if bound and not found and item.get("encrypted_content"):
                text = f"The encrypted content for item {item.get('id')} could not be verified."
                raise Violation(path, text, labelled=False)
        neighbours = zip([None, *items], [*items[1:], None], strict=False)
        for path, item, found, (last, ahead) in zip(paths, items, every, neighbours, strict=True):
            if item["type"] == "reasoning" and not _goes_on(ahead, found):
                text = f"{_called(item)} was provided without its required following item."
                raise Violation(path, text, labelled=False)
            wanted = [each.before for each in found]
            if wanted and not any(one is None or (last and same(last, one)) for one in wanted):
                reasoning = wanted[0]["id"] if wanted[0] else None
                text = f"{_called(item)} was provided without its required 'reasoning' item: '{reasoning}'."
                raise Violation(path, text, labelled=False)

    def whole(self, items: list[Item]) -> list[Item]:
        """The items as the model reads them: stored reasoning that was named by its id alone has its content."""
        return [self.stored[item["id"]] if _hidden(item) else item for item in items]

    def dropped(self, prompt: Prompt, items: list[Item]) -> list[str]:
        """The ids of the reasoning that stands behind a changed prefix."""
        gone = []
        line = Line(prompt.head)
        for item, piece in zip(items, prompt.items, strict=True):
            for made in self.known(item, "") if item["type"] == "reasoning" else []:
                if made.place != line.place and made.place.compactions == line.compactions:
                    gone.append(made.item["id"])
            line.add(item, piece)
        return gone

    def mint(
        self, prompt: Prompt, items: list[Item], drafts: list[Item], hidden: list[bytes], label: str
    ) -> list[Item]:
        """The items of an answer, with ids and seals. A draft lacks both; `hidden` is what each of them would seal."""
        line = Line(prompt.head)
        for item, piece in zip(items, prompt.items, strict=True):
            line.add(item, piece)
        made: list[Item] = []
        stood: list[Place] = []
        for number, (draft, secret) in enumerate(zip(drafts, hidden, strict=True)):
            stood.append(line.place)
            seed = hashlib.blake2b(line.place.link + canonical([draft, number]) + secret).digest()
            kind = draft["type"]
            item = {"id": f"{PREFIXES[kind]}_{seed.hex()[:32]}", **draft}
            if kind in {"reasoning", "compaction"}:
                item["encrypted_content"] = _seal(seed, len(secret) if kind == "reasoning" else COMPACTED)
            made.append(item)
            line.add(item, canonical(level(item)))
        for at, item in enumerate(made):
            thought = made[at - 1] if at and made[at - 1]["type"] == "reasoning" else None
            follows = made[at + 1] if item["type"] == "reasoning" and at + 1 < len(made) else None
            self._keep(Minted(item, stood[at], thought, follows), label)
        return made

    def _keep(self, minted: Minted, label: str) -> None:
        self.by_id[minted.item["id"]] = minted
        if "encrypted_content" in minted.item:
            self.by_seal[minted.item["encrypted_content"]] = minted
        if "call_id" in minted.item:
            self.by_call.setdefault((label, minted.item["call_id"]), {})[minted.item["id"]] = minted

    def store(self, identity: str, items: list[Item], output: list[Item]) -> None:
        """Keep a conversation with its answer under the answer's id."""
        self.responses[identity] = [*items, *output]
        self.stored |= {item["id"]: item for item in output}


def _hidden(item: Item) -> bool:
    return item["type"] == "reasoning" and item.get("encrypted_content") is None


def _called(item: Item) -> str:
    return f"Item '{item.get('id') or item.get('call_id')}' of type '{item['type']}'"


def _goes_on(ahead: Item | None, found: list[Minted]) -> bool:
    """Whether reasoning has what must follow it: the model's next item, and the very one if it is known."""
    if ahead is None or not is_model(ahead):
        return False
    return not found or any(each.behind is None or same(ahead, each.behind) for each in found)
