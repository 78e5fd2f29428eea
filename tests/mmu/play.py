"""One agent, the planner and the strict provider, in process, by the same functions that the proxy calls.

Every request checks every invariant: nothing lost, nothing sent earlier changes, never an invalid request. Where the
API can have recalls answered unseen, some are; all others reach the client, and its refusal gives way to the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from addon.call import Call as UnderWay
from addon.keeper import Name, _row, _view
from addon.mmu.evict import Policy
from addon.mmu.handle import PREFIX
from addon.mmu.page import NAME
from addon.mmu.plan import Plan, plan, rewrite, without_new
from addon.mmu.view import DIGEST, GONE, Change, Descent, Splice, View, restore
from addon.recall import patch
from addon.recall.offer import offer
from addon.recall.relay import Relay
from addon.recall.replay import Expanded, expanded
from addon.watch.metrics import Metrics
from addon.wire import exchange, rules
from addon.wire.apis import clearing, relaying
from addon.wire.conversation import Conversation
from addon.wire.exchange import Round
from storage import records
from tests.mmu.relaying import Pager, respond
from tests.mmu.sessions import NAMES, Call, Move, Project, spell
from tests.mmu.spellings import Messages, Spelling
from tests.upstream.direct import text, user
from tests.upstream.provider import Provider

BOUND, FREE = "claude-opus-5-5", "claude-opus-4-8"
EAGER = Policy(file_age=2, output_age=1, every_file_age=2, every_output_age=1, least=20, every_least=20)


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


def rounds(found: Expanded) -> list[Round]:
    """Those of the hidden exchanges in a request."""
    return [round_ for splice in found.splices.values() for round_ in exchange.load(splice.text or "").rounds]


@dataclass
class Play:
    """One agent, the planner and the strict provider."""

    model: str
    style: int
    policy: Policy = EAGER
    caching: bool = True
    spelling: Spelling = field(default_factory=Messages)
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
    loose: dict[str, dict[str, Splice]] = field(default_factory=dict)
    """Hidden exchanges that were made in an outage, by line."""
    shown: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = field(default_factory=dict)
    """By anchor, the message that a hidden exchange was shown as, the one before it, and what that one said."""
    carried: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """By line, the anchor of an exchange and what the provider has seen when it had gone on with it."""
    found: Expanded = field(default_factory=lambda: Expanded(""))
    """The hidden exchanges in the request under way."""
    relayed: str = ""
    """The anchor of the exchange that the last response hides."""
    hidden: int = 0

    def body(self) -> bytes:
        self.count += 1
        made = self.spelling.request(self.messages, self.model, self.count, self.style, caching=self.caching)
        return spell(made, self.style)

    def parse(self, body: bytes) -> Conversation:
        return self.spelling.api.parse(body, path=self.spelling.path)

    def request(self, move: Move, *, outage: bool = False) -> list[dict[str, Any]] | None:
        """One request: plan, check every invariant, send. Returns the blocks of the answer that the client gets, if it
        gets one."""
        api = self.spelling.api
        asked = self.parse(self.body())
        known = [*(v.splices for v in self.known()), *self.loose.values()]
        self.found = found = expanded(relaying(api), asked, known)
        body = found.text.encode()
        client = self.parse(body)
        assert rules.worsened(asked, client, api.RULES) == []
        self.complete(asked, found)
        draft = self.plan(asked, client, f"line-{len(self.lines)}")
        if outage:
            draft = without_new(draft)
        out = rewrite(client, draft.table, draft.splices)
        parsed = self.parse(out)
        for page in draft.pages:
            self.pages[page.id] = page.text

        pardoned = {draft.table.by_anchor[a].block.call for a, s in draft.splices.items() if s.pardons}
        assert rules.broken(client, parsed, pardoned, api.RULES) == []
        self.handles = [s.page for s in draft.splices.values() if s.change is Change.EVICT]
        assert restore(parsed, draft.splices, self.pages).encode() == body
        self.untouched(client, draft, out)
        self.sound(draft)
        self.monotone(draft, out)
        self.keep(draft, out, outage)
        if not outage:
            self.loose.pop(draft.view.id, None)
            self.same_again(asked, out)
        self.stands(out)
        return self.send(move, draft, asked, out, outage)

    def known(self) -> list[View]:
        """The lines as a store gives them, the last used first."""
        latest = list(self.lines.values())[::-1]
        return sorted(latest, key=lambda view: -view.last_at)

    def plan(self, asked: Conversation, client: Conversation, fresh: str) -> Plan:
        """The plan, with the answers to recalls as the pager would have them: to those that the client was shown."""
        answers = {call: patch.answered(ask, self.pages).text for call, ask in patch.asks(asked).items()}
        return plan(
            client,
            self.known(),
            self.now,
            self.policy,
            lambda words, _: len(words) // 4,
            fresh,
            offer=offer(self.spelling.api),
            answers=answers,
            relayed=self.found.splices,
            clears=clearing(self.spelling.api) is not None,
        )

    def complete(self, asked: Conversation, found: Expanded) -> None:
        """What was hidden is back where its message is, and taken out again it leaves what the client sent."""
        back = self.spelling.withdrawn(json.loads(found.text), rounds(found))
        sent = self.spelling.withdrawn(json.loads(asked.text), ())
        assert list(map(meaning, back)) == list(map(meaning, sent))
        places = {id(message): n for n, message in enumerate(self.messages)}
        for anchor, (shown, before, said) in self.shown.items():
            at = places.get(id(shown))
            if at is not None and at + 1 < len(places) and self.messages[at - 1] is before and meaning(before) == said:
                # Asked again, a model may say the same behind other calls, and no client tells which answer it kept.
                assert anchor.split(":")[:2] in [other.split(":")[:2] for other in found.splices]

    def stands(self, out: bytes) -> None:
        """Every page that was recalled unseen is there in full, or was evicted and has a handle that resolves."""
        results = self.spelling.results(json.loads(out))
        for call, words in self.spelling.recalled(self.found.text, rounds(self.found)).items():
            if results[call] != words:
                assert results[call].startswith(PREFIX)
                assert self.pages[results[call].removeprefix(PREFIX).partition(":")[0]] == words

    def untouched(self, client: Conversation, draft: Plan, out: bytes) -> None:
        """Outside splices every byte is the client's: blanking what was replaced makes both bodies equal."""
        before, after = json.loads(client.text), json.loads(out)
        replaced = {(e.block.call, e.block.part) for e in draft.table.entries if e.anchor in draft.splices}
        tools = self.spelling.declared(after)
        assert len(tools) - len(NAMES) == sum(s.change is Change.TOOL for s in draft.splices.values())
        del tools[len(NAMES) :]
        pardoned = {draft.table.by_anchor[a].block.call for a, s in draft.splices.items() if s.pardons}
        for body in (before, after):
            self.spelling.blank(body, replaced, pardoned)
        assert before == after

    def sound(self, draft: Plan) -> None:
        """Errors are not evicted; what just arrived is at most folded; a fold refers to nothing but resident text."""
        for entry in draft.table.entries:
            found = draft.splices.get(entry.anchor)
            if found is None:
                continue
            assert not entry.block.error or found.pardons or found.change is Change.CLEAR
            assert not found.pardons or entry.recalled
            if entry.arrival == draft.table.requests:
                # A fork shows what its line had evicted, in a message that is another one now.
                parent = draft.line.parent
                assert found.change not in GONE or (parent is not None and entry.anchor in parent.splices)
            if found.change is Change.FOLD:
                for needed in found.needs:
                    assert needed in draft.table.by_anchor
                    assert needed not in draft.splices

    def monotone(self, draft: Plan, out: bytes) -> None:
        """What the provider has seen of a line is sent again, up to where an epoch or the client changed it."""
        now = [meaning(m) for m in self.spelling.turns(json.loads(out))]
        line = draft.line
        if line.parent is not None:
            before = self.sent[line.parent.id]
            upto = line.seen if draft.epoch is None else min(line.seen, draft.epoch.start)
            assert now[:upto] == before[:upto]
            anchor, seen = self.carried.pop(line.parent.id, ("", []))
            unchanged = DIGEST * line.seen >= len(line.parent.digests)
            if anchor in self.found.splices and unchanged and draft.epoch is None:
                assert now[: len(seen)] == seen
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

    def same_again(self, asked: Conversation, out: bytes) -> None:
        """After a restart the same request goes out the same, to the byte."""
        self.found = expanded(relaying(self.spelling.api), asked, [view.splices for view in self.known()])
        client = self.parse(self.found.text.encode())
        again = self.plan(asked, client, "new")
        assert again.line.how is Descent.REPEATED
        assert rewrite(client, again.table, again.splices) == out

    def send(
        self, move: Move, draft: Plan, asked: Conversation, out: bytes, outage: bool
    ) -> list[dict[str, Any]] | None:
        api = self.spelling.api
        offered = any(splice.change is Change.TOOL for splice in draft.splices.values())
        relays = relaying(api) is not None and offered and move.relays
        told = self.told(move, relays)
        self.relayed = ""

        def ask(body: bytes) -> dict[str, Any]:
            content = next(told)
            self.provider.script("s", lambda _: {"content": content})
            headers = {
                "anthropic-version": "2023-06-01", "x-upstream-clock": str(self.now), "x-upstream-script": "s",
                "x-upstream-session": "p",
            }  # fmt: skip
            answer = self.provider.handle("POST", self.spelling.path, headers, body, body)
            assert answer.status == 200, self.provider.log[-1].violation
            return answer.payload

        first = ask(out)
        way = relaying(api)
        if not relays or way is None:
            return self.spelling.said(first)
        pager = Pager(self, through_the_store, outage=outage)
        read = self.parse(self.found.text.encode())
        call = UnderWay(api, Name("t", "o", "h"), read, draft, b"", True, not outage)
        call.client = asked
        relay = Relay(call, way, out, pager, Metrics())
        shown, last = respond(relay, self.spelling, first, ask, broken=move.event == "broken")
        self.hidden += 1
        self.relayed = pager.anchor
        if last:
            self.carried[draft.view.id] = pager.anchor, [meaning(m) for m in self.spelling.turns(json.loads(last))]
        return None if shown is None else self.spelling.said(shown)

    def told(self, move: Move, relays: bool) -> Iterator[list[dict[str, Any]]]:
        """What the model says: one answer, or several where it is carried on."""
        recalls = [c for c in move.calls if c.tool == NAME]
        others = [c for c in move.calls if c.tool != NAME]
        rounds = [[c] for c in recalls] + [others] if move.apart else [list(move.calls), *([] if others else [[]])]
        for calls in rounds if relays else [list(move.calls)]:
            content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "hm"}] if move.think else []
            content += [text(move.say)] if move.say else []
            content += [{"type": "tool_use", "name": c.tool, "input": self.given(c)} for c in calls]
            yield content if calls or move.say else [*content, text("done")]

    def given(self, call: Call) -> dict[str, Any]:
        """The call's arguments; a recall names a page whose handle the model has seen, if there is one."""
        if call.tool != NAME:
            return call.arguments
        rest = {k: v for k, v in call.arguments.items() if k != "nth"}
        nth = call.arguments["nth"]
        return {"page": self.handles[nth] if nth < len(self.handles) else "0123456789ab", **rest}

    def play(self, moves: list[Move]) -> None:
        for move in moves:
            before = self.messages[-1]
            if move.event == "reminder" and not (self.model == BOUND and self.thinks(move)):
                self.messages[-1] = {"role": "user", "content": [*before["content"], text("By the way.")]}
            answer = self.request(move, outage=move.event == "outage")
            if answer is None:
                answer = self.request(replace(move, event="", say="Again. " + move.say))
            elif move.event == "retry":
                self.request(move)
            self.messages[-1] = before
            assert answer is not None
            self.messages.append({"role": "assistant", "content": answer})
            if self.relayed and move.event != "reminder":
                self.shown[self.relayed] = self.messages[-1], before, meaning(before)
            calls = [b["id"] for b in answer if b["type"] == "tool_use"]
            asked = [c for c in move.calls if not (self.relayed and c.tool == NAME)]
            back = [self.project.result(c, i) for c, i in zip(asked, calls, strict=True)]
            said = move.human or ("" if calls else "go on")
            self.messages.append({"role": "user", "content": [*back, *([text(said)] if said else [])]})
            self.now += move.idle * (self.spelling.pace if self.caching else 1)
            self.accident(move)

    def accident(self, move: Move) -> None:
        """What clients do to their own history. With bound reasoning these would be the client's own mistake."""
        thinking = self.thinks()
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

    def thinks(self, move: Move | None = None) -> bool:
        """Whether there is reasoning in the transcript, or will be."""
        blocks = (b for m in self.messages for b in m["content"] if isinstance(b, dict))
        return (move is not None and move.think) or any(b["type"] == "thinking" for b in blocks)

    def mend(self) -> None:
        """Answer calls that a rewind left open, as clients do."""
        before = self.messages[-2]["content"] if len(self.messages) > 1 else []
        open_ = [b["id"] for b in before if isinstance(b, dict) and b["type"] == "tool_use"]
        done = {b.get("tool_use_id") for b in self.messages[-1]["content"]}
        missing = [i for i in open_ if i not in done]
        self.messages[-1]["content"][:0] = [
            {"type": "tool_result", "tool_use_id": i, "content": "Interrupted", "is_error": True} for i in missing
        ]
