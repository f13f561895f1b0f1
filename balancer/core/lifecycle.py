"""The states of a worker as the master sees them, and what moves it from one to the next.

Everything is in ``TRANSITIONS``.  A state that doesn't list an event ignores it: a heartbeat may
come late, and a worker can be told to leave twice.  ``DEAD`` is final, and ``EXIT`` (its pidfd says
so; nothing else does) leads there from everywhere.

``DRAINED`` is a person's wish for one worker: it is idle, and can be put back.  The wish ends with
the worker; who follows it in the slot, after its death or by a roll, is in service.

An id is never reused.  What lives on is the *slot* (1…N): while its worker is dead and the next one
waits for its turn, the slot is in *backoff* (``core.respawn``).
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "Event", "State", "step"]


class State(Enum):
    """What a worker is doing; the values are those of ``balancer status``."""

    STARTING = "starting"  # forked, not ready yet
    READY = "ready"  # takes connections
    STALLED = "stalled"  # no heartbeat for a second: gets none until there is one
    DRAINED = "drained"  # out of service by hand: finishes what it has, and stays
    DRAINING = "draining"  # finishes what it has, gets nothing new, and leaves
    STOPPING = "stopping"  # told to end now, or being killed
    DEAD = "dead"


class Event(Enum):
    """What happens to a worker."""

    READY = "ready"
    SILENT = "silent"
    BEAT = "beat"
    PARK = "park"  # drain and stay
    RESUME = "resume"
    DRAIN = "drain"
    STOP = "stop"
    EXIT = "exit"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.STARTING: {
        Event.READY: State.READY,
        Event.DRAIN: State.STOPPING,  # it has nothing to finish
        Event.STOP: State.STOPPING,
        Event.EXIT: State.DEAD,
    },
    State.READY: {
        Event.SILENT: State.STALLED,
        Event.PARK: State.DRAINED,
        Event.DRAIN: State.DRAINING,
        Event.STOP: State.STOPPING,
        Event.EXIT: State.DEAD,
    },
    State.STALLED: {
        Event.BEAT: State.READY,
        Event.PARK: State.DRAINED,
        Event.DRAIN: State.DRAINING,
        Event.STOP: State.STOPPING,
        Event.EXIT: State.DEAD,
    },
    State.DRAINED: {
        Event.RESUME: State.READY,
        Event.DRAIN: State.DRAINING,
        Event.STOP: State.STOPPING,
        Event.EXIT: State.DEAD,
    },
    State.DRAINING: {
        Event.STOP: State.STOPPING,
        Event.EXIT: State.DEAD,
    },
    State.STOPPING: {Event.EXIT: State.DEAD},
    State.DEAD: {},
}


def step(state: State, event: Event) -> State:
    """The state after an event; the same one where the event means nothing."""
    return TRANSITIONS[state].get(event, state)
