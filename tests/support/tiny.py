"""A server for testing clients: each connection is handled by a function, in a thread."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[socket.socket, int], None]

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\nHello from worker 1 (pid 4321)\n"


@contextmanager
def tiny_server(handle: Handler) -> Iterator[int]:
    """Serve on a free port (yielded) until the context ends; `handle(socket, number from 1)`.

    The handler may close the socket; what it leaves open is closed when it returns.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        threads: list[threading.Thread] = []
        accepting = threading.Thread(target=_accept, args=(listener, handle, threads))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(5)
            for thread in threads:
                thread.join(5)
                assert not thread.is_alive(), "a handler does not end"


def _accept(listener: socket.socket, handle: Handler, threads: list[threading.Thread]) -> None:
    # shutdown() of a listening socket ends accept() with EINVAL.
    with suppress(OSError):
        while True:
            sock = listener.accept()[0]
            number = len(threads) + 1
            thread = threading.Thread(target=_serve, args=(sock, number, handle))
            threads.append(thread)
            thread.start()


def _serve(sock: socket.socket, number: int, handle: Handler) -> None:
    with sock, suppress(ConnectionError):
        sock.settimeout(5)
        handle(sock, number)


def read_request(sock: socket.socket) -> bytes:
    """The bytes of one request without a body; empty at EOF."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    linger = b"\x01\0\0\0\0\0\0\0"  # struct linger {1, 0}
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()
