"""A front door before as many servers as others have workers, each a process with its own port.

It is what people build where one process is not enough: nginx or HAProxy, and behind it uvicorn
with one worker each, here with httptools and uvloop. The front door chooses per request, whereas
all others choose per connection. It has one process (nginx) or thread (HAProxy): it knows then how
many requests each server has, and has no more cores than a master that hands connections over.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, final

from benchmarks.peers.asgi import Uvicorn
from benchmarks.peers.base import Peer, await_listener, found, free_port
from benchmarks.peers.nginx import NginxPeer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.peers.base import RunningPeer
    from benchmarks.process import ServerProcess

# Kept connections to the servers, as everywhere in these benchmarks: without, nginx opens one per
# request. It gives them up before the servers do (60 s).
_NGINX = """\
    upstream behind {{
        {method}
        {servers}
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog={backlog};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
"""

# The time in the queue is that to connect unless told otherwise, and then a 503.
_HAPROXY = """\
global
    nbthread 1
    maxconn 16384
    no strict-limits
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 10s
    timeout queue 60s
    timeout client 1h
    timeout server 60s
    timeout http-keep-alive 75s
frontend front
    bind 127.0.0.1:{port} backlog {backlog}
    default_backend behind
backend behind
    balance {method}
    {servers}
"""


class Farm(Peer):
    """A peer before its servers, which start before it and end after it, and are its workers.

    MissingPeerError where either can't run.
    """

    hands_over = False
    program: str
    _ports: Sequence[int] = ()

    def __init__(self, backlog: int, options: Sequence[str]) -> None:
        """`backlog` is that of the front door, `options` are added to uvicorn's command line."""
        self.backlog = backlog
        self._options = options

    def start(self, workers: int) -> RunningPeer:
        found(self.program)
        servers = _start_together([self._server() for _ in range(workers)])
        try:
            self._ports = [server.port for server in servers]
            running = super().start(1)
        except BaseException:  # Ctrl-C too: nobody else knows of them yet
            for server in servers:
                server.close()
            raise
        for server in servers:
            running.close_later(server, serves=True)
        return running

    def _server(self) -> Uvicorn:
        return Uvicorn(fast=True).with_options(*self._options)

    def rows(self, pattern: str) -> str:
        """A line of the configuration for each server, from its number and its port."""
        return "\n        ".join(pattern.format(n, port) for n, port in enumerate(self._ports, 1))


def _start_together(peers: Sequence[Peer]) -> list[RunningPeer]:
    """All or none: a server takes longer to start than to ask for."""
    with ThreadPoolExecutor(len(peers)) as pool:
        starting = [pool.submit(peer.start, 1) for peer in peers]
        try:
            wait(starting)
            return [future.result() for future in starting]
        except BaseException:  # Ctrl-C too; who is starting is waited for, and ended
            for future in starting:
                if future.exception() is None:
                    future.result().close()
            raise


@final
class NginxFarm(Farm, NginxPeer):
    """nginx, by turns or with `least_conn` to whoever has the fewest requests."""

    program = "nginx"
    processes = 1

    def __init__(self, method: str, backlog: int, options: Sequence[str] = ()) -> None:
        super().__init__(backlog, options)
        self._least = method == "least_conn"
        self.name = f"nginx {method} + uvicorn"

    def http_block(self, port: int, folder: Path) -> str:  # noqa: ARG002 - it needs no file
        return _NGINX.format(
            method="least_conn;" if self._least else "",
            servers=self.rows("server 127.0.0.1:{1};"),
            port=port,
            backlog=self.backlog,
        )


@final
class HaProxyFarm(Farm):
    """HAProxy with one of its algorithms; `at_once` limits the requests that a server has.

    The others wait in HAProxy, for whoever is free first.
    """

    program = "haproxy"
    _port = 0

    def __init__(
        self, method: str, backlog: int, options: Sequence[str] = (), *, at_once: int = 0
    ) -> None:
        super().__init__(backlog, options)
        self._method = method
        self._limit = f" maxconn {at_once}" if at_once else ""
        self.name = f"haproxy {method}{self._limit} + uvicorn"

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - one thread
        config = folder / "haproxy.cfg"
        self._port = free_port()
        config.write_text(
            _HAPROXY.format(
                method=self._method,
                servers=self.rows("server s{0} 127.0.0.1:{1}" + self._limit),
                port=self._port,
                backlog=self.backlog,
            )
        )
        # -db: no daemon, and no word when all is well, so that only its port tells of it.
        return [found(self.program), "-db", "-f", str(config)]

    def wait_started(self, process: ServerProcess) -> int:  # noqa: ARG002 - it logs nothing
        await_listener(self._port, deadline=10.0)
        return self._port
