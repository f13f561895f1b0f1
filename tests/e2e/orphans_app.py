"""An ASGI app whose first request leaves a process behind, and says its pid."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[dict[str, Any]], Awaitable[None]]

# a daemon's double fork
LEAVE = """
import os, signal
pid = os.fork()
if pid:
    print(pid, flush=True)
    os._exit(0)
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 1)
signal.alarm(60)
signal.pause()
"""
_pids: list[bytes] = []


async def app(scope: dict[str, Any], _receive: object, send: Send) -> None:
    assert scope["type"] == "http"
    if not _pids:
        _pids.append(leave_one())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": _pids[0]})


def leave_one() -> bytes:
    return subprocess.run([sys.executable, "-c", LEAVE], stdout=subprocess.PIPE, check=True).stdout
