"""Front doors: the same small set of duties from each, before an upstream of its own.

Everyone keeps connections alive on both sides, passes the client's Host on, adds to
X-Forwarded-For and says X-Forwarded-Proto, writes no access log, and holds an idle client for an
hour, so that ten thousand of them outlast the measurement. The upstream is the same nginx with one
worker for all, one process per front door: idle ones cost nothing, and each row stands alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

from benchmarks.peers.balancer import BalancerPeer
from benchmarks.peers.base import MissingPeerError, Peer, await_listener, found, free_port, port_in
from benchmarks.peers.nginx import NginxPeer, Upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.base import RunningPeer
    from benchmarks.process import ServerProcess

_NODE_SCRIPT = Path(__file__).with_name("node_proxy.js")

# Without reuseport one worker may take all 64 clients, and a worker with more clients than kept
# upstream connections opens a new one for every request beyond: neither is nginx at its best.
# No temporary files: nginx would write the part of a large body that its buffers can't hold to the
# disk. And buffers of 16 KB: with those of a page, its default, a megabyte costs it twice the CPU.
_NGINX = """\
    upstream behind {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    proxy_max_temp_file_size 0;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
"""

# Without strict-limits it starts also where the limit on descriptors is below twice its maxconn.
_HAPROXY = """\
global
    nbthread {workers}
    maxconn 20000
    no strict-limits
defaults
    mode http
    option http-keep-alive
    option forwardfor
    http-reuse always
    timeout connect 3s
    timeout client 1h
    timeout server 60s
    timeout http-keep-alive 1h
    timeout http-request 1h
frontend front
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Forwarded-Proto http
    default_backend behind
backend behind
    server nginx 127.0.0.1:{upstream}
"""


class FrontDoor(Peer):
    """A peer with an upstream behind it, which starts before it and ends after it.

    The upstream is no part of what the front door costs. MissingPeerError where either can't run.
    """

    hands_over = False
    _upstream_port = 0

    def start(self, workers: int) -> RunningPeer:
        try:
            upstream = Upstream().start(1)
        except MissingPeerError as error:
            raise MissingPeerError(f"no upstream: {error}") from error
        try:
            self._upstream_port = upstream.port
            running = super().start(workers)
        except BaseException:
            upstream.close()
            raise
        running.close_later(upstream)
        return running


@final
class BalancerProxy(FrontDoor, BalancerPeer):
    """`balancer proxy`, with its defaults where nothing in the comparison asks for another."""

    def __init__(self, checkout: Path | None = None, arguments: Sequence[str] = ()) -> None:
        super().__init__(checkout)
        self._options = list(arguments)

    def subcommand(self) -> list[str]:
        alike = ["--keep-alive=1h", "--keep-alive-requests=0", "--worker-connections=8192"]
        return ["proxy", f"127.0.0.1:{self._upstream_port}", *alike, *self._options]


@final
class NginxProxy(FrontDoor, NginxPeer):
    name = "nginx"

    def http_block(self, port: int, folder: Path) -> str:  # noqa: ARG002 - it needs no file
        return _NGINX.format(port=port, upstream=self._upstream_port)


@final
class HaProxy(FrontDoor):
    """One process with a thread for each worker, as it is meant to run."""

    name = "haproxy"
    _port = 0

    def command(self, workers: int, folder: Path) -> list[str]:
        program = found("haproxy")
        config = folder / "haproxy.cfg"
        self._port = free_port()
        config.write_text(
            _HAPROXY.format(workers=workers, port=self._port, upstream=self._upstream_port)
        )
        # -db: no daemon, and no word when all is well, so that only its port tells of it.
        return [program, "-db", "-f", str(config)]

    def wait_started(self, process: ServerProcess) -> int:  # noqa: ARG002 - it logs nothing
        await_listener(self._port, deadline=10.0)
        return self._port


@final
class NodeProxy(FrontDoor):
    """A proxy by hand on Node's cluster module and a keep-alive agent: what this is instead of."""

    name = "node cluster"

    def command(self, workers: int, folder: Path) -> list[str]:  # noqa: ARG002 - it needs no file
        return [found("node"), str(_NODE_SCRIPT), str(workers), str(self._upstream_port)]

    def wait_started(self, process: ServerProcess) -> int:
        line = process.wait_for_line(r"^listening on \d+ with \d+ workers", deadline=20.0)
        return port_in(r"listening on (\d+)", line.text)
