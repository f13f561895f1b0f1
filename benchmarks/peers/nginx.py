"""nginx with a static answer: what a C server without a balancing master makes of the machine.

Also the upstream that stands behind every front door, and that is measured directly too.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, final

from benchmarks.peers.base import Peer, found, free_port
from benchmarks.process import ProcessError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.process import ServerProcess

# Connections per worker: an idle front door holds five thousand clients in each, and a burst may
# leave most of them to one. nginx allocates its table of them at the start.
_CONNECTIONS = 16384

_CONFIG = """\
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
{http}
}}
"""

# $pid is the worker's: the respawn benchmark knows a new worker by it.
_HELLO = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "Hello from worker 1 (pid $pid)\\n"; }}
    }}
"""

SMALL = b"x" * 99 + b"\n"
"""What the upstream answers to `GET /`."""
LARGE = 10**6
"""Bytes of the upstream's `GET /large`, a file that nginx sends by sendfile(2).

`GET /seen` tells what came to it: Host, X-Forwarded-For, X-Forwarded-Proto, and the number of the
request on its connection.
"""

_UPSTREAM = """\
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16 inactive=1h;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = / {{ return 200 "{small}\\n"; }}
        location = /large {{ root {folder}; }}
        location = /seen {{
            return 200 "$http_host $http_x_forwarded_for $http_x_forwarded_proto
                        $connection_requests\n";
        }}
    }}
"""


class NginxPeer(Peer):
    """nginx in the foreground; what it serves is the subclass's `http_block`."""

    hands_over = False
    processes: int | None = None
    """Worker processes, where their number is not the benchmark's."""

    @abstractmethod
    def http_block(self, port: int, folder: Path) -> str:
        """The part of the configuration that is its own."""

    def command(self, workers: int, folder: Path) -> list[str]:
        program = found("nginx")
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                workers=self.processes or workers,
                folder=folder,
                connections=_CONNECTIONS,
                http=self.http_block(free_port(), folder),
            )
        )
        # -e: the log before the configuration is read, else a file in the system's folder.
        return [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]

    def wait_started(self, process: ServerProcess) -> int:
        process.wait_for_line(r"start worker process \d+", deadline=10.0)
        text = open_config(process.argv[4])
        match = re.search(r"listen 127\.0\.0\.1:(\d+)", text)
        if match is None:
            raise ProcessError("no port in nginx's configuration")
        return int(match[1])


@final
class Nginx(NginxPeer):
    name = "nginx"

    def http_block(self, port: int, folder: Path) -> str:  # noqa: ARG002 - it needs no file
        return _HELLO.format(port=port)


@final
class Upstream(NginxPeer):
    """One worker process with a small page and a large one, whoever stands in front of it."""

    name = "upstream, directly"
    processes = 1

    def http_block(self, port: int, folder: Path) -> str:
        # Started by root, nginx gives its workers another user, who must get to the file.
        folder.chmod(0o755)
        (folder / "large").write_bytes(b"x" * LARGE)
        return _UPSTREAM.format(port=port, folder=folder, small=SMALL.decode().rstrip())


def open_config(path: str) -> str:
    with open(path) as file:
        return file.read()
