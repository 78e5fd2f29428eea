"""A circuit breaker: what is known not to answer is not asked, and nobody waits for it.

closed     calls go through. A failure counts one, an answer takes half of one away, and at LIMIT the breaker opens:
           three failures in a row do it, and so does a service that fails more than one call in three for a while.
open       no call goes through. After a pause one probe is due.
half-open  the probe is on its way, and calls still do not go through: no call of a caller's is spent on finding out.
           An answer closes the breaker, a failure opens it again for twice the pause, up to LONGEST.

The rule is that of M. Nygard, Release It! (2007), "Circuit Breaker", with the trial call taken out of the callers'
hands. Pure: times are arguments, seconds of any clock that does not go back.
"""

from __future__ import annotations

from enum import IntEnum

LIMIT = 3.0
FORGIVEN = 0.5
SHORTEST = 0.25
LONGEST = 30.0


class State(IntEnum):
    """Numbered for a gauge: the higher, the worse."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Open at first, with a probe due at once: a service has to show that it is there."""

    def __init__(self) -> None:
        self.state = State.OPEN
        self.due = 0.0
        """When the next probe may go out; of meaning while open."""
        self._pause = SHORTEST
        self._failures = 0.0

    @property
    def closed(self) -> bool:
        """Whether a call may go through."""
        return self.state is State.CLOSED

    def answered(self) -> None:
        """A call came back in time."""
        self._failures = max(0.0, self._failures - FORGIVEN)

    def failed(self, now: float) -> bool:
        """A call failed or was late. Whether that opened the breaker: calls that went out before it opened change
        nothing any more."""
        if not self.closed:
            return False
        self._failures += 1
        if self._failures < LIMIT:
            return False
        self._open(now, SHORTEST)
        return True

    def probe(self, now: float) -> bool:
        """Whether a probe is to go out now; then `proved` must follow."""
        if self.state is not State.OPEN or now < self.due:
            return False
        self.state = State.HALF_OPEN
        return True

    def proved(self, well: bool, now: float) -> None:
        """What came of the probe."""
        if self.state is not State.HALF_OPEN:
            raise ValueError("no probe is on its way")
        if well:
            self.state, self._failures = State.CLOSED, 0.0
        else:
            self._open(now, min(2 * self._pause, LONGEST))

    def _open(self, now: float, pause: float) -> None:
        self.state, self._pause, self.due = State.OPEN, pause, now + pause
