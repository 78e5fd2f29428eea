"""What a client tells about its request: who it is, which line of work it goes on with, in which folder, and what for.

Nothing here is needed to manage a conversation; each thing makes something better. A session finds a line whose first
messages have changed. A folder says whose pages they are. A purpose keeps what serves no conversation out of it.

The table holds what clients of November 2026 were seen to send, or what their public source says they send: Claude
Code, Codex, opencode, gemini-cli, qwen-code, pi, cline, gptme. Of texts no more than a few telling words are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from addon.wire.conversation import Conversation, Kind, Message

FIRST = 8
"""How many messages at the start are looked through for the folder."""
LONGEST = 64 * 1024
"""Characters of a text that are looked through."""


class Purpose(StrEnum):
    """What a request is for."""

    MAIN = "main"
    SUBAGENT = "subagent"
    """Work that another agent has handed on."""
    COMPACTION = "compaction"
    """The client wants a summary that will stand for the conversation."""
    AUXILIARY = "auxiliary"
    """A title, a suggestion, a routing: nothing that the conversation goes on from."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a request tells. Everything that it does not tell is ""."""

    client: str = ""
    """The program: its name where the table has it, else the first word of its user agent."""
    session: str = ""
    """Its own name for this line of work; a sub-agent has one of its own."""
    parent: str = ""
    """The session of the agent that started this one."""
    project: str = ""
    """The folder it works in, absolute."""
    purpose: Purpose = Purpose.MAIN
    secret: str = ""
    """The session, if it is one that outlasts the tokens that pay for it and that nobody else can guess."""


@dataclass(frozen=True, slots=True)
class Client:
    """How one client is known, and where it says what."""

    name: str
    agent: str
    """How its user agent begins, in lower case; "" where it has only its SDK's."""
    opening: str = ""
    """Words near the start of its instructions, for where the user agent does not tell."""
    folder: str = ""
    """What stands before the folder, as a pattern."""
    session: tuple[str, ...] = ()
    """Headers that name the line of work, the best one first."""
    inner: str = ""
    """A header that names a sub-agent within the session."""
    parent: str = ""
    """A header that names the session of whoever started this one."""
    keyed: bool = True
    """Whether `prompt_cache_key` names the line of work."""
    compaction: str = ""
    """Words of its last message, or of its instructions, when it asks for a summary."""
    auxiliary: str = ""
    """The same of requests beside the conversation."""


_SNAPSHOT = r"\b(?:generate|produce) the (?:final )?<state_snapshot>"
"""gemini-cli and its fork qwen-code."""

CLIENTS = (
    Client(
        "claude-code", "claude-cli", folder=r"^[ \t]*(?:- )?Primary working directory: ",
        session=("x-claude-code-session-id",), inner="x-claude-code-agent-id",
    ),
    Client(
        "codex", "codex", folder=r"<environment_context>\s*<cwd>",
        session=("thread-id", "session-id"), parent="x-codex-parent-thread-id", keyed=False,
        compaction=r"\bCONTEXT CHECKPOINT COMPACTION\b",
    ),
    Client(
        "opencode", "opencode", folder=r"^[ \t]*Working directory: ",
        session=("x-session-id", "x-opencode-session"), parent="x-parent-session-id",
        compaction=r"\banchored (?:context summarization assistant|summary (?:from|below))\b",
        auxiliary=r"^You are a title generator\b",
    ),
    Client(
        "gemini-cli", "geminicli", folder=r"\bWorkspace Directories:(?:\*\*)?\s+- ", compaction=_SNAPSHOT,
        auxiliary=r"^\s*You are a specialized Task Routing AI\b"
        r"|^Analyze \*only\* the content and structure of your immediately preceding response\b",
    ),
    Client(
        "qwen-code", "qwencode",
        folder=r"\bI'm currently working in the (?:directory: |following directories:\s+- )", compaction=_SNAPSHOT,
        auxiliary=r"^Analyze \*only\* the content and structure of your immediately preceding response\b",
    ),
    Client("cline", "cline", opening="You are Cline,", folder=r"^[ \t]*\d\. Working Directory: "),
    Client(
        "pi", "", opening="operating inside pi, a coding agent harness",
        folder=r"^Current working directory: ", compaction=r"^This is the PREFIX of a turn\b",
    ),
    Client(
        "gptme", "", opening="You are gptme", folder=r"^\*\*Working Directory:\*\* ",
        compaction=r"\bproduce a structured checkpoint before history is compacted\b",
    ),
)  # fmt: skip

_UNKNOWN = Client(
    "", "", folder=r"^[ \t]*(?:[-*] |\d+\. )?(?:\*\*)?(?:(?:Primary|Current) )?[Ww]orking [Dd]irectory:(?:\*\*)? "
)

_PATH = r"(/[^\n<]*|[A-Za-z]:[\\/][^\n<]*)"
_FOLDERS = {c.name: re.compile(c.folder + _PATH, re.MULTILINE) for c in (*CLIENTS, _UNKNOWN)}
_COMPACTIONS = {c.name: re.compile(c.compaction) for c in CLIENTS if c.compaction}
_AUXILIARIES = {c.name: re.compile(c.auxiliary) for c in CLIENTS if c.auxiliary}

_SUMMARY = re.compile(
    r"\b(?:summar(?:y|i[sz]e)|checkpoint|handoff)\b[^.\n]{0,80}\b(?:conversation|session|chat history|transcript)\b"
    r"[^.\n]{0,40}\b(?:so far|above|from which|for continu|to continu|until now)",
    re.IGNORECASE,
)
"""How anybody else's request for a summary is worded. Not `summarize the file`, nor `continue`."""

_SUBAGENT_KEY = re.compile(r"(qwen-code:[^:]+):.+")
_OF_ONE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?=\w*\d)\w{20,}", re.IGNORECASE)
"""What a key has in it that names one conversation, and not a program with all of its."""


def told(headers: Mapping[str, str], conversation: Conversation) -> Told:
    """What a request tells. `headers` are looked up in lower case. Takes time in proportion to the instructions, the
    first messages and the last."""
    known = _client(headers, conversation)
    agent = headers.get("user-agent", "").split("/", 1)[0].split(" ", 1)[0].lower()[:40]
    session, parent = _session(known, headers, conversation)
    return Told(
        client=known.name or agent,
        session=session,
        parent=parent,
        project=_folder(known, conversation),
        purpose=_purpose(known, headers, conversation, parent),
        secret=session if known.inner else "",
    )


def _client(headers: Mapping[str, str], conversation: Conversation) -> Client:
    agent = headers.get("user-agent", "").lower()
    start = conversation.instructions[0].text[:1000] if conversation.instructions else ""
    for client in CLIENTS:
        if client.agent and agent.startswith(client.agent):
            return client
    for client in CLIENTS:
        if (client.opening and client.opening in start) or (client.inner and client.session[0] in headers):
            return client
    return _UNKNOWN


def _session(client: Client, headers: Mapping[str, str], conversation: Conversation) -> tuple[str, str]:
    """The names of this line of work and of the one that started it."""
    name = next((headers[key] for key in client.session if headers.get(key)), "")
    inner = headers.get(client.inner, "") if client.inner else ""
    if name:
        return (f"{name}/{inner}", name) if inner else (name, headers.get(client.parent, ""))
    key = conversation.options.get("prompt_cache_key")
    if not client.keyed or not isinstance(key, str) or not _OF_ONE.search(key):
        return "", ""
    outer = _SUBAGENT_KEY.fullmatch(key)
    return key, outer[1] if outer else ""


def _texts(conversation: Conversation) -> Iterator[str]:
    for block in conversation.instructions:
        yield block.text[:LONGEST]
    for message in conversation.messages[:FIRST]:
        if message.role != "assistant":
            yield from (block.text[:LONGEST] for block in message.blocks if block.kind is Kind.TEXT)


def _folder(client: Client, conversation: Conversation) -> str:
    pattern = _FOLDERS[client.name]
    found = next((found for text in _texts(conversation) if (found := pattern.search(text))), None)
    return found[1].strip().rstrip("`\"'") if found else ""


def _purpose(client: Client, headers: Mapping[str, str], conversation: Conversation, parent: str) -> Purpose:
    """What a request is for: what the client states, else what its words say.

    Words count only where the model may call no tool, and are meant to miss rather than to be mistaken. A request that
    is taken for a compaction by mistake puts one epoch off; one that is missed may find its oldest results evicted
    just before they are summed up.
    """
    stated = headers.get("x-claude-code-request-class", "") or _kind(headers)
    if stated in Purpose:
        return Purpose(stated)
    last = conversation.messages[-1] if conversation.messages else None
    if conversation.compacts:
        return Purpose.COMPACTION
    started = parent or headers.get("x-openai-subagent") or any(t.name == "complete_task" for t in conversation.tools)
    if not _may_call(conversation):
        asked = _asked(last)
        words = [block.text[:LONGEST] for block in conversation.instructions[:2]] + asked
        if _any(_AUXILIARIES.get(client.name), words):
            return Purpose.AUXILIARY
        if _any(_COMPACTIONS.get(client.name), words) or _any(_SUMMARY, asked):
            return Purpose.COMPACTION
    return Purpose.SUBAGENT if started else Purpose.MAIN


def _kind(headers: Mapping[str, str]) -> str:
    """The kind of request that Codex states."""
    stated = headers.get("x-codex-turn-metadata", "")
    if "request_kind" not in stated or len(stated) > LONGEST:
        return ""
    try:
        kind = json.loads(stated)["request_kind"]
    except (ValueError, KeyError, TypeError):
        return ""
    return kind if isinstance(kind, str) else ""


def _may_call(conversation: Conversation) -> bool:
    choice = conversation.options.get("tool_choice")
    return bool(conversation.tools) and not (isinstance(choice, dict) and choice.get("type") == "none")


def _asked(message: Message | None) -> list[str]:
    """What a user's message says last."""
    if message is None or message.role != "user":
        return []
    return [block.text[:LONGEST] for block in message.blocks if block.kind is Kind.TEXT][-1:]


def _any(pattern: re.Pattern[str] | None, texts: list[str]) -> bool:
    return pattern is not None and any(pattern.search(text) for text in texts)
