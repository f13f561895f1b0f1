"""Ten thousand clients that have asked a front door once and stay: what each of them costs.

The growth of all the front door's processes from before the first to after the last, divided by
the clients: PSS, which counts shared pages once, and RSS beside it. What a server has set aside
for connections before there are any (nginx's table of them, HAProxy's) is not in it, and what one
request leaves behind in a connection's buffers is. The kernel's part is the growth of its slab,
machine-wide: both ends of each connection, so about twice what the server's end takes, and
whatever else the machine does meanwhile. Then some of the clients ask again: a connection that is
cheap because it is dead would be no good.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

from benchmarks.clients import IdleClients
from benchmarks.compare import Ceiling
from benchmarks.loadgen import Plan, run
from benchmarks.measure import pss_bytes, rss_bytes, slab_bytes
from benchmarks.runner import Metric

if TYPE_CHECKING:
    from benchmarks.peers import RunningPeer
    from benchmarks.runner import Options, Sample

_KILO = 1 / 1024
_WARM_UP_REQUESTS = 1000
_AGAIN = 200  # of the held connections that ask once more

CEILINGS = (Ceiling("pss", "balancer", 8 * 1024),)


@final
class Idle:
    name = "idle"
    metrics = (
        Metric("pss", "PSS KB/conn", 2, _KILO, higher_is_better=False),
        Metric("rss", "RSS KB/conn", 2, _KILO, higher_is_better=False),
        Metric("slab", "kernel KB/conn (both ends)", 2, _KILO, higher_is_better=False),
        Metric("held", "held", is_count=True),
        Metric("again", "answered again", is_count=True),
        Metric("errors", "errors", higher_is_better=False, is_count=True),
    )

    def workers(self, options: Options) -> int:
        return options.workers

    def warm_up(self, peer: RunningPeer, options: Options) -> None:  # noqa: ARG002 - a fixed count
        # What the first requests load and copy is not a connection's.
        run(Plan(port=peer.port, count=_WARM_UP_REQUESTS, timeout=30.0, keep_records=False))

    def sample(self, peer: RunningPeer, options: Options) -> Sample:
        before = _Memory.of(peer)
        with IdleClients(peer.port) as clients:
            clients.open(options.connections)
            # Held for a while: whoever gives up on the idle, or gives memory back, gets to do so.
            time.sleep(options.duration)
            clients.drop_ended()
            held = len(clients)
            after = _Memory.of(peer)
            failed = clients.errors
            clients.ask(_AGAIN)
            again = min(_AGAIN, held) - (clients.errors - failed)
            return {
                "pss": (after.pss - before.pss) / max(1, held),
                "rss": (after.rss - before.rss) / max(1, held),
                "slab": (after.slab - before.slab) / max(1, held),
                "held": float(held),
                "again": float(again),
                "errors": float(clients.errors),
            }


@final
class _Memory:
    """Bytes of all of a server's processes, and of the kernel's slab, at one moment."""

    def __init__(self, pss: int, rss: int, slab: int) -> None:
        self.pss = pss
        self.rss = rss
        self.slab = slab

    @classmethod
    def of(cls, peer: RunningPeer) -> _Memory:
        family = peer.process.family()
        return cls(sum(map(pss_bytes, family)), sum(map(rss_bytes, family)), slab_bytes())
