"""What the store holds, by hand: what /pages and /api answer to whoever holds the token. Knows nothing of mitmproxy.

    /pages/ID            the exact text of a page
    /pages/ID,ID?lines=40-80&grep=REGEX
                         parts of one or several, answered as the recall tool answers
    /pages?q=WORDS       pages that hold all the words; `limit` says how many
    /api/ledger?by=day   what was billed, and what would have been, in JSON; by day, project or conversation, `since` a
                         day (YYYY-MM-DD)

`format=json`, or an Accept header that names application/json, gives JSON.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from addon.recall import desk
from addon.recall.answer import LONGEST, Ask, answer, read
from storage.errors import StoreError
from storage.records import Page
from storage.search import LIMIT
from storage.tiers import Hierarchy

PATH = "/pages"
LEDGER = "/api/ledger"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: status, body, and the headers that belong to it."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """A request for pages. `path` is without its query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""

    @property
    def json(self) -> bool:
        """Whether JSON is wanted."""
        given = self.query.get("format")
        return given == "json" if given else "application/json" in self.headers.get("accept", "")


def question(method: str, target: str, headers: Mapping[str, str]) -> Question:
    """From a request's target: a path, and a query behind it if there is one."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Question(method, parts.path, query, {name.lower(): value for name, value in headers.items()})


def concerns(path: str) -> bool:
    """Whether a path, without its query, is answered here."""
    return path in (PATH, LEDGER) or path.startswith(f"{PATH}/")


def opens(asked: Question, token: str) -> bool:
    """Whether the request shows the token. An empty token opens nothing."""
    scheme, _, bearer = asked.headers.get("authorization", "").partition(" ")
    shown = [asked.query.get("token", ""), bearer.strip() if scheme.lower() == "bearer" else ""]
    # every one is compared, so that the time taken says nothing
    found = [hmac.compare_digest(each.encode("utf-8", "replace"), token.encode()) for each in shown]
    return bool(token) and any(found)


async def reply(asked: Question, store: Hierarchy | None, token: str, where: str) -> Reply:
    """Answer a request. `store` is None when none is open; `where` names the file that the token is in."""
    if store is None:
        return _refusal(asked, 503, "No store is open here, so there is nothing to show; the proxy's log says why.")
    if not opens(asked, token):
        text = f"A token is needed: `Authorization: Bearer TOKEN`, or `?token=TOKEN`. It is in {where}."
        return _refusal(asked, 401, text, {"www-authenticate": "Bearer"})
    if asked.method != "GET":
        return _refusal(asked, 405, "All of this can only be read: GET.", {"allow": "GET"})
    try:
        if asked.path == LEDGER:
            return await _ledger(asked, store)
        ids = unquote(asked.path.removeprefix(PATH).strip("/"))
        return await (_pages(asked, store, ids) if ids else _search(asked, store))
    except StoreError as error:
        return _refusal(asked, 503, f"The store does not answer: {error}")


async def _pages(asked: Question, store: Hierarchy, ids: str) -> Reply:
    ask = read({"page": ids.replace(",", " "), "lines": asked.query.get("lines"), "grep": asked.query.get("grep")})
    if ask.problem:
        return _refusal(asked, 400, ask.problem)
    found = await desk.fetch(store, ask)
    # a page in whole is for a file or a pipe; parts are for a context window
    longest = sys.maxsize if ask.whole else LONGEST

    def work() -> Reply:
        texts = desk.texts(found)
        status = 200 if any(text is not None for text in texts.values()) else 404
        if not asked.json:
            return _text(status, answer(ask, texts, longest=longest), end="" if status == 200 else "\n")
        one = [_entry(replace(ask, pages=(id,)), page, texts, longest) for id, page in found.items()]
        return _json(status, one[0] if len(one) == 1 else {"pages": one})

    return await asyncio.to_thread(work)


def _entry(ask: Ask, page: Page | None, texts: Mapping[str, str | None], longest: int) -> dict[str, Any]:
    [id] = ask.pages
    text = answer(ask, texts, longest=longest)
    if page is None:
        return {"page": id, "error": text}
    return {"page": id, "kind": page.kind, "label": page.label, "size": len(page.text), "text": text}


async def _ledger(asked: Question, store: Hierarchy) -> Reply:
    by, since = asked.query.get("by", "day"), asked.query.get("since", "")
    try:
        if since:
            date.fromisoformat(since)
        found = await store.ledger(since=since, by=by)
    except ValueError as error:
        return _refusal(asked, 400, f"That cannot be summed up: {error}.")
    rows = [{by: key, "saved": sums["untouched"] - sums["billed"], **sums} for key, sums in found.items()]
    return _json(200, {"by": by, "since": since, "rows": rows})


async def _search(asked: Question, store: Hierarchy) -> Reply:
    words = asked.query.get("q", "")
    if not words:
        return _refusal(asked, 400, "Ask for /pages/ID, with ?lines=40-80 or ?grep=REGEX, or for /pages?q=WORDS.")
    try:
        hits = await store.search(words, int(asked.query.get("limit", LIMIT)))
    except ValueError as error:
        return _refusal(asked, 400, f"That cannot be searched: {error}.")
    return _json(200, {"pages": desk.listed(hits)}) if asked.json else _text(200, desk.told(hits))


def _refusal(asked: Question, status: int, text: str, more: Mapping[str, str] | None = None) -> Reply:
    made = _json(status, {"error": text}) if asked.json else _text(status, text)
    return replace(made, headers={**made.headers, **(more or {})})


def _text(status: int, text: str, end: str = "\n") -> Reply:
    return _made(status, text + end, "text/plain; charset=utf-8")


def _json(status: int, value: Mapping[str, Any]) -> Reply:
    return _made(status, json.dumps(value, ensure_ascii=False) + "\n", "application/json")


def _made(status: int, text: str, kind: str) -> Reply:
    headers = {"content-type": kind, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Reply(status, text.encode("utf-8", "replace"), headers)
