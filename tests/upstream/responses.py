"""Responses from request to answer: judged, replied to from the script, billed, remembered."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from tests.upstream import responses_message, responses_pairing, responses_validity
from tests.upstream.answer import Answer, Refused, bytes_per_token
from tests.upstream.chat_cache import Split
from tests.upstream.chat_models import model_of
from tests.upstream.log import Record
from tests.upstream.openai_api import ID_HEADER, Caches, Provided, book, failure, opened
from tests.upstream.prompt import canonical
from tests.upstream.responses_items import Item
from tests.upstream.responses_minted import Memory
from tests.upstream.responses_prompt import Prompt, answers, level, prompt, start
from tests.upstream.responses_tools import declared
from tests.upstream.script import Reply

PATH = "/v1/responses"
SEALED = "reasoning.encrypted_content"
COMPACTION: Reply = {"content": [{"type": "compaction"}]}


class Responses:
    """The state of this API; the provider's lock is held in every call. `allow_prefill` as for the provider."""

    def __init__(self, *, allow_prefill: bool) -> None:
        self.allow_prefill = allow_prefill
        self.caches = Caches(start)
        self.memory = Memory()

    def answer(
        self, record: Record, headers: Mapping[str, str], raw: bytes, request_id: str, provided: Provided
    ) -> Answer:
        """Answer one request. Raises Violation or Refused."""
        body = opened(raw)
        given = responses_validity.check(body, allow_prefill=self.allow_prefill)
        ratio = bytes_per_token(headers)
        model = model_of(body["model"])
        record.model = body["model"]
        record.stream = bool(body.get("stream"))
        items, before = self.memory.resolved(body.get("previous_response_id"), given)
        record.turn = answers(items)
        bound = {"force": True, "off": False}.get(headers.get("x-upstream-bound", ""), model.bound)
        responses_pairing.check(items, before)
        self.memory.check(items, before, record.label, bound)
        items = self.memory.whole(items)
        seen = prompt(body, items)
        digests = [hashlib.blake2b(piece, digest_size=16).digest() for piece in seen.line]
        record.prefix_kept = provided.prefix_kept(record.label, digests, list(map(len, seen.line)))
        if bound:
            record.dropped = self.memory.dropped(seen, items)
        reply = provided.reply_to(record, headers, body)
        if items[-1]["type"] == "compaction_trigger":
            reply = _compacted(reply)
        failed = failure(reply, record, request_id)
        if failed:
            return failed
        output, thought = self._said(record, body, reply, seen, items, b"".join(digests))
        split = self.caches.serve(record, headers, body, b"".join(seen.line), ratio, provided, model)
        visible = sum(len(canonical(level(item))) for item in output if item["type"] != "reasoning")
        reasoned = math.ceil(thought / ratio)
        spent = reply.get("output_tokens", reasoned + math.ceil(visible / ratio))
        usage = _usage(split, book(record, split, spent, model), spent, reasoned)
        record.content = reply["content"]
        identity = f"resp_{record.n:08d}"
        if body.get("store") is not False:
            self.memory.store(identity, items, output)
        sealed = body.get("store") is False or SEALED in (body.get("include") or [])
        sent = [responses_message.shown(item, sealed) for item in output]
        payload = responses_message.build(identity, record.time, body, sent, usage, reply)
        if record.dropped:
            why = {"type": "reasoning", "action": "removed", "reason": "prefix_mismatch"}
            payload["input_transformations"] = [{**why, "id": name} for name in record.dropped]
        return Answer(
            200,
            request_id,
            payload,
            reply=reply,
            stream=record.stream,
            events=responses_message.stream,
            failure=responses_message.failed(payload, reply["fail_after_events"])
            if "fail_after_events" in reply
            else b"",
            id_header=ID_HEADER,
        )

    def _said(
        self, record: Record, body: dict[str, Any], reply: Reply, seen: Prompt, items: list[Item], seed: bytes
    ) -> tuple[list[Item], int]:
        """The items of the answer, and how many bytes of thinking are in them."""
        summarized = bool((body.get("reasoning") or {}).get("summary"))
        try:
            made = responses_message.drafts(reply["content"], declared(body, items), summarized, seed)
        except ValueError as error:
            raise Refused(500, f"script, turn {record.turn}: {error}") from None
        hidden = [secret for _, secret in made]
        minted = self.memory.mint(seen, items, [draft for draft, _ in made], hidden, record.label)
        return minted, sum(map(len, hidden))


def _compacted(reply: Reply) -> Reply:
    """What answers a compaction trigger: one compaction, unless the script has one of its own or an error. A script
    that has nothing for this turn (404) has no say."""
    own = any(block.get("type") == "compaction" for block in reply.get("content", []))
    fails = "error" in reply and reply["error"]["status"] != 404
    return reply if own or fails else COMPACTION


def _usage(split: Split, written: int, output: int, reasoned: int) -> dict[str, Any]:
    return {
        "input_tokens": split.total,
        "input_tokens_details": {"cached_tokens": split.read, "cache_write_tokens": written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": min(reasoned, output)},
        "total_tokens": split.total + output,
    }
