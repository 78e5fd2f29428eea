"""A call of a shortened tool that its client refuses: the definition comes behind the refusal, once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addon.mmu.habits import SESSIONS, TOTAL, Learned
from addon.mmu.outlook import Outlook, Warmth
from addon.mmu.plan import Plan
from addon.mmu.schema_fault import INTRODUCES, fits
from addon.mmu.view import Change
from tests.mmu.test_evict import Session

PROSE = " ".join(f"Sentence {n} of what one should know before calling it." for n in range(30))
CRON: dict[str, Any] = {
    "name": "CronCreate",
    "description": f"Runs a prompt at certain times. {PROSE}",
    "input_schema": {
        "type": "object",
        "properties": {
            "when": {"type": "string", "description": "Five fields, in the user's own time zone."},
            "times": {"type": "integer", "description": "How often."},
        },
        "required": ["when"],
        "additionalProperties": False,
    },
}
BASH = {**CRON, "name": "Bash"}
FULL = json.dumps(CRON)
OUTLOOK = Outlook(habits=Learned(project={SESSIONS: 8.0, TOTAL: 128.0, "tool:Bash": 8.0}), head=Warmth(0))
GOOD = {"when": "* * * * *"}
INVALID = "InputValidationError: when must have five fields"


def begun() -> Session:
    """A session in which one of the two tools is a stub."""
    session = Session()
    session.more = {"tools": [BASH, CRON]}
    made = session.request(outlook=OUTLOOK)
    assert [s.anchor.split(":")[1] for s in made.new if s.change is Change.STUB] == ["CronCreate"]
    return session


def called(session: Session, arguments: dict[str, Any], text: str, tool: str = "CronCreate", **more: Any) -> Plan:
    session.call(tool, arguments, text, **more)
    return session.request(outlook=OUTLOOK)


def told(session: Session) -> str:
    """The last result, without what the client said."""
    said, found, rest = session.text(session.calls).partition(f"\n\n{INTRODUCES}\n")
    assert said == session.messages[-1]["content"][0]["content"]
    return rest if found else ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (GOOD, INVALID),
        (GOOD, "unexpected time zone"),
        ({}, "it did not work"),
        ({"when": 7}, "it did not work"),
        ({**GOOD, "zone": "UTC"}, "it did not work"),
    ],
)
def test_the_definition_stands_behind_the_refusal(arguments: dict[str, Any], text: str) -> None:
    session = begun()
    made = called(session, arguments, text, is_error=True)
    assert told(session) == FULL
    assert session.sent["messages"][-1]["content"][0]["is_error"] is True
    assert made.count(Change.SERVE) == 1
    assert [(f.anchor.split(":")[1], f.distance) for f in made.faults] == [("CronCreate", 1)]
    stub = next(s for s in made.splices.values() if s.change is Change.STUB)
    assert made.faults[0].page == stub.page
    assert FULL not in json.dumps(session.sent["tools"])


def test_it_comes_once_and_stays() -> None:
    session = begun()
    called(session, {}, INVALID, is_error=True)
    made = called(session, {}, INVALID, is_error=True)
    assert (made.new, made.faults, told(session)) == ([], [], "")
    assert session.text(1).endswith(FULL)


@pytest.mark.parametrize(
    ("arguments", "text", "more"),
    [
        (GOOD, "the disk is full", {"is_error": True}),
        (GOOD, INVALID, {}),
        ({}, "Done.", {}),
        ({}, f"required {'x' * 5000}", {}),
    ],
    ids=["another failure", "a result that speaks of it", "a result that does not", "a long result"],
)
def test_what_refuses_no_arguments_is_left_alone(arguments: dict[str, Any], text: str, more: dict[str, Any]) -> None:
    session = begun()
    made = called(session, arguments, text, **more)
    assert (made.new, made.faults, told(session)) == ([], [], "")


def test_where_no_flag_says_error_the_words_and_the_arguments_do() -> None:
    session = begun()
    called(session, {}, "Error: when is a required property")
    assert told(session) == FULL


def test_a_tool_that_stands_in_full_needs_nothing() -> None:
    session = begun()
    made = called(session, {}, INVALID, tool="Bash", is_error=True)
    assert (made.new, told(session)) == ([], "")


SCHEMA = CRON["input_schema"]


@pytest.mark.parametrize(
    ("value", "schema", "answer"),
    [
        ({"when": "x", "times": 3}, SCHEMA, True),
        ({"when": "x", "times": 3.0}, SCHEMA, True),
        ({"when": "x", "times": 3.5}, SCHEMA, False),
        ({"when": "x", "times": True}, SCHEMA, False),
        ({"times": 3}, SCHEMA, False),
        ("x", SCHEMA, False),
        ({"a": "b"}, {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}, True),
        ({"a": 1}, {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}, False),
        ({"a": None}, {"properties": {"a": {"type": "string", "nullable": True}}}, True),
        ({"a": [1, "2"]}, {"properties": {"a": {"type": "array", "items": {"type": "number"}}}}, False),
        ("c", {"enum": ["a", "b"]}, False),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, False),
        (None, {"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
        ("x", {"allOf": [{"type": "string"}, {"enum": ["y"]}]}, False),
        ("x", {"type": ["string", "null"]}, True),
        ("x", {"type": "of the future"}, True),
        ({"x1": 1}, {"patternProperties": {"^x": {}}, "additionalProperties": False}, True),
        (1, {"$ref": "#/$defs/text", "type": "string"}, True),
        (1, False, False),
        (1, "no schema", True),
    ],
)
def test_the_shape_of_arguments(value: Any, schema: Any, answer: bool) -> None:
    assert fits(value, schema) is answer
