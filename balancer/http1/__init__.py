"""The worker's HTTP/1.1 engine.

From below: ``transport`` carries bytes; ``poller`` wakes the readers of all ``polled`` ones and
``outbox`` lets their answers leave together; ``wire`` adds deadlines, ``reader`` the requests that
come, and ``connection`` is the loop over them.  ``heads`` and ``bodies`` understand the bytes
(pure): the common head by one expression, any other by ``strict`` and h11, into a ``head``.
``request`` and ``exchange`` are what a handler sees, ``responses`` renders what it says (pure).
``server`` holds the connections of a worker.
"""

from balancer.http1.config import Http1Config
from balancer.http1.errors import ClientGone, MisuseError, RequestError
from balancer.http1.exchange import Exchange, Handler, Tunnel
from balancer.http1.responses import Fields
from balancer.http1.server import Http1Server
from balancer.http1.tally import NullStats, Stats
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
