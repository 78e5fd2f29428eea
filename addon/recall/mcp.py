"""The Model Context Protocol, as much of it as a server of tools needs: a line comes in, a line goes out.

JSON-RPC 2.0, written by hand: the SDK would bring twenty packages and most of a second for five methods. Knows neither
what the tools do nor where lines come from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

logger = logging.getLogger(__name__)

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18")
"""Versions of the protocol that are spoken, oldest first. What they differ in is not used here."""

PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool says. `failed`: it could not do what was asked, and the text says what to do instead."""

    text: str
    failed: bool = False


class Tools(Protocol):
    """What a server has to offer."""

    name: str
    version: str
    instructions: str
    definitions: Sequence[Mapping[str, Any]]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Result | None:
        """Call a tool; None when there is none of that name."""


class _Refused(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


async def answered(line: bytes, tools: Tools) -> bytes | None:
    """The line to send back, with its newline; None when there is nothing to say."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _line(_error(None, PARSE_ERROR, f"not JSON: {error}"))
    if not isinstance(message, list):
        said = await _one(message, tools)
        return None if said is None else _line(said)
    if not message:
        return _line(_error(None, INVALID_REQUEST, "a batch of nothing"))
    several = [said for each in message if (said := await _one(each, tools)) is not None]
    return _line(several) if several else None


async def _one(message: Any, tools: Tools) -> dict[str, Any] | None:
    if not isinstance(message, dict):
        return _error(None, INVALID_REQUEST, "a message is an object")
    id = message.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int | float | None):
        return _error(None, INVALID_REQUEST, "an id is a string or a number")
    method = message.get("method")
    if "method" not in message and ("result" in message or "error" in message):
        return None  # an answer, though nothing was asked
    if not isinstance(method, str) or message.get("jsonrpc") != "2.0":
        return _error(id, INVALID_REQUEST, "a request has a method, and jsonrpc is 2.0")
    if "id" not in message:
        return None  # a notification; none of them asks for anything
    try:
        return {"jsonrpc": "2.0", "id": id, "result": await _result(method, message.get("params", {}), tools)}
    except _Refused as refused:
        return _error(id, refused.code, str(refused))
    except Exception:
        logger.exception("%s failed", method)
        return _error(id, INTERNAL_ERROR, "failed inside; the server's log on stderr says how")


async def _result(method: str, params: Any, tools: Tools) -> dict[str, Any]:
    if method not in ("initialize", "ping", "tools/list", "tools/call"):
        raise _Refused(NO_METHOD, f"there is no method {method}")
    if not isinstance(params, dict):
        raise _Refused(INVALID_PARAMS, "params must be an object")
    if method == "initialize":
        wanted = params.get("protocolVersion")
        return {
            "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[-1],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": tools.name, "version": tools.version},
            "instructions": tools.instructions,
        }
    if method == "tools/list":
        return {"tools": list(tools.definitions)}
    if method == "tools/call":
        return await _call(params, tools)
    return {}


async def _call(params: Mapping[str, Any], tools: Tools) -> dict[str, Any]:
    name, arguments = params.get("name"), params.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise _Refused(INVALID_PARAMS, "a call has the name of a tool, and its arguments are an object")
    result = await tools.call(name, arguments)
    if result is None:
        raise _Refused(INVALID_PARAMS, f"there is no tool {name}")
    return {"content": [{"type": "text", "text": result.text}], "isError": result.failed}


def _error(id: Any, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}


def _line(value: Any) -> bytes:
    # in ASCII: neither a newline of Unicode nor a lone surrogate can break the line
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
