"""From settings and the machine's table to the service that proxies."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from balancer.apps.proxy.config import ProxyConfig
from balancer.apps.proxy.forward import NAME, ForwardConfig
from balancer.apps.proxy.service import ProxyService
from balancer.core.endpoints import Chooser, ChooserConfig
from balancer.core.health import EjectionConfig
from balancer.core.messages import PoolPlace
from balancer.core.policy import make_policy
from balancer.http1.config import Http1Config
from balancer.net.doorbell import Doorbell
from balancer.net.endpoints import WorkerView
from balancer.settings import TrustedPeers, parse_upstream
from balancer.settings.policy import parse_policy
from balancer.upstream.dial import Dialer
from balancer.upstream.endpoints import Endpoints, EndpointsConfig
from balancer.upstream.handshake import make_context
from balancer.upstream.pool import Pool
from balancer.upstream.queue import Queue

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from balancer.core.messages import WorkerConfig
    from balancer.http1.tally import Stats
    from balancer.http1.transport import Transport
    from balancer.net.endpoints import EndpointTable
    from balancer.upstream.connection import Clock, UpstreamConnection

__all__ = ["make_proxy"]

RESPONSE_LIMITS = Http1Config(max_head=65536, max_fields=256)
"""Servers may say more than clients: a session's cookies, a policy for content."""


def make_proxy(
    config: WorkerConfig, engine: Http1Config, stats: Stats, table: EndpointTable, row: int
) -> ProxyService:
    """One pool's proxy in one worker.

    Args:
        config: The settings.
        engine: The part of them that is the HTTP server's.
        stats: Where requests are counted.
        table: The endpoints' table, which must stay open.
        row: The worker's row in it.
    """
    place = config.pool or PoolPlace(upstreams=tuple(range(len(config.upstreams))))
    upstreams = dict(zip(place.upstreams, map(parse_upstream, config.upstreams), strict=True))
    bounded = any(each.max for each in upstreams.values())
    context = None
    if any(each.scheme == "https" for each in upstreams.values()):
        context = make_context(config.upstream_ca, verify=config.upstream_verify)
    bell = Doorbell(table.fd, row, place.number) if bounded else None
    view = WorkerView(table, row, place.number)

    def make(
        clock: Clock, transport: Callable[[socket.socket], Transport]
    ) -> tuple[Endpoints, Queue]:
        open_ones: set[UpstreamConnection] = set()
        ring = bell.ring if bell is not None else _nobody
        queue = Queue(view, config.upstream_queue, config.upstream_queue_timeout, ring)
        endpoints = Endpoints(
            upstreams,
            view,
            lambda name_of: _chooser(config, name_of),
            Pool(config.upstream_idle, config.upstream_idle_timeout),
            queue,
            Dialer(
                transport,
                RESPONSE_LIMITS,
                clock,
                open_ones,
                config.upstream_connect_timeout,
                context,
            ),
            open_ones,
            clock,
            _endpoints_config(config, f"{place.name}/" if place.name else ""),
        )
        return endpoints, queue

    return ProxyService(_proxy_config(config), make, bell, engine, stats)


def _nobody(row: int) -> None:
    """Nobody waits where no upstream has a limit."""


def _chooser(config: WorkerConfig, name_of: Callable[[int], bytes]) -> Chooser:
    policy = make_policy(parse_policy(config.upstream_policy), random.random, name_of)
    return Chooser(policy, ChooserConfig(config.panic, config.slow_start))


def _endpoints_config(config: WorkerConfig, prefix: str) -> EndpointsConfig:
    return EndpointsConfig(
        EjectionConfig(config.eject_after, config.eject_time, config.max_ejected),
        config.retry_budget,
        config.upstream_response_timeout,
        prefix,
    )


def _proxy_config(config: WorkerConfig) -> ProxyConfig:
    host = config.upstream_host
    first = parse_upstream(config.upstreams[0])
    return ProxyConfig(
        ForwardConfig(
            TrustedPeers(config.forwarded_allow_ips),
            None if host is None else host.encode(),
            first.authority.encode(),
            b"%b-%b" % (NAME, config.instance.encode()) if config.instance else NAME,
        ),
        config.upstream_retries,
        config.upstream_response_timeout,
        config.tunnel_timeout,
        parse_policy(config.upstream_policy),
        (config.sticky or "").encode(),
    )
