"""Which endpoint gets the next request: the policy's choice among those that should have it.

The policy knows nothing of health; this is where it is decided whom it may choose from:

1. the primaries that are ready;
2. when none of them is, the backups that are ready;
3. when too few primaries are ready (``health.panics``) and no backup is either: every primary but
   the drained ones; where all of those are drained, every backup but the drained ones.

That is the *pool*.  An endpoint that has its ``max`` is passed over, but it is not away: when all
of the pool are full the answer is to wait, and no reason to use a backup.

A request that failed at an endpoint and is tried again goes elsewhere: to a primary that is ready
and hasn't been tried, then to such a backup, then (in a panic) to what is left of the pool.  It
comes back to one that was tried only when nothing else would take it now.

An endpoint that has become available a moment ago counts with a part of its weight.  The pool is
worked out again only when an endpoint changes, an ejection ends or a slow start has come a step
further, so that a choice costs what the policy costs.

Source: HAProxy's and nginx's ``backup``, Envoy's panic threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from balancer.core.health import Availability, availability, panics, share
from balancer.core.policy.ewma import Ewma

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from balancer.core.policy import Policy

__all__ = ["Chooser", "ChooserConfig", "EndpointState"]

NEVER = float("inf")
STEPS = 100
"""In how many steps the weight rises in a slow start."""


@final
@dataclass(frozen=True, slots=True)
class EndpointState:
    """One row of the shared table, as far as a choice looks at it; times are monotonic seconds."""

    index: int
    name: str
    """The address as text."""
    weight: int = 1
    max: int = 0
    """Requests at a time, machine-wide; 0: any number."""
    backup: bool = False
    drained: bool = False
    down: bool = False
    ejected_until: float = 0.0
    since: float = -NEVER
    """Since when it is available; from the end of an ejection on, if that was later."""

    def availability(self, now: float) -> Availability:
        """Whether it may get requests, and why not."""
        return availability(
            drained=self.drained, down=self.down, ejected_until=self.ejected_until, now=now
        )


@final
@dataclass(frozen=True, slots=True)
class ChooserConfig:
    """How to choose, whatever the policy."""

    panic: float = 50
    """Per cent of the primaries that must be ready for us to believe that the others aren't."""
    slow_start: float = 0.0
    """Seconds until a returned endpoint has its whole weight; 0: at once."""


@final
class Chooser:
    """The endpoints, and the policy that is kept in step with them.

    Call ``update`` before the first ``choose`` and whenever the table's version has moved.  The
    policy is the chooser's alone.
    """

    def __init__(self, policy: Policy, config: ChooserConfig | None = None) -> None:
        self._policy = policy
        self._ewma = policy if isinstance(policy, Ewma) else None
        self._config = ChooserConfig() if config is None else config
        self._states: dict[int, EndpointState] = {}
        self._weights: dict[int, float] = {}
        self._ready: list[int] = []
        self._pool: list[int] = []
        self._offered: list[int] = []  # whom the policy knows of
        self._reweighed = False  # since the policy was told the weights
        self._bounded = False
        self._sole: int | None = None  # where there is nothing to choose
        self._stale_at = NEVER

    @property
    def uses_key(self) -> bool:
        """Whether a choice depends on the key, so that it must be made."""
        return self._policy.uses_key

    @property
    def uses_latency(self) -> bool:
        """Whether it depends on latencies, so that they must be ``observe``d."""
        return self._ewma is not None

    def update(self, endpoints: Sequence[EndpointState]) -> None:
        """The endpoints are these now: all of them."""
        states = {state.index: state for state in endpoints}
        for index, old in self._states.items():
            # A row may be used again: what the policy knew was of the address, not of the row.
            if index not in states or states[index].name != old.name:
                self._policy.forget(index)
        self._states = states
        self._stale_at = -NEVER

    def observe(self, index: int, seconds: float, now: float) -> None:
        """An endpoint has answered, after so many seconds; ``now`` is the clock of ``choose``.

        Where it has failed, say the longest that it could have taken (see ``Ewma.observe``).
        """
        if self._ewma is not None and index in self._states:
            self._ewma.observe(index, seconds, now)

    def usable(self, now: float) -> bool:
        """Whether there is any endpoint at all: else waiting for one to have room is in vain."""
        if now >= self._stale_at:
            self._refresh(now)
        return bool(self._pool)

    def choose(
        self,
        key: bytes,
        loads: Callable[[int], float],
        now: float,
        tried: Collection[int] = (),
        prefer: int | None = None,
    ) -> int | None:
        """The endpoint for a request; None when none has room (or there is none: ``usable``).

        Args:
            key: What a hash policy goes by; empty if the request has no such thing.
            loads: The requests that an endpoint has in progress, machine-wide.
            now: The time.
            tried: Where this request has failed already.
            prefer: Where its cookie says that it belongs: taken if ready, untried and not full,
                a backup too.
        """
        if now >= self._stale_at:
            self._refresh(now)
        if self._sole is not None and not tried:
            return self._sole
        if prefer in self._ready and prefer not in tried and self._has_room(prefer, loads):
            return prefer
        if tried:
            chosen = self._pick(self._untried(tried), key, loads)
            if chosen is not None:
                return chosen
        return self._pick(self._pool, key, loads)

    def _untried(self, tried: Collection[int]) -> list[int]:
        ready = [index for index in self._ready if index not in tried]
        primaries = [index for index in ready if not self._states[index].backup]
        return primaries or ready or [index for index in self._pool if index not in tried]

    def _pick(self, among: list[int], key: bytes, loads: Callable[[int], float]) -> int | None:
        if self._bounded:
            among = [index for index in among if self._has_room(index, loads)]
        policy, weights = self._policy, self._weights
        if among != self._offered or self._reweighed:
            self._withdraw_all_but(among)
            if not policy.uses_load:
                for index in among:
                    policy.offer(index, 0, weights[index])
        if policy.uses_load:
            for index in among:
                policy.offer(index, loads(index), weights[index])
        chosen = policy.pick(key)
        if chosen is not None and not policy.uses_load:
            policy.offer(chosen, 0, weights[chosen])  # else offered by the next choice, with a load
        return chosen

    def _withdraw_all_but(self, among: list[int]) -> None:
        # Not everybody: who stays keeps its turn.
        for index in self._offered:
            if index not in among:
                self._policy.withdraw(index)
        self._offered = among
        self._reweighed = False

    def _has_room(self, index: int, loads: Callable[[int], float]) -> bool:
        most = self._states[index].max
        return not most or loads(index) < most

    # -- the pool -----------------------------------------------------------------------------

    def _refresh(self, now: float) -> None:
        self._ready = self._find_ready(now)
        self._pool = self._find_pool()
        self._sole = None
        self._bounded = any(state.max for state in self._states.values())
        if len(self._pool) == len(self._ready) == 1 and not self._bounded:
            self._sole = self._pool[0]
        self._weigh(now)
        self._stale_at = self._next_change(now)
        self._reweighed = True

    def _find_ready(self, now: float) -> list[int]:
        states = self._states.values()
        return [s.index for s in states if s.availability(now) is Availability.READY]

    def _find_pool(self) -> list[int]:
        states = self._states
        primaries = [index for index in self._ready if not states[index].backup]
        backups = [index for index in self._ready if states[index].backup]
        willing = [state for state in states.values() if not state.drained]
        all_primaries = [state.index for state in willing if not state.backup]
        rest = all_primaries or [state.index for state in willing]
        if not backups and panics(len(primaries), len(rest), self._config.panic):
            return rest
        return primaries or backups

    def _weigh(self, now: float) -> None:
        slow_start = self._config.slow_start
        self._weights = {
            state.index: state.weight * share(_since(state, now), now, slow_start)
            for state in self._states.values()
        }

    def _next_change(self, now: float) -> float:
        change, slow_start = NEVER, self._config.slow_start
        for state in self._states.values():
            if now < state.ejected_until:
                change = min(change, state.ejected_until)
            elif now - _since(state, now) < slow_start:
                change = min(change, now + slow_start / STEPS)
        return change


def _since(state: EndpointState, now: float) -> float:
    """Since when it is available; an ejection that lasts counts for nothing (a panic needs all)."""
    return max(state.since, state.ejected_until) if state.ejected_until <= now else state.since
