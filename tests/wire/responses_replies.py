"""What a model may say in Responses, as items, and the same as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from hypothesis import strategies as st

from tests.upstream import responses_message
from tests.wire.replies import HIDDEN, INPUTS, NOISE, WORDS, Piece, Reply, Style, event, spelled

type Item = dict[str, Any]


def message(words: str, number: int = 0) -> Item:
    part = {"type": "output_text", "text": words, "annotations": [], "logprobs": []}
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def call(name: str = HIDDEN, number: int = 0, **arguments: Any) -> Item:
    return {
        "id": f"fc_{number}", "type": "function_call", "status": "completed", "call_id": f"call_{number}", "name": name,
        "arguments": json.dumps(arguments, ensure_ascii=False),
    }  # fmt: skip


def reasoning(number: int = 0, summary: str = "") -> Item:
    told = [{"type": "summary_text", "text": summary}] if summary else []
    return {"id": f"rs_{number}", "type": "reasoning", "summary": told, "encrypted_content": f"sealed{number}"}


def custom(number: int = 0) -> Item:
    named = {"call_id": f"call_{number}", "name": HIDDEN, "input": "of another kind"}
    return {"id": f"ctc_{number}", "type": "custom_tool_call", "status": "completed", **named}


def is_hidden(item: Item) -> bool:
    return (item["type"], item.get("name")) == ("function_call", HIDDEN)


def is_blank(item: Item) -> bool:
    return item["type"] == "message" and not item["content"][0]["text"].strip()


def can_be_sent(replies: list[Reply]) -> bool:
    """Whether no reasoning stands last but for what says nothing."""
    said = [[item for item in reply["output"] if not is_blank(item)] for reply in replies]
    return not any(items and items[-1]["type"] == "reasoning" for items in said)


def usage(read: int, fresh: int, thought: int, said: int) -> dict[str, Any]:
    return {
        "input_tokens": read + fresh, "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": 0},
        "output_tokens": thought + said, "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + fresh + thought + said,
    }  # fmt: skip


USAGE = st.builds(usage, *[st.integers(1, 9)] * 4)


def build(number: int, output: list[Item], cost: dict[str, Any], **reply: Any) -> Reply:
    return responses_message.build(f"resp_{number}", 1.0, {"model": "gpt-5.1"}, output, cost, reply)


@st.composite
def conversations(draw: st.DrawFn, rounds: int = 4, *, sound: bool = False) -> list[Reply]:
    """Replies that a client is shown as one: each but the last has hidden calls, the last may.

    `sound` ones can be carried on: the client's own tools are called by the last only, and always with a hidden call in
    it.
    """
    ids = count()
    out: list[Reply] = []
    total = draw(st.integers(1, rounds))

    def item() -> Item:
        kind = draw(st.sampled_from(["text", "text", "thought", "recall", "real", "custom"]))
        n = next(ids)
        if kind == "text":
            return message(draw(WORDS), n)
        if kind == "thought":
            return reasoning(n, draw(st.sampled_from(["", "hm", "word " * 30])))
        return custom(n) if kind == "custom" else call(HIDDEN if kind == "recall" else "Read", n, **draw(INPUTS))

    for number in range(total):
        said = [item() for _ in range(draw(st.integers(1, 5)))]
        if number < total - 1:
            said.insert(draw(st.integers(0, len(said))), call(HIDDEN, next(ids), **draw(INPUTS)))
            said = [i for i in said if not sound or i["type"] in ("message", "reasoning") or is_hidden(i)]
        elif sound and any(map(is_hidden, said)):
            said.append(call("Read", next(ids)))
        out.append(build(number, said, draw(USAGE)))
    return out


def pieces(reply: Reply, style: Style) -> Iterator[Piece]:
    """The reply as a stream."""
    for n, data in enumerate(responses_message.events(reply)):
        if style.noise:
            yield Piece(spelled(NOISE[n % len(NOISE)], style), None)
        data = {**data, "sequence_number": n}
        text = json.dumps(data, ensure_ascii=style.ascii, indent=style.indent)
        yield Piece(event(text, style, data["type"] if style.named else ""), data)
