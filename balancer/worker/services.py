"""From settings and an app to the ``Service`` that a worker runs: one row per interface."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, cast

from balancer.apps.asgi import AsgiConfig, AsgiService
from balancer.apps.asgi.websocket.config import WebSocketConfig
from balancer.apps.demo import make_handler
from balancer.apps.service import HttpService
from balancer.apps.stream import StreamService
from balancer.apps.wsgi import WsgiConfig, WsgiService
from balancer.http1.config import Http1Config
from balancer.settings import Interface, TrustedPeers
from balancer.worker.accesslog import new_request_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from balancer.apps.asgi import AsgiApp
    from balancer.apps.service import Host, Service
    from balancer.apps.stream import StreamHandler
    from balancer.apps.wsgi import WsgiApp
    from balancer.core.logrecord import Sink
    from balancer.core.messages import WorkerConfig
    from balancer.http1.exchange import Handler
    from balancer.http1.tally import Stats
    from balancer.net.endpoints import EndpointTable
    from balancer.worker.app import App

__all__ = ["engine_config", "make_service"]

logger = logging.getLogger("balancer")


def engine_config(config: WorkerConfig, worker_id: int, access: Sink | None) -> Http1Config:
    """The part of the settings that is the HTTP engine's, and where it reports to."""
    return Http1Config(
        max_request_line=config.limit_request_line,
        max_head=config.limit_request_head,
        max_fields=config.limit_request_fields,
        max_body=config.limit_request_body,
        header_timeout=config.header_timeout,
        keep_alive=config.keep_alive,
        keep_alive_requests=config.keep_alive_requests or sys.maxsize,  # 0: any number
        body_timeout=config.body_timeout,
        send_timeout=config.send_timeout,
        request_timeout=config.request_timeout,
        access=access,
        ids=new_request_ids(TrustedPeers(config.forwarded_allow_ips), worker_id),
    )


def websocket_config(config: WorkerConfig) -> WebSocketConfig:
    """The part of the settings that is for WebSockets."""
    return WebSocketConfig(
        max_size=config.ws_max_size,
        max_queue=config.ws_max_queue,
        ping_interval=config.ws_ping_interval,
        ping_timeout=config.ws_ping_timeout,
        per_message_deflate=config.ws_per_message_deflate,
        send_timeout=config.send_timeout,
    )


def make_service(
    config: WorkerConfig,
    app: App | None,
    worker_id: int,
    stats: Stats,
    host: Host,
    *,
    around: Callable[[Handler], Handler] | None = None,
    access: Sink | None = None,
    upstreams: EndpointTable | None = None,
    row: int = 0,
) -> Service:
    """What a worker runs for an app, or for the demo; AppError when it can't be served.

    ``around`` wraps the handler of what is served over HTTP.  ``upstreams`` makes it a proxy: the
    endpoints' table, in which the worker has the ``row``.
    """
    if upstreams is None:
        service = _make(config, app, worker_id, stats, host, access)
    else:
        from balancer.worker.proxy import make_proxy  # by then imported, where there are upstreams

        engine = engine_config(config, worker_id, access)
        service = make_proxy(config, engine, stats, upstreams, row)
    if around is not None:
        if isinstance(service, HttpService):
            service.wrap(around)
        elif worker_id == 1:  # said once, not by every worker
            logger.warning("hooks pre_request and post_request: not called for this app")
    return service


def _make(
    config: WorkerConfig,
    app: App | None,
    worker_id: int,
    stats: Stats,
    host: Host,
    access: Sink | None,
) -> Service:
    engine = engine_config(config, worker_id, access)
    if app is None:
        return HttpService(make_handler(worker_id), engine, stats)
    if app.interface is Interface.NATIVE:
        return HttpService(cast("Handler", app.target), engine, stats)
    if app.interface is Interface.ASGI:
        asgi = AsgiConfig(
            app.name,
            config.lifespan,
            config.root_path,
            TrustedPeers(config.forwarded_allow_ips),
            websocket_config(config),
        )
        return AsgiService(cast("AsgiApp", app.target), asgi, engine, stats)
    if app.interface is Interface.STREAM:
        return StreamService(app.name, cast("StreamHandler", app.target), stats)
    wsgi = WsgiConfig(
        app.name, config.threads, config.root_path, TrustedPeers(config.forwarded_allow_ips)
    )
    return WsgiService(cast("WsgiApp", app.target), wsgi, engine, stats, host)
