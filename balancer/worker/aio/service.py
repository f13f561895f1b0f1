"""From settings and an app to what a worker on asyncio runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from balancer.apps.asgi import AsgiConfig
from balancer.apps.uvicorn import UvicornConfig, UvicornService
from balancer.errors import AppError
from balancer.settings import Interface, TrustedPeers
from balancer.worker.accesslog import new_request_ids
from balancer.worker.services import websocket_config

if TYPE_CHECKING:
    from balancer.apps.asgi import AsgiApp
    from balancer.apps.uvicorn.watch import Watcher
    from balancer.core.logrecord import Sink
    from balancer.core.messages import WorkerConfig
    from balancer.http1.tally import Stats
    from balancer.worker.app import App

__all__ = ["make_service"]


def make_service(
    config: WorkerConfig,
    app: App,
    worker_id: int,
    stats: Stats,
    *,
    access: Sink | None = None,
    watcher: Watcher | None = None,
) -> UvicornService:
    """The service of an ASGI app; AppError when it is another one, RunError without uvicorn."""
    if app.interface is not Interface.ASGI:
        raise AppError(
            f"app {app.name}: --engine uvicorn serves ASGI apps, and this one is "
            f"{app.interface.value}; leave --engine out"
        )
    asgi = AsgiConfig(
        app.name,
        config.lifespan,
        config.root_path,
        TrustedPeers(config.forwarded_allow_ips),
        websocket_config(config),
    )
    limits = UvicornConfig(
        keep_alive=config.keep_alive,
        keep_alive_requests=config.keep_alive_requests or sys.maxsize,  # 0: any number
        header_timeout=config.header_timeout,
        max_head=config.limit_request_head,
        request_timeout=config.request_timeout,
        debug=config.log_level == "debug",
        access=access,
        watcher=watcher,
        ids=new_request_ids(asgi.trusted, worker_id),
    )
    return UvicornService(cast("AsgiApp", app.target), asgi, limits, stats)
