"""What a fork server and its workers need to know of the settings, and of the plan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from balancer.core.messages import Configure, PoolPlace, WorkerConfig, encode_packet
from balancer.errors import UsageError
from balancer.forkserver.launch import WORKER_ENTRY
from balancer.net.packets import MAX_PACKET
from balancer.settings.table import Service

if TYPE_CHECKING:
    from balancer.master.plan import Plan
    from balancer.master.pools import Book
    from balancer.settings import Settings

__all__ = ["configure"]

OWN = frozenset({
    "shared_accept", "master_pid", "services", "program", "instance", "pool", "edition",
})  # fmt: skip
"""What of ``WorkerConfig`` is no setting."""
COPIED = tuple(name for name in WorkerConfig.__struct_fields__ if name not in OWN)


def configure(settings: Settings, plan: Plan, book: Book, instance: str) -> Configure:
    """What all workers get that are started from now on.

    Args:
        settings: The settings.
        plan: What a program has asked for.
        book: The numbers of the pools and upstreams in these settings.
        instance: What no other server has.

    Raises:
        UsageError: it is more than fits into one message.
    """

    def worker(service: Service) -> WorkerConfig:
        own = service.settings
        place = _place(book, service.name) if own.upstreams else None
        copied = {name: getattr(own, name) for name in COPIED}
        return WorkerConfig(
            shared_accept=settings.policy == "shared",
            master_pid=os.getpid(),
            # A request may go from one pool to another and is no circle.
            instance=f"{instance}-{place.number}" if place is not None and place.name else instance,
            pool=place,
            edition=book.edition,
            program=plan.program,
            **copied,
        )

    config = msgspec.structs.replace(
        worker(Service("", settings)), services=tuple(map(worker, settings.services))
    )
    made = Configure(config, WORKER_ENTRY, settings.graceful_timeout, settings.preload)
    if (size := len(encode_packet(made))) > MAX_PACKET:
        raise UsageError(
            f"the apps and pools need {size} bytes to be described to workers, and {MAX_PACKET} is "
            "the most; make fewer of them"
        )
    return made


def _place(book: Book, name: str) -> PoolPlace:
    pool = book.pool(name)
    assert pool is not None
    return PoolPlace(name=name, number=pool.number, upstreams=tuple(pool.upstreams))
