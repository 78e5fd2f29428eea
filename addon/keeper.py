"""Where the memory manager and the store meet: plans become batches, stored rows become views.

The store knows nothing of plans and the manager nothing of rows; this is the one place that knows both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from addon import keyfile
from addon.mmu.breakpoints import PURSE
from addon.mmu.ledger import REFRESHED, STATE
from addon.mmu.outlook import CREDIT, SCALE
from addon.mmu.plan import Plan
from addon.mmu.view import Change, Splice, View, pages_of
from storage import records, tallies
from storage.records import Batch, Outcome, Stored
from storage.tiers import Hierarchy

logger = logging.getLogger(__name__)

VIEWS = 256
"""How many lines' views are kept converted."""


@dataclass(frozen=True, slots=True)
class Name:
    """Whose request it is, and by what its line is found."""

    tenant: str
    opening: str
    """Names what stands before the model's first answer."""
    head: str
    """Names the start of the conversation up to that answer."""
    session: str = ""
    project: str = ""
    client: str = ""
    sub: bool = False
    """Whether another agent has handed the work on."""

    @property
    def key(self) -> str:
        """Names the conversations that begin alike: their requests are planned one after the other."""
        return self.tenant + self.opening


def tenant(key: bytes, headers: Mapping[str, str], metadata: Any, session: str, path: str = "") -> str:
    """A keyed hash of who pays: the credential itself is never kept.

    An API key stands for itself; Google's may be in a header of its own or in the query of the path. Bearer tokens are
    renewed in the middle of a conversation, so there the account that the client states counts, or else its session,
    whose name cannot be guessed.
    """
    stated = headers.get("x-api-key") or headers.get("x-goog-api-key")
    who = f"key {stated or ''.join(parse_qs(path.partition('?')[2]).get('key', ()))}"
    if bearer := headers.get("authorization", ""):
        account = _account(metadata) or _claimed(bearer)
        who = f"account {account}" if account else f"session {session}" if session else f"bearer {bearer}"
    return hmac.new(key, who.encode("utf-8", "replace"), hashlib.blake2b).hexdigest()[:32]


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


def _claimed(bearer: str) -> str:
    """Issuer and subject that a JSON web token claims, "" for any other token. They outlast its renewal."""
    try:
        _, middle, _ = bearer.removeprefix("Bearer ").split(".")
        claims = json.loads(urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return f"{claims['iss']} {claims['sub']}"
    except (ValueError, KeyError, TypeError):
        return ""


def tenant_key(home: Path) -> bytes:
    """The key of the tenant hash, made on first use; readable by the owner alone."""
    path = home / "tenant.key"
    key = keyfile.kept(path, lambda: secrets.token_bytes(32))
    if len(key) != 32:
        raise ValueError(f"{path} is damaged: 32 bytes expected, {len(key)} found. Without it no stored view is found")
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


SUMS = frozenset({CREDIT, SCALE, STATE, PURSE, REFRESHED, "models"})
"""What of a line's state is right only until its next request."""


@dataclass(frozen=True, slots=True)
class _News:
    """What responses have told of a line, and after which of its requests."""

    requests: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    sums: Mapping[str, Any] = field(default_factory=dict)

    def and_then(self, requests: int, news: Mapping[str, Any]) -> _News:
        """With what another response has told."""
        sums = {key: value for key, value in news.items() if key in SUMS}
        facts = {**self.facts, **{key: value for key, value in news.items() if key not in SUMS}}
        if requests < self.requests:
            return _News(self.requests, facts, self.sums)
        return _News(requests, facts, {**self.sums, **sums} if requests == self.requests else sums)

    def at(self, requests: int) -> dict[str, Any]:
        """What holds of a line that has had so many."""
        return {**self.facts, **(self.sums if requests <= self.requests else {})}


class Keeper:
    """Finds the lines known of a request and makes its plan durable."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        self._views: OrderedDict[tuple[str, int], View] = OrderedDict()
        self._latest: OrderedDict[str, tuple[str, View]] = OrderedDict()
        # Lines whose last request went out although the store did not take it: what the provider has really seen.
        # Their `requests` is the store's, 0 for a line that it does not have.
        self._unstored: OrderedDict[str, tuple[str, View]] = OrderedDict()
        self._news: OrderedDict[str, _News] = OrderedDict()

    async def known(self, name: Name) -> list[View]:
        """The lines that start alike or share the session. Raises StoreError."""
        rows = await self.hierarchy.conversations(name.tenant, name.head, name.session)
        if not rows and name.opening != name.head:
            rows = await self.hierarchy.conversations(name.tenant, name.opening, "")
        out: list[View] = []
        for row in rows:
            place = row.conversation.id, row.conversation.requests
            view = self._views.get(place) or _view(row)
            _keep(self._views, place, view)
            view = replace(view, state=row.conversation.state)  # another process may have been told more since
            _, seen = self._unstored.get(view.id, ("", None))
            if seen is not None and seen.requests == view.requests:
                view = replace(view, digests=seen.digests, last_at=seen.last_at, state=seen.state)
            out.append(self._informed(view))
        out += [v for owner, v in self._unstored.values() if owner == name.tenant and v.requests == 0]
        return out

    def remembered(self, name: Name) -> list[View]:
        """The tenant's lines that this process has seen lately, for when the store cannot be read."""
        lines = {view.id: view for owner, view in self._latest.values() if owner == name.tenant}
        lines.update((view.id, view) for owner, view in self._unstored.values() if owner == name.tenant)
        return [self._informed(view) for view in lines.values()]

    async def commit(self, name: Name, plan: Plan, seconds: float) -> Outcome:
        """Make a plan durable. Only after STORED may its new splices leave."""
        view = plan.view
        splices = list(view.splices.values()) if plan.birth else plan.new
        pages = {p.id: records.Page(name.tenant, p.id, p.text.encode("utf-8"), p.kind, p.label) for p in plan.pages}
        batch = Batch(
            conversation=_conversation(name, view),
            expected=view.requests - 1,
            pages=list(pages.values()),
            splices=[_row(s) for s in splices],
            holds=pages_of(view.splices) if plan.birth else (),
        )
        outcome = await self.hierarchy.commit(batch, seconds)
        if outcome is Outcome.STORED:
            self._unstored.pop(view.id, None)
            _keep(self._views, (view.id, view.requests), view)
            _keep(self._latest, view.id, (name.tenant, view))
        elif outcome is Outcome.FAILED:
            why = self.hierarchy.last_error.partition("\n")[0]  # behind it stands the statement with its values
            logger.warning("mitmmu: the store does not take what is new: %s", why)
        return outcome

    def sent_unstored(self, name: Name, plan: Plan) -> None:
        """Remember that a request went out with its replay although the store did not take it."""
        view = replace(plan.view, requests=plan.view.requests - 1)
        _keep(self._unstored, view.id, (name.tenant, view))

    def heard(self, name: Name, view: View, news: Mapping[str, Any]) -> None:
        """Remember what a response told of a line, and tell the store: the next request may come to another process."""
        if not news:
            return
        known = self._news.get(view.id, _News(0))
        told = known.and_then(view.requests, news)
        _keep(self._news, view.id, told)
        if view.id not in self._unstored:
            self.hierarchy.report(records.Report(_conversation(name, view), told.facts, told.sums))

    async def tallies(self, tenant: str, scope: str) -> dict[str, float]:
        """What was counted in a scope. Raises StoreError."""
        return await self.hierarchy.tallies(tenant, scope)

    def tally(self, tenant: str, scope: str, amounts: Mapping[str, float]) -> None:
        """Add to it."""
        self.hierarchy.tally(tenant, scope, amounts)

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
        if not view.requests:  # the store has nothing of the line yet, not even what it inherited
            splices = list(after.splices.values())
        holds = () if view.requests else pages_of(after.splices)
        batch = Batch(_conversation(name, after), view.requests, (), [_row(s) for s in splices], holds)
        outcome = await self.hierarchy.commit(batch, seconds)
        if outcome is Outcome.STORED:
            _keep(self._views, (after.id, after.requests), after)
            _keep(self._latest, after.id, (name.tenant, after))
        return outcome

    def _informed(self, view: View) -> View:
        news = self._news.get(view.id)
        return replace(view, state={**view.state, **news.at(view.requests)}) if news else view


def _keep[K, V](cache: OrderedDict[K, V], key: K, value: V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > VIEWS:
        cache.popitem(last=False)


class Memory:
    """A keeper that keeps nothing beyond the process: for observing without leaving a trace."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[str, View]] = OrderedDict()
        self._news: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._tallies: OrderedDict[tuple[str, str], dict[str, float]] = OrderedDict()

    async def known(self, name: Name) -> list[View]:
        """The tenant's lines observed lately."""
        return self.remembered(name)

    def remembered(self, name: Name) -> list[View]:
        """The same."""
        views = [view for owner, view in self._latest.values() if owner == name.tenant]
        return [replace(v, state={**v.state, **self._news.get(v.id, {})}) for v in views]

    async def commit(self, name: Name, plan: Plan, seconds: float) -> Outcome:
        """Remember the plan."""
        del seconds
        _keep(self._latest, plan.view.id, (name.tenant, plan.view))
        return Outcome.STORED

    def sent_unstored(self, name: Name, plan: Plan) -> None:
        """Nothing to do: what is kept in memory is always taken."""

    def heard(self, name: Name, view: View, news: Mapping[str, Any]) -> None:
        """Remember what a response told of a line."""
        del name
        if news:
            _keep(self._news, view.id, {**self._news.get(view.id, {}), **news})

    async def tallies(self, tenant: str, scope: str) -> dict[str, float]:
        """What was counted in a scope."""
        return dict(self._tallies.get((tenant, scope), {}))

    def tally(self, tenant: str, scope: str, amounts: Mapping[str, float]) -> None:
        """Add to it."""
        held = self._tallies.get((tenant, scope), {})
        _keep(self._tallies, (tenant, scope), tallies.faded(tallies.added(held, amounts)))
