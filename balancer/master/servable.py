"""Whether this machine can serve some settings: asked at the start, and before each reload."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from balancer.master.budget import connections_limit, queue_limit, raise_limit, shortage
from balancer.master.identity import check_identity, make_log
from balancer.net.logfile import check_log_file

if TYPE_CHECKING:
    from balancer.settings import Settings

__all__ = ["servable"]

logger = logging.getLogger("balancer")


def servable(settings: Settings) -> tuple[Settings, int]:
    """The settings as this machine can serve them, and the bound of the queues.

    Raises:
        BalancerError: it can't.
    """
    check_identity(settings)
    make_log(settings)
    limit = raise_limit()
    queue = queue_limit(settings, limit)
    if warning := shortage(settings, limit):
        logger.warning(warning)
    connections = connections_limit(settings, limit)
    if settings.access_logfile is not None:
        check_log_file(settings.access_logfile, settings.where("access_logfile"))
    return dataclasses.replace(settings, worker_connections=connections), queue
