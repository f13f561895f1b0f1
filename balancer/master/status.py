"""The answer to ``balancer status``: read from the slots, without asking a worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from balancer import __version__
from balancer.core.control import (
    Failure,
    ForkServerStatus,
    ListenerStatus,
    MasterStatus,
    Status,
    WorkerStatus,
)
from balancer.core.lifecycle import State
from balancer.master.memory import resident, resident_and_shared
from balancer.net.slots import Word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balancer.master.dispatcher import Dispatcher
    from balancer.master.ports import Ports
    from balancer.master.slot import Slot
    from balancer.master.spawner import Spawner
    from balancer.master.supervisor import Supervisor
    from balancer.master.upstreams import Upstreams
    from balancer.master.worker import WorkerHandle
    from balancer.settings import Settings

__all__ = ["make_status"]


def make_status(
    settings: Settings,
    phase: str,
    uptime: float,
    reload_error: str | None,
    supervisor: Supervisor,
    dispatcher: Dispatcher,
    ports: Ports,
    spawner: Spawner,
    upstreams: Upstreams | None = None,
    admin: Sequence[str] = (),
    leaving: Sequence[int] = (),
) -> Status:
    """Everything that can be seen from the master, now."""
    slots = {slot.number: slot for slot in supervisor.slots}
    workers = [
        _worker(worker, slots.get(worker.slot), supervisor)
        for worker in supervisor.workers.values()
    ]
    if not supervisor.stopping:
        workers += [_backoff(slot) for slot in supervisor.slots if slot.vacant]
    workers.sort(key=lambda each: (each.slot, each.id))
    return Status(
        master=MasterStatus(
            os.getpid(),
            __version__,
            uptime,
            settings.policy,
            phase,
            reload_error,
            list(admin),
            list(leaving),
        ),
        workers=workers,
        listeners=[_listener(each.lane, each.address, dispatcher) for each in ports.listeners],
        forkserver=_forkserver(spawner.pid),
        upstreams=[] if upstreams is None else upstreams.states(),
        waiting=0 if upstreams is None else upstreams.waiting(),
    )


def _worker(worker: WorkerHandle, slot: Slot | None, supervisor: Supervisor) -> WorkerStatus:
    words = worker.words
    return WorkerStatus(
        id=worker.id,
        slot=worker.slot,
        pid=worker.pid,
        state=_state(worker),
        active=words[Word.ACTIVE],
        accepted=words[Word.ACCEPTED],
        requests=words[Word.REQUESTS],
        restarts=slot.restarts if slot is not None else 0,
        heartbeat_age_s=supervisor.liveness.age(worker.id),
        rss_bytes=resident(worker.pid),
        last_failure=_failure(slot),
    )


def _state(worker: WorkerHandle) -> str:
    """Who is drained by hand is draining until nothing is left."""
    if worker.state is State.DRAINED and not worker.idle.is_set():
        return State.DRAINING.value
    return worker.state.value


def _backoff(slot: Slot) -> WorkerStatus:
    failure = _failure(slot)
    return WorkerStatus(
        0, slot.number, None, "backoff", 0, 0, 0, slot.restarts, None, None, failure
    )


def _failure(slot: Slot | None) -> Failure | None:
    last = slot.last_failure if slot is not None else None
    if last is None:
        return None
    ago = trio.current_time() - last.at
    return Failure(last.worker, last.pid, ago, last.cause, last.stderr)


def _listener(index: int, address: str, dispatcher: Dispatcher) -> ListenerStatus:
    lane = dispatcher.lane(index)
    return ListenerStatus(address, len(lane.queue), lane.accepted, lane.refused, lane.recalled)


def _forkserver(pid: int | None) -> ForkServerStatus | None:
    if pid is None:
        return None
    rss, pss = resident_and_shared(pid)
    return ForkServerStatus(pid, rss, pss)
