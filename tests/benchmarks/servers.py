"""One-thread HTTP servers for the harness's own clients, with the faults that they must see."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class OneByOne:
    """Answers requests in the order in which they come; a context manager, which joins its thread.

    `answer` goes out for each request, in one piece. `stall` is the seconds it blocks for before
    the first answer, for all connections at once; after `requests_each` answers it ends a
    connection.
    """

    def __init__(self, answer: bytes = OK, *, stall: float = 0.0, requests_each: int = 0) -> None:
        self._answer = answer
        self._stall = stall
        self._requests_each = requests_each
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._stop = socket.socketpair()
        self._served: dict[socket.socket, int] = {}
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stop.close()
        self._thread.join()
        for sock in (*self._served, self._listener, self._wake):
            sock.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._wake:
                        return
                    if key.fileobj is self._listener:
                        sock, _ = self._listener.accept()
                        self._served[sock] = 0
                        selector.register(sock, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket) and not self._respond(key.fileobj):
                        selector.unregister(key.fileobj)
                        del self._served[key.fileobj]
                        key.fileobj.close()

    def _respond(self, sock: socket.socket) -> bool:
        """Answer what came; False when the connection is over."""
        try:
            if not sock.recv(65536):
                return False
        except ConnectionResetError:
            return False
        time.sleep(self._stall)
        self._stall = 0.0
        sock.sendall(self._answer)
        self._served[sock] += 1
        return self._served[sock] != self._requests_each
