"""The servers that are compared: each is a command line, a way to learn its port, and its roles.

All serve on 127.0.0.1 with the same number of workers, keep connections alive unless told
otherwise, and write no access log. There are four line-ups: with the demo's answer (`GET /` says
`Hello from worker ID (pid PID)\\n`), with the pages of `benchmarks.apps` for speed and for
fairness, and front doors, with an nginx behind each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.apps import HELLO
from benchmarks.peers.asgi import Granian, Gunicorn, Hypercorn, Uvicorn
from benchmarks.peers.balancer import Balancer
from benchmarks.peers.base import MissingPeerError, Peer, RunningPeer
from benchmarks.peers.farm import HaProxyFarm, NginxFarm
from benchmarks.peers.front import BalancerProxy, HaProxy, NginxProxy, NodeProxy
from benchmarks.peers.nginx import Nginx, Upstream
from benchmarks.peers.node import Node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "Balancer",
    "BalancerProxy",
    "Granian",
    "Gunicorn",
    "HaProxy",
    "HaProxyFarm",
    "Hypercorn",
    "MissingPeerError",
    "Nginx",
    "NginxFarm",
    "NginxProxy",
    "Node",
    "NodeProxy",
    "Peer",
    "RunningPeer",
    "Upstream",
    "Uvicorn",
    "for_demo",
    "for_fairness",
    "for_front_doors",
    "for_proxy",
    "for_speed",
    "for_study",
]

# How balancer spreads connections. In a burst workers that are ahead wait for the others, whatever
# the window is.
SPREADS = (
    ("--policy", "round-robin"),
    ("--policy", "round-robin", "--window", "32"),
    ("--policy", "least-connections"),
    ("--policy", "least-connections", "--window", "32"),
    ("--policy", "shared"),
    ("--policy", "reuseport"),
)

# What the study gives to all: nobody refuses a connection that another one would let wait, or ends
# one that another one would keep. 2048 and 75 s are balancer's own.
_BACKLOG = 2048
_KEEP_ALIVE = 75
_HELD = 4096
"""Connections in one worker."""
_UVICORN = ("--backlog", str(_BACKLOG), "--timeout-keep-alive", str(_KEEP_ALIVE))
_GUNICORN = (
    *("--backlog", str(_BACKLOG)),
    *("--keep-alive", str(_KEEP_ALIVE)),
    *("--worker-connections", str(_HELD)),
)


def for_demo(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """balancer, its other checkouts (`versus`), Node and nginx; `options` are balancer's."""
    ours = [Balancer(checkout, options) for checkout in (None, *versus)]
    return [*ours, Node(), Nginx()]


def for_handoff(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """The same, and what a hand-off costs beside workers that accept for themselves."""
    kernel = [
        Balancer(arguments=["--policy", policy, *options], variant=policy)
        for policy in ("shared", "reuseport")
    ]
    ours, *others = for_demo(versus, options)
    return [ours, *kernel, *others]


def for_speed(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """balancer on both engines, and every ASGI server that people would use instead."""
    ours = [Balancer(checkout, options, with_app=True) for checkout in (None, *versus)]
    engine = ["--engine", "uvicorn", *options]
    return [
        *ours,
        Balancer(arguments=engine, with_app=True, variant="--engine uvicorn"),
        Uvicorn(fast=True),
        Uvicorn(fast=False),
        Granian(),
        Gunicorn("asgi"),
        Hypercorn(),
        Node(HELLO.decode()),
    ]


def for_fairness(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """balancer under each policy, and how everybody else spreads connections."""
    ours = [
        Balancer(checkout, [*spread, *options], with_app=True, variant=" ".join(spread[1:]))
        for checkout in (None, *versus)
        for spread in SPREADS
    ]
    return [
        *ours,
        Gunicorn("asgi"),
        Gunicorn("uvicorn-worker"),
        Uvicorn(fast=True),
        Granian(),
        Hypercorn(),
        Node(HELLO.decode()),
    ]


def for_study(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """balancer by turns, by fewest connections and with a shared listener, and everybody else."""
    alike = ["--keep-alive-requests", "0", "--worker-connections", str(_HELD), *options]
    ours = [
        Balancer(checkout, ["--policy", policy, *alike], with_app=True, variant=policy)
        for checkout in (None, *versus)
        for policy in ("round-robin", "least-connections", "shared")
    ]
    node = [
        Node(HELLO.decode(), shared=shared, backlog=_BACKLOG, keep_alive=_KEEP_ALIVE)
        for shared in (False, True)
    ]
    hypercorn = {"backlog": _BACKLOG, "keep_alive_timeout": _KEEP_ALIVE}
    return [
        *ours,
        *node,
        Uvicorn(fast=True).with_options(*_UVICORN),
        Gunicorn("asgi").with_options(*_GUNICORN),
        Granian().with_options("--backlog", str(_BACKLOG)),
        Hypercorn("uvloop", {**hypercorn, "keep_alive_max_requests": 10**9}),
        NginxFarm("round-robin", _BACKLOG, _UVICORN),
        NginxFarm("least_conn", _BACKLOG, _UVICORN),
        HaProxyFarm("roundrobin", _BACKLOG, _UVICORN),
        HaProxyFarm("leastconn", _BACKLOG, _UVICORN),
        HaProxyFarm("leastconn", _BACKLOG, _UVICORN, at_once=1),
    ]


def for_front_doors(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """balancer as a proxy, and what people use for it."""
    ours = [BalancerProxy(checkout, options) for checkout in (None, *versus)]
    return [*ours, NginxProxy(), HaProxy(), NodeProxy()]


def for_proxy(versus: Sequence[Path], options: Sequence[str]) -> list[Peer]:
    """The same, and the way without any: what the load generator and the upstream take."""
    return [*for_front_doors(versus, options), Upstream()]
