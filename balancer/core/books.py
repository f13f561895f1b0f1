"""What the scheduler keeps books on: connections, their lanes, and the workers they go to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balancer.core.by_key import ByKey
    from balancer.core.free import Free

__all__ = [
    "ANYBODY",
    "COOL_DOWN",
    "NEVER",
    "Connection",
    "Hold",
    "Lane",
    "Queue",
    "Refusal",
    "WorkerBook",
]

COOL_DOWN = (0.1, 5.0)
"""The first and the longest time, in seconds, that a worker without file descriptors rests."""

NEVER = float("inf")

ANYBODY = -1
"""The owner of a lane that is for every worker."""


class Refusal(Enum):
    """Why a worker didn't take a connection."""

    FULL = "full"  # it has as many as it may: until it says that there is room
    NO_FDS = "no-fds"  # EMFILE: the descriptor didn't arrive
    DRAINING = "draining"  # it is on its way out
    SHUT = "shut"  # it takes nothing from this lane


class Hold(Flag):
    """Why a worker gets no connection now."""

    NOTHING = 0
    FULL = auto()  # refused as full, until it says that there is room
    COOLING = auto()  # refused for want of descriptors, for the cool-down
    OVERDUE = auto()  # a connection waited too long, until it acks or its heart beats
    SILENT = auto()  # no heartbeat for a second, until there is one
    CHANNEL = auto()  # its socket pair takes no more, until it acks or for the cool-down
    CLOSED = auto()  # draining or leaving


@final
@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection until a worker has acknowledged it."""

    number: int
    lane: int
    handle: int
    key: bytes
    sent_at: float = NEVER  # NEVER: it isn't on its way, not any more or not yet
    standing: float = 0.0  # of the worker that it was sent to, with it
    worker: int = 0  # 0: nobody's, it is queued
    overdue: bool = False
    redeliveries: int = 0
    tied_until: float = NEVER  # when it is for anybody; NEVER too, until ``by_key`` has seen it


@final
@dataclass(slots=True, eq=False)
class WorkerBook:
    """The scheduler's view of a worker."""

    id: int
    slot: int  # its place, which the next one in it takes over
    weight: int
    credits: dict[int, int]  # by lane that it knows: how many more it may have un-acked
    turns: dict[int, int]  # by lane: hand-offs, as ``lead`` counts them
    unacked: dict[int, Connection] = field(default_factory=dict)
    shut: set[int] = field(default_factory=set)  # lanes that it takes nothing from
    holds: Hold = Hold.CLOSED  # until it joins
    held: bool = True  # whether there are holds: a Flag asks itself in Python, once for every ack
    active: int = 0  # connections it is serving, as it says itself
    accepted: int = 0  # connections it had taken when it said so
    acks: int = 0  # connections it has taken
    cool_down: float = COOL_DOWN[0]

    @property
    def load(self) -> int:
        """The connections that it is serving, and those on their way that it doesn't count yet.

        It counts a connection before its ack leaves, and the ack is read later: by then what is
        un-acked here may be among its ``active``, and by how much ``accepted`` is ahead of the acks
        says how many are.
        """
        uncounted = len(self.unacked) + self.acks - self.accepted
        return self.active + uncounted if uncounted > 0 else self.active


class Queue(Protocol):
    """All connections that wait in a lane, to read; only who closes them may clear it."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Connection]:
        """In accept order."""

    def clear(self) -> None: ...


@final
@dataclass(slots=True, eq=False)
class Lane:
    """One listener's queue, and what has happened on it.

    In a plain lane ``queue`` and ``joining`` are one, and all in it are for anybody.  Where
    connections wait for their own worker they are parts of ``by_key.waiting``.
    """

    index: int
    free: Free
    owner: int = ANYBODY  # the only worker that it is for; 0 while there is none
    by_key: ByKey | None = None
    queue: Queue = field(init=False)
    joining: deque[Connection] = field(init=False)  # for those that are accepted or come back
    overdue: deque[Connection] = field(default_factory=deque)
    roomy: int = 0  # workers that know it and are neither full nor closed
    accepted: int = 0
    refused: int = 0
    recalled: int = 0
    redelivered: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.by_key is None:
            self.queue = self.joining = deque()
        else:
            waiting = self.by_key.waiting
            self.queue, self.joining = waiting, waiting.joining

    @property
    def first_open(self) -> int:
        """The number of the first that anybody may take; 0: there is none."""
        if self.by_key is None:
            return self.joining[0].number if self.joining else 0
        open_ = self.by_key.waiting.open
        return open_.first.number if open_ else 0

    @property
    def stuck(self) -> bool:
        """Whether something waits because nobody is free for anything."""
        return len(self.queue) > 0 and (self.by_key is None or not len(self.free))
