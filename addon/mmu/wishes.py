"""What the model says of its own context: results it needs no longer, spans that a summary of its own may stand for.

It says so in a call of the recall tool. The call stays in the transcript, so a wish is read off it again in every
request and nothing has to be stored: it waits there for the next epoch. Both are reversible. A released result becomes
a handle like any other, and of a span the whole text is kept as a page.

Nothing is named by numbers, for a model sees none: results by their file or command, a span by the first words of the
user's message that it reaches up to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addon.wire.conversation import Kind, Message, Subject


@dataclass(frozen=True, slots=True)
class Wishes:
    """Of one call."""

    release: tuple[str, ...] = ()
    """Files or commands."""
    summary: str = ""
    upto: str = ""
    """How the user's message begins before which the summary is to stand for everything."""

    def __bool__(self) -> bool:
        return bool(self.release or self.summary)


def read(arguments: Any) -> Wishes:
    """Understand a call's arguments, whatever they are."""
    given = arguments if isinstance(arguments, dict) else {}
    names = given.get("release")
    words = names if isinstance(names, list) else names.splitlines() if isinstance(names, str) else []
    release = tuple(dict.fromkeys(w.strip() for w in map(str, words) if w.strip()))
    summary, upto = (given.get(key) for key in ("summary", "upto"))
    return Wishes(
        release,
        summary.strip() if isinstance(summary, str) else "",
        upto if isinstance(upto, str) else "",
    )


def names(subject: Subject, name: str) -> bool:
    """Whether a result of this subject is meant by a name: its path or the end of it, or its command."""
    ends = (f"/{name}", f" {name}")
    known = (subject.name, subject.run, subject.label)
    return bool(name) and (name in known or subject.name.endswith(ends) or subject.run.endswith(ends[1]))


@dataclass(frozen=True, slots=True)
class Span:
    """Messages start to end - 1, for which a summary is to stand."""

    start: int
    end: int
    summary: str


def span(wishes: Wishes, messages: Sequence[Message]) -> Span | None:
    """The span that is wished for: from the model's first answer up to the user's last message that begins so.

    `messages` are those before the call. None where none begins so, or nothing lies between.
    """
    beginning = _plain(wishes.upto)
    start = next((n for n, m in enumerate(messages) if m.role == "assistant"), len(messages))
    if not wishes.summary or not beginning:
        return None
    for end in range(len(messages) - 1, start, -1):
        if any(_plain(text).startswith(beginning) for text in _prompt(messages[end])):
            return Span(start, end, wishes.summary)
    return None


def _plain(text: str) -> str:
    return " ".join(text.split())


def _prompt(message: Message) -> list[str]:
    """The texts of a message that only the user can have written; none for one that answers a call."""
    if message.role != "user" or any(block.call for block in message.blocks):
        return []
    return [block.text for block in message.blocks if block.kind is Kind.TEXT]


def acknowledge(wishes: Wishes, counts: Mapping[str, int], found: Span | None) -> str:
    """What the model is told. `counts` says of each name to release how many results it means."""
    said: list[str] = []
    for name, count in counts.items():
        meant = f"{count} result{'s' * (count > 1)} of {name} will leave" if count else f"Nothing here is of {name}"
        said.append(f"{meant}.")
    if wishes.summary and found is not None:
        said.append(
            "The summary will stand for all from your first answer up to that message. The full text is kept and can "
            "be asked for then."
        )
    elif wishes.summary:
        said.append("No earlier message of the user's begins with `upto`, so the summary is not used.")
    if any(counts.values()) or found is not None:
        said.append("That happens at the next pause, when it costs nothing.")
    return " ".join(said)
