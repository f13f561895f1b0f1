"""nginx with a static answer: what a C server without a balancing master makes of the machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, final

from benchmarks.peers.base import Peer, found, free_port
from benchmarks.process import ProcessError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.process import ServerProcess

# $pid is the worker's: the respawn benchmark knows a new worker by it.
_CONFIG = """\
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "Hello from worker 1 (pid $pid)\\n"; }}
    }}
}}
"""


@final
class Nginx(Peer):
    name = "nginx"
    hands_over = False

    def command(self, workers: int, folder: Path) -> list[str]:
        program = found("nginx")
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(workers=workers, folder=folder, port=free_port()))
        # -e: the log before the configuration is read, else a file in the system's folder.
        return [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]

    def wait_started(self, process: ServerProcess) -> int:
        process.wait_for_line(r"start worker process \d+", deadline=10.0)
        text = open_config(process.argv[4])
        match = re.search(r"listen 127\.0\.0\.1:(\d+)", text)
        if match is None:
            raise ProcessError("no port in nginx's configuration")
        return int(match[1])


def open_config(path: str) -> str:
    with open(path) as file:
        return file.read()
