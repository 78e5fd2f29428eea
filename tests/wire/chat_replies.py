"""What a model may say in Chat Completions, and every way a server may spell it as a stream."""

from __future__ import annotations

import json
from typing import Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from addon.wire import sse


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """The chunks in bytes, noise and the end left out."""
    events = (one.data for one in sse.Reader(limit=1 << 30).feed(stream))
    return [json.loads(data) for data in events if data != "[DONE]"]


def put_together(stream: bytes) -> dict[str, Any]:
    """The completion as the vendor's library assembles it."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks(stream):
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    done: dict[str, Any] = state.current_completion_snapshot.to_dict(mode="json")
    return done
