"""The fields of a generateContent request, and one spelling for each.

The server reads JSON as protobuf does: a field may be spelled `likeThis` or `like_this`, null stands for a field that
is absent, bytes are base64 in either alphabet. All that is levelled here, once, so that rules and the cache see one
spelling. A field that is not in the table is refused, by the words of the real server. Maps of the client's own
(arguments, responses, JSON schemas) stay as they came.

The table is what the vendor's SDK of November 2026 sends to this API.
"""

from __future__ import annotations

import re
from typing import Any

from tests.upstream.violation import Violation

# Message -> field -> kind: a message, a scalar, or one of these with [] (a list) or {} (a map by text) behind it.
FIELDS: dict[str, dict[str, str]] = {
    "Request": {
        "model": "string", "contents": "Content[]", "systemInstruction": "Content", "tools": "Tool[]",
        "toolConfig": "ToolConfig", "generationConfig": "GenerationConfig", "safetySettings": "SafetySetting[]",
        "cachedContent": "string", "labels": "string{}", "serviceTier": "string", "store": "boolean",
    },
    "Content": {"role": "string", "parts": "Part[]"},
    "Part": {
        "text": "string", "inlineData": "Blob", "fileData": "FileData", "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse", "executableCode": "object", "codeExecutionResult": "object",
        "toolCall": "object", "toolResponse": "object", "thought": "boolean", "thoughtSignature": "bytes",
        "videoMetadata": "object", "mediaResolution": "value", "mediaProcessing": "object", "partMetadata": "object",
    },
    "Blob": {"mimeType": "string", "data": "bytes", "displayName": "string"},
    "FileData": {"mimeType": "string", "fileUri": "string", "displayName": "string"},
    "FunctionCall": {"id": "string", "name": "string", "args": "object"},
    "FunctionResponse": {
        "id": "string", "name": "string", "response": "object", "parts": "object[]", "willContinue": "boolean",
        "scheduling": "string",
    },
    "Tool": {
        "functionDeclarations": "FunctionDeclaration[]", "googleSearch": "object", "googleSearchRetrieval": "object",
        "googleMaps": "object", "codeExecution": "object", "urlContext": "object", "computerUse": "object",
        "fileSearch": "object", "mcpServers": "object[]",
    },
    "FunctionDeclaration": {
        "name": "string", "description": "string", "parameters": "Schema", "parametersJsonSchema": "object",
        "response": "Schema", "responseJsonSchema": "object", "behavior": "string",
    },
    "Schema": {
        "type": "string", "format": "string", "title": "string", "description": "string", "nullable": "boolean",
        "enum": "string[]", "items": "Schema", "minItems": "count", "maxItems": "count", "properties": "Schema{}",
        "required": "string[]", "propertyOrdering": "string[]", "minProperties": "count", "maxProperties": "count",
        "minLength": "count", "maxLength": "count", "minimum": "number", "maximum": "number", "pattern": "string",
        "anyOf": "Schema[]", "default": "value", "example": "value", "additionalProperties": "value",
        "ref": "string", "defs": "Schema{}",
    },
    "ToolConfig": {
        "functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "object",
        "includeServerSideToolInvocations": "boolean",
    },
    "FunctionCallingConfig": {"mode": "string", "allowedFunctionNames": "string[]"},
    "GenerationConfig": {
        "temperature": "number", "topP": "number", "topK": "number", "candidateCount": "integer",
        "maxOutputTokens": "integer", "stopSequences": "string[]", "responseLogprobs": "boolean",
        "logprobs": "integer", "presencePenalty": "number", "frequencyPenalty": "number", "seed": "integer",
        "responseMimeType": "string", "responseSchema": "Schema", "responseJsonSchema": "object",
        "responseModalities": "string[]", "mediaResolution": "string", "speechConfig": "object",
        "thinkingConfig": "ThinkingConfig", "imageConfig": "object", "enableEnhancedCivicAnswers": "boolean",
    },
    "ThinkingConfig": {"includeThoughts": "boolean", "thinkingBudget": "integer", "thinkingLevel": "string"},
    "SafetySetting": {"category": "string", "threshold": "string", "method": "string"},
}  # fmt: skip
SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "bytes": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    # protobuf writes 64 bits as text
    "count": (int, str),
    "object": (dict,),
    "value": (object,),
}
BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def bytes_field(text: str) -> str:
    """Base64 in the one alphabet and without the padding, as clients differ in both."""
    return text.replace("-", "+").replace("_", "/").rstrip("=")


def read(body: dict[str, Any]) -> dict[str, Any]:
    """The request in one spelling, fields in one order. Violation for a field that is unknown, twice there or of the
    wrong type; paths are spelled as the server spells them."""
    levelled: dict[str, Any] = _read("", body, "Request")
    return levelled


def _read(path: str, value: Any, kind: str) -> Any:
    if kind.endswith("[]"):
        if not isinstance(value, list):
            raise _invalid(path, "an array", value)
        return [_read(f"{path}[{at}]", each, kind[:-2]) for at, each in enumerate(value)]
    if kind.endswith("{}"):
        if not isinstance(value, dict):
            raise _invalid(path, "an object", value)
        return {name: _read(f"{path}[{name}]", each, kind[:-2]) for name, each in value.items()}
    if kind in FIELDS:
        return _message(path, value, FIELDS[kind])
    known = SCALARS[kind]
    if not isinstance(value, known) or (isinstance(value, bool) and kind in {"integer", "number", "count"}):
        raise _invalid(path, kind, value)
    return _bytes(path, value) if kind == "bytes" else value


def _bytes(path: str, text: Any) -> str:
    levelled = bytes_field(text)
    if not BASE64.fullmatch(levelled) or len(levelled) % 4 == 1:
        raise Violation(path, f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed", labelled=False)
    return levelled


def _message(path: str, value: Any, fields: dict[str, str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(path, "an object", value)
    names = {spelled: name for name in fields for spelled in (name, snake(name))}
    found: dict[str, Any] = {}
    for given, inner in value.items():
        name = names.get(given)
        if name is None or name in found:
            at = f" at '{path}'" if path else ""
            fault = "Cannot find field." if name is None else "The field is there twice."
            text = f'Invalid JSON payload received. Unknown name "{given}"{at}: {fault}'
            raise Violation(path, text, labelled=False)
        here = f"{path}.{snake(name)}" if path else snake(name)
        found[name] = None if inner is None else _read(here, inner, fields[name])
    return {name: found[name] for name in sorted(found) if found[name] is not None}


def _invalid(path: str, wanted: str, value: Any) -> Violation:
    return Violation(path, f"Invalid value at '{path}': expected {wanted}, got {type(value).__name__}", labelled=False)
