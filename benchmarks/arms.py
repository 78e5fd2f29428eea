"""One recorded session, sent for real: streamed over HTTP to a fake provider, straight or through a proxy.

The client keeps its own history and sends back what it received, as clients do; what it received is compared with the
recording, so a reply that a proxy damaged does not go unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measure import Served
from benchmarks.rebuild import Session, Turn, encode
from benchmarks.traces import Block
from tests.agent.transport import Answer, Plain, Refused, assemble, events
from tests.upstream import Record, Upstream

OTHERS = "other sessions"


class Streaming(Plain):
    """Leaves out the empty piece of JSON that a call without arguments streams, so that it keeps its empty input."""

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        sent = encode(body)
        response = self._post("/v1/messages?beta=true", sent, headers)
        if response.status != 200:
            raise Refused(response.status, response.read().decode("utf-8", "replace"))
        whole = (event for event in events(response) if event.get("delta", {}).get("partial_json") != "")
        message = assemble(whole)
        response.read()
        return Answer(message["content"], message["stop_reason"], message["usage"], sent)


class Client:
    """Sends the turns of `session`, in order, to `url`; `upstream` is the provider behind it.

    `serve` raises tests.agent.transport.Refused when the request is answered with an error, OSError when not at all.
    """

    def __init__(self, session: Session, upstream: Upstream, url: str) -> None:
        self.session = session
        self.upstream = upstream
        self.transport = Streaming(url, key="replay")
        self.others = Plain(upstream.url, key="replay")
        self.history: list[dict[str, Any]] = []
        self.segment = -1
        self.complaints: list[str] = []

    def serve(self, turn: Turn) -> Served:
        """Sends one request; what is billed includes every attempt that reached the provider."""
        if turn.segment != self.segment:
            self._enter(turn.segment)
        common = {
            "x-upstream-clock": repr(turn.at),
            "x-mmu-clock": repr(turn.at),
            "x-upstream-bytes-per-token": repr(self.session.ratio.bytes_per_token),
        }
        if turn.warm:
            others = {"x-upstream-session": OTHERS, "x-upstream-account": self.session.name}
            self.others.send(self.session.priming(turn), {**self.session.headers(), **common, **others})
        before = len(self.upstream.log)
        answer = self.transport.send(
            self.session.body(turn, self.history),
            {
                **self.session.headers(),
                **common,
                "x-upstream-session": self.session.name,
                "x-upstream-script": self._script,
            },
        )
        if _plain(answer.content) != _plain(self.session.reply(turn)):
            self.complaints.append(f"request {turn.index}: the reply that arrived is not the one that was sent")
        self.history[turn.upto] = {"role": "assistant", "content": answer.content}
        mine = [record for record in self.upstream.log[before:] if record.label == self.session.name]
        return self._served(turn, mine)

    def close(self) -> None:
        self.transport.close()
        self.others.close()

    @property
    def _script(self) -> str:
        return f"{self.session.name}/{self.segment}"

    def _enter(self, segment: int) -> None:
        self.segment = segment
        self.history = list(self.session.segments[segment])
        ratio = self.session.ratio.bytes_per_token
        replies = [message["content"] for message in self.history if message["role"] == "assistant"]
        self.upstream.script(
            self._script,
            [{"content": reply, "output_tokens": round(len(encode(reply)) / ratio)} for reply in replies],
        )

    def _served(self, turn: Turn, records: Sequence[Record]) -> Served:
        if not records:
            raise RuntimeError(f"{self.session.name}: request {turn.index} was answered but never reached the provider")
        for record in records:
            if record.violation:
                self.complaints.append(f"request {turn.index} was refused: {record.violation}")
        last = records[-1]
        body = json.loads(last.body)
        for record in records:
            record.kept = None
        used = last.usage
        return Served(
            body=body,
            fresh=used["input_tokens"],
            read=used["cache_read_input_tokens"],
            written=used["cache_creation"]["ephemeral_5m_input_tokens"],
            written_hour=used["cache_creation"]["ephemeral_1h_input_tokens"],
            output=used["output_tokens"],
            dollars=sum(record.dollars for record in records),
            prefix_kept=last.prefix_kept,
        )


def _plain(content: Sequence[Block]) -> list[Block]:
    return [{key: value for key, value in block.items() if key != "signature"} for block in content]
