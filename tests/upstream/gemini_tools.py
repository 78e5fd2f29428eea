"""Declared functions, the tools of the server, and the choice among them."""

from __future__ import annotations

import re
from typing import Any

from tests.upstream.gemini_models import Model
from tests.upstream.violation import Violation

# Newer models take 128 characters; 64 is what all of them have taken.
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
MOST = 128
TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
MODES = {"AUTO", "ANY", "NONE", "VALIDATED"}
CHOOSING = {"ANY", "VALIDATED"}


def check(body: dict[str, Any], model: Model) -> None:
    """Raise Violation for a tool or a choice that the server would not take. `body` is levelled."""
    names: set[str] = set()
    for at, tool in enumerate(body.get("tools", [])):
        path = f"tools[{at}]"
        if not tool:
            raise Violation(path, "tool_type: required one_of 'tool_type' must have one initialized field")
        for number, declared in enumerate(tool.get("functionDeclarations", [])):
            _declaration(f"{path}.function_declarations[{number}]", declared, names)
    if len(names) > MOST:
        raise Violation("tools", f"at most {MOST} function declarations, found {len(names)}")
    mime = body.get("generationConfig", {}).get("responseMimeType", "text/plain")
    if names and mime != "text/plain" and not model.third:
        raise Violation("generation_config", f"Function calling with a response mime type: '{mime}' is unsupported")
    _choice(body.get("toolConfig", {}).get("functionCallingConfig"), names)


def _declaration(path: str, declared: dict[str, Any], names: set[str]) -> None:
    name = declared.get("name", "")
    if not NAME.fullmatch(name):
        raise Violation(f"{path}.name", f"Invalid function name. Must match '{NAME.pattern}', got '{name}'")
    if name in names:
        raise Violation(path, f"Duplicate function declaration found: {name}")
    names.add(name)
    if not declared.get("description", "x").strip():
        raise Violation(f"{path}.description", "must not be blank")
    for own, other in (("parameters", "parametersJsonSchema"), ("response", "responseJsonSchema")):
        if own in declared and other in declared:
            raise Violation(path, f"only one of '{own}' and '{other}' may be set")
        if own in declared:
            schema(f"{path}.{own}", declared[own])
    if declared.get("parameters", {"type": "OBJECT"}).get("type", "").upper() != "OBJECT":
        raise Violation(f"{path}.parameters", "schema should be of type OBJECT")
    if declared.get("parametersJsonSchema", {"type": "object"}).get("type") != "object":
        raise Violation(f"{path}.parameters_json_schema", "schema should be of type object")


def schema(path: str, found: dict[str, Any]) -> None:
    """A schema in the API's own words, with all that is inside it. Raises Violation."""
    kind = found.get("type", "").upper()
    if kind not in TYPES and not {"anyOf", "ref"} & set(found):
        raise Violation(f"{path}.type", f"expected one of {', '.join(sorted(TYPES))}")
    if kind == "ARRAY" and "items" not in found:
        raise Violation(f"{path}.items", "missing field.")
    properties = found.get("properties", {})
    for name in found.get("required", []):
        if name not in properties:
            raise Violation(f"{path}.required", f"property is not defined: {name}")
    inside = [(f"properties[{name}]", each) for name, each in properties.items()]
    inside += [(f"any_of[{at}]", each) for at, each in enumerate(found.get("anyOf", []))]
    inside += [("items", found["items"])] if "items" in found else []
    for where, each in inside:
        schema(f"{path}.{where}", each)


def _choice(choice: dict[str, Any] | None, names: set[str]) -> None:
    if choice is None:
        return
    path = "tool_config.function_calling_config"
    mode = choice.get("mode", "AUTO")
    if mode not in MODES:
        raise Violation(f"{path}.mode", f"expected one of {', '.join(sorted(MODES))}, got '{mode}'")
    if not names:
        raise Violation(path, "Function calling config is set without function_declarations.")
    allowed = choice.get("allowedFunctionNames", [])
    if allowed and mode not in CHOOSING:
        raise Violation(f"{path}.allowed_function_names", f"only with the modes {', '.join(sorted(CHOOSING))}")
    for name in allowed:
        if name not in names:
            raise Violation(f"{path}.allowed_function_names", f"no such function is declared: {name}")
