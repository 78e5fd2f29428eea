"""One agent, the planner and the strict provider, in process, by the same functions that the proxy calls.

Every request checks every invariant: nothing lost, nothing sent earlier changes, never an invalid request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from addon.keeper import _row, _view
from addon.mmu.evict import Policy
from addon.mmu.plan import Plan, plan, rewrite, without_new
from addon.mmu.view import Change, Descent, View, restore
from addon.recall import patch
from addon.wire import rules
from addon.wire.conversation import Conversation
from storage import records
from tests.mmu.sessions import Call, Move, Project, spell
from tests.mmu.spellings import NAMES, Messages, Spelling
from tests.upstream.direct import text, user
from tests.upstream.provider import Provider

BOUND, FREE = "claude-opus-5-5", "claude-opus-4-8"
EAGER = Policy(file_age=2, output_age=1, least=20)


def through_the_store(view: View) -> View:
    """The view as it comes back from rows."""
    rows = tuple(_row(s) for s in view.splices.values())
    held = records.Conversation(
        view.id, "t", "h", "", "", "", view.requests, view.digests, view.last_at, json.loads(json.dumps(view.state))
    )
    return _view(records.Stored(held, rows))


def meaning(message: dict[str, Any]) -> str:
    """A message without what clients move about."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k != "cache_control"}
        return [strip(v) for v in value] if isinstance(value, list) else value

    content = message["content"]
    return json.dumps(strip({**message, "content": [text(content)] if isinstance(content, str) else content}))


@dataclass
class Play:
    """One agent, the planner and the strict provider."""

    model: str
    style: int
    policy: Policy = EAGER
    caching: bool = True
    api: Spelling = field(default_factory=Messages)
    provider: Provider = field(default_factory=Provider)
    project: Project = field(default_factory=Project)
    messages: list[dict[str, Any]] = field(default_factory=lambda: [user("Begin with grüße.")])
    lines: dict[str, View] = field(default_factory=dict)
    sent: dict[str, list[str]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    now: float = 1_000_000.0
    count: int = 0
    plans: list[Plan] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)

    def body(self) -> bytes:
        self.count += 1
        made = self.api.request(self.messages, self.model, self.count, self.style, caching=self.caching)
        return spell(made, self.style)

    def request(self, move: Move, *, outage: bool = False) -> list[dict[str, Any]]:
        """One request: plan, check every invariant, send. Returns the blocks of the provider's answer."""
        body = self.body()
        client = self.api.parse(body)
        draft = self.plan(client, f"line-{len(self.lines)}")
        if outage:
            draft = without_new(draft)
        out = rewrite(client, draft.table, draft.splices)
        parsed = self.api.parse(out)
        for page in draft.pages:
            self.pages[page.id] = page.text

        pardoned = {draft.table.by_anchor[a].block.call for a, s in draft.splices.items() if s.pardons}
        assert rules.broken(client, parsed, pardoned, self.api.rules) == []
        self.handles = [s.page for s in draft.splices.values() if s.change is Change.EVICT]
        assert restore(parsed, draft.splices, self.pages).encode() == body
        self.untouched(client, draft, out)
        self.sound(draft)
        self.monotone(draft, out)
        self.keep(draft, out, outage)
        if not outage:
            self.same_again(client, out)
        return self.send(move, out)

    def plan(self, client: Conversation, fresh: str) -> Plan:
        """The plan, with the answers to recalls as the hooks would have them."""
        asked = {call: patch.answered(ask, self.pages) for call, ask in patch.asks(client).items()}
        return plan(
            client,
            list(self.lines.values()),
            self.now,
            self.policy,
            lambda words, _: len(words) // 4,
            fresh,
            offer=self.api.offer,
            answers={call: answered.text for call, answered in asked.items()},
        )

    def untouched(self, client: Conversation, draft: Plan, out: bytes) -> None:
        """Outside splices every byte is the client's: blanking what was replaced makes both bodies equal."""
        before, after = json.loads(client.text), json.loads(out)
        replaced = {(e.block.call, e.block.part) for e in draft.table.entries if e.anchor in draft.splices}
        assert after["tools"][: len(NAMES)] == before["tools"]
        assert len(after["tools"]) - len(NAMES) == sum(s.change is Change.TOOL for s in draft.splices.values())
        before["tools"] = after["tools"] = []
        pardoned = {draft.table.by_anchor[a].block.call for a, s in draft.splices.items() if s.pardons}
        for body in (before, after):
            self.api.blank(body, replaced, pardoned)
        assert before == after

    def sound(self, draft: Plan) -> None:
        """Errors stay; what just arrived is at most folded; a fold refers to nothing but resident text."""
        for entry in draft.table.entries:
            found = draft.splices.get(entry.anchor)
            if found is None:
                continue
            assert not entry.block.error or found.pardons
            assert not found.pardons or entry.recalled
            if entry.arrival == draft.table.requests:
                assert found.change is not Change.EVICT
            if found.change is Change.FOLD:
                for needed in found.needs:
                    assert needed in draft.table.by_anchor
                    assert needed not in draft.splices

    def monotone(self, draft: Plan, out: bytes) -> None:
        """What the provider has seen of a line is sent again, up to where an epoch or the client changed it."""
        now = [meaning(m) for m in self.api.turns(json.loads(out))]
        line = draft.line
        if line.parent is not None:
            before = self.sent[line.parent.id]
            upto = line.seen if draft.epoch is None else min(line.seen, draft.epoch.start)
            assert now[:upto] == before[:upto]
        if line.how is Descent.REPEATED and len(now) < len(self.sent[draft.view.id]):
            return
        self.sent[draft.view.id] = now

    def keep(self, draft: Plan, out: bytes, outage: bool) -> None:
        if not outage:
            learned = {} if self.caching else {"cached": False}
            view = replace(draft.view, state={**draft.view.state, **learned})
            self.lines[draft.view.id] = through_the_store(view)
            self.plans.append(draft)
        else:
            self.lines[draft.view.id] = replace(draft.view, requests=draft.view.requests - 1)

    def same_again(self, client: Conversation, out: bytes) -> None:
        """After a restart the same request goes out the same, to the byte."""
        again = self.plan(client, "new")
        assert again.line.how is Descent.REPEATED
        assert rewrite(client, again.table, again.splices) == out

    def send(self, move: Move, out: bytes) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "hm"}] if move.think else []
        content += [text(move.say)] if move.say else []
        content += [{"type": "tool_use", "name": c.tool, "input": self.given(c)} for c in move.calls]
        if not move.say and not move.calls:
            content.append(text("done"))
        self.provider.script("s", lambda _: {"content": content})
        headers = {
            "anthropic-version": "2023-06-01", "x-upstream-clock": str(self.now), "x-upstream-script": "s",
            "x-upstream-session": "p",
        }  # fmt: skip
        answer = self.provider.handle("POST", self.api.path, headers, out, out)
        assert answer.status == 200, self.provider.log[-1].violation
        return self.api.said(answer.payload)

    def given(self, call: Call) -> dict[str, Any]:
        """The call's arguments; a recall names a page whose handle the model has seen, if there is one."""
        if call.tool != "mmu_recall":
            return call.arguments
        rest = {k: v for k, v in call.arguments.items() if k != "nth"}
        nth = call.arguments["nth"]
        return {"page": self.handles[nth] if nth < len(self.handles) else "0123456789ab", **rest}

    def play(self, moves: list[Move]) -> None:
        for move in moves:
            outage = move.event == "outage"
            answer = self.request(move, outage=outage)
            if move.event == "retry":
                self.request(move)
            self.messages.append({"role": "assistant", "content": answer})
            calls = [b["id"] for b in answer if b["type"] == "tool_use"]
            back = [self.project.result(c, i) for c, i in zip(move.calls, calls, strict=True)]
            said = move.human or ("" if calls else "go on")
            self.messages.append({"role": "user", "content": [*back, *([text(said)] if said else [])]})
            self.now += move.idle * (self.api.pace if self.caching else 1)
            self.accident(move)

    def accident(self, move: Move) -> None:
        """What clients do to their own history. With bound reasoning these would be the client's own mistake."""
        thinking = any(b["type"] == "thinking" for m in self.messages for b in m["content"] if isinstance(b, dict))
        if move.event == "rewind" and len(self.messages) > 4:
            del self.messages[len(self.messages) // 2 | 1 :]
            self.messages[-1:] = [user("another way")] if len(self.messages) % 2 else [self.messages[-1]]
            if self.messages[-1]["role"] == "assistant":
                self.messages.append(user("another way"))
            self.mend()
        elif move.event == "edit" and not (thinking and self.model == BOUND):
            for message in self.messages[: len(self.messages) // 2]:
                for block in message["content"]:
                    if block["type"] == "tool_result" and not block.get("is_error"):
                        block["content"] = "[Old tool result content cleared]"
                        return
        elif move.event == "compact":
            self.messages = [user(f"Summary so far, {self.count}.")]
        elif move.event == "touch" and self.messages[-1]["content"][-1]["type"] == "text":
            self.messages[-1]["content"][-1]["text"] += " (reminder)"
        elif move.event == "aside":
            kept = self.messages[-1]
            self.messages[-1] = {"role": "user", "content": [*kept["content"], text("Suggest a title.")]}
            self.request(replace(move, calls=(), think=False, say="A title"))
            self.messages[-1] = kept

    def mend(self) -> None:
        """Answer calls that a rewind left open, as clients do."""
        before = self.messages[-2]["content"] if len(self.messages) > 1 else []
        open_ = [b["id"] for b in before if isinstance(b, dict) and b["type"] == "tool_use"]
        done = {b.get("tool_use_id") for b in self.messages[-1]["content"]}
        missing = [i for i in open_ if i not in done]
        self.messages[-1]["content"][:0] = [
            {"type": "tool_result", "tool_use_id": i, "content": "Interrupted", "is_error": True} for i in missing
        ]
