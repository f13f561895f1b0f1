"""The process itself: its tasks, and its end.

The end is that of its standard input: the master closes the pipe, or dies, which closes it too.  So
no watcher outlives its master, whatever that died of.  (PR_SET_PDEATHSIG would be about the thread
that started it, and trio starts processes in threads that come and go.)
"""

from __future__ import annotations

import os
import random
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import trio

from balancer import log
from balancer.errors import BalancerError
from balancer.net.endpoints import EndpointTable
from balancer.net.identity import take_on
from balancer.settings.probe import parse_probe
from balancer.upstream.placement import has_name
from balancer.upstream.watcher.config import WatcherConfig
from balancer.upstream.watcher.prober import Prober, Rhythm
from balancer.upstream.watcher.roll import Roll
from balancer.upstream.watcher.tcp import TcpProbe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from balancer.settings.probe import Probe
    from balancer.settings.upstream import Upstream
    from balancer.upstream.watcher.config import PoolConfig
    from balancer.upstream.watcher.names import Name
    from balancer.upstream.watcher.tcp import Ask

__all__ = ["BEAT", "main"]

STDIN = 0
BEAT = 1.0
"""Seconds between two signs of life."""


def main(fd: int) -> None:
    """Watch until the standard input ends; ``fd`` is the table's, and from now on the watcher's."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        # TERM too: a service manager may send it to every process, and workers that drain for as
        # long as half a minute still go by what is found here
        signal.signal(number, signal.SIG_IGN)
    line = _read_line()
    if not line:  # the master has died already
        return
    config = WatcherConfig.decode(line)
    log.configure(config.log_level)
    table = EndpointTable.open(fd)
    try:
        watches = _make_watches(config, table)
        take_on(config.user, config.group)  # last: its modules may be readable by root only
        trio.run(_watch, table, watches, strict_exception_groups=True)
    except (BalancerError, OSError) as error:
        sys.exit(f"the upstreams can't be watched: {error}")
    finally:
        table.close()


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(STDIN, 65536)
        if not data:
            return b""
        line += data
    return line


@final
@dataclass(frozen=True, slots=True)
class _Watch:
    """What there is to do for one pool."""

    roll: Roll
    ask: Ask | None
    rhythm: Rhythm
    names: Sequence[Name]

    def start(self, table: EndpointTable, nursery: trio.Nursery) -> None:
        if self.ask is not None:
            prober = Prober(table.heads, self.roll, self.ask, self.rhythm, random.random, nursery)
            self.roll.audience = prober
            prober.start()
        for name in self.names:
            nursery.start_soon(name.follow)


def _make_watches(config: WatcherConfig, table: EndpointTable) -> list[_Watch]:
    rolls = [
        Roll(table, pool.members(), f"{pool.name}/" if pool.name else "") for pool in config.pools
    ]
    names = _make_names(config, rolls)
    return [
        _Watch(
            roll,
            _make_probe(pool, parse_probe(pool.probe), roll.upstreams.values()),
            Rhythm(pool.probe_interval, pool.probe_rise, pool.probe_fall),
            some,
        )
        for pool, roll, some in zip(config.pools, rolls, names, strict=True)
    ]


def _make_probe(
    config: PoolConfig, probe: Probe | None, upstreams: Iterable[Upstream]
) -> Ask | None:
    if probe is None:
        return None
    if probe.path is None:
        return TcpProbe(config.probe_timeout)
    # here, because most need neither it nor h11
    from balancer.upstream.handshake import make_context
    from balancer.upstream.watcher.http import HttpProbe

    context = None
    if any(each.scheme == "https" for each in upstreams):
        context = make_context(config.upstream_ca, verify=config.upstream_verify)
    return HttpProbe(probe.path, config.probe_timeout, config.upstream_host, context)


def _make_names(config: WatcherConfig, rolls: Sequence[Roll]) -> list[list[Name]]:
    """The names of each pool."""
    if not any(has_name(each) for roll in rolls for each in roll.upstreams.values()):
        return [[] for _ in rolls]
    # here, because the rest is 4 MB and 80 ms for those who have no names
    from balancer.upstream.watcher.hosts import Hosts
    from balancer.upstream.watcher.names import Name
    from balancer.upstream.watcher.resolver import Resolver

    hosts = Hosts(config.hosts)
    resolver = Resolver(config.resolv_conf, config.dns_port)
    return [
        [
            Name(number, roll, hosts, resolver, pool.dns_max_ttl)
            for number, each in roll.upstreams.items()
            if has_name(each)
        ]
        for pool, roll in zip(config.pools, rolls, strict=True)
    ]


async def _watch(table: EndpointTable, watches: Sequence[_Watch]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_beat, table)
        for each in watches:
            each.start(table, nursery)
        await _until_alone()
        nursery.cancel_scope.cancel()


async def _until_alone() -> None:
    """Nothing more is ever said: there is only the end to wait for."""
    while True:
        await trio.lowlevel.wait_readable(STDIN)
        if not os.read(STDIN, 4096):
            return


async def _beat(table: EndpointTable) -> None:
    while True:
        table.beat()
        await trio.sleep(BEAT)
