"""Gemini's contents: what each part is, and where the text of a function's answer stands.

The server reads JSON as protobuf does: a field may be spelled `likeThis` or `like_this`, and null is none.

A function's answer is an object. The API knows two keys of it, `output` and `error`; without them the whole of it is
the output. Its one text can be replaced, so that it stays an object; what stands beside that never is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from addon.wire.conversation import Block, Kind, Message
from addon.wire.gemini_calls import NO_ID
from addon.wire.read import hashed, list_of, string
from addon.wire.scan import SPACE, Field, Malformed, Reader, fields, value
from addon.wire.subject import subject

ROLES = {"": "user", "function": "user", "model": "assistant"}
"""A content without a role is the user's."""
TEXTS = ("output", "result", "content", "error")
"""Under which key an answer has its text: the first of these that is a string."""
VERDICTS = ('"error"', '"output"')
"""The keys that tell a failure from a success, as they are written."""


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


_CAMEL = {
    _snake(name): name
    for name in (
        "systemInstruction", "toolConfig", "cachedContent", "generationConfig", "candidateCount",
        "functionDeclarations", "functionCallingConfig", "allowedFunctionNames", "functionCall", "functionResponse",
        "thoughtSignature",
    )
}  # fmt: skip


def either(readers: Mapping[str, Reader]) -> dict[str, Reader]:
    """The readers, under both spellings of each field."""
    return {**readers, **{_snake(name): reader for name, reader in readers.items()}}


def levelled[T](members: Mapping[str, T]) -> dict[str, T]:
    """The members under the one spelling of each. Raises Malformed for one that comes in both."""
    found = {_CAMEL.get(key, key): each for key, each in members.items()}
    if len(found) != len(members):
        raise Malformed("a field in both of its spellings")
    return found


def told(members: Mapping[str, Field]) -> dict[str, Field]:
    """The members under the one spelling of each, without those that are null."""
    return {key: each for key, each in levelled(members).items() if each[0] is not None}


def _raw(text: str, members: Mapping[str, Field], *without: str) -> Iterator[str]:
    """Keys and raw values, in the client's order."""
    return (f"{key}\0{text[at:to]}\0" for key, (_, at, to) in members.items() if key not in without)


def _call(text: str, part: Mapping[str, Field]) -> Block:
    made = told(part["functionCall"][0])
    name = string(made, "name")
    arguments = made.get("args", (None,))[0]
    # What of it comes back the same for certain: clients may drop a signature when its turn is over.
    says = hashed(f"{name}\0{json.dumps(arguments, sort_keys=True)}").hex()[:8]
    block = Block(Kind.CALL, 0, 0, hashed("".join(_raw(text, part))), name=name, arguments=arguments)
    block.call = string(made, "id") or NO_ID + says
    block.about = subject(name, arguments)
    return block


def _text_key(response: Mapping[str, Field]) -> str:
    """The key of the text that a function answered with, "" where none of its strings is certain to be that."""
    strings = [key for key, (got, _, _) in response.items() if isinstance(got, str)]
    known = next((key for key in TEXTS if key in strings), "")
    plain = all(not isinstance(got, dict | list) for got, _, _ in response.values())
    return known or (strings[0] if len(strings) == 1 and plain else "")


def _verdict(text: str, start: int, at: int) -> tuple[int, int] | None:
    """Span of the key of the value at `at`, in the object that starts at `start`, if it is one of the two."""
    head = text[start:at].rstrip(SPACE).removesuffix(":").rstrip(SPACE)
    end = start + len(head)
    return next(((end - len(key), end) for key in VERDICTS if head.endswith(key)), None)


def _answer(text: str, part: Mapping[str, Field], origin: int) -> list[Block]:
    """The blocks of a function's answer: its text, and what stands beside that."""
    made = told(part["functionResponse"][0])
    name, call = string(made, "name"), string(made, "id") or NO_ID
    response, start, _ = made.get("response", ({}, 0, 0))
    if not isinstance(response, dict):
        raise Malformed("the response of a function is not an object")
    key = _text_key(response)
    others = ((part, ("functionResponse",)), (made, ("id", "name", "response")), (response, (key,)))
    beside = "".join(raw for members, without in others for raw in _raw(text, members, *without))
    blocks: list[Block] = []
    if key or not beside:
        words, at, to = response[key] if key else ("", 0, 0)
        result = Block(Kind.RESULT, 0, 0, hashed(words), words, call=call, name=name, error=key == "error")
        if key:
            result.literal = (at - origin, to - origin)
        if len(response.keys() & {"error", "output"}) == 1 and (span := _verdict(text, start, at)) is not None:
            result.flag, result.verdicts = (span[0] - origin, span[1] - origin), VERDICTS
        blocks.append(result)
    if beside:
        blocks.append(Block(Kind.OTHER, 0, 0, hashed(beside), call=call, name=name, part=len(blocks)))
    return blocks


def _blocks(text: str, part: Mapping[str, Field], origin: int) -> list[Block]:
    """The blocks of a part; they get their place in it from the caller."""
    for kind in ("functionCall", "functionResponse"):
        if kind in part and not isinstance(part[kind][0], dict):
            raise Malformed(f"{kind} is not an object")
    if "functionCall" in part:
        return [_call(text, part)]
    if "functionResponse" in part:
        return _answer(text, part, origin)
    digest = hashed("".join(_raw(text, part)))
    words, at, to = part.get("text", (None, 0, 0))
    if not isinstance(words, str) or (not words and "thoughtSignature" in part):
        return [Block(Kind.OTHER, 0, 0, digest, name=next(iter(part), ""))]
    if part.get("thought", (None,))[0] is True:
        return [Block(Kind.REASONING, 0, 0, digest, stays=True)]
    digest = hashed(words) if part.keys() == {"text"} else digest
    return [Block(Kind.TEXT, 0, 0, digest, words, (at - origin, to - origin))]


def blocks(text: str, parts: Field | None, origin: int) -> list[Block]:
    """The blocks of a content's parts, spans relative to `origin`. One part may stand without a list around it."""
    found: list[Block] = []
    if parts is None:
        return found
    for members, start, end in parts[0] if isinstance(parts[0], list) else [parts]:
        if not isinstance(members, dict):
            raise Malformed("part is not an object")
        for block in _blocks(text, told(members), origin):
            block.start, block.end = start - origin, end - origin
            found.append(block)
    return found


def _object_of(readers: Mapping[str, Reader]) -> Reader:
    """Reads the members where the value is an object; the plain value otherwise."""
    return lambda text, at: fields(text, at, readers) if text[at] == "{" else value(text, at)


_opened = _object_of({})
_part = _object_of(either({"functionCall": _opened, "functionResponse": _object_of({"response": _opened})}))
_list = list_of(_part)


def _parts(text: str, at: int) -> tuple[Any, int]:
    return _part(text, at) if text[at] == "{" else _list(text, at)


content = _object_of({"parts": _parts})
"""Reads the members of a content; anything but an object as the plain value."""


def message(text: str, at: int) -> tuple[Message, int]:
    """Reads a content as a message. Calls and answers that name none have no id yet."""
    members, end = fields(text, at, {"parts": _parts})
    said = told(members)
    role = string(said, "role")
    made = Message(ROLES.get(role, role), at, end, blocks(text, said.get("parts"), at), b"")
    over = blake2b(made.role.encode("utf-8", "surrogatepass"), digest_size=8)
    over.update("".join(_raw(text, said, "role", "parts")).encode("utf-8", "surrogatepass"))
    for block in made.blocks:
        over.update(f"{block.kind}\0{block.call}\0{block.name}\0{block.error:d}".encode("utf-8", "surrogatepass"))
        over.update(block.digest)
    made.digest = over.digest()
    return made, end
