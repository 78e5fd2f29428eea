"""A growing coding conversation of a given size, generated: what a busy agent sends, request after request."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

from benchmarks.filler import COMMON_TOOLS, WORDS, prose, schemas
from benchmarks.rebuild import encode
from benchmarks.traces import Block, Json

SPREAD = 0.2
SMALLEST_STEP = 1_500
EVERY = 5
MODEL = "claude-sonnet-4-5-20250929"


def bodies(size: int, requests: int) -> Iterator[tuple[bytes, bool]]:
    """`requests` bodies of `size` bytes, give or take a fifth, each with whether it extends the one before it.

    An extension adds one answer and one tool result; where a conversation outgrows its size a new one begins, and its
    first body is not counted. Every fifth result shows a file again that was read before, so that there is something
    to fold.
    """
    made = 0
    for number in count():
        grown = conversation(size, number)
        yield next(grown), False
        for body in grown:
            yield body, True
            made += 1
            if made == requests:
                return


def conversation(size: int, number: int, *, step: int = 0, stream: bool = False) -> Iterator[bytes]:
    """The bodies of one conversation, from a fifth below `size` to a fifth above, by about `step` bytes a turn (a
    two-hundredth of `size` where it is 0); no two numbers have the same."""
    step = step or max(SMALLEST_STEP, size // 200)
    tools = schemas([(name, {}) for name in COMMON_TOOLS], min(60_000, size // 4))
    system = prose("system prompt", min(30_000, size // 10))
    messages: list[dict[str, Json]] = [{"role": "user", "content": f"Please find out why test {number} fails."}]
    files: list[tuple[str, str]] = []
    rng = random.Random(number)
    body = b""
    while len(body) < size * (1 - SPREAD):
        # at least one, and no more than surely fit
        for _ in range(max(1, int(size * (1 - SPREAD) - len(body)) // (3 * step))):
            _extend(messages, files, rng, step)
        body = _body(messages, tools, system, stream)
    while len(body) < size * (1 + SPREAD):
        yield body
        _extend(messages, files, rng, step)
        body = _body(messages, tools, system, stream)


def _extend(messages: list[dict[str, Json]], files: list[tuple[str, str]], rng: random.Random, step: int) -> None:
    number = len(messages) // 2
    again = number % EVERY == EVERY - 1
    path, text = rng.choice(files[-10:]) if again else (f"/src/module_{number}.py", _file(rng, step - 400))
    if not again:
        files.append((path, text))
    call = f"toolu_{number:08d}"
    said: list[Block] = [
        {"type": "text", "text": prose(f"answer {number}", 120)},
        {"type": "tool_use", "id": call, "name": "Read", "input": {"file_path": path}},
    ]
    messages.append({"role": "assistant", "content": said})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": text}]})


def _file(rng: random.Random, size: int) -> str:
    lines: list[str] = []
    length = 0
    while length < size:
        words = rng.choices(WORDS, k=rng.randint(2, 8))
        lines.append(f"{len(lines) + 1:>6}\t    {words[0]}_{rng.randrange(10_000)} = {'('.join(words[1:])}")
        length += len(lines[-1]) + 1
    return "\n".join(lines)


def _body(messages: list[dict[str, Json]], tools: list[dict[str, Json]], system: str, stream: bool) -> bytes:
    mark = {"type": "ephemeral"}
    *earlier, last = messages
    blocks = last["content"]
    marked = {**last, "content": [*blocks[:-1], {**blocks[-1], "cache_control": mark}]}
    return encode(
        {
            "model": MODEL,
            "messages": [*earlier, marked],
            "system": [{"type": "text", "text": system, "cache_control": mark}],
            "tools": tools,
            "max_tokens": 32000,
            "stream": stream,
        }
    )
