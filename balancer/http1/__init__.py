"""The worker's HTTP/1.1 engine.

``transport`` carries bytes and ``poller`` wakes its readers; ``heads`` and ``bodies`` understand
the bytes (both pure); ``exchange`` is what a handler sees, ``responses`` renders what it says
(pure); ``connection`` is the loop over one connection, ``server`` holds those of a worker.
"""

from balancer.http1.config import Http1Config, NullStats, Stats
from balancer.http1.errors import ClientGone, MisuseError, RequestError
from balancer.http1.exchange import Exchange, Handler, Tunnel
from balancer.http1.responses import Fields
from balancer.http1.server import Http1Server
from balancer.http1.transport import SocketTransport, Transport

__all__ = [
    "ClientGone",
    "Exchange",
    "Fields",
    "Handler",
    "Http1Config",
    "Http1Server",
    "MisuseError",
    "NullStats",
    "RequestError",
    "SocketTransport",
    "Stats",
    "Transport",
    "Tunnel",
]
