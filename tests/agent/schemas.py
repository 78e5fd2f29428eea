"""Sixteen tool definitions of the size coding agents send (about 30 KB); seven of them are ever called."""

from __future__ import annotations

from typing import Any

from .prose import sentences

type Fields = dict[str, tuple[str, str]]

# name: (first line, characters of further notes, fields as name -> (type, description), required)
DEFINITIONS: dict[str, tuple[str, int, Fields, tuple[str, ...]]] = {
    "Task": (
        "Hands a self-contained piece of work to a helper with its own context.", 4200,
        {"description": ("string", "Three to five words"), "prompt": ("string", "The whole task"),
         "subagent_type": ("string", "Which helper")},
        ("description", "prompt", "subagent_type"),
    ),
    "Bash": (
        "Runs one shell command in the project folder and gives back what it printed.", 5200,
        {"command": ("string", "The command line"), "timeout": ("number", "Milliseconds, at most 600000"),
         "description": ("string", "What the command does, in a few words"),
         "run_in_background": ("boolean", "Return at once and keep it running")},
        ("command",),
    ),
    "Glob": (
        "Finds files by name pattern.", 600,
        {"pattern": ("string", "A glob such as **/*.py"), "path": ("string", "Folder to search")},
        ("pattern",),
    ),
    "Grep": (
        "Finds lines by regular expression.", 1500,
        {"pattern": ("string", "The regular expression"), "path": ("string", "File or folder"),
         "glob": ("string", "Only files of this name"), "output_mode": ("string", "content, files or count"),
         "head_limit": ("number", "At most so many results")},
        ("pattern",),
    ),
    "Read": (
        "Reads a file, with line numbers.", 1700,
        {"file_path": ("string", "Absolute path"), "offset": ("number", "First line, from 1"),
         "limit": ("number", "How many lines")},
        ("file_path",),
    ),
    "Edit": (
        "Replaces one exact piece of text in a file.", 1200,
        {"file_path": ("string", "Absolute path"), "old_string": ("string", "The text that is there"),
         "new_string": ("string", "The text to put there"), "replace_all": ("boolean", "Every occurrence")},
        ("file_path", "old_string", "new_string"),
    ),
    "Write": (
        "Writes a whole file.", 800,
        {"file_path": ("string", "Absolute path"), "content": ("string", "Everything the file shall hold")},
        ("file_path", "content"),
    ),
    "NotebookEdit": (
        "Changes one cell of a notebook.", 700,
        {"notebook_path": ("string", "Absolute path"), "cell_id": ("string", "Which cell"),
         "new_source": ("string", "Its new source"), "edit_mode": ("string", "replace, insert or delete")},
        ("notebook_path", "new_source"),
    ),
    "WebFetch": (
        "Fetches a page and answers a question about it.", 1400,
        {"url": ("string", "The address"), "prompt": ("string", "What to find out")},
        ("url", "prompt"),
    ),
    "WebSearch": (
        "Searches the web.", 1100,
        {"query": ("string", "What to look for"), "allowed_domains": ("array", "Only these hosts")},
        ("query",),
    ),
    "TodoWrite": (
        "Keeps the list of what is to be done in this session.", 3600,
        {"todos": ("array", "Every item with content, status and activeForm")},
        ("todos",),
    ),
    "BashOutput": (
        "Shows what a background command has printed since the last look.", 500,
        {"bash_id": ("string", "The command's id"), "filter": ("string", "Only lines that match")},
        ("bash_id",),
    ),
    "KillShell": (
        "Ends a background command.", 300,
        {"shell_id": ("string", "The command's id")},
        ("shell_id",),
    ),
    "ExitPlanMode": (
        "Shows the finished plan and asks for leave to begin.", 1300,
        {"plan": ("string", "The plan, as Markdown")},
        ("plan",),
    ),
    "Skill": (
        "Loads written instructions for a kind of work.", 1500,
        {"skill": ("string", "Its name"), "args": ("string", "What to pass on")},
        ("skill",),
    ),
    "AskUserQuestion": (
        "Puts a question with choices to the person.", 1400,
        {"questions": ("array", "One to four questions, each with its choices")},
        ("questions",),
    ),
}  # fmt: skip


def tools() -> list[dict[str, Any]]:
    """The `tools` array of every request: name, description and a JSON schema each."""
    out: list[dict[str, Any]] = []
    for name, (first, notes, fields, required) in DEFINITIONS.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                field: {"type": kind, "description": text} | ({"items": {"type": "object"}} if kind == "array" else {})
                for field, (kind, text) in fields.items()
            },
            "required": list(required),
            "additionalProperties": False,
        }
        out.append({"name": name, "description": f"{first}\n\n{sentences(name, notes)}", "input_schema": schema})
    return out
