"""Crash rounds: conversations at work all at once, while what they go through is killed again and again.

A round is decided by its seed: which sessions are played, what is killed, behind how many requests, and for how long
Redis and Postgres stay away. (How requests interleave is not.) Nothing is compared with an undisturbed run, for what
was learned is written behind and a kill may lose it. What must hold all the same:

- the provider refuses nothing;
- every request that reached it can be taken back to what the client sent, with nothing but the store;
- while its cache is warm, what it has seen of a conversation is sent again unchanged, unless the client itself changed
  it. An attempt whose answer died with the proxy counts as seen;
- a client sees connections die with the proxy, and nothing else. It asks again, with the same bytes.

One thing is given up by design. Where the store does not answer in time, a request goes out by what the process has in
mind, or, where it has not seen the conversation yet, as the client wrote it. The second is not held against anybody,
nor is it that the first is forgotten when the process is killed before the conversation's next request. Both are
counted. Of Postgres and the proxy, one is not killed in the shadow of the other: a proxy that has just begun and finds
no store knows no conversation, and a model that binds its reasoning refuses what it then sends.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.agent.loop import Agent
from tests.agent.session import build
from tests.agent.transport import Answer, Plain, Refused, spell
from tests.e2e.ledger import Kept, read, taken_back
from tests.e2e.world import World, is_prefix, world
from tests.harness import told
from tests.harness.postgres import Postgres
from tests.harness.redis_server import Server
from tests.upstream import Record

NUMBER = "x-crash-request"
"""The header that tells which of its client's requests an attempt belongs to."""
ASK_AGAIN = 60.0
"""Seconds for which a client asks again."""
AWAY = 20
"""Requests, at most, that are answered while Redis or Postgres is away."""
LONG = 24
"""Requests from which on a session can be rewound and compacted."""

VARIANTS: tuple[tuple[dict[str, bool], dict[str, Any], float], ...] = (
    ({}, {}, 300.0),
    ({"compact": True, "rewind": True}, {}, 300.0),
    ({"thinking": True}, {"model": "claude-opus-5-5"}, 300.0),
    ({}, {"ttl": "1h"}, 3600.0),
)
"""Kinds of conversations: of the session, of the client, and the seconds for which the provider's cache keeps it."""


@dataclass(slots=True)
class Lives:
    """How often the proxy has died or come back: odd while it is dead."""

    turns: int = 0

    def died_since(self, before: int) -> bool:
        return self.turns != before or before % 2 == 1


@dataclass(slots=True)
class Outcome:
    """What rounds came to. `longest`: seconds that a client waited for one answer, all attempts together. `rewritten`:
    attempts that arrived otherwise than sent. `by_memory`, `untouched`: those that went out without the store, and how.
    `violations`: what did not hold, and where."""

    requests: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    longest: float = 0.0
    rewritten: int = 0
    by_memory: int = 0
    untouched: int = 0
    violations: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add up with another one."""
        self.requests += other.requests
        self.kills += other.kills
        self.retries += other.retries
        self.longest = max(self.longest, other.longest)
        self.rewritten += other.rewritten
        self.by_memory += other.by_memory
        self.untouched += other.untouched
        self.violations += other.violations


class Stubborn:
    """A transport that asks again when a connection dies with the proxy. Every body it was given is kept."""

    def __init__(self, inner: Plain, lives: Lives) -> None:
        self.inner, self.lives = inner, lives
        self.sent: list[bytes] = []
        self.retries, self.longest = 0, 0.0

    def send(self, body: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self.sent.append(spell(body))
        began = time.monotonic()
        pause = 0.05
        while True:
            before = self.lives.turns
            try:
                return self.inner.send(body, {**headers, NUMBER: str(len(self.sent))})
            except (OSError, HTTPException, EOFError, ValueError):  # ValueError: an event that was cut in two
                self.inner.close()
                if not self.lives.died_since(before) or time.monotonic() - began > ASK_AGAIN:
                    raise
                self.retries += 1
                time.sleep(pause)
                pause = min(2 * pause, 0.5)
            finally:
                self.longest = max(self.longest, time.monotonic() - began)


class Conversation(threading.Thread):
    """One agent at work, until its session ends or something goes wrong."""

    def __init__(self, agent: Agent, way: Stubborn, lifetime: float, answered: Callable[[], None]) -> None:
        super().__init__(name=agent.label, daemon=True)
        self.agent, self.way, self.lifetime, self.answered = agent, way, lifetime, answered
        self.answers = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for exchange in self.agent.play():
                self.answers = exchange.number
                self.answered()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the round that tells
            self.error = error


class Round:
    """One round of so many `requests` in all."""

    def __init__(self, seed: int, requests: int = 200, *, conversations: int = 8, kills: int = 8) -> None:
        self.rng = random.Random(f"crash {seed}")
        self.each, self.conversations, self.kills = requests // conversations, conversations, kills
        self.outcome = Outcome()
        self.lives = Lives()
        self.done = 0
        self._lock = threading.Condition()

    def play(self, folder: Path, redis: Server | None, postgres: Postgres | None) -> Outcome:
        """Plays it and checks it, on SQLite where there is no Postgres. Leaves both servers running."""
        store = postgres.empty() if postgres else ""
        options: dict[str, Any] = {"mmu_policy": "patient", "mmu_store": store, "mmu_redis": redis.url if redis else ""}
        servers = {"redis": redis, "postgres": postgres}
        with world(folder, billed=False, scripts=[Path(told.__file__)], **options) as there:
            talks = [self._conversation(there, n) for n in range(self.conversations)]
            for talk in talks:
                talk.start()
            self._kill_at_will(there, {name: each for name, each in servers.items() if each}, talks)
            for talk in talks:
                talk.join()
                self._judge(there, talk, store)
        return self.outcome

    def _conversation(self, there: World, number: int) -> Conversation:
        kinds = VARIANTS if self.each >= LONG else [each for each in VARIANTS if "compact" not in each[0]]
        session, client, lifetime = kinds[number % len(kinds)]
        agent = there.agent(build(self.rng.randrange(1 << 32), self.each, **session), plain=True, **client)
        assert isinstance(agent.transport, Plain)
        agent.transport = way = Stubborn(agent.transport, self.lives)
        return Conversation(agent, way, lifetime, self._answered)

    def _answered(self) -> None:
        with self._lock:
            self.done += 1
            self._lock.notify_all()

    def _wait(self, until: int, talks: Sequence[Conversation]) -> None:
        """Until so many requests have been answered, or all is over."""
        with self._lock:
            while self.done < until and any(talk.is_alive() for talk in talks):
                self._lock.wait(0.1)

    def _kill_at_will(
        self, there: World, servers: Mapping[str, Server | Postgres], talks: Sequence[Conversation]
    ) -> None:
        kinds = ["proxy", *servers]
        total = self.each * self.conversations
        for n, at in enumerate(sorted(self.rng.sample(range(4, total - 4), self.kills))):
            kind = kinds[n] if n < len(kinds) else self.rng.choice(kinds)
            away, pause = self.rng.randrange(AWAY), self.rng.random() * 0.05
            self._wait(at, talks)
            if "postgres" in servers and kind != "redis":
                self._settle(talks)
            if not any(talk.is_alive() for talk in talks):
                return
            time.sleep(pause)  # so that it happens in the middle of requests, not always at their end
            self.outcome.kills[kind] += 1
            if kind == "proxy":
                self.lives.turns += 1
                there.proxy.kill()
                there.proxy.start()
                self.lives.turns += 1
            else:
                servers[kind].kill()
                self._wait(self.done + away, talks)
                servers[kind].start()

    def _settle(self, talks: Sequence[Conversation]) -> None:
        """Until each conversation at work has sent a request, and has been answered, since now."""
        before = [talk.answers for talk in talks]
        with self._lock:
            while any(t.is_alive() and t.answers < n + 2 for t, n in zip(talks, before, strict=True)):
                self._lock.wait(0.1)

    def _judge(self, there: World, talk: Conversation, store: str) -> None:
        label, way, out = talk.agent.label, talk.way, self.outcome
        out.requests += talk.answers
        out.retries += way.retries
        out.longest = max(out.longest, way.longest)
        if talk.error is not None:
            kind = "refused" if isinstance(talk.error, Refused) else "error at a client"
            self._violated(kind, f"{label}, request {len(way.sent)}: {talk.error!r}")
        elif talk.answers != self.each:
            self._violated("error at a client", f"{label} left after {talk.answers} requests of {self.each}")
        records = there.seen(label)
        for record in records:
            if record.violation is not None:
                self._violated("invalid", f"{label}, request {number(record)}: {record.violation}")
        try:
            kept = read(there.proxy.home, talk.agent.client.session, store)
        except LookupError as error:
            self._violated("page lost", f"{label}: {error}")
            return
        out.rewritten += sum(record.body != way.sent[number(record) - 1] for record in records)
        for record in records:
            self._taken_back(label, record, way.sent[number(record) - 1], kept)
        self._prefixes(talk, records)

    def _taken_back(self, label: str, record: Record, sent: bytes, kept: Kept) -> None:
        back = b""
        with suppress(LookupError):
            back = taken_back(sent, record.body, kept)
        if back != sent:
            self._violated("altered", f"{label}, request {number(record)}: it cannot be taken back to what was sent")

    def _prefixes(self, talk: Conversation, records: Sequence[Record]) -> None:
        """Holds each attempt that arrived against the newest before it that the proxy must know of."""
        out, sent = self.outcome, talk.way.sent
        known: list[Record] = []
        for record in records:
            process, by_memory, untouched = said(record)
            out.by_memory += by_memory
            if untouched:
                out.untouched += 1
                continue
            before = next((each for each in reversed(known) if process == said(each)[0] or not said(each)[1]), None)
            known.append(record)
            if before is None or record.time - before.time >= talk.lifetime:
                continue
            earlier, client = sent[number(before) - 1], sent[number(record) - 1]
            if is_prefix(earlier, client) and not is_prefix(before.body, record.body):
                shown = [f"{number(r)} ({len(r.body)} bytes, {r.headers[told.TOLD]})" for r in (before, record)]
                self._violated("warm prefix", f"{talk.agent.label}: {shown[1]} does not begin as {shown[0]}")

    def _violated(self, kind: str, what: str) -> None:
        self.outcome.violations.append((kind, what))


def number(record: Record) -> int:
    """Which of its client's requests it is, from 1."""
    return int(record.headers[NUMBER])


def said(record: Record) -> tuple[str, bool, bool]:
    """By which process it was sent, and whether that was by what it had in mind, or as the client wrote it, because
    the store did not answer."""
    process, _, comment = record.headers[told.TOLD].partition(" ")
    return process, "replay only" in comment, "passed through (store" in comment
