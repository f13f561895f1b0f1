"""What stands between the two ends: ours, nginx and HAProxy, each as real processes.

Each front door has two ports: one with common settings, and one that is impatient, with small
limits and one request at a time, so that what takes time takes little.  All pass on to the same
upstream, with one worker, probe nobody and hold nothing against it: nearly all it says is wrong.

The peers listen on sockets that they inherit: nobody else can have their ports, and a connection
waits in the backlog until they are ready.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, final

from tests.support.server import BalancerServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.proxy.talk import Upstream

__all__ = ["DOORS", "Door", "Stage", "open_door"]

DOORS = ("balancer", "nginx", "haproxy")
VERSIONS = {"nginx": "nginx/1.22.", "haproxy": "version 2.6."}
"""Those of Debian 12, whose habits are written down: others have others."""

# No connection ends because it has been idle: an end that is seen is meant.
COMMON = ("--probe", "off", "--eject-after", "0", "--upstream-idle-timeout", "60s")
PATIENT = (*COMMON, "--forwarded-allow-ips", "192.0.2.1")
IMPATIENT = (
    *COMMON, "--header-timeout", "300ms", "--upstream-response-timeout", "300ms",
    "--limit-request-body", "1000", "--upstream-queue-timeout", "100ms",
)  # fmt: skip

# What the manuals of both say to do in front of HTTP/1.1 servers with WebSockets, unbuffered.
NGINX = """\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream u {{ server 127.0.0.1:{upstream} max_fails=0; keepalive 16; }}
    upstream one {{ server 127.0.0.1:{upstream} max_fails=0 max_conns=1; keepalive 1; }}
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_buffering off;
    proxy_request_buffering off;
    client_max_body_size 0;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; }} }}
    server {{
        listen 127.0.0.1:{impatient};
        client_max_body_size 1000;
        client_header_timeout 300ms;
        proxy_read_timeout 300ms;
        location / {{ proxy_pass http://one; }}
    }}
}}
"""
HAPROXY = """\
global
    nbthread 1
defaults
    mode http
    option forwardfor
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
    timeout http-request 10s
    retries 0
    option abortonclose
    option http-no-delay
frontend patient
    bind fd@{port_fd}
    default_backend patient
backend patient
    server u 127.0.0.1:{upstream}
frontend impatient
    bind fd@{impatient_fd}
    timeout http-request 300ms
    default_backend impatient
backend impatient
    timeout server 300ms
    timeout queue 100ms
    server u 127.0.0.1:{upstream} maxconn 1
"""


@final
@dataclass(frozen=True, slots=True)
class Door:
    """A front door that stands; ``impatient`` is its other port."""

    name: str
    port: int
    impatient: int


class Stage(NamedTuple):
    """A front door, and what it stands in front of."""

    door: Door
    upstream: Upstream


@contextmanager
def open_door(name: str, upstream: int, folder: Path) -> Iterator[Door | None]:
    """A front door in front of a port; None: it isn't installed, or is another version."""
    if name == "balancer":
        with _ours(upstream) as door:
            yield door
        return
    program = _find(name)
    if program is None:
        yield None
        return
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        door = Door(name, one.getsockname()[1], two.getsockname()[1])
        start = _nginx if name == "nginx" else _haproxy
        with start(program, door, (one.fileno(), two.fileno()), upstream, folder):
            yield door


def _find(name: str) -> str | None:
    program = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        return None
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    return program if VERSIONS[name] in said.stdout + said.stderr else None


@contextmanager
def _ours(upstream: int) -> Iterator[Door]:
    where = f"127.0.0.1:{upstream}"
    servers = [
        BalancerServer(*settings, workers=1, upstreams=(each,))
        for settings, each in ((PATIENT, where), (IMPATIENT, f"{where},max=1"))
    ]
    with ExitStack() as stack:
        for server in servers:
            server.process.start()
            stack.push(server)
        for server in servers:
            server.wait_started()
        yield Door("balancer", *[server.port for server in servers])


@contextmanager
def _nginx(
    program: str, door: Door, fds: tuple[int, int], upstream: int, folder: Path
) -> Iterator[None]:
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            upstream=upstream,
            port=door.port,
            impatient=door.impatient,
        )
    )
    # how nginx hands its sockets to a new binary of itself
    env = {**os.environ, "NGINX": "".join(f"{fd};" for fd in fds)}
    argv = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.log")]
    with _running(argv, fds, env):
        yield


@contextmanager
def _haproxy(
    program: str, _door: Door, fds: tuple[int, int], upstream: int, folder: Path
) -> Iterator[None]:
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port_fd=fds[0], impatient_fd=fds[1], upstream=upstream))
    with _running([program, "-db", "-q", "-f", str(config)], fds, dict(os.environ)):
        yield


@contextmanager
def _running(argv: list[str], fds: tuple[int, int], env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(argv, pass_fds=fds, env=env, stdin=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, f"{argv[0]} has died: {process.returncode}"
    finally:
        process.terminate()
        process.wait(10)
