"""Re-reads that a client held back: the model asked again for a text that has left, and got a preview of it.

Agents cut long results, or spill them to a file, by the tool and not by the file: a file that was read whole comes back
from `cat` as its first 2 KB. If the earlier read has been evicted, the whole text stands nowhere but in the store. So
it is put in the preview's place, where it is certain that it is the same text:

- the call prints that very file, or is that very call;
- the preview proves the text (`addon.wire.previews`), and the text is the whole file, read from line 1;
- nothing that the transcript shows since can have changed it: no edit of the file, no command that is not known to
  leave files alone, no word of the client that it was modified.

Otherwise the preview stays: the client keeps the way to the whole in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from addon.mmu.view import GONE, Entry, Splice, shown
from addon.wire.conversation import Act, Conversation, Kind, Subject
from addon.wire.previews import preview, proves
from addon.wire.shell import PlainRead, only_reads, plain_read, same_path
from addon.wire.subject import numbered, says_modified

_REMINDER = re.compile(r"\s*(?:<system-reminder>(?:(?!</?system-reminder>).)*</system-reminder>\s*)?", re.DOTALL)


def _plain(subject: Subject) -> PlainRead | None:
    """How a shell shows the file; None for another tool's read, and where it is not certain."""
    return plain_read(subject.run.partition(" ")[2])


def _whole(subject: Subject, text: str) -> str | None:
    """The file that a read shows, without numbers where they count from line 1; None if that is not certain.

    What stands behind the last numbered line is not the file's, and is only left out if it is a client's reminder.
    """
    if subject.run:
        run = _plain(subject)
        if run is None or not run.whole:
            return None
        if not run.numbers:
            return text
    lines = text.split("\n")
    split = numbered(lines)
    last = next((at for at, (number, _) in enumerate(split) if number != at + 1), len(split))
    if not last:
        return text
    if not _REMINDER.fullmatch("\n".join(lines[last:])):
        return None
    return "\n".join(line for _, line in split[:last])


def _printed(subject: Subject, before: Entry) -> str | None:
    """What a call would have printed if the file is as `before` showed it; None where that is not known."""
    text, known = before.block.text, before.subject
    if subject.act is not known.act:
        return None
    if subject.act is not Act.READ:
        return text if known.name == subject.name and only_reads(subject.name, checks=False) else None
    if known.run == subject.run and known.name == subject.name:
        return text
    run = _plain(subject)
    if run is None or not run.whole or not same_path(known.name, subject.name):
        return None
    whole = _whole(known, text)
    if whole is None or not run.numbers:
        return whole
    return "\n".join(f"{n:>6}\t{line}" for n, line in enumerate(whole.removesuffix("\n").split("\n"), 1))


def _may_differ(conversation: Conversation, before: Entry, entry: Entry) -> bool:
    """Whether anything from the call of `before` on can have changed what the call of `entry` shows."""
    path = entry.subject.name if entry.subject.act is Act.READ else ""
    for number in range(len(conversation.messages) - 1, -1, -1):
        reached = False
        for block in conversation.messages[number].blocks:
            if block.kind is not Kind.CALL:
                if says_modified(block.text, path):
                    return True
                continue
            reached = reached or (block.call == before.block.call and number < before.message)
            about = block.about
            if about is None or (about.act is Act.RUN and not only_reads(about.name)):
                return True
            if about.act is Act.EDIT and (not path or same_path(about.name, path)):
                return True
        if reached:
            return False
    return True


def withheld(
    entry: Entry, earlier: Sequence[Entry], splices: Mapping[str, Splice], conversation: Conversation
) -> Entry | None:
    """The newest evicted entry whose text a result that just arrived is a preview of.

    None where it is no preview, nothing is proven, or the text stands in the view.
    """
    seen = None if entry.block.error else preview(entry.block.text)
    if seen is None:
        return None
    proven: list[Entry] = []
    for before in earlier:
        printed = _printed(entry.subject, before)
        if printed is not None and proves(seen, printed):
            found = splices.get(before.anchor)
            if found is None or found.change not in GONE:
                return None
            proven.append(before)
    if not proven or _may_differ(conversation, proven[-1], entry):
        return None
    return None if any(shown(e, splices) == proven[-1].block.text for e in earlier) else proven[-1]
