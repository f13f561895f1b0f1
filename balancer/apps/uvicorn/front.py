"""What the requests of all connections have in common: the app, and what is told about them.

``cycle`` asks here for each HTTP request, ``websocket`` for each WebSocket.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, final

from balancer.core.forwarded import read_forwarded
from balancer.core.logrecord import PlainAnswer, Record
from balancer.core.requestid import HEADER

if TYPE_CHECKING:
    from balancer.apps.asgi.types import AsgiApp, Scope
    from balancer.apps.uvicorn.watch import Watcher
    from balancer.core.logrecord import Sink
    from balancer.core.requestid import RequestIds
    from balancer.http1.tally import Tally
    from balancer.settings import TrustedPeers

    Client = tuple[str, int] | None
    """The other end of a connection, as uvicorn has it; None: a UNIX socket."""

__all__ = ["CLOSE", "EXTENSION", "Front"]

WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
CLOSE = (b"connection", b"close")
EXTENSION = "balancer.request_id"
BAD_REQUEST = 400


@final
class Front:
    """One service's app, and where its requests are counted and written down.

    Attributes:
        app: What is called for each of them.
        access: Where a record of each response goes; None: nowhere, and at no cost.
        watcher: Who sees them come and go; None: nobody.
        root: Bytes of the root path.
        cutting: The calls are being cancelled by the server, which is not the app's failure:
            nobody is there to be answered any more.
    """

    def __init__(
        self,
        app: AsgiApp,
        trusted: TrustedPeers,
        ids: RequestIds,
        tally: Tally,
        access: Sink | None = None,
        watcher: Watcher | None = None,
        root_path: str = "",
    ) -> None:
        self.app = app
        self.tally = tally
        self.access = access
        self.watcher = watcher
        self.cutting = False
        self._trusted = trusted
        self._ids = ids
        self.root = len(root_path.encode())

    def introduce(self, scope: Scope) -> None:
        """Believe a trusted proxy about the client, as the trio engine does."""
        client = scope["client"]
        origin = read_forwarded(scope["headers"], client[0] if client else None, self._trusted)
        if origin.client is not None:
            scope["client"] = origin.client
        if origin.scheme is not None:
            websocket = scope["type"] == "websocket"
            scope["scheme"] = WEBSOCKET_SCHEMES[origin.scheme] if websocket else origin.scheme

    def choose_id(self, headers: list[tuple[bytes, bytes]], client: Client) -> str:
        """An id for a request with these headers, from that end of its connection."""
        said = dict(headers).get(HEADER, b"").decode("latin-1")
        return self._ids.choose(said, client[0] if client else None)

    def refused(self, client: Client, size: int) -> None:
        """uvicorn has refused what came, in so many bytes, before it was a request."""
        self.tally.add(BAD_REQUEST, 0.0, 0, size)
        if self.access is not None:
            answer = PlainAnswer(BAD_REQUEST, size)
            self.access.add(Record(None, answer, 0.0, perf_counter(), client))
