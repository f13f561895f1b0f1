"""Do the file descriptors suffice for what is configured?

The master needs one for every connection that is queued or in flight, a handful for every worker,
and some to spare: respawning must never fail for want of them.  A worker needs one for every
connection, and a proxy's another one for that to the upstream.

The soft limit is a default that nobody chose, so it is raised to the hard one (as Go's runtime
does); what was asked for by name and still doesn't fit is an error, a default is cut to what fits,
and ``shortage`` says so.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import fields

from balancer.errors import UsageError
from balancer.settings import Settings
from balancer.settings.served import pools

__all__ = ["connections_limit", "queue_limit", "raise_limit", "shortage"]

SPARE = 64
PER_WORKER = 8
SMALLEST = 16
"""Connections that a listener's queue must hold at least to be of any use."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one; the limit in force then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard  # infinity is -1


def queue_limit(settings: Settings, limit: int) -> int:
    """How many connections the master may queue, per listener.

    Raises:
        UsageError: a number that was asked for needs more descriptors than there may be.
    """
    if _chosen(settings, "worker_connections"):
        needed = settings.worker_connections * _per_connection(settings) + SPARE
        _check(settings, "worker_connections", needed, limit)
    lanes, taken = len(settings.bind), _taken(settings)
    blamed = "window" if _chosen(settings, "window") else "workers"
    _check(settings, blamed, taken + SMALLEST * lanes, limit)
    if _chosen(settings, "queue"):
        _check(settings, "queue", taken + settings.queue * lanes, limit)
    return min(settings.queue, (limit - taken) // lanes)


def connections_limit(settings: Settings, limit: int) -> int:
    """How many connections a worker may hold, to be asked after ``queue_limit``.

    A proxy's that took more would answer the last of them with a 503, for want of a descriptor
    towards the upstream, where they could wait in the queue.  An app's rests when it has none left.
    """
    if not pools(settings):
        return settings.worker_connections
    return _fitting(settings, limit)


def shortage(settings: Settings, limit: int) -> str | None:
    """What is cut because of the limit, and the number to set instead: a sentence, or nothing.

    ``settings`` are those before anything was cut, and ``queue_limit`` takes them.
    """
    connections, queue = _fitting(settings, limit), queue_limit(settings, limit)
    if connections == settings.worker_connections and queue == settings.queue:
        return None
    needed = max(
        settings.worker_connections * _per_connection(settings) + SPARE,
        _taken(settings) + settings.queue * len(settings.bind),
    )
    return (
        f"only {limit} file descriptors per process are allowed, so that a worker can hold about "
        f"{connections} connections ({settings.worker_connections} are configured) and {queue} can "
        f"wait for one ({settings.queue}): raise the hard limit to {needed} (ulimit -n {needed}, "
        f"LimitNOFILE={needed}, docker run --ulimit nofile={needed})"
    )


def _taken(settings: Settings) -> int:
    """What the master needs besides the queue."""
    in_flight = settings.window * settings.workers * len(settings.bind)
    return SPARE + PER_WORKER * settings.workers + in_flight


def _fitting(settings: Settings, limit: int) -> int:
    return min(settings.worker_connections, max(1, (limit - SPARE) // _per_connection(settings)))


def _per_connection(settings: Settings) -> int:
    return 2 if pools(settings) else 1


def _chosen(settings: Settings, name: str) -> bool:
    default = next(field.default for field in fields(Settings) if field.name == name)
    return bool(getattr(settings, name) != default)


def _check(settings: Settings, name: str, needed: int, limit: int) -> None:
    if needed > limit:
        raise UsageError(
            f"{settings.where(name)} {getattr(settings, name)}: needs {needed} file descriptors "
            f"and the limit is {limit}; raise it (ulimit -n {needed}) or lower the number"
        )
