"""Text and tool schemas that the recordings do not hold, generated from a seed.

System prompts and tool definitions were never recorded, only their size shows. What stands here has realistic bytes and
shape and is the same in every run; a tool that the session used admits the arguments it was called with.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from benchmarks.traces import Json

TEXT = """
the agent should read file before edit and prefer small changes that keep tests green when command fails report
error output exactly never guess path use absolute names search pattern result line number limit offset default
project user request answer short clear follow style existing code check type return value argument optional
required directory branch commit message shell process timeout background wait task list plan step review cache
content replace string match unique whole word case session tool call state note summary detail example safe
"""
WORDS = TEXT.split()

COMMON_TOOLS = (
    "Bash", "Read", "Edit", "Write", "Grep", "Glob", "Task", "TodoWrite", "WebFetch", "WebSearch", "NotebookEdit",
    "ExitPlanMode", "BashOutput", "KillShell", "Skill", "SlashCommand", "ListMcpResources", "ReadMcpResource",
)  # fmt: skip

TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}


def prose(seed: str, size: int) -> str:
    """About `size` bytes of ASCII sentences in paragraphs, never less."""
    rng = random.Random(seed)
    out: list[str] = []
    length = 0
    while length < size:
        sentence = " ".join(rng.choices(WORDS, k=rng.randint(6, 18))).capitalize() + "."
        sentence += "\n\n" if rng.random() < 0.15 else " "
        out.append(sentence)
        length += len(sentence)
    return "".join(out).rstrip()


def schemas(calls: Iterable[tuple[str, Mapping[str, Json]]], size: int, count: int = 18) -> list[dict[str, Json]]:
    """`count` tool definitions (more when the session used more) of about `size` bytes in all.

    `calls` are the recorded (tool name, input) pairs: each used tool comes first and its schema admits all its inputs.
    """
    used: dict[str, list[Mapping[str, Json]]] = {}
    for name, arguments in calls:
        used.setdefault(name, []).append(arguments)
    names = sorted(used) + [name for name in COMMON_TOOLS if name not in used]
    names = names[: max(count, len(used))]
    share = size // len(names)
    return [_schema(name, used.get(name, []), share) for name in names]


def _schema(name: str, inputs: list[Mapping[str, Json]], size: int) -> dict[str, Json]:
    properties = {
        key: _property(name, key, [given[key] for given in inputs if key in given])
        for key in sorted({key for given in inputs for key in given}) or ["target"]
    }
    required = [key for key in properties if inputs and all(key in given for given in inputs)]
    for extra in ("mode", "max_items", "dry_run")[: max(0, 4 - len(properties))]:
        properties.setdefault(extra, {"type": "string", "description": prose(f"{name}.{extra}", 90)})
    described = sum(len(entry["description"]) + 60 for entry in properties.values()) + 150
    return {
        "name": name,
        "description": prose(name, max(200, size - described)),
        "input_schema": {"type": "object", "properties": properties, "required": required},
    }


def _property(tool: str, key: str, values: list[Json]) -> dict[str, Json]:
    kinds = sorted({TYPES[type(value)] for value in values if value is not None})
    entry: dict[str, Json] = {"description": prose(f"{tool}.{key}", 120)}
    if not values:
        entry["type"] = "string"
    elif len(kinds) == 1 and None not in values:
        entry["type"] = kinds[0]
    return entry
