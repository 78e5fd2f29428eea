"""Where the memory manager and the store meet: plans become batches, stored rows become views.

The store knows nothing of plans and the manager nothing of rows; this is the one place that knows both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from addon.mmu.plan import Plan
from addon.mmu.view import Change, Splice, View
from storage import records
from storage.records import Batch, Outcome, Stored
from storage.tiers import Hierarchy

VIEWS = 256
"""How many lines' views are kept converted."""


@dataclass(frozen=True, slots=True)
class Name:
    """Whose request it is, and by what its line is found."""

    tenant: str
    head: str
    session: str = ""
    project: str = ""
    client: str = ""


def tenant(key: bytes, headers: Mapping[str, str], metadata: Any) -> str:
    """A keyed hash of who pays: the credential itself is never kept.

    OAuth tokens are renewed in the middle of a conversation, so for them the account that the client states counts.
    """
    credential = headers.get("x-api-key", "") or headers.get("authorization", "")
    if credential.startswith("Bearer sk-ant-oat"):
        credential = _account(metadata) or credential
    return hmac.new(key, credential.encode("utf-8", "replace"), hashlib.blake2b).hexdigest()[:32]


def _account(metadata: Any) -> str:
    """The account part of Anthropic's `metadata.user_id`, "" when there is none."""
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str):
        return ""
    try:
        parsed = json.loads(user)
    except ValueError:
        return user.partition("_session_")[0] if "_session_" in user else ""
    if not isinstance(parsed, dict):
        return ""
    account = parsed.get("account_uuid") or parsed.get("device_id")
    return account if isinstance(account, str) else ""


def tenant_key(home: Path) -> bytes:
    """The key of the tenant hash, made on first use; readable by the owner alone."""
    path = home / "tenant.key"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != 32:
            raise ValueError(f"{path.name} is damaged: 32 bytes expected, {len(key)} found") from None
        return key
    with os.fdopen(descriptor, "wb") as file:
        file.write(key := secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    return key


def _view(stored: Stored) -> View:
    newest: dict[str, Splice] = {}
    for row in stored.splices:
        held = newest.get(row.anchor)
        if held is None or row.generation > held.generation:
            newest[row.anchor] = Splice(
                row.anchor, row.generation, Change(row.kind), row.page, row.text, row.spelling, row.needs, row.request
            )
    c = stored.conversation
    return View(c.id, c.requests, c.digests, c.last_at, newest, c.state)


def _row(splice: Splice) -> records.Splice:
    return records.Splice(
        anchor=splice.anchor,
        generation=splice.generation,
        kind=splice.change.value,
        page=splice.page,
        text=splice.text,
        needs=splice.needs,
        request=splice.request,
        spelling=splice.spelling,
    )


def _conversation(name: Name, view: View) -> records.Conversation:
    return records.Conversation(
        id=view.id,
        tenant=name.tenant,
        head=name.head,
        session=name.session,
        project=name.project,
        client=name.client,
        requests=view.requests,
        digests=view.digests,
        last_at=view.last_at,
        state=view.state,
    )


class Keeper:
    """Finds the lines known of a request and makes its plan durable."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        self._views: OrderedDict[tuple[str, int], View] = OrderedDict()
        # Lines whose last request went out although the store did not take it: what the provider has really seen.
        self._unstored: OrderedDict[str, View] = OrderedDict()

    async def known(self, name: Name) -> list[View]:
        """The lines that start alike or share the session, newest first."""
        out: list[View] = []
        for stored in await self.hierarchy.conversations(name.tenant, name.head, name.session):
            place = stored.conversation.id, stored.conversation.requests
            view = self._views.get(place)
            if view is None:
                view = _view(stored)
            self._keep(place, view)
            seen = self._unstored.get(view.id)
            if seen is not None and seen.requests == view.requests:
                view = replace(view, digests=seen.digests, last_at=seen.last_at, state=seen.state)
            out.append(view)
        return out

    async def commit(self, name: Name, plan: Plan, seconds: float) -> Outcome:
        """Make a plan durable. Only after STORED may its new splices leave."""
        view = plan.view
        splices = list(view.splices.values()) if plan.birth else plan.new
        pages = {
            p.id: records.Page(name.tenant, p.id, p.text.encode("utf-8"), p.kind, p.label) for p in plan.pages
        }
        batch = Batch(
            conversation=_conversation(name, view),
            expected=view.requests - 1,
            pages=list(pages.values()),
            splices=[_row(s) for s in splices],
        )
        outcome = await self.hierarchy.commit(batch, seconds)
        if outcome is Outcome.STORED:
            self._unstored.pop(view.id, None)
            self._keep((view.id, view.requests), view)
        return outcome

    def sent_unstored(self, plan: Plan) -> None:
        """Remember that a request went out with its replay although the store did not take it."""
        if not plan.birth:
            self._unstored[plan.view.id] = replace(plan.view, requests=plan.view.requests - 1)
            if len(self._unstored) > VIEWS:
                self._unstored.popitem(last=False)

    async def put_back(
        self, name: Name, view: View, splices: Sequence[Splice], seconds: float, state: Mapping[str, Any]
    ) -> Outcome:
        """Record splices that take earlier ones back, and facts about the line."""
        after = replace(
            view,
            requests=view.requests + 1,
            splices={**view.splices, **{s.anchor: s for s in splices}},
            state={**view.state, **state},
        )
        batch = Batch(_conversation(name, after), view.requests, (), [_row(s) for s in splices])
        return await self.hierarchy.commit(batch, seconds)

    def _keep(self, place: tuple[str, int], view: View) -> None:
        self._views[place] = view
        self._views.move_to_end(place)
        if len(self._views) > VIEWS:
            self._views.popitem(last=False)


class Memory:
    """A keeper that keeps nothing beyond the process: for observing without leaving a trace."""

    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[str, str], dict[str, View]] = OrderedDict()

    async def known(self, name: Name) -> list[View]:
        """The lines observed under the name, newest first."""
        lines = self._lines.get((name.tenant, name.head), {})
        return sorted(lines.values(), key=lambda view: -view.last_at)

    async def commit(self, name: Name, plan: Plan, seconds: float) -> Outcome:
        """Remember the plan."""
        del seconds
        place = name.tenant, name.head
        lines = self._lines.setdefault(place, {})
        lines[plan.view.id] = plan.view
        self._lines.move_to_end(place)
        if len(self._lines) > VIEWS:
            self._lines.popitem(last=False)
        return Outcome.STORED

    def sent_unstored(self, plan: Plan) -> None:
        """Nothing to do: what is kept in memory is always taken."""
