"""A WSGI app without a framework, for tests that are about threads."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = os.environ.get("BALANCER_WORKER_ID", "?")


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answers at once, but for two paths.

    ``/hold/PIPE`` waits until the other end of a named pipe is closed; that it can be opened says
    that the request is here.  ``/hang`` never answers.
    """
    path = environ["PATH_INFO"]
    if path.startswith("/hold/"):
        with open(path.removeprefix("/hold/"), "rb") as pipe:
            pipe.read()
    elif path == "/hang":
        hang()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"Hello from worker {WORKER} (pid {os.getpid()})".encode()]


def hang() -> None:
    threading.Event().wait()
