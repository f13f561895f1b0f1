"""Node's cluster module for Python, and a front-door proxy built on it.

One connection's way through the package:

    net.listener      the master accepts it, in batches, without blocking
    core.scheduler    decides which worker gets it (``core.policy``: who of the free ones)
    net.handoff       SCM_RIGHTS over the worker's socket pair; the master keeps a copy
    worker            acknowledges it *before* touching it; the master drops its copy
    http1             reads the requests on it and writes the responses
    apps              answers them

Around that way: ``forkserver`` starts worker processes, ``master`` supervises them, ``net.slots``
carries their counters, ``cli`` and ``settings`` are what a user sees, ``cluster`` is what a program
uses.  Imports run downward only;
everything in ``core`` is pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from balancer.cluster import Address as Address
    from balancer.cluster import Cluster as Cluster
    from balancer.cluster import CurrentWorker as CurrentWorker
    from balancer.cluster import Disconnect as Disconnect
    from balancer.cluster import Event as Event
    from balancer.cluster import Exit as Exit
    from balancer.cluster import Fork as Fork
    from balancer.cluster import Listening as Listening
    from balancer.cluster import Mail as Mail
    from balancer.cluster import Message as Message
    from balancer.cluster import Online as Online
    from balancer.cluster import Process as Process
    from balancer.cluster import Server as Server
    from balancer.cluster import State as State
    from balancer.cluster import Subscription as Subscription
    from balancer.cluster import Worker as Worker
    from balancer.cluster import current_worker as current_worker
    from balancer.cluster import open_cluster as open_cluster
    from balancer.cluster import run as run
    from balancer.core.policy import Policy as Policy
    from balancer.errors import AppError as AppError
    from balancer.errors import BalancerError as BalancerError
    from balancer.errors import BootError as BootError
    from balancer.errors import InWorkerError as InWorkerError
    from balancer.errors import RunError as RunError
    from balancer.errors import UsageError as UsageError

# Imported when they are first used (PEP 562): ``balancer status`` shall not wait for trio.
_HOMES = {
    "balancer.cluster": (
        "Address", "Cluster", "CurrentWorker", "Disconnect", "Event", "Exit", "Fork", "Listening",
        "Mail", "Message", "Online", "Process", "Server", "State", "Subscription", "Worker",
        "open_cluster", "run",
    ),
    "balancer.core.policy": ("Policy",),
    "balancer.worker.current": ("current_worker",),
    "balancer.errors": (
        "AppError", "BalancerError", "BootError", "InWorkerError", "RunError", "UsageError",
    ),
}  # fmt: skip
_LAZY = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
