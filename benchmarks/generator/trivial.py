"""A server that does nothing but answer, to see what the generator can bring at most.

nginx where it is installed, since it costs less; else one thread with an epoll.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.base import MissingPeerError
from benchmarks.peers.nginx import Nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["own_server", "trivial_server"]

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def trivial_server() -> Iterator[int]:
    """The port of one, while the context lasts."""
    try:
        nginx = Nginx().start(1)
    except MissingPeerError:
        with own_server() as port:
            yield port
        return
    with nginx:
        yield nginx.port


@contextmanager
def own_server() -> Iterator[int]:
    """The same by this module's own, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port: int = listener.getsockname()[1]
        argv = [sys.executable, "-m", "benchmarks.generator.trivial", str(listener.fileno())]
        process = subprocess.Popen(argv, cwd=_ROOT, pass_fds=[listener.fileno()])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def serve(listener: socket.socket) -> None:
    """For ever: every piece that comes is taken for a request and answered."""
    body = b"blocked 0 s in pid %d\n" % os.getpid()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    listener.setblocking(False)
    clients: dict[int, socket.socket] = {}
    with select.epoll() as epoll:
        epoll.register(listener.fileno(), select.EPOLLIN)
        while True:
            for fd, _ in epoll.poll():
                if fd != listener.fileno():
                    if not _answer(clients[fd], answer):
                        clients.pop(fd).close()
                    continue
                with contextlib.suppress(BlockingIOError):
                    client, _ = listener.accept()
                    clients[client.fileno()] = client
                    epoll.register(client.fileno(), select.EPOLLIN)


def _answer(client: socket.socket, answer: bytes) -> bool:
    """False when the connection is over."""
    try:
        return bool(client.recv(4096)) and bool(client.send(answer))
    except OSError:
        return False


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])))
