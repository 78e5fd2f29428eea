"""The `anthropic` SDK as a transport: what most agents are made of."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic

from .transport import Answer

OWN = ("content-type", "anthropic-version")


class Sdk:
    """`url`: the base URL; `proxy` and `ca` as for `Plain`. Retries are the SDK's own (`retries` of them)."""

    def __init__(
        self, url: str, *, proxy: str = "", ca: Path | None = None, key: str = "test-key", retries: int = 2
    ) -> None:
        tls: Any = ssl.create_default_context(cafile=str(ca)) if ca else True
        self._sent: list[bytes] = []
        http = anthropic.DefaultHttpxClient(
            proxy=proxy or None, verify=tls, trust_env=False, event_hooks={"request": [self._note]}
        )
        self.client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=retries, timeout=60, http_client=http)

    def _note(self, request: Any) -> None:
        self._sent.append(request.read())

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        given: Any = {key: value for key, value in body.items() if key != "stream"}
        extra = {name: value for name, value in headers.items() if name not in OWN}
        if body.get("stream"):
            with self.client.messages.stream(**given, extra_headers=extra) as stream:
                message = stream.get_final_message()
        else:
            message = self.client.messages.create(**given, extra_headers=extra)
        content = [block.model_dump(mode="json", exclude_unset=True, exclude_none=True) for block in message.content]
        return Answer(content, message.stop_reason or "", message.usage.model_dump(mode="json"), self._sent[-1])

    def close(self) -> None:
        self.client.close()
