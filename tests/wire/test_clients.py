"""What each client tells about its request, in requests of the shapes they send."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from addon.wire import anthropic, chat
from addon.wire.clients import Purpose, Told, told
from addon.wire.conversation import Block, Conversation, Kind, Message, Tool

SESSION = "0199c3f2-5a11-7bd0-8c1e-1f2d3c4b5a69"
CHILD = "0199c3f2-6b22-7bd0-8c1e-99887766aabb"
TOOLS = [{"name": "Read", "description": "Reads.", "input_schema": {"type": "object"}}]
TALK: list[Any] = [
    {"role": "user", "content": "Fix the build."},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "a"}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]},
]


def messages(*said: Any, system: Any = "", tools: Any = None, **more: Any) -> Conversation:
    body = {"model": "claude-opus-5", "max_tokens": 9, "messages": said or TALK, "system": system, **more}
    return anthropic.parse(json.dumps(body | ({"tools": tools} if tools else {})).encode())


def chats(*said: Any, **more: Any) -> Conversation:
    return chat.parse(json.dumps({"model": "qwen3-coder", "messages": said, **more}).encode())


def items(*said: tuple[str, str, str], tools: tuple[str, ...] = (), system: str = "", **options: Any) -> Conversation:
    """A conversation of an API that is written down otherwise: role, kind of item or "" for a text, what it says."""

    def block(kind: str, text: str) -> Block:
        return Block(Kind.OTHER if kind else Kind.TEXT, 0, 0, b"", text, name=kind)

    return Conversation(
        model="m",
        text="",
        messages=[Message(role, 0, 0, [block(kind, text)], b"") for role, kind, text in said],
        tools=[Tool(name, 0, 0) for name in tools],
        instructions=[block("", system)] if system else [],
        options=options,
    )


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


CLAUDE = {"user-agent": "claude-cli/2.1.330 (external, cli)", "x-claude-code-session-id": SESSION}
CLAUDE_FOLDER = [
    user("<system-reminder>\nWorking directory: /wrong\n</system-reminder>"),
    {"role": "system", "content": "# Environment\n - Primary working directory: /w/my project\n - Platform: linux"},
]
CODEX = {"user-agent": "codex_exec/0.169.0 (Debian 13; x86_64) xterm", "session-id": SESSION, "thread-id": SESSION}
CODEX_TALK = (
    ("developer", "additional_tools", ""),
    ("developer", "", "You are Codex."),
    ("developer", "", "<permissions>"),
    ("user", "", "# AGENTS.md"),
    ("user", "", "<environment_context>\n  <cwd>/w/app</cwd>\n  <shell>bash</shell>\n</environment_context>"),
    ("user", "", "Fix the build."),
)
OPENCODE = {"user-agent": "opencode/1.18.33", "x-session-id": "ses_4f1c", "x-session-affinity": "ses_4f1c"}
GEMINI = {"user-agent": "GeminiCLI/0.61.0/gemini-3-pro (linux; x64; terminal) google-api-nodejs-client/9.15.1"}
GEMINI_TALK = ("user", "", "<session_context>\n- **Workspace Directories:**\n  - /w/app\n- **Directory Structure:**\n")
QWEN = {"user-agent": "QwenCode/0.24.4 (linux; x64)"}
QWEN_TALK = user("This is the Qwen Code.\nI'm currently working in the directory: /w/app\nHere is the folder structure")
PI = "You are an expert assistant operating inside pi, a coding agent harness.\nCurrent working directory: /w/app"
CLINE = "You are Cline, an AI coding agent.\n<env>\n3. IDE: cli\n4. Working Directory: /w/app\n</env>"
GPTME = "You are gptme v0.35.1, a general-purpose AI assistant.\n\n**OS:** Debian\n**Working Directory:** /w/app"
ANTHROPIC_SDK = {"user-agent": "Anthropic/JS 0.71.2"}

FULL = {
    "claude code": (
        CLAUDE | {"x-claude-code-request-class": "main"},
        messages(*CLAUDE_FOLDER, tools=TOOLS),
        Told("claude-code", SESSION, "", "/w/my project", Purpose.MAIN, SESSION),
    ),
    "claude code's sub-agent": (
        CLAUDE | {"x-claude-code-request-class": "subagent", "x-claude-code-agent-id": "a1"},
        messages(*TALK, tools=TOOLS),
        Told("claude-code", f"{SESSION}/a1", SESSION, "", Purpose.SUBAGENT, f"{SESSION}/a1"),
    ),
    "codex": (
        CODEX,
        items(*CODEX_TALK, prompt_cache_key=SESSION),
        Told("codex", SESSION, "", "/w/app"),
    ),
    "codex's sub-agent": (
        CODEX | {"thread-id": CHILD, "x-codex-parent-thread-id": SESSION, "x-openai-subagent": "collab_spawn"},
        items(*CODEX_TALK, prompt_cache_key=SESSION),
        Told("codex", CHILD, SESSION, "/w/app", Purpose.SUBAGENT),
    ),
    "opencode": (
        OPENCODE,
        messages(*TALK, system="You are opencode.\n<env>\n  Working directory: /w/app\n</env>", tools=TOOLS),
        Told("opencode", "ses_4f1c", "", "/w/app"),
    ),
    "opencode's sub-agent": (
        OPENCODE | {"x-session-id": "ses_9a", "x-parent-session-id": "ses_4f1c"},
        messages(*TALK, system="  Working directory: C:\\w\\app\n", tools=TOOLS),
        Told("opencode", "ses_9a", "ses_4f1c", "C:\\w\\app", Purpose.SUBAGENT),
    ),
    "gemini-cli": (GEMINI, items(GEMINI_TALK, tools=("read_file",)), Told("gemini-cli", project="/w/app")),
    "gemini-cli's sub-agent": (
        GEMINI,
        items(GEMINI_TALK, tools=("read_file", "complete_task")),
        Told("gemini-cli", project="/w/app", purpose=Purpose.SUBAGENT),
    ),
    "qwen-code": (
        QWEN,
        chats({"role": "system", "content": "You are Qwen Code."}, QWEN_TALK, prompt_cache_key=f"qwen-code:{SESSION}"),
        Told("qwen-code", f"qwen-code:{SESSION}", "", "/w/app"),
    ),
    "qwen-code's sub-agent": (
        QWEN,
        chats(QWEN_TALK, prompt_cache_key=f"qwen-code:{SESSION}:general-purpose-call_1"),
        Told(
            "qwen-code",
            f"qwen-code:{SESSION}:general-purpose-call_1",
            f"qwen-code:{SESSION}",
            "/w/app",
            Purpose.SUBAGENT,
        ),
    ),
    "pi": (ANTHROPIC_SDK, messages(system=PI, tools=TOOLS), Told("pi", project="/w/app")),
    "cline": ({"user-agent": "ai-sdk/anthropic"}, messages(system=CLINE, tools=TOOLS), Told("cline", project="/w/app")),
    "gptme": (
        {"user-agent": "Anthropic/Python 0.72.0"},
        messages(system=GPTME, tools=TOOLS),
        Told("gptme", project="/w/app"),
    ),
    "an SDK": ({"user-agent": "Anthropic/Python 0.72.0"}, messages(tools=TOOLS), Told("anthropic")),
    "nobody": ({}, messages(tools=TOOLS), Told()),
    "somebody with a folder": ({}, messages(user("cwd\n- **Current Working Directory:** /w\n")), Told(project="/w")),
    "somebody with a key of this conversation": ({}, chats(user("x"), prompt_cache_key=SESSION), Told(session=SESSION)),
    "somebody with a key of all": ({}, chats(user("x"), prompt_cache_key="my-application-v2"), Told()),
}


@pytest.mark.parametrize("name", FULL)
def test_what_a_client_tells(name: str) -> None:
    headers, conversation, expected = FULL[name]
    assert told(headers, conversation) == expected


def test_a_folder_is_looked_for_at_the_start_only() -> None:
    far = [user("x"), {"role": "assistant", "content": "y"}] * 4
    where = user("Working directory: /w")
    assert told({}, messages(*far, where)).project == ""
    assert told({}, messages(*far[:6], where)).project == "/w"
    assert told({}, messages(user("x"), {"role": "assistant", "content": "Working directory: /w"})).project == ""
    for unsure in ("Working directory: none", "the working directory: /w", "Working directory:\n/w"):
        assert told({}, messages(user(unsure))).project == ""


SUMMARISE = "Your task is to create a detailed summary of the conversation so far, paying close attention to"
PURPOSES = {
    "claude code": (CLAUDE | {"x-claude-code-request-class": "compaction"}, messages(tools=TOOLS), Purpose.COMPACTION),
    "claude code's title": (
        CLAUDE | {"x-claude-code-request-class": "auxiliary"},
        messages(user("x")),
        Purpose.AUXILIARY,
    ),
    "codex, by its item": (CODEX, replace(items(*CODEX_TALK), compacts=True), Purpose.COMPACTION),
    "codex, by its metadata": (
        CODEX | {"x-codex-turn-metadata": '{"request_kind":"compaction"}'},
        items(*CODEX_TALK),
        Purpose.COMPACTION,
    ),
    "codex, an ordinary turn": (
        CODEX | {"x-codex-turn-metadata": '{"request_kind":"turn"}'},
        items(*CODEX_TALK),
        Purpose.MAIN,
    ),
    "codex, metadata that is none": (
        CODEX | {"x-codex-turn-metadata": '["request_kind"'},
        items(*CODEX_TALK),
        Purpose.MAIN,
    ),
    "opencode's suffix": (
        OPENCODE,
        messages(*TALK, user("Create a new anchored summary from the conversation history above.")),
        Purpose.COMPACTION,
    ),
    "opencode's title": (
        OPENCODE,
        messages(user("Generate a title:"), system=[{"type": "text", "text": "You are a title generator. You output"}]),
        Purpose.AUXILIARY,
    ),
    "gemini-cli": (
        GEMINI,
        items(GEMINI_TALK, ("user", "", "First, reason in your scratchpad. Then, generate the <state_snapshot>.")),
        Purpose.COMPACTION,
    ),
    "gemini-cli's router": (
        GEMINI,
        items(GEMINI_TALK, system="\nYou are a specialized Task Routing AI. Your sole function"),
        Purpose.AUXILIARY,
    ),
    "gemini-cli asks who speaks next": (
        GEMINI,
        items(
            GEMINI_TALK,
            ("user", "", "Analyze *only* the content and structure of your immediately preceding response (your"),
        ),
        Purpose.AUXILIARY,
    ),
    "qwen-code": (
        QWEN,
        chats(QWEN_TALK, user("First, reason in your <analysis> block. Then, produce the <state_snapshot> XML.")),
        Purpose.COMPACTION,
    ),
    "pi": (
        ANTHROPIC_SDK,
        messages(*TALK, user("This is the PREFIX of a turn that was too large to keep."), system=PI),
        Purpose.COMPACTION,
    ),
    "gptme": (
        {},
        messages(
            *TALK,
            user("Context budget has been reached — produce a structured checkpoint before history is compacted."),
            system=GPTME,
        ),
        Purpose.COMPACTION,
    ),
    "anybody": ({}, messages(*TALK, user(SUMMARISE)), Purpose.COMPACTION),
    "anybody else": ({}, messages(*TALK, user("Summarize this session for continuation.")), Purpose.COMPACTION),
    "tools that may not be called": (
        {},
        messages(*TALK, user(SUMMARISE), tools=TOOLS, tool_choice={"type": "none"}),
        Purpose.COMPACTION,
    ),
    "somebody who may call tools": ({}, messages(*TALK, user(SUMMARISE), tools=TOOLS), Purpose.MAIN),
    "a summary of something else": ({}, messages(user("Write a summary of conversation.py, and go on.")), Purpose.MAIN),
    "words of somebody else's": ({}, messages(user("Explain how to generate the <state_snapshot>.")), Purpose.MAIN),
    "a summary that was asked for earlier": (
        {},
        messages(user(SUMMARISE), {"role": "assistant", "content": "Done."}, user("Go on.")),
        Purpose.MAIN,
    ),
    "a result that says so": (
        {},
        messages(*TALK[:2], {"role": "user", "content": [TALK[2]["content"][0] | {"content": SUMMARISE}]}),
        Purpose.MAIN,
    ),
}


@pytest.mark.parametrize("name", PURPOSES)
def test_what_a_request_is_for(name: str) -> None:
    headers, conversation, expected = PURPOSES[name]
    assert told(headers, conversation).purpose is expected


def test_a_long_start_takes_no_long_time() -> None:
    dull = ("- **" * 50 + "\n") * 20_000
    conversation = messages(user(dull), system=dull)
    for headers in (CLAUDE, CODEX, OPENCODE, GEMINI, QWEN, {}):
        assert told(headers, conversation).project == ""
